"""Power sums and the norms they make, against fractions, math.fsum and plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import floats, oracle

from renorm_cli.errors import UsageError
from renorm_cli.model.norm import PNorm
from renorm_cli.norms.policy import over, threshold
from renorm_cli.norms.power_sums import LOWEST, PowerSums, doubtful, exponents_of, needs_exponents, norms, roots

DTYPES = ["float16", "bfloat16", "float32", "float64"]
PS = [0.5, 1.0, 2.0, 2.5, 3.0, 6.0, 50.0, 400.0]
WEIGHTS = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=30)
POWERS_OF_TWO = st.integers(-1000, 1000)
LIMITS = st.floats(1e-3, 1e3)


def summed(values: list[float], p: float) -> PowerSums:
    """The power sums of one unit, scaled as the policy asks for."""
    exponents = exponents_of(np.array([max((abs(value) for value in values), default=0.0)]))
    scaled = [math.ldexp(abs(value), -int(exponents[0])) if any(values) else 0.0 for value in values]
    if math.isinf(p):
        return PowerSums(np.array([max(map(abs, values))]), np.zeros(1, dtype=np.int64))
    return PowerSums(np.array([math.fsum(value**p for value in scaled)]), exponents)


def norm_of(values: list[float], p: float) -> float:
    """The p-norm of values of any size: the largest is taken out first."""
    largest = max(map(abs, values))
    if largest == 0 or math.isinf(p):
        return largest
    return largest * math.fsum((abs(value) / largest) ** p for value in values) ** (1 / p)


@given(values=WEIGHTS, power=POWERS_OF_TWO, p=st.sampled_from([*PS, math.inf]))
def test_norms_are_right_from_the_smallest_to_the_largest_weights(values: list[float], power: int, p: float) -> None:
    weights = [math.ldexp(value, power) for value in values]
    found = norms(summed(weights, p), PNorm(p))
    tolerance = 2.0**-44 * max(1, 1 / p)
    assert float(found[0]) == pytest.approx(norm_of(weights, p), rel=tolerance, abs=1e-300)


@given(parts=st.lists(st.tuples(WEIGHTS, POWERS_OF_TWO), min_size=3, max_size=3), p=st.sampled_from([*PS, math.inf]))
def test_joining_sums_is_associative_and_gives_the_norm_of_all(parts: list[tuple[list[float], int]], p: float) -> None:
    weights = [[math.ldexp(value, power) for value in values] for values, power in parts]
    one, two, three = (summed(values, p) for values in weights)
    left = norms(one.join(two, PNorm(p)).join(three, PNorm(p)), PNorm(p))
    right = norms(one.join(two.join(three, PNorm(p)), PNorm(p)), PNorm(p))
    assert float(left[0]) == pytest.approx(float(right[0]), rel=2.0**-44, abs=1e-300)
    assert float(left[0]) == pytest.approx(
        norm_of([value for values in weights for value in values], p), rel=2.0**-44, abs=1e-300
    )


@pytest.mark.parametrize("p", [2.0, 0.5, 7.0])
def test_an_infinity_far_below_what_it_is_joined_with_stays_not_finite_without_a_warning(p: float) -> None:
    bad = PowerSums(np.array([math.inf]), np.zeros(1, dtype=np.int64))
    far = summed([math.ldexp(1.0, 1000), 1.0], p)._replace(exponents=np.array([4000]))
    for joined in (bad.join(far, PNorm(p)), far.join(bad, PNorm(p))):
        assert not np.isfinite(roots(joined, PNorm(p))).any()


@given(values=WEIGHTS, power=POWERS_OF_TWO, p=st.sampled_from(PS))
def test_an_empty_sum_changes_no_bit_of_what_it_is_joined_with(values: list[float], power: int, p: float) -> None:
    some = summed([math.ldexp(value, power) for value in values], p)
    empty = PowerSums(np.zeros(1), np.full(1, LOWEST))
    for joined in (some.join(empty, PNorm(p)), empty.join(some, PNorm(p))):
        assert joined.sums.tobytes() == some.sums.tobytes()
        assert joined.exponents.tobytes() == some.exponents.tobytes()


@given(peak=st.floats(0, allow_infinity=False, exclude_min=True))
def test_an_exponent_brings_the_largest_weight_below_one(peak: float) -> None:
    assert 0.5 <= math.ldexp(peak, -int(exponents_of(np.array([peak]))[0])) < 1


def test_a_unit_of_zeros_has_the_lowest_exponent_and_one_that_is_not_finite_none() -> None:
    found = exponents_of(np.array([0.0, math.nan, math.inf]))
    np.testing.assert_array_equal(found, [LOWEST, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, 6.0, 6.5, 9.0, 100.0])
def test_sums_without_exponents_neither_overflow_nor_vanish(dtype: str, p: float) -> None:
    if not needs_exponents(dtype, PNorm(p)):
        largest, smallest = float(floats.largest(dtype)), float(floats.smallest(dtype))
        assert math.isfinite(largest**p * 2.0**60)
        assert smallest**p >= 2.0**-1022


def test_the_largest_weight_is_no_power_and_needs_no_exponent() -> None:
    assert not needs_exponents("float32", PNorm(math.inf))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 2.5, math.inf])
def test_a_unit_with_nan_or_infinity_has_no_finite_norm(p: float) -> None:
    found = norms(PowerSums(np.array([math.nan, math.inf]), np.zeros(2, dtype=np.int64)), PNorm(p))
    assert not np.isfinite(found).any()


def test_a_norm_beyond_float64_is_an_error_that_says_what_to_do() -> None:
    """A small p can make it, and weights near the end of float64's range can at any p."""
    with pytest.raises(UsageError, match=r"of a unit for p = 0\.002 is beyond .*; take a larger p with p="):
        norms(PowerSums(np.array([1e6]), np.zeros(1, dtype=np.int64)), PNorm(0.002))
    with pytest.raises(UsageError, match=r"^the norm of 'w' for p = 2 is beyond the range of float64; take .*exclude="):
        norms(PowerSums(np.array([1.0]), np.array([1024])), PNorm(2.0), "'w'")


@given(
    values=st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=60),
    steps=st.integers(-8, 8),
    p=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    data=st.data(),
)
def test_a_verdict_that_the_order_of_summation_could_change_is_doubtful(
    values: list[float], steps: int, p: float, data: st.DataObject
) -> None:
    """The norm is a few float64 beside the largest within the limit, and the sum is taken in any order."""
    if not any(values):
        return
    exact = norms(summed(values, p), PNorm(p))
    limit = float(exact[0]) * (1 + steps * 2.0**-52) / threshold(1.0, "float32", PNorm(p))
    exponents = exponents_of(np.array([max(map(abs, values))]))
    rough = 0.0
    for value in data.draw(st.permutations(values)):
        rough += math.ldexp(abs(value), -int(exponents[0])) ** p
    found = norms(PowerSums(np.array([rough]), exponents), PNorm(p))
    if over(found, limit, "float32", PNorm(p)) != over(exact, limit, "float32", PNorm(p)):
        assert doubtful(found, limit, "float32", len(values), PNorm(p)).all()


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("terms", [10, 1000, 100_000])
def test_the_worst_order_of_summation_is_doubtful_too(terms: int, p: float) -> None:
    """1 and then powers of half its roundoff: each is lost, while together, or summed first, they count in full."""
    powers = [1.0, *[0.99 * 2.0**-53] * terms]
    unscaled = np.zeros(1, dtype=np.int64)
    rough = norms(PowerSums(np.array([np.cumsum(powers)[-1]]), unscaled), PNorm(p))
    exact = norms(PowerSums(np.array([math.fsum(powers)]), unscaled), PNorm(p))
    assert rough[0] == 1.0 < exact[0]
    for largest in (float(rough[0]), float(rough[0] + exact[0]) / 2, math.nextafter(float(exact[0]), 0)):
        limit = largest / threshold(1.0, "float32", PNorm(p))
        for found in (rough, exact):
            assert doubtful(found, limit, "float32", terms + 1, PNorm(p)).all()


@given(limit=LIMITS, terms=st.integers(1, 10**9), p=st.sampled_from([0.5, 1.0, 2.0, 3.0, 6.0]))
def test_norms_a_millionth_away_from_the_limit_are_not_doubtful(limit: float, terms: int, p: float) -> None:
    found = np.array([limit * (1 - 1e-6), limit * (1 + 1e-6)])
    assert not doubtful(found, limit, "float32", terms, PNorm(p)).any()


def test_float64_units_that_are_over_are_always_summed_exactly() -> None:
    found = np.array([0.5, 2.0, math.nan])
    np.testing.assert_array_equal(doubtful(found, 1.0, "float64", 10, PNorm(2.0)), [False, True, False])
    np.testing.assert_array_equal(doubtful(found, 1.0, "float32", 10, PNorm(2.0)), [False, False, False])


@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_weights_and_measurements_without_a_limit_are_never_doubtful(dtype: str) -> None:
    found = np.array([1.0, 2.0])
    assert not doubtful(found, 1.0, dtype, 10, PNorm(math.inf)).any()
    assert not doubtful(found, None, dtype, 10, PNorm(2.0)).any()


@given(p=st.integers(3, 8), number=st.integers(1, 2**6), exponent=st.integers(-20, 20))
def test_the_norm_of_a_unit_of_one_short_number_is_that_number(p: int, number: int, exponent: int) -> None:
    value = math.ldexp(number, exponent)
    assert Fraction(value) ** p == Fraction(value**p)
    assert norms(summed([value], p), PNorm(p)) == [value]


@given(p=st.integers(3, 8), total=st.floats(2.0**-200, 2.0**200))
def test_the_root_of_a_whole_power_is_the_nearest_float64(p: int, total: float) -> None:
    found = norms(PowerSums(np.array([total]), np.zeros(1, dtype=np.int64)), PNorm(p))
    assert found == [oracle.root(total, p)]


@pytest.mark.parametrize("p", [3.0, 5.0, 6.0])
def test_roots_at_the_ends_of_float64_are_roots(p: float) -> None:
    ends = np.array([0.0, 2.0**-894, 2.0**1023, math.inf, math.nan])
    found = norms(PowerSums(ends, np.zeros(5, dtype=np.int64)), PNorm(p))
    expected = [0.0, oracle.root(2.0**-894, p), oracle.root(2.0**1023, p), math.inf, math.nan]
    np.testing.assert_array_equal(found, expected)
