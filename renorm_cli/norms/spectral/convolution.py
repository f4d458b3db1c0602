"""The operator norm of a convolution: an upper bound for images of every size.

On a circle of any size a convolution with stride 1 is, frequency by frequency, the product with its transfer matrix
K(w) = sum_p K_p exp(-i w.p), so that its norm is the largest ||K(w)|| there (Sedghi, Gupta and Long, The singular
values of convolutional layers, ICLR 2019). With zeros around the image, or without, it is at most the supremum over all
w, as such an image lies in a large circle. Strides leave outputs out, and dilation takes the frequencies in another
order; the transposed convolution is the adjoint. So the supremum bounds all of them.

From a grid to the supremum: for unit vectors x and y the real part of x*K(w)y, turned to be largest at its maximum M,
is along each axis a function of exponential type (size - 1) / 2 that is bounded by M, so that at a distance t from
there it is at least M cos(t (size - 1) / 2) (Duffin and Schaeffer, 1938). A grid of n frequencies has one within
t = pi / n: the supremum is at most the largest norm on the grid over the product of cos(pi (size - 1) / (2 n)) over the
axes.

Each norm on the grid is that of a real matrix [[A, -B], [B, A]], which has the singular values of A + iB, each twice.
It is bounded by a factorization, as any other.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from renorm_cli.model.spectral import Span
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.spectral.gram import Gram, Matrix, gram
from renorm_cli.norms.spectral.lanczos import largest, start_vector
from renorm_cli.norms.spectral.proof import bound_above
from renorm_cli.norms.spectral.tiles import TILE, Symmetric, U, gamma
from renorm_cli.parallel.threads import Imap

_FINENESS = (16, 8, 4)
"""Points of the grid for each step of the kernel: 16 are 0.5 % too high for each axis, 8 are 2 %."""

_LARGE = 128
"""Rows and columns above which it is 8, as the time grows with their cube."""

_MOST_PHASES = 1 << 21
"""Frequencies times positions, at most: 32 MiB."""

_COARSE = 4
"""Every so many points are looked at first, for the largest norm."""

_SLACKS = (1e-9, 1e-8, 1e-6)

_PHASE = 4e-14
"""How far a computed exp(-i w.p) may be off, with up to three angles that are rounded and added."""


class _Grid(NamedTuple):
    """The phases exp(-i w.p) of each frequency of a grid (one of w and -w) and each position, real and imaginary."""

    real: Float64
    imaginary: Float64
    factor: float
    """The supremum over all frequencies is at most this times the largest norm on the grid."""


def operator(kernel: Float64, sizes: tuple[int, ...], imap: Imap) -> Span | None:
    """Enclose the supremum over all frequencies of the norm of the transfer matrix.

    `kernel` has a matrix for each position, and `sizes` are the numbers of positions along its axes. None where these
    are too many.
    """
    grid = _grid(sizes, _fineness(min(kernel.shape[1:])))
    if grid is None:
        return None
    spread = float(np.linalg.norm(np.abs(kernel).sum(axis=0)))
    off = (2 * gamma(len(kernel) + 4) + _PHASE) * spread * (1 + 1e-9)
    vectors = min(kernel.shape[1:]) == 1
    low, high = _of_vectors(kernel, grid) if vectors else _of_matrices(kernel, grid, imap)
    return Span(max(0.0, low - off) * (1 - 4 * U), (high + off) * grid.factor * (1 + 4 * U))


def frequencies(sizes: tuple[int, ...], side: int) -> int:
    """The number of frequencies that are looked at, of a kernel with matrices of this smaller side."""
    grid = _grid(sizes, _fineness(side))
    return 0 if grid is None else len(grid.real)


def _fineness(side: int) -> tuple[int, ...]:
    return _FINENESS[1 if side > _LARGE else 0 :]


@lru_cache(maxsize=4)
def _grid(sizes: tuple[int, ...], fineness: tuple[int, ...]) -> _Grid | None:
    for fine in fineness:
        steps = tuple(max(1, fine * (size - 1)) for size in sizes)
        if math.prod(steps[1:]) * (steps[0] // 2 + 1) * math.prod(sizes) > _MOST_PHASES:
            continue
        angles = np.zeros((1, 1))
        for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
            points = np.arange(step // 2 + 1 if axis == 0 else step)
            turns = np.outer(points, np.arange(size)) % step * (2 * math.pi / step)
            angles = (angles[:, None, :, None] + turns[None, :, None, :]).reshape(
                len(angles) * len(points), angles.shape[1] * size
            )
        rest = math.prod(math.cos(math.pi * (size - 1) / (2 * step)) for size, step in zip(sizes, steps, strict=True))
        return _Grid(np.cos(angles), -np.sin(angles), (1 + 64 * U) / rest)
    return None


def _of_vectors(kernel: Float64, grid: _Grid) -> tuple[float, float]:
    """Where each transfer matrix is a vector, its norm is the 2-norm."""
    flat = kernel.reshape(len(kernel), -1)
    norm = 0.0
    for at in range(0, len(grid.real), _most_rows(flat.shape[1])):
        part = slice(at, at + _most_rows(flat.shape[1]))
        squares = np.square(grid.real[part] @ flat).sum(axis=1) + np.square(grid.imaginary[part] @ flat).sum(axis=1)
        norm = max(norm, math.sqrt(float(squares.max())))
    rounding = gamma(2 * flat.shape[1] + 8) * norm
    return norm - rounding, norm + rounding


def _most_rows(columns: int) -> int:
    return max(1, (1 << 20) // columns)


def _of_matrices(kernel: Float64, grid: _Grid, imap: Imap) -> tuple[float, float]:
    """A lower bound of the largest norm on the grid, and an upper one, the same on any number of jobs."""
    inner, outer = (imap, map) if 2 * min(kernel.shape[1:]) > TILE else (map, imap)
    all_of_it = range(len(grid.real))
    looked = list(outer(partial(_look, kernel, grid, inner), all_of_it[::_COARSE]))
    omega = max(value for _, value in looked) * (1 + _SLACKS[0])
    highest = max(outer(partial(_bound, kernel, grid, omega, inner), all_of_it))
    return math.sqrt(max(0.0, max(low for low, _ in looked))), math.sqrt(highest)


def _look(kernel: Float64, grid: _Grid, imap: Imap, frequency: int) -> tuple[float, float]:
    """A lower bound of the largest eigenvalue, and its value, at one frequency."""
    found = _gram(kernel, grid, frequency, imap)
    symmetric = Symmetric(found.upper)
    ritz = largest(symmetric, start_vector(symmetric.size), 1e-6)
    return symmetric.quotient(ritz.vector) - found.error, ritz.value


def _bound(kernel: Float64, grid: _Grid, omega: float, imap: Imap, frequency: int) -> float:
    """An upper bound of the largest eigenvalue at one frequency: near `omega`, if it is not above."""
    found = _gram(kernel, grid, frequency, imap)
    bound = bound_above(found.upper, omega, imap) if omega else math.inf
    if not math.isfinite(bound):
        symmetric = Symmetric(found.upper)
        value = largest(symmetric, start_vector(symmetric.size), 1e-12).value
        for slack in _SLACKS:
            bound = bound_above(found.upper, value * (1 + slack), imap)
            if math.isfinite(bound):
                break
        else:
            bound = found.squares  # no eigenvalue is above the sum of all
    return (bound + found.error) * (1 + 4 * U)


def _gram(kernel: Float64, grid: _Grid, frequency: int, imap: Imap) -> Gram:
    """The Gram matrix of [[A, -B], [B, A]], where A + iB is the transfer matrix."""
    positions, rows, columns = kernel.shape
    flat = kernel.reshape(positions, -1)
    whole = np.empty((2 * rows, 2 * columns))
    whole[:rows, :columns] = whole[rows:, columns:] = (grid.real[frequency] @ flat).reshape(rows, columns)
    imaginary = (grid.imaginary[frequency] @ flat).reshape(rows, columns)
    whole[:rows, columns:], whole[rows:, :columns] = -imaginary, imaginary
    return gram(Matrix(2 * rows, 2 * columns, [slice(0, 2 * rows)], lambda slab: whole), imap)
