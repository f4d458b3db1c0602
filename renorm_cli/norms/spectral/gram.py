"""The Gram matrix of the smaller side of a matrix, in float64, read slab by slab.

Products of two weights of float32 or fewer bits are exact in float64, so that only additions round. An entry is a sum
of the products of a row of a slab, or of a column, and of the sums of slabs. With |G^ - G| <= gamma(k) |A|'|A| entry by
entry, ||G^ - G|| <= gamma(k) ||A||_F ** 2.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.errors import EngineError, Way
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.spectral.tiles import TILE, gamma, spans
from renorm_cli.parallel.threads import Imap

SLAB_ELEMENTS = 1 << 21
"""Weights that are read at a time: 16 MiB of float64."""

IN_MEMORY = 1 << 30
"""Bytes of an array up to which it is held in memory, and above which in an unnamed file."""

COLUMNS = 1024
"""Columns that are multiplied at a time where a matrix has fewer rows than columns."""


class Matrix(NamedTuple):
    """A matrix as it is stored: `read` gives the rows of one of the slabs as new float64 numbers."""

    rows: int
    columns: int
    slabs: Sequence[slice]
    read: Callable[[slice], Float64]

    @property
    def side(self) -> int:
        """The smaller of its sides."""
        return min(self.rows, self.columns)


class Gram(NamedTuple):
    """The Gram matrix on and above its diagonal, and how far it may be from the true one in the spectral norm."""

    upper: Float64
    squares: float
    """The sum of the squares of all weights, not finite where a weight is not."""
    error: float


def gram(matrix: Matrix, imap: Imap) -> Gram:
    """The Gram matrix. Raises EngineError where there is no room for it."""
    upper = room((matrix.side, matrix.side), np.dtype(np.float64))
    with np.errstate(all="ignore"):  # NaN and Inf
        if matrix.rows >= matrix.columns:
            _tall(matrix, upper, imap)
        else:
            _wide(matrix, upper, imap)
    squares = sum_of(upper.diagonal())
    return Gram(upper, squares, error_of(matrix, squares))


def sum_of(diagonal: Float64) -> float:
    """The sum of the squares of all weights, NaN where one is not finite."""
    return math.fsum(diagonal) if np.isfinite(diagonal).all() else math.nan


def error_of(matrix: Matrix, squares: float) -> float:
    """How far a Gram matrix may be from the true one that is summed by slabs, or by COLUMNS, and in them in any order.

    One more for the products of float64, and one each for what underflows of it as a product and as a weight.
    """
    terms = _terms(matrix) + 3
    return gamma(terms) * squares / (1 - gamma(terms + 2))


def room(shape: tuple[int, ...], dtype: np.dtype[Any], in_memory: int = IN_MEMORY) -> npt.NDArray[Any]:
    """An array of zeros, in memory or, above `in_memory` bytes, in an unnamed file in TMPDIR.

    Raises EngineError where there is no room.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    try:
        if nbytes <= in_memory:
            return np.zeros(shape, dtype)
        with tempfile.TemporaryFile(prefix="renorm-") as file:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process
                os.posix_fallocate(file.fileno(), 0, nbytes)
            mode: Literal["r+", "w+"] = "r+" if hasattr(os, "posix_fallocate") else "w+"
            return np.memmap(file, dtype, mode, shape=shape).view(np.ndarray)
    except (OSError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else "out of memory"
        raise EngineError(
            f"a matrix needs {nbytes:,} bytes of room to be measured, in memory or (above {in_memory:,}) in the folder"
            f" {tempfile.gettempdir()!r}: {reason}; make room, or set TMPDIR",
            Way("exclude", "leave it out"),
        ) from None


def _terms(matrix: Matrix) -> int:
    """Rounded additions on the longest way of a product into a sum."""
    if matrix.rows >= matrix.columns:
        return max(int(slab.stop - slab.start) for slab in matrix.slabs) + len(matrix.slabs)
    return min(matrix.columns, COLUMNS) + -(-matrix.columns // COLUMNS)


def _tall(matrix: Matrix, upper: Float64, imap: Imap) -> None:
    """The sum of B' B over slabs B."""
    tiles = spans(matrix.columns)
    pairs = [(at, other) for number, at in enumerate(tiles) for other in tiles[number:]]
    for slab in matrix.slabs:
        values = matrix.read(slab)

        def add(pair: tuple[slice, slice], values: Float64 = values) -> None:
            at, other = pair
            upper[at, other] += values[:, at].T @ values[:, other]

        for _ in imap(add, pairs):
            pass


def _wide(matrix: Matrix, upper: Float64, imap: Imap) -> None:
    """B C' for each pair of slabs B, C, which are read again and again: so each is one run of the file."""
    for number, slab in enumerate(matrix.slabs):
        left = matrix.read(slab)

        def add(other: slice, slab: slice = slab, left: Float64 = left) -> None:
            right = left if other is slab else matrix.read(other)
            for at in spans(len(left)):
                for there in spans(len(right), TILE, at.start if other is slab else 0):
                    tile = upper[slab, other][at, there]
                    for columns in spans(matrix.columns, COLUMNS):
                        tile += left[at, columns] @ right[there, columns].T

        for _ in imap(add, matrix.slabs[number:]):
            pass
