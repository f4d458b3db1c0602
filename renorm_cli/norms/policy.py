"""The policy, on one float64 norm per unit: which units are over, and what factor scales each.

It is NumPy on the host, shared by every engine and every command, so that no two of them can disagree.

A clipped weight is the product weight * limit / norm, and no rounding may lift the norm above the limit:

- float32 products are rounded to nearest, by u = 2**-24 at most. The factor is the largest float32 up to
  limit / norm / (1 + u), less than 2u below that: the norm after is above limit * (1 - 2u) * (1 - u)**2. A power of two
  is taken as it is: its products are exact.
- 16 bit products are cut toward zero from float64.
- float64 has no wider type to round from, and is allowed `TOLERANCE` instead. So is every dtype where powers and roots
  are those of a library of mathematics, which differ from one library to the next: p that is not a small whole number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.norm import Norm, PNorm, SpectralNorm
from renorm_cli.norms.error_free import Bools, Float64, is_small_whole

TOLERANCE = 5e-13
"""How far, relatively, such a unit may be above the limit: the rounding errors of whoever measures it again."""

LIFT = 1.0 + 2.0**-50
"""Factors for 16 bit dtypes are multiplied by this, a few roundoffs of float64, so that a product that is a stored
number (30 * 0.2 = 6) is not cut down to its neighbour. The norm is measured again afterwards."""

_FLOAT32 = FLOATS["float32"]
_STEP = 2.0**-50
_FAR = 1000
"""A limit that is a norm divided by more than this power of two makes a factor near the end of float64's range."""


def threshold(limit: float, dtype: str, norm: Norm) -> float:
    """The largest norm that counts as within the limit."""
    if isinstance(norm, SpectralNorm):
        return limit * (1 + norm.tolerance / 2)
    rounded = dtype == "float64" or (isinstance(norm, PNorm) and not norm.is_max and not is_small_whole(norm.p))
    return limit * (1 + TOLERANCE) if rounded else limit


def over(found: Float64, limit: float | None, dtype: str, norm: Norm) -> Bools:
    """Which units are above the limit; units that are not finite are counted apart."""
    if limit is None:
        return np.zeros(found.shape, dtype=bool)
    return np.isfinite(found) & (found > threshold(limit, dtype, norm))


def under(found: Float64, lowest: float | None) -> Bools:
    """Which units are below `lowest`; units that are not finite are not."""
    if lowest is None:
        return np.zeros(found.shape, dtype=bool)
    return np.isfinite(found) & (found < lowest)


def factors(found: Float64, limit: float, dtype: str, norm: Norm) -> Float64:
    """The factor of each unit: limit / norm, rounded as said at the top of this file.

    It is exactly 1 for a unit that is not over, and NaN for one that is not finite and keeps its bytes.
    """
    result: Float64 = np.where(np.isfinite(found), 1.0, np.nan)
    clipped = over(found, limit, dtype, norm)
    np.divide(limit if dtype in ("float32", "float64") else limit * LIFT, found, out=result, where=clipped)
    if dtype == "float32":
        exact = np.frexp(result)[0] == 0.5
        np.divide(result, 1 + _FLOAT32.roundoff, out=result, where=clipped & ~exact)
        return _cut(result)
    return result


def shifts(found: Float64, limit: float, dtype: str, norm: Norm) -> npt.NDArray[np.int64]:
    """The power of two by which to divide each unit before it is measured for its factor; 0 for most.

    The factor of a float64 unit can be too small for a float64, or subnormal and short of digits, though its products
    are neither. Divided by that power, which rounds only what ends among subnormal numbers, the unit is 2 to 8 times
    above the limit.
    """
    apart = np.frexp(found)[1].astype(np.int64) - np.frexp(limit)[1]
    far = over(found, limit, dtype, norm) & (apart > _FAR)
    return np.where(far, apart - 2, 0) if dtype == "float64" else np.zeros(found.shape, np.int64)


def changes(scale: Float64) -> Bools:
    """Which units are changed by their factor."""
    return np.asarray((scale != 1.0) & ~np.isnan(scale))


def reduce(scale: Float64, again: Bools, attempt: int, dtype: str) -> Float64:
    """Slightly smaller factors for the units that are still over after `attempt` tries; 0 after many."""
    step = _FLOAT32.roundoff if dtype == "float32" else _STEP
    smaller = scale * max(0.0, 1.0 - step * 4.0**attempt)
    return np.asarray(np.where(again, _cut(smaller) if dtype == "float32" else smaller, scale))


def _cut(scale: Float64) -> Float64:
    """Factors cut toward zero to the precision of float32, in the range of float64."""
    kept = np.int64(-(1 << (53 - _FLOAT32.precision)))
    return np.asarray(np.where(np.isnan(scale), scale, (scale.view(np.int64) & kept).view(np.float64)))
