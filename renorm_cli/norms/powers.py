"""How a power is taken, for the fast sums and the exact ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renorm_cli.norms.error_free import is_small_whole

_OF_ZEROS = 1 << 12
"""No float64 other than 0 needs a larger exponent to get anywhere."""


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
    """Write `values` times 2 ** `exponents`, rounded once; where the exponent is above `_OF_ZEROS` they must be zeros.

    By ldexp only where a power is no float64 (of units that are subnormal as a whole): it takes ten times as long.
    """
    factors = np.ldexp(1.0, np.where(exponents > _OF_ZEROS, 0, exponents))
    if np.isfinite(factors).all() and factors.all():
        np.multiply(values, factors, out=out)
    else:
        np.ldexp(values, exponents, out=out)
