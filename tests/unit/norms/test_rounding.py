"""Every stored number and the gaps between them, against integers and fractions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import floats

from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.norms.rounding import rough_factors, scale_16_bits, scale_roughly, widen

DTYPES = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80}
NARROW = sorted(INFINITY)


def numbers(name: str) -> np.ndarray:
    """All finite numbers >= 0 of a 16 bit dtype in order, and the one that would follow; the index is their bits."""
    known = [float(floats.value_of(bits, name)) for bits in range(INFINITY[name])]
    return np.array([*known, 2 * known[-1] - known[-2]])


def gaps(name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each place in the gaps between neighbours: the numbers there, and the bits of the lower neighbour."""
    values = numbers(name)
    below, above = values[:-1], values[1:]
    bits = np.arange(below.size, dtype=np.uint16)
    subnormal = above <= float(floats.smallest_normal(name))
    yield below, bits
    yield (below + above) / 2, bits
    yield below + (above - below) * 0.75, bits
    yield np.nextafter(below, math.inf)[~subnormal], bits[~subnormal]
    yield np.nextafter(above, 0)[~subnormal], bits[~subnormal]


def products(values: np.ndarray, dtype: np.dtype, of: float) -> np.ndarray:
    """What is stored where weights of the size `of`, a power of two, are scaled to these values."""
    weights = np.copysign(of, values).astype(dtype)
    found = np.empty(values.shape, dtype=dtype)
    scale_16_bits(weights, np.abs(values) / of, found)
    return found


@pytest.mark.parametrize("name", NARROW)
def test_every_number_and_every_place_in_the_gap_above_it_rounds_to_that_number(name: str) -> None:
    """Factors above 1 among them, where the weight is 1; none where it is the largest power of two."""
    for of in (1.0, 2.0 ** math.floor(math.log2(floats.largest(name)))):
        for values, bits in gaps(name):
            np.testing.assert_array_equal(products(values, DTYPES[name], of).view(np.uint16), bits)
            negative = products(-values, DTYPES[name], of).view(np.uint16)
            np.testing.assert_array_equal(negative, bits | np.uint16(1 << 15))


@cache
def every_number(name: str) -> np.ndarray:
    """The numbers that all bit patterns of 16 bits stand for."""
    return np.array([float(floats.value_of(bits, name)) for bits in range(1 << 16)])


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize(("name", "order"), [("float16", "<"), ("float16", ">"), ("bfloat16", "<")])
def test_widening_is_exact_for_every_bit_pattern(name: str, order: str, finite: bool) -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    patterns = patterns[(patterns & 0x7FFF) < INFINITY[name]] if finite else patterns
    stored = patterns.view(DTYPES[name])
    if name == "float16":
        stored = stored.astype(f"{order}f2")
    found = np.empty(stored.shape)
    with np.errstate(invalid="ignore"):
        widen(stored, found)
    np.testing.assert_array_equal(found, every_number(name)[patterns])
    np.testing.assert_array_equal(np.signbit(found), patterns >> 15)


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_widening_float32_is_exact_in_both_byte_orders(bits: list[int]) -> None:
    expected = [float(floats.value_of(word, "float32")) for word in bits]
    for order in "<>":
        stored = np.array(bits, dtype=f"{order}u4").view(f"{order}f4")
        found = np.empty(stored.shape)
        with np.errstate(invalid="ignore"):
            widen(stored, found)
        np.testing.assert_array_equal(found, expected)


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    name=st.sampled_from(NARROW),
)
def test_any_product_rounds_to_the_neighbour_nearer_to_zero(values: list[float], name: str) -> None:
    lowest, largest = float(floats.smallest_normal(name)), float(floats.largest(name))
    fit = [value for value in values if lowest <= abs(value) <= largest]
    found = products(np.array(fit), DTYPES[name], 1.0)
    for value, rounded in zip(fit, found, strict=True):
        assert Fraction(float(rounded)) == floats.toward_zero(Fraction(value), name)
        assert math.copysign(1, float(rounded)) == math.copysign(1, value)


@given(parts=st.lists(st.floats(-1.0, 1.0), min_size=1), name=st.sampled_from(NARROW))
def test_below_the_normal_range_a_product_moves_less_than_one_step(parts: list[float], name: str) -> None:
    values = np.array(parts) * float(floats.smallest_normal(name))
    for value, rounded in zip(values, products(values, DTYPES[name], 1.0), strict=True):
        assert abs(Fraction(float(rounded)) - Fraction(value)) < floats.smallest(name)
        assert math.copysign(1, float(rounded)) == math.copysign(1, value)


@pytest.mark.parametrize("name", NARROW)
def test_what_grows_beyond_the_largest_number_is_the_largest_number(name: str) -> None:
    weights = np.array([-1.0, 1.0, math.inf, 0.0]).astype(DTYPES[name])
    found = np.empty_like(weights)
    scale_16_bits(weights, np.array([1e300]), found)
    largest = float(floats.largest(name))
    np.testing.assert_array_equal(found.astype(np.float64), [-largest, largest, math.inf, 0.0])


@pytest.mark.parametrize("name", NARROW)
def test_infinity_and_nan_stay_what_they_are(name: str) -> None:
    weights = np.array([math.inf, -math.inf, math.nan, 4.0]).astype(DTYPES[name])
    found = np.empty_like(weights)
    scale_16_bits(weights, np.array([0.25]), found)
    np.testing.assert_array_equal(found.astype(np.float64), [math.inf, -math.inf, math.nan, 1.0])


def test_weights_are_read_and_written_in_their_byte_order() -> None:
    values = np.random.default_rng(3).standard_normal(500).astype("<f2")
    factors = np.random.default_rng(4).random(500)
    found, swapped = np.empty(500, "<f2"), np.empty(500, ">f2")
    scale_16_bits(values, factors, found)
    scale_16_bits(values.astype(">f2"), factors, swapped)
    assert swapped.tobytes() == found.byteswap().tobytes()


def near_ratios(name: str, count: int) -> np.ndarray:
    """Factors that bring some number to, or next to, another one, and a factor of 1."""
    rng = np.random.default_rng(5)
    least = 1 << floats.FRACTION_BITS[name]
    ratios = rng.integers(least, 2 * least, count) / rng.integers(least, 2 * least, count)
    nudged = ratios * (1 + rng.choice([-1, 0, 1], count) * 2.0 ** -rng.integers(20, 40, count))
    found: np.ndarray = np.where(nudged < 1, nudged, nudged / 2) * 2.0 ** -rng.choice([0, 3, 20], count)
    found[0] = 1.0
    return found


def cut(products: np.ndarray, name: str) -> np.ndarray:
    """Each product, cut toward zero to a number of the dtype; below its normal range they have the bits to there."""
    exponents = np.maximum(np.frexp(products)[1], math.frexp(float(floats.smallest_normal(name)))[1])
    steps = np.ldexp(1.0, exponents - floats.FRACTION_BITS[name] - 1)
    finer = steps * 2.0 ** (floats.FRACTION_BITS[name] - floats.FRACTION_BITS["float64"])
    found: np.ndarray = np.trunc(np.rint(products / finer) * finer / steps) * steps
    return found


@pytest.mark.parametrize("unit_axis", [0, 1])
@pytest.mark.parametrize("name", NARROW)
def test_every_number_times_factors_that_lead_next_to_a_number_is_cut_from_the_exact_product(
    name: str, unit_axis: int
) -> None:
    """In blocks so large that float32 makes all products but those that are near a number."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    finite = np.random.default_rng(6).permutation(patterns[(patterns & 0x7FFF) < INFINITY[name]])
    factors = near_ratios(name, 32)
    weights = np.tile(finite.view(DTYPES[name]), (factors.size, 1))
    expected = cut(weights.astype(np.float64) * factors[:, None], name).astype(DTYPES[name]).view(np.uint16)
    if unit_axis == 1:
        weights, expected = np.ascontiguousarray(weights.T), expected.T
    found = NumpyEngine().scale(weights, (unit_axis,), factors).view(np.uint16)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NARROW)
def test_float32_makes_nearly_all_products_of_ordinary_weights(name: str) -> None:
    """Of a block whose size is no multiple of what is looked at together."""
    weights = np.random.default_rng(7).standard_normal((63, 4099), np.float32).astype(DTYPES[name])
    factors = np.append(np.random.default_rng(8).uniform(0.1, 1.0, 62), 1.0)[:, None]
    rough = rough_factors(factors, weights.dtype)
    assert rough is not None
    left = scale_roughly(weights, rough, np.empty_like(weights))
    assert left is not None
    assert left.size < weights.size / 1000
    assert left.max(initial=0) < weights.size


@pytest.mark.parametrize("name", NARROW)
def test_large_blocks_with_infinity_and_nan_keep_them(name: str) -> None:
    patterns = np.tile(np.arange(1 << 16, dtype=np.uint16), (4, 1))
    found = (
        NumpyEngine()
        .scale(patterns.view(DTYPES[name]), (0,), np.array([1 / math.pi, 1.0, math.sqrt(0.5), math.nan]))
        .view(np.uint16)
    )
    special = (patterns & 0x7FFF) >= INFINITY[name]
    np.testing.assert_array_equal(found[special], patterns[special])
    np.testing.assert_array_equal(found[[1, 3]], patterns[[1, 3]])
