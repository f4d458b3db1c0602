"""No worker process outlives the checkpoint it serves, however the run ends."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.processes import children

from renorm_cli.formats.registry import locate, open_checkpoint
from renorm_cli.model.blocks import Block
from renorm_cli.storage.staging import Staging


def chunked(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("dense/kernel", data=np.full((8, 4), 3, "f4"), chunks=(4, 4), compression="gzip")
    return path


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_run_that_fails_between_write_and_seal_leaves_no_process_and_no_socket(
    tmp_path: Path, written: bool, sealed: bool
) -> None:
    class GivenUp(Exception):
        pass

    others = children()  # of other tests
    path = chunked(tmp_path / "model.h5")
    output = locate(path).output(tmp_path / "out.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(GivenUp), open_checkpoint(path) as source, Staging() as staging:
            (variable,) = source.variables
            sink = source.stage(staging, output, [variable])
            if written:
                sink.write(variable, Block((0, 0), (8, 4)), np.ones((8, 4), "f4"))
            if sealed:
                sink.seal()
            raise GivenUp
        assert children() == others
    assert {entry.name for entry in tmp_path.iterdir()} == {"model.h5"}
