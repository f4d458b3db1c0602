"""What rounding takes from sums and products, in fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.norms.error_free import power_pair, two_product, two_square, two_sum

numbers = st.floats(-(2.0**100), 2.0**100).filter(lambda number: number == 0 or abs(number) > 2.0**-100)


def exactly(pair: tuple[np.ndarray, np.ndarray]) -> Fraction:
    return Fraction(float(pair[0][0])) + Fraction(float(pair[1][0]))


@given(a=numbers, b=numbers)
def test_a_rounded_sum_product_or_square_and_its_error_are_the_exact_one(a: float, b: float) -> None:
    one, other = np.array([a]), np.array([b])
    assert exactly(two_sum(one, other)) == Fraction(a) + Fraction(b)
    assert exactly(two_product(one, other)) == Fraction(a) * Fraction(b)
    assert exactly(two_square(one)) == Fraction(a) ** 2
    assert two_product(one, other)[0] == a * b


@pytest.mark.parametrize("p", range(1, 9))
@given(a=st.floats(2.0**-20, 2.0**20))
def test_a_power_has_a_hundred_bits(p: int, a: float) -> None:
    power = Fraction(a) ** p
    assert abs(exactly(power_pair(np.array([a]), p)) - power) <= power * Fraction(p, 2**100)
