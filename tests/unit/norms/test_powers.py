from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.norms.error_free import is_small_whole
from renorm_cli.norms.power_sums import LOWEST
from renorm_cli.norms.powers import power, times_power_of_two


@pytest.mark.parametrize(
    ("p", "small"), [(1.0, True), (2.0, True), (8.0, True), (9.0, False), (2.5, False), (0.5, False), (math.inf, False)]
)
def test_only_whole_powers_up_to_8_are_taken_by_multiplication(p: float, small: bool) -> None:
    assert is_small_whole(p) is small


@given(values=st.lists(st.floats(1e-30, 1e30), min_size=1), p=st.integers(1, 8))
def test_whole_powers_are_off_by_at_most_one_rounding_per_multiplication(values: list[float], p: int) -> None:
    for value, found in zip(values, power(np.array(values), float(p)), strict=True):
        exact = Fraction(value) ** p
        assert abs(Fraction(float(found)) - exact) <= exact * ((1 + Fraction(1, 2**53)) ** (p - 1) - 1)


@given(values=st.lists(st.floats(0, 1e10), min_size=1), p=st.sampled_from([0.5, 0.1, 2.5, 9.0, 20.0]))
def test_other_powers_are_those_of_the_mathematical_library(values: list[float], p: float) -> None:
    np.testing.assert_allclose(power(np.array(values), p), [math.pow(value, p) for value in values], rtol=2.0**-51)


@given(values=st.lists(st.floats(0, 1e10), min_size=1), p=st.sampled_from([0.5, 1.0, 2.0, 5.0, 20.0]))
def test_the_powers_are_written_where_the_values_were(values: list[float], p: float) -> None:
    array = np.array(values)
    assert np.shares_memory(power(array, p), array)


@given(
    units=st.lists(
        st.tuples(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3), st.integers(-1200, 1200)), min_size=1
    )
)
def test_values_times_powers_of_two_are_those_of_the_mathematical_library(
    units: list[tuple[list[float], int]],
) -> None:
    units = [*units, ([0.0, -0.0, 0.0], -LOWEST)]
    values, exponents = np.array([row for row, _ in units]), np.array([[exponent] for _, exponent in units])
    found = np.empty(values.shape)
    with np.errstate(all="ignore"):
        times_power_of_two(values, exponents, found)
    for row, (weights, exponent) in zip(found.tolist(), units, strict=True):
        assert row == [ldexp(weight, exponent) for weight in weights]


def ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)
