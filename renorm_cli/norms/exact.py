"""Sums of powers whose last bit does not depend on order, for the few units where that bit decides.

Values are added in a tree of error-free additions (Knuth's two-sum), the errors carried along in a second float64:
about 106 bits, rounded once at the end. So every engine, block size and number of jobs gets the same number, unless
the sum lies within 2**-40 of a unit in the last place of the middle between two float64s and is no float64 pair.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renorm_cli.norms.error_free import two_square, two_sum
from renorm_cli.norms.powers import power

Float64 = npt.NDArray[np.float64]


class ExactSums:
    """Running sums of (|x| * 2**-exponent) ** p for a fixed set of units."""

    def __init__(self, units: int, p: float) -> None:
        self._p = p
        self._high: Float64 = np.zeros(units)
        self._low: Float64 = np.zeros(units)

    def add(self, where: npt.NDArray[np.intp], values: Float64) -> None:
        """Add elements to the units numbered `where`; `values` is (units, elements), scaled, any sign."""
        high, low = _tree(*_powers(np.abs(values), self._p))
        total, error = two_sum(self._high[where], high)
        self._high[where], self._low[where] = two_sum(total, error + self._low[where] + low)

    @property
    def sums(self) -> Float64:
        return self._high + self._low


def _powers(values: Float64, p: float) -> tuple[Float64, Float64]:
    """Powers as pairs (rounded value, rounding error); the error is known for p = 1 and 2."""
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
