"""The policy, on one float64 number per unit: norms, what is over, what to multiply by.

All of it is NumPy on the host, shared by every engine and every command, so that no two of them can disagree.

A clipped weight is the product weight * limit / norm, and no rounding may lift the norm above the limit:

- float32 products are rounded to nearest, by u = 2**-24 at most. The factor is the largest float32 up to
  limit / norm / (1 + u), less than 2u below that: the norm after is above limit * (1 - 2u) * (1 - u)**2. A power of two
  is taken as it is: its products are exact.
- 16 bit products are cut toward zero from float64.
- float64 has no wider type to round from, and is allowed `FLOAT64_SLACK` instead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.errors import UsageError
from renorm_cli.norms.error_free import is_small_whole, power_pair

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FLOAT64_SLACK = 5e-13
"""How far above the limit, relatively, a float64 unit may stay: room for the summation error of anyone who looks."""

LOWEST = -(1 << 20)
"""The exponent of a sum of nothing but zeros: below that of any other, so that it never decides a joint one."""

FLOAT32_ROUNDOFF = 2.0**-24
FLOAT32_BITS = 24
"""Significant bits of a float32."""

LIFT = 1.0 + 2.0**-50
"""What the factors of 16 bits are lifted by: a few roundoffs of float64, so that a product that is a stored number
(30 * 0.2 = 6) is not cut down to its neighbour. The norm is looked at again afterwards."""

_ROUNDOFF = 2.0**-53
_STEP = 2.0**-50
_WIDEST_SAFE_P = 6.0


class PowerSums(NamedTuple):
    """Per unit, the sum of (|x| * 2**-exponent) ** p, in float64; for p = inf the largest |x|."""

    sums: Float64
    exponents: Ints

    def join(self, other: PowerSums, p: float) -> PowerSums:
        """The sums over both sets of elements; for p = inf the larger peak."""
        if math.isinf(p):
            return PowerSums(np.maximum(self.sums, other.sums), self.exponents)
        if np.array_equal(self.exponents, other.exponents):
            return PowerSums(self.sums + other.sums, self.exponents)
        exponents = np.maximum(self.exponents, other.exponents)
        return PowerSums(self._at(exponents, p) + other._at(exponents, p), exponents)

    def _at(self, exponents: Ints, p: float) -> Float64:
        shift = (self.exponents - exponents).astype(np.float64) * p
        return np.asarray(np.where(self.sums == 0, 0.0, self.sums * np.exp2(shift)))


def needs_exponents(dtype: str, p: float) -> bool:
    """Whether powers of this dtype can leave float64's range, so that each unit is scaled by a power of two first.

    float32 and narrower span 2**-149 to 2**128: up to p = 6 their powers and sums stay inside 2**-894 to 2**1023.
    """
    return not math.isinf(p) and (dtype == "float64" or p > _WIDEST_SAFE_P)


def exponents_of(peaks: Float64) -> Ints:
    """The power of two that brings each unit's largest |x| to [0.5, 1); `LOWEST` for an empty sum, 0 if not finite."""
    usable = np.isfinite(peaks) & (peaks > 0)
    found = np.frexp(np.where(usable, peaks, 1.0))[1].astype(np.int64)
    return np.asarray(np.where(usable, found, np.where(peaks == 0, LOWEST, 0)))


def norms(total: PowerSums, p: float) -> Float64:
    """The p-norm of each unit; NaN or Inf where the unit holds NaN or Inf.

    Raises UsageError where a finite unit's norm is beyond float64, which only a p far below 1 can do.
    """
    with np.errstate(all="ignore"):
        roots = _root(total.sums, p)
        found = np.ldexp(roots, total.exponents)
    if np.any(np.isfinite(total.sums) & ~np.isfinite(found)):
        raise UsageError(f"--p {p:g} is too small: a unit's norm is beyond the range of float64; use a larger p")
    return np.asarray(found, dtype=np.float64)


def threshold(limit: float, dtype: str) -> float:
    """The largest norm that counts as within the limit."""
    return limit * (1 + FLOAT64_SLACK) if dtype == "float64" else limit


def over(found: Float64, limit: float | None, dtype: str) -> Bools:
    """Which units are above the limit; units that are not finite are not, they are counted apart."""
    if limit is None:
        return np.zeros(found.shape, dtype=bool)
    return np.isfinite(found) & (found > threshold(limit, dtype))


def under(found: Float64, floor: float | None) -> Bools:
    """Which units are below `floor`; units that are not finite are not."""
    if floor is None:
        return np.zeros(found.shape, dtype=bool)
    return np.isfinite(found) & (found < floor)


def doubtful(found: Float64, limit: float | None, dtype: str, terms: int, p: float) -> Bools:
    """Which units' verdict or factor could depend on the order of summation, and so need exact sums.

    A float64 sum of n rounded powers is off by at most (n + 2 + 4p) roundoffs, a norm by that over p.
    float64 units that are over are among them: their factor needs a norm right to the last bits.
    """
    if limit is None or math.isinf(p):
        return np.zeros(found.shape, dtype=bool)
    edge = threshold(limit, dtype)
    band = (terms + 2 + 4 * p) * _ROUNDOFF / min(p, 1.0) + 4 * _ROUNDOFF
    near = np.abs(found - edge) <= band * edge
    return np.asarray(near | over(found, limit, dtype)) if dtype == "float64" else np.asarray(near)


def factors(found: Float64, limit: float, dtype: str) -> Float64:
    """What to multiply each unit by: exactly 1 where it is not over, NaN where it is not finite: its bytes stay.

    Elsewhere limit / norm, rounded as the top of this file has it.
    """
    result: Float64 = np.where(np.isfinite(found), 1.0, np.nan)
    clipped = over(found, limit, dtype)
    np.divide(limit if dtype in ("float32", "float64") else limit * LIFT, found, out=result, where=clipped)
    if dtype == "float32":
        exact = np.frexp(result)[0] == 0.5
        np.divide(result, 1 + FLOAT32_ROUNDOFF, out=result, where=clipped & ~exact)
        return _cut(result)
    return result


def changes(scale: Float64) -> Bools:
    """Which units their factor changes at all."""
    return np.asarray((scale != 1.0) & ~np.isnan(scale))


def reduce(scale: Float64, again: Bools, attempt: int, dtype: str) -> Float64:
    """Slightly smaller factors for the units that are still over after `attempt` tries; 0 after many."""
    step = FLOAT32_ROUNDOFF if dtype == "float32" else _STEP
    smaller = scale * max(0.0, 1.0 - step * 4.0**attempt)
    return np.asarray(np.where(again, _cut(smaller) if dtype == "float32" else smaller, scale))


def _cut(scale: Float64) -> Float64:
    """Factors cut toward zero to the precision of float32, in the range of float64."""
    kept = np.int64(-(1 << (53 - FLOAT32_BITS)))
    return np.asarray(np.where(np.isnan(scale), scale, (scale.view(np.int64) & kept).view(np.float64)))


def _root(sums: Float64, p: float) -> Float64:
    if p == 1 or math.isinf(p):
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
