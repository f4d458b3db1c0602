"""What the bits of a stored weight mean, and rounding toward zero, in Python integers and fractions alone."""

from __future__ import annotations

import math
from fractions import Fraction

FRACTION_BITS = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
EXPONENT_BITS = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11}


def smallest(dtype: str) -> Fraction:
    """The smallest number above 0."""
    return Fraction(2) ** (2 - 2 ** (EXPONENT_BITS[dtype] - 1) - FRACTION_BITS[dtype])


def smallest_normal(dtype: str) -> Fraction:
    return smallest(dtype) * 2 ** FRACTION_BITS[dtype]


def largest(dtype: str) -> Fraction:
    return Fraction(2) ** (2 ** (EXPONENT_BITS[dtype] - 1) - 1) * (2 - Fraction(1, 2 ** FRACTION_BITS[dtype]))


def value_of(bits: int, dtype: str) -> Fraction | float:
    """The number that is stored as `bits`: a fraction, or infinity or NaN."""
    fraction_bits = FRACTION_BITS[dtype]
    sign = -1 if bits >> (fraction_bits + EXPONENT_BITS[dtype]) else 1
    exponent = bits >> fraction_bits & 2 ** EXPONENT_BITS[dtype] - 1
    fraction = bits & 2**fraction_bits - 1
    if exponent == 2 ** EXPONENT_BITS[dtype] - 1:
        return math.nan if fraction else sign * math.inf
    if exponent == 0:
        return sign * fraction * smallest(dtype)
    return sign * (2**fraction_bits + fraction) * smallest(dtype) * 2 ** (exponent - 1)


def toward_zero(value: Fraction, dtype: str) -> Fraction:
    """The stored number next to `value` on the side of zero."""
    size = min(abs(value), largest(dtype))
    step = unit_in_last_place(size, dtype)
    return (size // step) * step * (-1 if value < 0 else 1)


def unit_in_last_place(value: Fraction, dtype: str) -> Fraction:
    """The distance between neighbours at `value`."""
    size = abs(value)
    if size < smallest_normal(dtype):
        return smallest(dtype)
    power = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** power > size:
        power -= 1
    return Fraction(2) ** (power - FRACTION_BITS[dtype])
