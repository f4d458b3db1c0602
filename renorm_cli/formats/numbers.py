"""Numbers as they are stored: their NumPy dtypes, and whether two arrays of them hold the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from renorm_cli.formats.base import digest
from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.dtypes import DTYPES, FLOATS
from renorm_cli.model.variable import Variable

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.formats.base import Checkpoint
    from renorm_cli.parallel.memory import Buffer

_COMPARE_BYTES = 4 << 20


def item_bytes(dtype: str) -> int | None:
    """Stored bytes per element; None for a dtype that `Checkpoint.read` does not serve."""
    found = DTYPES.get(dtype)
    return None if found is None else found.nbytes


def stored_dtype(dtype: str, order: str) -> np.dtype[Any]:
    """The NumPy dtype of numbers in byte order "<" or ">"; bfloat16 is always little-endian in HDF5."""
    if dtype != "bfloat16":
        return np.dtype(order + DTYPES[dtype].code)
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def room_for(shape: tuple[int, ...], dtype: np.dtype[Any], into: Buffer | None) -> npt.NDArray[Any]:
    """An array to read a block into: in the memory given for it, or in new one."""
    if into is None:
        return np.empty(shape, dtype=dtype)
    return into[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def same_values(one: Checkpoint, other: Checkpoint, variable: Variable) -> bool:
    """Whether two checkpoints hold the same bytes of a variable, as far as there is a way to them."""
    if item_bytes(variable.dtype) is None or variable.locked:
        left, right = one.raw(variable), other.raw(variable)
        return left is None or right is None or digest(left) == digest(right)
    return _equal(partial(one.read, variable), partial(other.read, variable), variable)


class Reader(Protocol):
    """Reads blocks of variables, as `Checkpoint.read` does."""

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]: ...


def same_bytes(source: Reader, one: Variable, other: Variable) -> bool:
    """Whether two variables of a checkpoint hold the same bytes; never true of what cannot be read."""
    if (one.shape, one.dtype) != (other.shape, other.dtype) or one.dtype not in FLOATS or one.locked or other.locked:
        return False
    return _equal(partial(source.read, one), partial(source.read, other), one)


def _equal(left: Callable[[Block], Any], right: Callable[[Block], Any], like: Variable) -> bool:
    """Whether two arrays, of the shape and dtype of `like`, are the same, block by block."""
    blocks = partition(like.shape, _COMPARE_BYTES // (item_bytes(like.dtype) or 1))
    return all(left(block).tobytes() == right(block).tobytes() for block in blocks)
