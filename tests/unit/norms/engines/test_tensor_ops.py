"""The tensor functions that files and training share, judged in fractions and by math.fsum."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import floats
from support.keras_zoo import WARNINGS

from renorm_cli.norms.engines import tensor_ops

tf = pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in WARNINGS)]

ours = settings(max_examples=60, deadline=None)
signed = st.sampled_from([1.0, -1.0])


@ours
@given(dtype=st.sampled_from(["float16", "bfloat16", "float32"]), power=st.floats(-125, 15), sign=signed)
def test_rounding_goes_toward_zero(dtype: str, power: float, sign: float) -> None:
    value = sign * 2.0**power
    found = tensor_ops.toward_zero(tf, tf.constant([value], tf.float64), tf.as_dtype(dtype))
    assert found.dtype == dtype
    assert Fraction(float(found[0])) == floats.toward_zero(Fraction(value), dtype)
    assert math.copysign(1, float(found[0])) == sign


@ours
@given(dtype=st.sampled_from(["bfloat16", "float32", "float64"]), steps=st.floats(-60, 60), sign=signed)
def test_numbers_below_the_normal_range_become_zeros_of_their_sign(dtype: str, steps: float, sign: float) -> None:
    """Also where the processor would round them: 1e-40 is an ordinary float64."""
    value = sign * float(floats.smallest_normal(dtype)) * 2.0**steps
    found = tensor_ops.flushed(tf, tf.constant([value, sign * 0.0], tf.float64), tf.as_dtype(dtype)).numpy()
    assert found[0] == (value if abs(value) >= floats.smallest_normal(dtype) else 0.0)
    assert np.signbit(found).tolist() == [sign < 0] * 2


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("name", ["float16", "float32"])
def test_exact_sums_are_rounded_once_whatever_the_order(name: str, p: float) -> None:
    rng = np.random.default_rng(2)
    sizes = rng.choice([1.0, 1e-3, 1e-6], (5000, 4))
    values = (np.abs(rng.standard_normal(sizes.shape)).clip(0, 7.9) / 8 * sizes).astype(name).astype(np.float64)
    expected = [math.fsum(value**p for value in column) for column in values.T]
    for order in (values, values[::-1], rng.permutation(values)):
        assert exact_sums(order, p).tolist() == [expected]
        assert exact_sums(order, p, jit_compile=True).tolist() == [expected]


def test_exact_sums_of_float64_squares_count_what_rounding_a_square_loses() -> None:
    values = np.random.default_rng(3).uniform(0, 1, (1000, 50))
    exact = [sum(Fraction(float(value)) ** 2 for value in column) for column in values.T]
    assert exact_sums(values, 2.0).tolist() == [[float(number) for number in exact]]


def exact_sums(values: np.ndarray, p: float, **options: Any) -> np.ndarray:
    function = tf.function(lambda base: tensor_ops.exact_power_sums(tf, base, (0,), p), autograph=False, **options)
    return np.asarray(function(tf.constant(values)))


def test_powers_of_two_are_exact_over_the_whole_range() -> None:
    exponents = range(-1022, 1024)
    found = tensor_ops.power_of_two(tf, tf.constant(list(exponents), tf.int64))
    assert found.numpy().tolist() == [math.ldexp(1.0, exponent) for exponent in exponents]
