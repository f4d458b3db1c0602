"""Whether a unit is a multiple of what it was, judged by exact fractions over the bits of its elements."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import floats
from support.effort import examples

from renorm_cli.comparison.multiples import bits, factors, largest_change

NARROW = ("float16", "bfloat16", "float32")
FACTORS = st.one_of(
    st.floats(2.0**-12, 1.0), st.sampled_from([1.0, 0.5, 0.2, 0.9999999403953552, 1 - 2.0**-53, 2.0**-20])
)


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


@st.composite
def units(draw: st.DrawFn, names: tuple[str, ...] = NARROW) -> np.ndarray:
    """One unit of finite numbers, whole numbers and zeros among them."""
    dtype = dtype_of(draw(st.sampled_from(names)))
    numbers = st.one_of(st.floats(-300, 300, width=32), st.integers(-64, 64), st.sampled_from([0.0, -0.0, 1e-4, 6e-8]))
    return np.array(draw(st.lists(numbers, min_size=1, max_size=6)), dtype=dtype)


def rounded(before: np.ndarray, factor: float, rounding: str) -> np.ndarray:
    """Each element times the factor: the exact product, rounded once."""
    name = before.dtype.name
    found = []
    for stored, value in zip(bits(before).reshape(-1).tolist(), before.astype(np.float64).tolist(), strict=True):
        product = Fraction(value) * Fraction(factor)
        low = abs(floats.toward_zero(product, name))
        high = low + floats.unit_in_last_place(low, name)
        near = high if rounding == "to nearest" and 2 * (abs(product) - low) > high - low else low
        sign = -1 if stored >> (8 * before.dtype.itemsize - 1) else 1
        found.append(np.copysign(float(near), sign))
    return np.array(found).astype(before.dtype)


def one_factor_fits(before: np.ndarray, after: np.ndarray, rounding: str) -> bool:
    """The definition, one element after the other, in fractions."""
    name = before.dtype.name
    lowest, highest, strict = Fraction(0), Fraction(1), False
    sign = 1 << (8 * before.dtype.itemsize - 1)
    for old, new in zip(bits(before).reshape(-1).tolist(), bits(after).reshape(-1).tolist(), strict=True):
        if (old ^ new) & sign or new & ~sign > old & ~sign:
            return False
        old, new = old & ~sign, new & ~sign
        if not old:
            continue
        value, exact, above = (Fraction(floats.value_of(one, name)) for one in (old, new, new + 1))
        below = Fraction(floats.value_of(max(new, 1) - 1, name))
        if rounding == "to nearest":
            below, above = (below + exact) / 2, (exact + above) / 2
        elif exact > floats.smallest_normal(name):
            below = exact
        if exact <= floats.smallest_normal(name):
            below = Fraction(floats.value_of(max(new, 1) - 1, name))
            above = Fraction(floats.value_of(new + 1, name))
        lowest = max(lowest, below / value)
        if above / value <= highest:
            highest, strict = above / value, rounding == "toward zero"
    nonzero_before, nonzero_after = before.astype(bool).any(), after.astype(bool).any()
    fits = lowest < highest if strict else lowest <= highest
    return bool(fits and (nonzero_after or not nonzero_before))


def says(before: np.ndarray, after: np.ndarray, rounding: Any) -> bool:
    found = factors(before.reshape(1, -1), after.reshape(1, -1), (0,), rounding)
    return bool(found.are_multiples(before.dtype.name, rounding).item())


@settings(max_examples=examples(300), deadline=None)
@given(before=units(), factor=FACTORS, rounding=st.sampled_from(["toward zero", "to nearest"]))
def test_a_product_rounded_once_is_a_multiple_unless_all_of_it_vanished(
    before: np.ndarray, factor: float, rounding: str
) -> None:
    after = rounded(before, factor, rounding)
    vanished = before.astype(bool).any() and not after.astype(bool).any()
    assert says(before, after, rounding) is not bool(vanished)


@settings(max_examples=examples(400), deadline=None)
@given(
    before=units(), factor=FACTORS, rounding=st.sampled_from(["toward zero", "to nearest"]), place=st.integers(0, 5),
    flip=st.integers(0, 31),
)  # fmt: skip
def test_with_any_bit_flipped_it_is_one_exactly_where_some_factor_still_fits(
    before: np.ndarray, factor: float, rounding: str, place: int, flip: int
) -> None:
    after = rounded(before, factor, rounding)
    stored = after.view(f"u{after.dtype.itemsize}")
    stored[place % after.size] ^= stored.dtype.type(1 << flip % (8 * after.dtype.itemsize))
    assert says(before, after, rounding) == one_factor_fits(before, after, rounding)


@settings(max_examples=examples(200), deadline=None)
@given(before=units(("float64",)), factor=FACTORS)
def test_a_float64_product_is_a_multiple_and_one_element_eight_units_off_makes_it_none(
    before: np.ndarray, factor: float
) -> None:
    with np.errstate(under="ignore"):
        after = before * factor
    assert says(before, after, "to nearest")
    wide = np.array([3.0, 5.0, *before])
    changed = wide * factor
    changed[1] -= 8 * np.spacing(changed[1])
    assert not says(wide, changed, "to nearest")


@pytest.mark.parametrize("name", [*NARROW, "float64"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([3, 4, 5], [6, 8, 10]),
        ([3, 4, 5], [3, 4, 5.5]),
        ([3, 4, 5], [-1.5, 2, 2.5]),
        ([3, 4, 5], [1.5, 2, 2]),
        ([3, 4, 0], [1.5, 2, 1]),
        ([3, 4, 5], [0, 0, 0]),
        ([3, 4, 5], [0, 2, 2.5]),
        ([3, 4, np.inf], [1.5, 2, np.inf]),
        ([3, 4, np.nan], [1.5, 2, np.nan]),
        ([3, 4, 5], [1.5, np.nan, 2.5]),
        ([0, 0, 0], [0, 1, 0]),
        ([np.inf, 0], [1, 0]),
    ],
)
def test_what_grew_or_turned_or_vanished_is_no_multiple(name: str, before: list[float], after: list[float]) -> None:
    one, two = (np.array(values, dtype=dtype_of(name)) for values in (before, after))
    assert not says(one, two, "toward zero")
    assert not says(one, two, "to nearest")
    assert not says(-one, -two, "toward zero")


@pytest.mark.parametrize("name", [*NARROW, "float64"])
def test_one_unit_in_the_last_place_up_is_no_multiple(name: str) -> None:
    before = np.array([1.0, 1.5, 1.75], dtype=dtype_of(name))
    for place in range(3):
        after = before.copy()
        after.view(f"u{after.itemsize}")[place] += 1
        assert not says(before, after, "toward zero")
        assert not says(before, after, "to nearest")


@pytest.mark.parametrize("name", [*NARROW, "float64"])
def test_negative_zeros_and_zero_units_keep_their_sign(name: str) -> None:
    zeros = np.array([0.0, -0.0], dtype=dtype_of(name))
    assert says(zeros, zeros, "toward zero")
    assert not says(zeros, -zeros, "toward zero")


def test_a_scalar_is_a_unit_of_its_own() -> None:
    one, half = np.float32(3).reshape(()), np.float32(1.5).reshape(())
    assert factors(one, half, (), "toward zero").are_multiples("float32", "toward zero")
    assert not factors(half, one, (), "toward zero").are_multiples("float32", "toward zero")


@pytest.mark.parametrize("shape", [(300, 500), (70_000, 2), (3, 70_000)])
@pytest.mark.parametrize("kept", [(0,), (1,), (), (0, 1)])
def test_units_of_more_than_a_tile_are_judged_one_by_one(shape: tuple[int, int], kept: tuple[int, ...]) -> None:
    before = np.random.default_rng(0).normal(size=shape).astype("<f4")
    grid = tuple(size if axis in kept else 1 for axis, size in enumerate(shape))
    scale = np.random.default_rng(1).uniform(0.1, 0.9, grid)
    after = (before * scale).astype(np.float32)
    after[-1, -1] = -after[-1, -1]
    found = factors(before, after.astype(">f4"), kept, "to nearest")
    assert found.changed.all()
    good = found.are_multiples("float32", "to nearest")
    assert good.shape == grid
    assert not good.reshape(-1)[-1]
    assert good.reshape(-1)[:-1].all()


def test_the_largest_change_is_that_of_a_plain_loop() -> None:
    before = np.random.default_rng(0).normal(size=200_000).astype(">f4")
    after = before.astype("<f4")
    after[[7, 70_000, 199_999]] += np.float32(0.25), np.float32(-3), np.float32(2)
    loop = max(abs(float(one) - float(two)) for one, two in zip(after, before, strict=True))
    assert largest_change(before, after) == loop
    after[5] = np.nan
    assert largest_change(before, after) == np.inf
    assert largest_change(before, before) == 0.0
