"""What a bounded array promises, judged by the plain loop of the oracle."""

from __future__ import annotations

import numpy as np

from support import oracle
from support.tensors import ROUNDOFF, SLACK, SMALLEST_NORMAL, bits, spread


def promises_hold(
    before: np.ndarray,
    after: np.ndarray,
    unit_axes: tuple[int, ...],
    limit: float,
    p: float,
    *,
    roundings: int = 4,
    lost: float = 0.0,
) -> np.ndarray:
    """Assert B1, B2, B4 and B5 of DESIGN, and return which units were over.

    An element may be off by `roundings` roundoffs, in 16 bits by 2; products below `lost` may have become zeros.
    """
    name = before.dtype.name
    over = oracle.over(before, unit_axes, limit * (1 + 5e-13) if name == "float64" else limit, p)
    norms = oracle.unit_norms(after, unit_axes, p)
    assert (norms <= limit * (1 + SLACK.get(name, 0.0))).all()  # B1
    changed = spread(over, before, unit_axes)
    assert np.array_equal(bits(after)[~changed], bits(before)[~changed])  # B2
    elements = before.size // max(1, over.size)
    tiny = elements ** (1 / p) * SMALLEST_NORMAL[name]  # below it rounding is absolute, not relative
    assert (norms[over] >= limit * (1 - 4 * ROUNDOFF[name]) - tiny).all()  # B4
    exact = oracle.renorm(before, unit_axes, limit, p)[changed]
    old, new = (array.astype(np.float64)[changed] for array in (before, after))
    off = (2 if before.dtype.itemsize == 2 else roundings) * ROUNDOFF[name]
    allowed = off * (np.abs(exact) * (1 + 1e-9) + SMALLEST_NORMAL[name])
    assert (np.abs(new - exact) <= np.where(np.abs(exact) < lost, np.abs(exact), allowed)).all()  # B5
    assert np.array_equal(np.signbit(new), np.signbit(old))  # B5
    assert (np.abs(new) <= np.abs(old)).all()  # B5
    return over
