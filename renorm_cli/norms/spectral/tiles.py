"""Symmetric matrices in tiles of fixed size: the same bits on any number of jobs, and bounds of rounding.

u = 2**-53 is the roundoff of float64 and gamma(k) = k u / (1 - k u). A sum of k products is off by at most gamma(k)
times the sum of their absolute values, whatever the order of summation and with or without fused multiply-add (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1). This is the one thing that is assumed of
BLAS: its products of matrices are made of such sums, as all but Strassen's are.
"""

from __future__ import annotations

import math

import numpy as np

from renorm_cli.norms.error_free import Float64

TILE = 512
"""Rows and columns of a tile."""

U = 2.0**-53


def gamma(terms: float) -> float:
    """The relative error of a sum of so many products."""
    return terms * U / (1 - terms * U)


def spans(size: int, step: int = TILE, start: int = 0) -> list[slice]:
    """The range from `start` to `size`, in steps."""
    return [slice(at, min(at + step, size)) for at in range(start, size, step)]


class Symmetric:
    """Products of vectors with a symmetric matrix of which the diagonal and what is above it are stored.

    What is stored below the diagonal, also later, plays no part.
    """

    def __init__(self, upper: Float64) -> None:
        self.upper = upper
        self._spans = spans(len(upper))
        self._corners = [np.triu(upper[at, at]) + np.triu(upper[at, at], 1).T for at in self._spans]
        self.size = len(upper)
        self.diagonal: Float64 = upper.diagonal().copy()

    def times(self, vector: Float64) -> Float64:
        """The product with a vector."""
        product = np.zeros_like(vector)
        for corner, at in zip(self._corners, self._spans, strict=True):
            rest = slice(at.stop, None)
            product[at] += corner @ vector[at] + self.upper[at, rest] @ vector[rest]
            product[rest] += vector[at] @ self.upper[at, rest]
        return product

    def quotient(self, vector: Float64) -> float:
        """A lower bound of the largest eigenvalue; see `below_quotient`."""
        product = np.zeros_like(vector)
        for number, at in enumerate(self._spans):
            product[at] += self._corners[number] @ vector[at]
            for other in self._spans[number + 1 :]:
                tile = self.upper[at, other]
                product[at] += tile @ vector[other]
                product[other] += vector[at] @ tile
        return below_quotient(vector, product, self.diagonal)


def below_quotient(vector: Float64, product: Float64, diagonal: Float64) -> float:
    """A lower bound of the largest eigenvalue: the Rayleigh quotient of any vector, less what rounding can add.

    It and the `product` with the vector are summed tile by tile, so that each sum has few terms: TILE in a tile, one
    for each tile, twice. The matrix is a Gram matrix, as far as rounding left it one: |g_ij| <= (g_ii g_jj) ** 0.5 but
    for less than a thousandth.
    """
    tiles = spans(len(vector))
    square = sum(float(vector[at] @ vector[at]) for at in tiles)
    found = sum(float(vector[at] @ product[at]) for at in tiles)
    spread = float(np.abs(vector) @ np.sqrt(diagonal)) ** 2 * 1.001
    terms = 3 * (TILE + len(tiles) + 4)
    return (found - gamma(terms) * spread) / square * (1 - math.copysign(4 * U, found))
