"""Numbers as they are stored: their NumPy dtypes, and whether two arrays of them hold the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.variable import Variable

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.formats.base import Checkpoint
    from renorm_cli.parallel.memory import Buffer

_COMPARE_BYTES = 4 << 20
_CODES = {
    "float16": "f2", "float32": "f4", "float64": "f8", "complex64": "c8", "complex128": "c16", "bool": "u1",
    "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1", "uint16": "u2", "uint32": "u4",
    "uint64": "u8", "qint8": "u1", "quint8": "u1", "qint16": "u2", "quint16": "u2", "qint32": "u4", "int4": "u1",
    "uint4": "u1", "int2": "u1", "uint2": "u1", "float8_e5m2": "u1", "float8_e4m3fn": "u1", "float8_e4m3fnuz": "u1",
    "float8_e4m3b11fnuz": "u1", "float8_e5m2fnuz": "u1", "float4_e2m1fn": "u1",
}  # fmt: skip
"""NumPy's codes of the dtypes that formats can read; types that NumPy has no name for are read as their bits."""


def item_bytes(dtype: str) -> int | None:
    """Stored bytes per element; None for a dtype that `Checkpoint.read` does not serve."""
    if dtype == "bfloat16":
        return 2
    code = _CODES.get(dtype)
    return None if code is None else int(code[1:])


def stored_dtype(dtype: str, order: str) -> np.dtype[Any]:
    """The NumPy dtype of numbers in byte order "<" or ">"; bfloat16 is always little-endian in HDF5."""
    if dtype != "bfloat16":
        return np.dtype(order + _CODES[dtype])
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
        return left is None or right is None or _digest(left) == _digest(right)
    return _equal(partial(one.read, variable), partial(other.read, variable), variable)


def _digest(parts: Iterable[bytes]) -> bytes:
    """What stands for bytes of any number, cut in any way."""
    import hashlib  # here, as few files need it

    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.digest()


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
