"""Sums, products and small powers of float64, together with their rounding errors.

Knuth's two-sum, Veltkamp's split and Dekker's product: exact if nothing overflows or becomes subnormal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SPLITTER = 2.0**27 + 1.0
_LARGEST_BY_HAND = 8


def two_sum(a: Any, b: Any) -> tuple[Float64, Float64]:
    """a + b as (the rounded sum, its rounding error)."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def two_product(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """a * b as (the rounded product, its rounding error)."""
    product = a * b
    (high, low), (other_high, other_low) = _split(a), _split(b)
    return product, ((high * other_high - product) + high * other_low + low * other_high) + low * other_low


def two_square(a: Float64) -> tuple[Float64, Float64]:
    """a * a as (the rounded square, its rounding error)."""
    square = a * a
    high, low = _split(a)
    return square, ((high * high - square) + 2 * high * low) + low * low


def is_small_whole(p: float) -> bool:
    """Whether powers of exponent `p` are computed by multiplication: the same on every machine, and faster."""
    return p == int(p) and p <= _LARGEST_BY_HAND if p < float("inf") else False


def power_pair(a: Float64, p: int) -> tuple[Float64, Float64]:
    """a ** p as (a float64, its error); the relative error of that error is about p * 2**-53."""
    high, low = a, np.zeros_like(a)
    for _ in range(p - 1):
        high, error = two_product(high, a)
        low = low * a + error
    return high, low


def _split(a: Float64) -> tuple[Float64, Float64]:
    """Two numbers of 26 bits whose sum is `a`."""
    coarse = a * _SPLITTER
    high = coarse - (coarse - a)
    return high, a - high
