"""The policy on one number per unit, against fractions, math.fsum and plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import floats, oracle

from renorm_cli.errors import UsageError
from renorm_cli.norms import policy
from renorm_cli.norms.policy import PowerSums
from renorm_cli.run.steps import ATTEMPTS

DTYPES = ["float16", "bfloat16", "float32", "float64"]
PS = [0.5, 1.0, 2.0, 2.5, 3.0, 6.0, 50.0, 400.0]
WEIGHTS = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=30)
POWERS_OF_TWO = st.integers(-1000, 1000)
LIMITS = st.floats(1e-3, 1e3)


def summed(values: list[float], p: float) -> PowerSums:
    """The power sums of one unit, scaled as the policy asks for."""
    exponents = policy.exponents_of(np.array([max((abs(value) for value in values), default=0.0)]))
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
    found = policy.norms(summed(weights, p), p)
    tolerance = 2.0**-44 * max(1, 1 / p)
    assert float(found[0]) == pytest.approx(norm_of(weights, p), rel=tolerance, abs=1e-300)


@given(parts=st.lists(st.tuples(WEIGHTS, POWERS_OF_TWO), min_size=3, max_size=3), p=st.sampled_from([*PS, math.inf]))
def test_joining_sums_is_associative_and_gives_the_norm_of_all(parts: list[tuple[list[float], int]], p: float) -> None:
    weights = [[math.ldexp(value, power) for value in values] for values, power in parts]
    one, two, three = (summed(values, p) for values in weights)
    left = policy.norms(one.join(two, p).join(three, p), p)
    right = policy.norms(one.join(two.join(three, p), p), p)
    assert float(left[0]) == pytest.approx(float(right[0]), rel=2.0**-44, abs=1e-300)
    assert float(left[0]) == pytest.approx(
        norm_of([value for values in weights for value in values], p), rel=2.0**-44, abs=1e-300
    )


@given(values=WEIGHTS, power=POWERS_OF_TWO, p=st.sampled_from(PS))
def test_an_empty_sum_changes_no_bit_of_what_it_is_joined_with(values: list[float], power: int, p: float) -> None:
    some = summed([math.ldexp(value, power) for value in values], p)
    empty = PowerSums(np.zeros(1), np.full(1, policy.LOWEST))
    for joined in (some.join(empty, p), empty.join(some, p)):
        assert joined.sums.tobytes() == some.sums.tobytes()
        assert joined.exponents.tobytes() == some.exponents.tobytes()


@given(peak=st.floats(0, allow_infinity=False, exclude_min=True))
def test_an_exponent_brings_the_largest_weight_below_one(peak: float) -> None:
    assert 0.5 <= math.ldexp(peak, -int(policy.exponents_of(np.array([peak]))[0])) < 1


def test_a_unit_of_zeros_has_the_lowest_exponent_and_one_that_is_not_finite_none() -> None:
    found = policy.exponents_of(np.array([0.0, math.nan, math.inf]))
    np.testing.assert_array_equal(found, [policy.LOWEST, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, 6.0, 6.5, 9.0, 100.0])
def test_sums_without_exponents_neither_overflow_nor_vanish(dtype: str, p: float) -> None:
    if not policy.needs_exponents(dtype, p):
        largest, smallest = float(floats.largest(dtype)), float(floats.smallest(dtype))
        assert math.isfinite(largest**p * 2.0**60)
        assert smallest**p >= 2.0**-1022


def test_the_largest_weight_is_no_power_and_needs_no_exponent() -> None:
    assert not policy.needs_exponents("float32", math.inf)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 2.5, math.inf])
def test_a_unit_with_nan_or_infinity_has_no_finite_norm(p: float) -> None:
    found = policy.norms(PowerSums(np.array([math.nan, math.inf]), np.zeros(2, dtype=np.int64)), p)
    assert not np.isfinite(found).any()


def test_a_norm_beyond_float64_is_an_error_that_names_the_option() -> None:
    with pytest.raises(UsageError, match=r"--p 0\.001 is too small"):
        policy.norms(PowerSums(np.array([1e6]), np.zeros(1, dtype=np.int64)), 0.001)


@given(limit=LIMITS, dtype=st.sampled_from(["float16", "bfloat16", "float32"]))
def test_a_norm_at_the_limit_is_not_over_and_the_next_one_is(limit: float, dtype: str) -> None:
    found = np.array([limit, math.nextafter(limit, math.inf), math.nextafter(limit, 0)])
    np.testing.assert_array_equal(policy.over(found, limit, dtype), [False, True, False])


@given(limit=LIMITS)
def test_a_float64_norm_may_exceed_the_limit_by_less_than_a_millionth_of_a_millionth(limit: float) -> None:
    found = np.array([limit, limit * (1 + 4e-13), limit * (1 + 1e-12)])
    np.testing.assert_array_equal(policy.over(found, limit, "float64"), [False, False, True])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_not_over_and_without_a_limit_nothing_is(dtype: str) -> None:
    found = np.array([math.nan, math.inf, 1e300])
    np.testing.assert_array_equal(policy.over(found, 1.0, dtype), [False, False, True])
    assert not policy.over(found, None, dtype).any()


@given(
    values=st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=60),
    steps=st.integers(-8, 8),
    p=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    data=st.data(),
)
def test_a_verdict_that_the_order_of_summation_could_change_is_doubtful(
    values: list[float], steps: int, p: float, data: st.DataObject
) -> None:
    """The limit is put a few float64 beside the norm, and the sum is taken in any order."""
    if not any(values):
        return
    exact = policy.norms(summed(values, p), p)
    limit = float(exact[0]) * (1 + steps * 2.0**-52)
    exponents = policy.exponents_of(np.array([max(map(abs, values))]))
    rough = 0.0
    for value in data.draw(st.permutations(values)):
        rough += math.ldexp(abs(value), -int(exponents[0])) ** p
    found = policy.norms(PowerSums(np.array([rough]), exponents), p)
    if policy.over(found, limit, "float32") != policy.over(exact, limit, "float32"):
        assert policy.doubtful(found, limit, "float32", len(values), p).all()


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("terms", [10, 1000, 100_000])
def test_the_worst_order_of_summation_is_doubtful_too(terms: int, p: float) -> None:
    """1 and then powers of half its roundoff: each is lost, while together, or summed first, they count in full."""
    powers = [1.0, *[0.99 * 2.0**-53] * terms]
    unscaled = np.zeros(1, dtype=np.int64)
    rough = policy.norms(PowerSums(np.array([np.cumsum(powers)[-1]]), unscaled), p)
    exact = policy.norms(PowerSums(np.array([math.fsum(powers)]), unscaled), p)
    assert rough[0] == 1.0 < exact[0]
    for limit in (float(rough[0]), float(rough[0] + exact[0]) / 2, math.nextafter(float(exact[0]), 0)):
        for found in (rough, exact):
            assert policy.doubtful(found, limit, "float32", terms + 1, p).all()


@given(limit=LIMITS, terms=st.integers(1, 10**9), p=st.sampled_from([0.5, 1.0, 2.0, 3.0, 6.0]))
def test_norms_a_millionth_away_from_the_limit_are_not_doubtful(limit: float, terms: int, p: float) -> None:
    found = np.array([limit * (1 - 1e-6), limit * (1 + 1e-6)])
    assert not policy.doubtful(found, limit, "float32", terms, p).any()


def test_float64_units_that_are_over_are_always_summed_exactly() -> None:
    found = np.array([0.5, 2.0, math.nan])
    np.testing.assert_array_equal(policy.doubtful(found, 1.0, "float64", 10, 2.0), [False, True, False])
    np.testing.assert_array_equal(policy.doubtful(found, 1.0, "float32", 10, 2.0), [False, False, False])


@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_weights_and_measurements_without_a_limit_are_never_doubtful(dtype: str) -> None:
    found = np.array([1.0, 2.0])
    assert not policy.doubtful(found, 1.0, dtype, 10, math.inf).any()
    assert not policy.doubtful(found, None, dtype, 10, 2.0).any()


@given(found=st.lists(st.floats(0, 1e6), min_size=1), limit=LIMITS, dtype=st.sampled_from(DTYPES))
def test_factors_are_one_where_the_norm_is_within_none_where_it_is_not_finite_and_bring_others_to_the_limit(
    found: list[float], limit: float, dtype: str
) -> None:
    norms = np.array([*found, limit, math.nan, math.inf])
    over = policy.over(norms, limit, dtype)
    factors = policy.factors(norms, limit, dtype)
    assert np.all(factors[~over & np.isfinite(norms)] == 1.0)
    assert np.all(np.isnan(factors[~np.isfinite(norms)]))
    np.testing.assert_array_equal(policy.changes(factors), over & (factors != 1.0))
    lift = 0 if dtype in ("float32", "float64") else Fraction(1, 2**50)
    less = Fraction(3, 2**24) if dtype == "float32" else 0
    for norm, factor in zip(norms[over], factors[over], strict=True):
        brought = Fraction(float(norm)) * Fraction(float(factor)) / Fraction(limit)
        assert 1 - less - Fraction(1, 2**52) <= brought <= 1 + lift + Fraction(1, 2**52)
        if dtype == "float32":
            significand, _ = math.frexp(factor)
            assert significand == 0.5 or brought <= 1 - Fraction(1, 2**24) + Fraction(1, 2**47)
            assert (significand * 2**24).is_integer()


@given(number=st.integers(1, 2000), divisor=st.integers(1, 2000))
def test_a_product_that_is_a_number_of_16_bits_is_not_cut_below_it(number: int, divisor: int) -> None:
    """30 * (limit 6 / norm 30) is 6, also where 6 / 30 is no float64."""
    norm = float(number * divisor)
    if norm > divisor:
        factor = policy.factors(np.array([norm]), float(divisor), "float16")[0]
        assert divisor <= norm * factor < divisor * (1 + 2.0**-23)


@given(norm=st.integers(1, 2**20), halvings=st.integers(1, 30), dtype=st.sampled_from(["float32", "float64"]))
def test_a_factor_that_is_a_power_of_two_is_taken_as_it_is(norm: int, halvings: int, dtype: str) -> None:
    found = policy.factors(np.array([float(norm)]), norm * 2.0**-halvings, dtype)
    np.testing.assert_array_equal(found, [2.0**-halvings])


@given(factor=st.floats(1e-6, 1.0), attempt=st.integers(0, ATTEMPTS - 3), dtype=st.sampled_from(DTYPES))
def test_only_the_factors_of_units_still_over_are_reduced_and_each_time_by_more(
    factor: float, attempt: int, dtype: str
) -> None:
    scale = np.array([factor, factor])
    found, more = (policy.reduce(scale, np.array([True, False]), number, dtype) for number in (attempt, attempt + 1))
    assert found[1] == factor
    step = 2.0**-24 if dtype == "float32" else 2.0**-50
    assert 0 < factor - found[0] <= factor * step * (4.0**attempt * 1.5 + 2)
    assert found[0] > more[0] or found[0] == more[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_factor_is_zero_so_that_no_unit_stays_over(dtype: str) -> None:
    assert policy.reduce(np.array([0.7]), np.array([True]), ATTEMPTS - 2, dtype)[0] == 0.0


@given(p=st.integers(3, 8), number=st.integers(1, 2**6), exponent=st.integers(-20, 20))
def test_the_norm_of_a_unit_of_one_short_number_is_that_number(p: int, number: int, exponent: int) -> None:
    value = math.ldexp(number, exponent)
    assert Fraction(value) ** p == Fraction(value**p)
    assert policy.norms(summed([value], p), p) == [value]


@given(p=st.integers(3, 8), total=st.floats(2.0**-200, 2.0**200))
def test_the_root_of_a_whole_power_is_the_nearest_float64(p: int, total: float) -> None:
    found = policy.norms(PowerSums(np.array([total]), np.zeros(1, dtype=np.int64)), p)
    assert found == [oracle.root(total, p)]


@pytest.mark.parametrize("p", [3.0, 5.0, 6.0])
def test_roots_at_the_ends_of_float64_are_roots(p: float) -> None:
    ends = np.array([0.0, 2.0**-894, 2.0**1023, math.inf, math.nan])
    found = policy.norms(PowerSums(ends, np.zeros(5, dtype=np.int64)), p)
    expected = [0.0, oracle.root(2.0**-894, p), oracle.root(2.0**1023, p), math.inf, math.nan]
    np.testing.assert_array_equal(found, expected)
