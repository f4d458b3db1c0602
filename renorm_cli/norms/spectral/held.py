"""Gram matrices where they are held, in memory or on the device of an engine, and what is proven of them there."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from renorm_cli.errors import EngineError, Way
from renorm_cli.norms.engines.base import Engine, GramSum
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.spectral.gram import COLUMNS, Gram, Matrix, error_of, gram, sum_of
from renorm_cli.norms.spectral.lanczos import start_vector
from renorm_cli.norms.spectral.proof import PANEL, above_residual, bound_above
from renorm_cli.norms.spectral.spectrum import singular_values
from renorm_cli.norms.spectral.tiles import Symmetric, below_quotient, gamma, spans
from renorm_cli.parallel.threads import Imap

_LEAST_SIDE = 512
"""Rows and columns from which a device computes it: for fewer, each call takes longer than the work."""

_ON_DEVICE = 2 << 30
"""Bytes of float64 up to which a matrix of fewer rows than columns is held on a device, as one piece."""


class Held(Protocol):
    """A Gram matrix, and how far it may be from the true one in the spectral norm."""

    size: int
    diagonal: Float64
    squares: float
    """The sum of the squares of all weights, not finite where a weight is not."""
    error: float

    def times(self, vector: Float64) -> Float64:
        """The product with a vector."""
        ...

    def quotient(self, vector: Float64) -> float:
        """A lower bound of the largest eigenvalue, by any vector."""
        ...

    def bound_above(self, omega: float) -> float:
        """A number that no eigenvalue exceeds, hardly above `omega`; inf where `omega` is not above all of them."""
        ...

    def singular_values(self) -> Float64:
        """The roots of all eigenvalues."""
        ...

    def refuse_wrong(self, wrong: int) -> EngineError:
        """The error that so many sums of products are wrong."""
        ...


def on_host(matrix: Matrix, imap: Imap) -> Held:
    """The Gram matrix, by NumPy. Raises EngineError where there is no room for it."""
    return _OnHost(gram(matrix, imap), imap)


def on_device(matrix: Matrix, engine: Engine) -> Held | None:
    """The Gram matrix on the device of an engine; None where it is none for that. Raises MemoryError without room."""
    if matrix.side < _LEAST_SIDE or (matrix.rows < matrix.columns and not _fits(matrix.rows, matrix.columns)):
        return None
    held = engine.gram_sum(matrix.side)
    return None if held is None else _OnDevice(matrix, held, f"{engine.name} on {engine.device}")


def for_a_device(rows: int, columns: int) -> bool:
    """Whether the Gram matrix of such a matrix is certainly for a device, should there be one."""
    return min(rows, columns) >= _LEAST_SIDE and _fits(rows, columns)


def _fits(rows: int, columns: int) -> bool:
    return 8 * rows * columns <= _ON_DEVICE


def refuse_wrong_products(matrix: Matrix, held: Held) -> None:
    """Multiply a vector of signs by the Gram matrix, and without BLAS by the matrix and its transpose (Freivalds).

    Raises EngineError where they differ by more than rounding can: what multiplied the matrices does so wrongly.
    """
    signs = np.where(start_vector(matrix.side, 7) < 0, -1.0, 1.0)
    if matrix.rows >= matrix.columns:
        product = np.zeros(matrix.side)
        for slab in matrix.slabs:
            values = matrix.read(slab)
            product += np.einsum("ij,i->j", values, np.einsum("ij,j->i", values, signs))
    else:
        across = np.zeros(matrix.columns)
        for slab in matrix.slabs:
            across += np.einsum("ij,i->j", matrix.read(slab), signs[slab])
        product = np.concatenate([np.einsum("ij,j->i", matrix.read(slab), across) for slab in matrix.slabs])
    sizes = np.sqrt(held.diagonal)
    allowed = gamma(4 * (matrix.rows + matrix.columns) + 64) * float(sizes.sum()) * sizes
    right = np.abs(held.times(signs) - product) <= allowed
    if not right.all():
        raise held.refuse_wrong(int(np.count_nonzero(~right)))


class _OnHost(Symmetric):
    def __init__(self, found: Gram, imap: Imap) -> None:
        super().__init__(found.upper)
        self.squares, self.error = found.squares, found.error
        self._imap = imap

    def bound_above(self, omega: float) -> float:
        return bound_above(self.upper, omega, self._imap)

    def singular_values(self) -> Float64:
        return singular_values(self.upper)

    def refuse_wrong(self, wrong: int) -> EngineError:
        return EngineError(
            f"BLAS, as NumPy has it here, multiplies matrices wrongly: {wrong} of {self.size} sums are off by more than"
            " rounding can explain; install another NumPy"
        )


class _OnDevice:
    """One whose products and factors the device computes, and whose bounds are NumPy's, in the order of `Symmetric`."""

    def __init__(self, matrix: Matrix, held: GramSum, whose: str) -> None:
        self._held = held
        self._whose = whose
        self.size = matrix.side
        slabs = map(matrix.read, matrix.slabs)
        if matrix.rows >= matrix.columns:
            for slab in slabs:
                held.add(slab)
        else:
            held.add_sides(slabs, COLUMNS)
        self.diagonal = held.diagonal()
        self.squares = sum_of(self.diagonal)
        self.error = error_of(matrix, self.squares)

    def times(self, vector: Float64) -> Float64:
        return self._held.times(vector[:, None])[:, 0]

    def quotient(self, vector: Float64) -> float:
        """By one product with the parts of the vector, each beside zeros: so no sum has more terms than a tile."""
        tiles = spans(self.size)
        parts = np.zeros((self.size, len(tiles)))
        for number, at in enumerate(tiles):
            parts[at, number] = vector[at]
        return below_quotient(vector, self._held.times(parts).sum(axis=1), self.diagonal)

    def bound_above(self, omega: float) -> float:
        seen, spread = self._held.factored(omega, PANEL)
        return above_residual(omega, seen, spread, self.size) if math.isfinite(seen + spread) else math.inf

    def singular_values(self) -> Float64:
        return singular_values(self._held.whole())

    def refuse_wrong(self, wrong: int) -> EngineError:
        return EngineError(
            f"{self._whose} multiplies matrices wrongly: {wrong} of {self.size} sums are off by more than rounding can"
            " explain",
            Way("engine", "do without", "numpy"),
        )
