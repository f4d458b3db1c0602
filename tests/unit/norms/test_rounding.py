"""Every stored number and the gaps between them, against integers and fractions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import floats

from renorm_cli.norms.rounding import narrow, narrow_float32, widen

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
    subnormal_float32 = above <= float(floats.smallest_normal("float32"))
    yield below, bits
    yield (below + above) / 2, bits
    yield below + (above - below) * 0.75, bits
    yield np.nextafter(below, math.inf)[~subnormal_float32], bits[~subnormal_float32]
    yield np.nextafter(above, 0)[~subnormal_float32], bits[~subnormal_float32]


def narrowed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    found = np.empty(values.shape, dtype=dtype)
    with np.errstate(all="ignore"):
        narrow(values.copy(), found)
    return found


@pytest.mark.parametrize("name", NARROW)
def test_every_number_and_every_place_in_the_gap_above_it_rounds_to_that_number(name: str) -> None:
    for values, bits in gaps(name):
        np.testing.assert_array_equal(narrowed(values, DTYPES[name]).view(np.uint16), bits)
        np.testing.assert_array_equal(narrowed(-values, DTYPES[name]).view(np.uint16), bits | np.uint16(1 << 15))


@pytest.mark.parametrize("name", NARROW)
def test_widening_is_exact_for_every_bit_pattern(name: str) -> None:
    stored = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[name])
    found = np.empty(stored.shape)
    with np.errstate(invalid="ignore"):
        widen(stored, found)
    expected = [float(floats.value_of(bits, name)) for bits in range(1 << 16)]
    np.testing.assert_array_equal(found, expected)
    assert np.signbit(found[1 << 15])


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
    lowest = 0 if name == "float16" else float(floats.smallest_normal("float32"))
    fit = [value for value in values if lowest <= abs(value) <= float(floats.largest("float32"))]
    found = narrowed(np.array(fit), DTYPES[name])
    for value, rounded in zip(fit, found, strict=True):
        assert Fraction(float(rounded)) == floats.toward_zero(Fraction(value), name)
        assert math.copysign(1, float(rounded)) == math.copysign(1, value)


@given(values=st.lists(st.floats(-(2.0**-126), 2.0**-126), min_size=1))
def test_below_the_normal_range_of_float32_a_product_moves_less_than_one_step(values: list[float]) -> None:
    found = narrowed(np.array(values), DTYPES["bfloat16"])
    for value, rounded in zip(values, found, strict=True):
        assert abs(Fraction(float(rounded)) - Fraction(value)) < floats.smallest("bfloat16")


@pytest.mark.parametrize("name", NARROW)
def test_infinity_and_nan_stay_what_they_are(name: str) -> None:
    found = narrowed(np.array([math.inf, -math.inf, math.nan]), DTYPES[name]).astype(np.float64)
    np.testing.assert_array_equal(found, [math.inf, -math.inf, math.nan])


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1), name=st.sampled_from(NARROW))
def test_float32_and_float64_products_are_rounded_alike(bits: list[int], name: str) -> None:
    values = np.array(bits, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        values = values[np.isfinite(values)]
        from_float32 = np.empty(values.shape, dtype=DTYPES[name])
        narrow_float32(values, from_float32)
    from_float64 = narrowed(values.astype(np.float64), DTYPES[name])
    assert from_float32.tobytes() == from_float64.tobytes()


def test_the_byte_order_asked_for_is_the_one_given() -> None:
    values = np.random.default_rng(3).standard_normal(500)
    swapped = narrowed(values, np.dtype(">f2"))
    assert swapped.dtype == np.dtype(">f2")
    assert swapped.tobytes() == narrowed(values, np.dtype("<f2")).byteswap().tobytes()
