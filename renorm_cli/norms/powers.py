"""Powers of float64, for the fast sums and the exact ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renorm_cli.norms.error_free import is_small_whole

_OF_ZEROS = 1 << 12
"""An exponent above this belongs to a unit of zeros; no other float64 needs one as large to reach any float64."""


def power(values: npt.NDArray[np.float64], p: float) -> npt.NDArray[np.float64]:
    """`values ** p` in place, for values >= 0 and finite p > 0."""
    if p == 1:
        return values
    if not is_small_whole(p):
        return np.asarray(np.power(values, p, out=values))
    base = values.copy()
    for _ in range(int(p) - 1):
        np.multiply(values, base, out=values)
    return values


def times_power_of_two(
    values: npt.NDArray[np.floating], exponents: npt.NDArray[np.int64], out: npt.NDArray[np.float64]
) -> None:
    """Write `values` times 2 ** `exponents`, rounded once; values with an exponent above `_OF_ZEROS` must be 0.

    Uses ldexp, which is much slower, only if a power is out of float64's range (for a unit of subnormals only).
    """
    with np.errstate(over="ignore"):
        factors = np.ldexp(1.0, np.where(exponents > _OF_ZEROS, 0, exponents))
    if np.isfinite(factors).all() and factors.all():
        np.multiply(values, factors, out=out)
    else:
        np.ldexp(values, exponents, out=out)
