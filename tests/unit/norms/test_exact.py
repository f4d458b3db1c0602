"""Exact sums against fractions: the last bit does not depend on the order, nor on where blocks are cut."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.norms.exact import ExactSums

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
SCALED = st.floats(-1.0, 1.0)
MAGNITUDES = st.builds(
    lambda number, power: math.ldexp(number, power), st.floats(0.5, 1.0), st.integers(-200, 100)
)  # neighbours that differ by more than the width of a float64


def total(values: list[float], cuts: list[int], p: float) -> float:
    """The sum over `values` for one unit, added in pieces that end at `cuts`."""
    sums = ExactSums(1, p)
    ends = sorted({min(cut, len(values)) for cut in cuts} | {len(values)})
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        if end > start:
            sums.add(np.array([0]), np.array([values[start:end]]))
    return float(sums.sums[0])


def is_nearly_a_tie(exact: Fraction) -> bool:
    """Whether the sum lies between two float64 so evenly that 106 bits may not tell which is nearer."""
    if exact == 0:
        return False
    nearest = float(exact)
    offset = abs(abs(exact - Fraction(nearest)) / Fraction(math.ulp(nearest)) - Fraction(1, 2))
    return offset < Fraction(1, 2**40)


@given(values=st.lists(FLOAT32 | SCALED | MAGNITUDES, min_size=1, max_size=40), data=st.data())
def test_sums_are_rounded_once_whatever_the_order_and_the_cuts(values: list[float], data: st.DataObject) -> None:
    exact = sum((abs(Fraction(value)) for value in values), Fraction(0))
    cuts = data.draw(st.lists(st.integers(1, 40), max_size=4))
    found = total(data.draw(st.permutations(values)), cuts, 1.0)
    assert abs(Fraction(found) - exact) <= Fraction(math.ulp(found)) * (Fraction(1, 2) + Fraction(1, 2**40))
    if not is_nearly_a_tie(exact):
        assert found == math.fsum(map(abs, values)) == float(exact)


@given(values=st.lists(FLOAT32 | MAGNITUDES, min_size=1, max_size=40), data=st.data())
def test_sums_of_squares_are_rounded_once_whatever_the_order_and_the_cuts(
    values: list[float], data: st.DataObject
) -> None:
    exact = sum((Fraction(value) ** 2 for value in values), Fraction(0))
    cuts = data.draw(st.lists(st.integers(1, 40), max_size=4))
    found = total(data.draw(st.permutations(values)), cuts, 2.0)
    if is_nearly_a_tie(exact):
        assert abs(Fraction(found) - exact) <= Fraction(math.ulp(found))
    else:
        assert found == float(exact)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, 2.5])
def test_a_million_weights_summed_forwards_backwards_and_in_blocks_give_the_same_bits(p: float) -> None:
    values = np.random.default_rng(11).standard_normal(1_000_000).astype(np.float32).astype(np.float64)
    forwards = total(values.tolist(), [], p)
    assert total(values[::-1].tolist(), [], p) == forwards
    assert total(values.tolist(), [1, 333_333, 700_001], p) == forwards
    if p in (0.5, 1.0):
        powers = np.abs(values) if p == 1.0 else np.power(np.abs(values), p)
        assert forwards == math.fsum(powers.tolist())
    if p == 2.0:
        assert forwards == math.fsum((values * values).tolist())  # squares of float32 are exact


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_the_plain_sum_of_the_same_weights_does_depend_on_the_order(p: float) -> None:
    values = np.abs(np.random.default_rng(11).standard_normal(1_000_000)) ** p
    orders = values, values[::-1], np.sort(values)
    assert len({reduce(add, order.tolist()) for order in orders}) > 1  # `sum` of Python 3.12 mends its own rounding


@pytest.mark.parametrize(
    "values",
    [
        [2.0**100] + [2.0**40] * 1000,
        [1.0] + [2.0**-53] * 3,
        [1e30, 1e-30, 1e16, 1.0, 1e-16] * 7,
        [2.0**-149] * 1000,
        [0.1] * 10,
    ],
)
def test_small_weights_beside_large_ones_are_not_lost(values: list[float]) -> None:
    assert total(values, [], 1.0) == total(values[::-1], [3, 5], 1.0) == math.fsum(values)


def test_units_are_summed_apart_and_in_parts() -> None:
    sums = ExactSums(3, 1.0)
    sums.add(np.array([0, 2]), np.array([[1.0, -2.0], [3.0, 4.0]]))
    sums.add(np.array([2]), np.array([[5.0]]))
    np.testing.assert_array_equal(sums.sums, [3.0, 0.0, 12.0])
