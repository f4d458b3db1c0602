"""Sums of powers per unit, and the p-norms they make: what an engine's sums are joined, rooted and doubted by.

It is NumPy on the host, in float64, shared by every engine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.errors import UsageError, Way
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.norm import PNorm
from renorm_cli.norms.error_free import Bools, Float64, is_small_whole, power_pair
from renorm_cli.norms.policy import over, threshold

Ints = npt.NDArray[np.int64]

LOWEST = -(1 << 20)
"""The exponent of a sum of nothing but zeros: below that of any other, so that it never decides a joint one."""

_ROUNDOFF = FLOATS["float64"].roundoff
_WIDEST_SAFE_P = 6.0


class PowerSums(NamedTuple):
    """Per unit, the sum of (|x| * 2**-exponent) ** p in float64; for p = inf the largest |x|, with exponent 0."""

    sums: Float64
    exponents: Ints

    @staticmethod
    def none(shape: tuple[int, ...], norm: PNorm, dtype: str) -> PowerSums:
        """The sums over no elements."""
        return PowerSums(np.zeros(shape), np.full(shape, LOWEST if needs_exponents(dtype, norm) else 0))

    def join(self, other: PowerSums, norm: PNorm) -> PowerSums:
        """The sums over both sets of elements; for p = inf the larger |x|."""
        if norm.is_max:
            return PowerSums(np.maximum(self.sums, other.sums), self.exponents)
        if np.array_equal(self.exponents, other.exponents):
            return PowerSums(self.sums + other.sums, self.exponents)
        exponents = np.maximum(self.exponents, other.exponents)
        return PowerSums(self._at(exponents, norm.p) + other._at(exponents, norm.p), exponents)

    def _at(self, exponents: Ints, p: float) -> Float64:
        shift = (self.exponents - exponents).astype(np.float64) * p
        with np.errstate(invalid="ignore"):  # Inf, far below the other sum
            return np.asarray(np.where(self.sums == 0, 0.0, self.sums * np.exp2(shift)))


def needs_exponents(dtype: str, norm: PNorm) -> bool:
    """Whether powers of this dtype can leave float64's range, so that each unit is scaled by a power of two first.

    float32 and narrower span 2**-149 to 2**128: up to p = 6 their powers and sums stay inside 2**-894 to 2**1023.
    """
    return not norm.is_max and (dtype == "float64" or norm.p > _WIDEST_SAFE_P)


def exponents_of(peaks: Float64) -> Ints:
    """The power of two that brings each unit's largest |x| to [0.5, 1); `LOWEST` for an empty sum, 0 if not finite."""
    usable = np.isfinite(peaks) & (peaks > 0)
    found = np.frexp(np.where(usable, peaks, 1.0))[1].astype(np.int64)
    return np.asarray(np.where(usable, found, np.where(peaks == 0, LOWEST, 0)))


def roots(total: PowerSums, norm: PNorm) -> Float64:
    """The norm of each unit; Inf where that of finite numbers is beyond float64, and NaN or Inf where these are."""
    with np.errstate(all="ignore"):
        return np.asarray(np.ldexp(_root(total.sums, norm), total.exponents), dtype=np.float64)


def norms(total: PowerSums, norm: PNorm, of: str = "a unit") -> Float64:
    """The norm of each unit; NaN or Inf where the unit holds NaN or Inf.

    Raises UsageError, which names what the norm is `of`, where that of finite numbers is beyond float64: only a p far
    below 1, or float64 weights near the end of their range, can do that.
    """
    found = roots(total, norm)
    if np.any(np.isfinite(total.sums) & ~np.isfinite(found)):
        raise UsageError(
            f"the norm of {of} for p = {norm.p:g} is beyond the range of float64",
            Way("p", "take a larger p"),
            Way("exclude", "leave weights out"),
        )
    return found


def doubtful(found: Float64, limit: float | None, dtype: str, terms: int, norm: PNorm) -> Bools:
    """The units whose verdict or factor could depend on the order of summation, so that they need exact sums.

    A float64 sum of n rounded powers (`terms` of a unit) is off by at most (n + 2 + 4p) roundoffs, a norm by that over
    p. float64 units that are over are among them: their factor needs a norm right to the last bits.
    """
    if limit is None or norm.is_max:
        return np.zeros(found.shape, dtype=bool)
    largest = threshold(limit, dtype, norm)
    band = (terms + 2 + 4 * norm.p) * _ROUNDOFF / min(norm.p, 1.0) + 4 * _ROUNDOFF
    near = np.abs(found - largest) <= band * largest
    return np.asarray(near | over(found, limit, dtype, norm)) if dtype == "float64" else np.asarray(near)


def _root(sums: Float64, norm: PNorm) -> Float64:
    p = norm.p
    if p == 1 or norm.is_max:
        return sums
    if p == 2:
        return np.sqrt(sums)
    found = np.asarray(sums ** (1.0 / p))
    return _polished(found, sums, int(p)) if is_small_whole(p) else found


def _polished(roots: Float64, sums: Float64, p: int) -> Float64:
    """Roots right to the last bit, by one Newton step in some 106 bits: 1.5 is the third root of 3.375.

    Those of the system's library are one or two bits off for half of all numbers, and not the same on every machine.
    """
    powers, errors = power_pair(roots, p)
    better = roots + ((sums - powers) - errors) / powers * (roots / p)
    return np.asarray(np.where(np.isfinite(better), better, roots))
