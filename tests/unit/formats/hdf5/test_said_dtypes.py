"""Arrays that h5py wrote as mere bits, of dtypes that are said: ml_dtypes reads the output, a plain loop judges it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

import renorm_cli

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("storage", [{}, {"chunks": (3, 4), "compression": "gzip"}])
def test_bits_that_h5py_wrote_are_no_matrix_that_holds_and_are_bounded_as_what_they_are_said_to_be(
    here: Path, tmp_path: Path, storage: dict[str, Any]
) -> None:
    numbers = (4 * np.random.default_rng(3).standard_normal((6, 7))).astype(BFLOAT16)
    with h5py.File(here, "w") as file:
        file.create_dataset("dense/kernel", data=numbers, **storage)
        file["dense/scale"] = np.ones((6, 7), ml_dtypes.float8_e4m3fn)
        file["dense_1/kernel"] = np.ones((2, 2), "f4")
    found = renorm_cli.check(here, max_norm=2.0)
    assert found.verdict == "undecided"
    assert "'dense/kernel', 'dense/scale': saved without the dtype, so left alone" in [one.text for one in found.notes]
    output = tmp_path / "out.h5"
    renorm_cli.apply(here, output, max_norm=2.0, dtype="*/kernel=bfloat16")
    with h5py.File(output) as file:
        bounded = file["dense/kernel"][...].view(BFLOAT16).astype(float)
        assert file["dense/scale"][...].tobytes() == np.ones((6, 7), ml_dtypes.float8_e4m3fn).tobytes()
    for before, after in zip(numbers.astype(float).T.tolist(), bounded.T.tolist(), strict=True):
        norm = math.fsum(value**2 for value in before) ** 0.5
        assert math.fsum(value**2 for value in after) <= 4.0
        assert after == pytest.approx([value * min(1.0, 2.0 / norm) for value in before], rel=0.02)
