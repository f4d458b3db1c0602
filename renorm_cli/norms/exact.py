"""Sums of powers whose last bit does not depend on the order, for the few units where that bit decides.

Values are added in a tree of error-free additions (Knuth's two-sum) that carries the errors in a second float64: about
106 bits, rounded once at the end. Every engine, block size and number of jobs therefore gets the same number; the only
exception is a sum that is no pair of float64s and lies within 2**-40 ulp of the midpoint between two float64s.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renorm_cli.norms.error_free import Float64, two_square, two_sum
from renorm_cli.norms.powers import power


class ExactSums:
    """Running sums of (|x| * 2**-exponent) ** p for a fixed set of units."""

    def __init__(self, units: int, p: float) -> None:
        self._p = p
        self._high: Float64 = np.zeros(units)
        self._low: Float64 = np.zeros(units)

    def add(self, where: npt.NDArray[np.intp], values: Float64) -> None:
        """Add elements to the units numbered `where`; `values` are scaled, of any sign, shape (units, elements)."""
        high, low = _tree(*_powers(np.abs(values), self._p))
        total, error = two_sum(self._high[where], high)
        self._high[where], self._low[where] = two_sum(total, error + self._low[where] + low)

    @property
    def sums(self) -> Float64:
        return self._high + self._low


def _powers(values: Float64, p: float) -> tuple[Float64, Float64]:
    """Powers as pairs (rounded value, rounding error); the error is 0 unless p = 2, and for p = 1 that is exact."""
    if p == 2:
        return two_square(values)
    return power(values.copy(), p), np.zeros_like(values)


def _tree(high: Float64, low: Float64) -> tuple[Float64, Float64]:
    while high.shape[1] > 1:
        half = (high.shape[1] + 1) // 2
        rest = high.shape[1] - half
        total, error = two_sum(high[:, :rest], high[:, half:])
        low = np.concatenate((low[:, :rest] + low[:, half:] + error, low[:, rest:half]), axis=1)
        high = np.concatenate((total, high[:, rest:half]), axis=1)
    return high[:, 0], low[:, 0]
