"""Floating arrays as they are stored: their NumPy dtypes, and whether two of them hold the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from renorm_cli.blocks import partition
from renorm_cli.model import FLOATS, Variable

if TYPE_CHECKING:
    from renorm_cli.formats.checkpoint import Checkpoint

_COMPARE_BYTES = 4 << 20
_CODES = {"float16": "f2", "float32": "f4", "float64": "f8"}


def stored_dtype(dtype: str, order: str) -> np.dtype[Any]:
    """The NumPy dtype of one of `model.FLOATS` in byte order "<" or ">"; bfloat16 is always little-endian in HDF5."""
    if dtype != "bfloat16":
        return np.dtype(order + _CODES[dtype])
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def same_bytes(source: Checkpoint, one: Variable, other: Variable) -> bool:
    """Whether two variables of a checkpoint hold the same bytes; never true of what cannot be read."""
    if (one.shape, one.dtype) != (other.shape, other.dtype) or one.dtype not in FLOATS or one.locked or other.locked:
        return False
    blocks = partition(one.shape, _COMPARE_BYTES // FLOATS[one.dtype])
    return all(source.read(one, block).tobytes() == source.read(other, block).tobytes() for block in blocks)
