"""How a power is taken, for the fast sums and the exact ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LARGEST_BY_HAND = 8


def is_small_whole(p: float) -> bool:
    """Whether powers of `p` are taken by multiplication: the same result on every machine, and faster."""
    return p == int(p) and p <= _LARGEST_BY_HAND if p < float("inf") else False


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
