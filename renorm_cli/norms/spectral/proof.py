"""A proof that no eigenvalue of a symmetric matrix is above a number: a Cholesky factorization that completes.

Let B = omega I - G and L what the factorization of B gave. L L' has no negative eigenvalue, so none of G is above
omega + ||D||, where D = B - L L' (Demmel; Higham, Accuracy and Stability, theorem 10.3; Rump, Verification of positive
definiteness, BIT 2006). ||D|| is at most its largest sum of a row of |D|, which has two parts:

- what is no product of matrices (the factors of corners, and the panels below them) is multiplied out and compared, so
  that nothing is assumed of the library that made them: these differences are summed as they are seen;
- an entry of a tile is b - p_1 - p_2 - .., where each p is a sum of PANEL products. It is off by at most
  gamma(PANEL + panels) (|L||L'| + |the difference|) (Higham, lemma 8.4), and the comparison by as much again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.spectral.tiles import TILE, U, gamma, spans
from renorm_cli.parallel.threads import Imap

PANEL = 256
"""Columns that are factored at a time."""


class _Factor(NamedTuple):
    """The diagonal of L, of which the rest is below that of G, and per row the sum of the differences seen."""

    diagonal: Float64
    seen: Float64


def bound_above(upper: Float64, omega: float, imap: Imap) -> float:
    """A number that no eigenvalue exceeds, hardly above `omega`; inf where the factorization does not complete.

    The diagonal of the matrix and what is above it are kept; what is below is overwritten.
    """
    size = len(upper)
    factor = _factor(upper, omega, imap)
    if factor is None:
        return math.inf
    inner = np.zeros(size)  # |L'| 1, then |L| of that: the sums of the rows of |L||L'|
    for at in spans(size):
        inner[: at.stop] += _rows_of(upper, factor.diagonal, at).sum(axis=0)
    largest = max(float((_rows_of(upper, factor.diagonal, at) @ inner[: at.stop]).max()) for at in spans(size))
    return above_residual(omega, float(factor.seen.max()), largest, size)


def above_residual(omega: float, seen: float, spread: float, size: int) -> float:
    """The bound by the largest row sums of |D|, as far as D was seen, and of |L||L'|.

    D may have been factored and compared, or all of it compared, PANEL products at a time.
    """
    terms = 2 * (PANEL + -(-size // PANEL) + 6)
    rounding = gamma(terms) * spread * (1 + gamma(2 * size + 8)) + 2 * U * omega
    return (omega + seen * (1 + gamma(size + terms)) + rounding) * (1 + 4 * U)


def _rows_of(upper: Float64, diagonal: Float64, at: slice) -> Float64:
    """Rows of |L| up to the diagonal."""
    rows = np.abs(np.tril(upper[at, : at.stop], at.start - 1))
    rows[:, at] += np.diag(diagonal[at])
    return rows


def _factor(upper: Float64, omega: float, imap: Imap) -> _Factor | None:
    """Factor omega I - G below the diagonal of G, panel by panel, or None."""
    size = len(upper)
    _mirror_negative(upper)
    shifted = omega - upper.diagonal()
    diagonal: Float64 = np.empty(size)
    seen: Float64 = np.zeros(size)
    for at in spans(size, PANEL):
        corner = np.tril(upper[at, at], -1)
        corner = corner + corner.T + np.diag(shifted[at])
        try:
            root = np.linalg.cholesky(corner)
        except np.linalg.LinAlgError:
            return None
        seen[at] += np.abs(corner - root @ root.T).sum(axis=1)
        low = np.tril_indices(len(root), -1)
        upper[at, at][low] = root[low]
        diagonal[at] = root.diagonal()
        tiles = spans(size, TILE, at.stop)
        if tiles:
            _panel(upper, at, root, tiles, seen, imap)
            _update(upper, at, tiles, shifted, imap)
    return _Factor(diagonal, seen) if np.isfinite(seen).all() and np.isfinite(diagonal).all() else None


def _mirror_negative(upper: Float64) -> None:
    """Below the diagonal, -G."""
    tiles = spans(len(upper))
    for number, at in enumerate(tiles):
        low = np.tril_indices(at.stop - at.start, -1)
        upper[at, at][low] = -upper[at, at].T[low]
        for other in tiles[number + 1 :]:
            np.negative(upper[at, other].T, out=upper[other, at])


def _panel(
    upper: Float64, at: slice, root: npt.NDArray[np.floating[Any]], tiles: list[slice], seen: Float64, imap: Imap
) -> None:
    """The rows of L below a corner, and how far they are from what they stand for."""
    inverse = np.linalg.inv(root)

    def solve(tile: slice) -> tuple[Float64, Float64]:
        values = upper[tile, at].copy()
        rows = values @ inverse.T
        differ = np.abs(values - rows @ root.T)
        upper[tile, at] = rows
        return differ.sum(axis=1), differ.sum(axis=0)

    for tile, (across, down) in zip(tiles, imap(solve, tiles), strict=True):
        seen[tile] += across
        seen[at] += down


def _update(upper: Float64, at: slice, tiles: list[slice], shifted: Float64, imap: Imap) -> None:
    """Take the products of a panel from all tiles to its right."""

    def take(pair: tuple[slice, slice]) -> None:
        tile, other = pair
        product = upper[tile, at] @ upper[other, at].T
        if tile is other:
            low = np.tril_indices(len(product), -1)
            upper[tile, tile][low] -= product[low]
            shifted[tile] -= product.diagonal()
        else:
            upper[tile, other] -= product

    for _ in imap(take, [(tile, other) for number, tile in enumerate(tiles) for other in tiles[: number + 1]]):
        pass
