"""Names in HDF5 files that no library of ours lays out."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from support.h5_survey import survey_of

from renorm_cli.formats.hdf5.naming import name_plainly

KERNEL = np.ones((4, 3), "float32")


def state_of(path: Path) -> set[str]:
    return {variable.name for variable in name_plainly(survey_of(path)).variables if variable.state == "optimizer"}


@pytest.mark.parametrize("beside", ["model_weights", "weight_names"])
def test_a_group_that_keras_writes_an_optimizer_to_is_known_at_any_depth(tmp_path: Path, beside: str) -> None:
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["runs/a/model_weights/dense/kernel:0"] = KERNEL
        file["runs/a/optimizer_weights/adam/dense_kernel_momentum:0"] = KERNEL
        file["runs/b/optimizer_weights/dense/kernel:0"] = KERNEL
        if beside == "weight_names":
            file["runs/b/optimizer_weights"].attrs["weight_names"] = [b"dense/kernel:0"]
    known = {"runs/a/optimizer_weights/adam/dense_kernel_momentum"}
    by_list = {"runs/b/optimizer_weights/dense/kernel"} if beside == "weight_names" else set()
    assert state_of(tmp_path / "two.h5") == known | by_list


def test_slots_by_name_are_state_in_any_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        for name in ("dense/kernel", "Adam/m/dense/kernel", "Adam/v/dense/kernel", "encoder/m/dense/kernel"):
            file[name] = KERNEL
    assert state_of(tmp_path / "plain.h5") == {"Adam/m/dense/kernel", "Adam/v/dense/kernel"}
