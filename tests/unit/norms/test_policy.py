"""The policy on one number per unit, against fractions, math.fsum and plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.norms import policy
from renorm_cli.run.steps import ATTEMPTS

DTYPES = ["float16", "bfloat16", "float32", "float64"]
PS = [0.5, 1.0, 2.0, 2.5, 3.0, 6.0, 50.0, 400.0]
WEIGHTS = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=30)
POWERS_OF_TWO = st.integers(-1000, 1000)
LIMITS = st.floats(1e-3, 1e3)


@given(limit=LIMITS, dtype=st.sampled_from(["float16", "bfloat16", "float32"]))
def test_a_norm_at_the_limit_is_not_over_and_the_next_one_is(limit: float, dtype: str) -> None:
    found = np.array([limit, math.nextafter(limit, math.inf), math.nextafter(limit, 0)])
    np.testing.assert_array_equal(policy.over(found, limit, dtype, EUCLIDEAN), [False, True, False])


@given(limit=LIMITS)
def test_a_float64_norm_may_exceed_the_limit_by_less_than_a_millionth_of_a_millionth(limit: float) -> None:
    found = np.array([limit, limit * (1 + 4e-13), limit * (1 + 1e-12)])
    np.testing.assert_array_equal(policy.over(found, limit, "float64", EUCLIDEAN), [False, False, True])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_not_over_and_without_a_limit_nothing_is(dtype: str) -> None:
    found = np.array([math.nan, math.inf, 1e300])
    np.testing.assert_array_equal(policy.over(found, 1.0, dtype, EUCLIDEAN), [False, False, True])
    assert not policy.over(found, None, dtype, EUCLIDEAN).any()


@given(found=st.lists(st.floats(0, 1e6), min_size=1), limit=LIMITS, dtype=st.sampled_from(DTYPES))
def test_factors_are_one_where_the_norm_is_within_none_where_it_is_not_finite_and_bring_others_to_the_limit(
    found: list[float], limit: float, dtype: str
) -> None:
    norms = np.array([*found, limit, math.nan, math.inf])
    over = policy.over(norms, limit, dtype, EUCLIDEAN)
    factors = policy.factors(norms, limit, dtype, EUCLIDEAN)
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
        factor = policy.factors(np.array([norm]), float(divisor), "float16", EUCLIDEAN)[0]
        assert divisor <= norm * factor < divisor * (1 + 2.0**-23)


@given(norm=st.integers(1, 2**20), halvings=st.integers(1, 30), dtype=st.sampled_from(["float32", "float64"]))
def test_a_factor_that_is_a_power_of_two_is_taken_as_it_is(norm: int, halvings: int, dtype: str) -> None:
    found = policy.factors(np.array([float(norm)]), norm * 2.0**-halvings, dtype, EUCLIDEAN)
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


@pytest.mark.parametrize("share", [0.5, 0.75, 1 - 2.0**-53])
@pytest.mark.parametrize("other", [0.5, 0.75, 1 - 2.0**-53])
def test_a_float64_norm_too_far_above_its_limit_is_first_brought_to_two_to_eight_times_above_it(
    share: float, other: float
) -> None:
    found, limit = np.array([math.ldexp(share, 1000)]), math.ldexp(other, -50)
    (shift,) = policy.shifts(found, limit, "float64", EUCLIDEAN)
    assert 2 <= math.ldexp(share, 1000 - int(shift)) / limit <= 8
    assert not policy.shifts(found, math.ldexp(other, 10), "float64", EUCLIDEAN).any()
