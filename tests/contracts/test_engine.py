"""One contract for every executor, judged element by element in fractions and by math.fsum.

RENORM_TEST_DEVICE=gpu holds the TensorFlow executor to it on a GPU; see test_gpu.py.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import floats, oracle
from support.effort import examples
from support.elsewhere import HeldFirst

from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine

DTYPES = {
    "float16": np.dtype("<f2"),
    "float16 swapped": np.dtype(">f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype("<f4"),
    "float32 swapped": np.dtype(">f4"),
    "float64": np.dtype("<f8"),
    "float64 swapped": np.dtype(">f8"),
}
PS = [0.5, 1.0, 2.0, 2.5, 3.0, 6.0]
PS_SCALED = [*PS, 8.0, 9.5, 100.0, 300.0]
SPECIAL = [0.0, -0.0, math.inf, -math.inf, 1.0, -1.0, 3e-8, 1e-5, -1e-30, 1e30, 1e-40, -2e-40, 1e200, 5e-324, 1e-310]
FACTORS = [1.0, 0.5, 0.75, 1 / 3, 1e-3, 0.9999999999999999, 1e-20, 1e-36, 1e-300, 5e-324]

ours = settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Case:
    """A block, the axes that name units, and a factor for each unit."""

    block: np.ndarray
    kept: tuple[int, ...]
    factors: np.ndarray

    @property
    def dtype(self) -> str:
        return str(self.block.dtype.name)

    def units(self) -> Iterator[tuple[tuple[int, ...], list[float]]]:
        yield from oracle.units_of(self.block, self.kept).items()

    def elements(self) -> Iterator[tuple[tuple[int, ...], float]]:
        """Position of each element, and the factor of its unit."""
        for position in np.ndindex(self.block.shape):
            yield position, float(self.factors[tuple(position[axis] for axis in self.kept)])


def bits_of(block: np.ndarray) -> np.ndarray:
    """The stored bits as integers of the machine's byte order."""
    words = np.dtype(f"u{block.itemsize}")
    return block.view(words if block.dtype.isnative else words.newbyteorder()).astype(words)


@st.composite
def cases(draw: st.DrawFn, finite: bool = False) -> Case:
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0 if draw(st.booleans()) else 1, max_side=4))
    kept = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL).astype(native(dtype))
    known = [int(bits) for bits in special.view(f"u{dtype.itemsize}")]
    nan_payloads = [known[2] | 1, known[2] | known[2] >> 1 | 5]  # signalling and quiet
    words = st.one_of(st.sampled_from([*known, *nan_payloads]), st.integers(0, 2 ** (8 * dtype.itemsize) - 1))
    bits = draw(hnp.arrays(np.dtype(f"u{dtype.itemsize}"), shape, elements=words))
    if finite:
        bits[(bits & known[2]) == known[2]] = 0  # the exponent of infinity
    block = bits.astype(bits.dtype if dtype.isnative else bits.dtype.newbyteorder()).view(dtype)
    units = tuple(shape[axis] for axis in kept)
    factors = draw(hnp.arrays(np.float64, units, elements=st.one_of(st.sampled_from(FACTORS), st.floats(0.1, 1.0))))
    return Case(block, kept, factors)


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.isnative else dtype.newbyteorder("=")


@pytest.fixture(
    scope="module",
    params=["numpy", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tensorflow", "tensorflow held"))],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each executor, and the one that holds blocks with all blocks held."""
    if request.param == "numpy":
        return NumpyEngine()
    found: Engine = request.getfixturevalue("tensorflow_engine")
    return found if request.param == "tensorflow" else HeldFirst(found)


@given(case=cases())
@ours
def test_peaks_are_the_largest_magnitudes_and_nan_where_a_unit_holds_nan(engine: Engine, case: Case) -> None:
    found = engine.peaks(case.block, case.kept)
    assert found.dtype == np.float64
    assert found.shape == case.factors.shape
    for unit, values in case.units():
        expected = math.nan if any(map(math.isnan, values)) else max(map(abs, values), default=0.0)
        np.testing.assert_array_equal(found[unit], expected)


@given(case=cases(), p=st.sampled_from(PS_SCALED))
@ours
def test_power_sums_of_scaled_weights_are_those_of_a_plain_loop(engine: Engine, case: Case, p: float) -> None:
    exponents = np.zeros(case.factors.shape, dtype=np.int64)
    for unit, values in case.units():
        largest = max((abs(value) for value in values if not math.isnan(value)), default=0.0)
        exponents[unit] = -(1 << 20) if largest == 0 else 0 if math.isinf(largest) else math.frexp(largest)[1]
    sums_are_those_of_a_plain_loop(engine.power_sums(case.block, case.kept, p, exponents), case, p, exponents)


@given(case=cases(), p=st.sampled_from(PS))
@ours
def test_power_sums_of_narrow_weights_need_no_scaling(engine: Engine, case: Case, p: float) -> None:
    if case.dtype != "float64":
        sums_are_those_of_a_plain_loop(engine.power_sums(case.block, case.kept, p, None), case, p, None)


def sums_are_those_of_a_plain_loop(found: np.ndarray, case: Case, p: float, exponents: np.ndarray | None) -> None:
    assert found.dtype == np.float64
    assert found.shape == case.factors.shape
    for unit, values in case.units():
        if not all(map(math.isfinite, values)):
            assert not math.isfinite(found[unit])
            continue
        power = 0 if exponents is None or not any(values) else int(exponents[unit])
        expected = math.fsum(math.ldexp(abs(value), -power) ** p for value in values)
        assert abs(found[unit] - expected) <= (len(values) + 2 + 4 * p) * 2.0**-53 * expected


@given(case=cases())
@ours
def test_units_of_factor_one_keep_their_numbers_and_those_without_a_factor_their_bytes(
    engine: Engine, case: Case
) -> None:
    alone = np.where(case.factors == 1.0, math.nan, case.factors)
    for factors, exact in ((case.factors, False), (alone, True)):
        scaled = engine.scale(case.block, case.kept, factors)
        assert scaled.dtype == case.block.dtype
        assert scaled.shape == case.block.shape
        before, after = bits_of(case.block), bits_of(scaled)
        for position, factor in case.elements():
            if factor != 1.0:
                continue
            old, new = (floats.value_of(int(bits[position]), case.dtype) for bits in (before, after))
            quieted = not exact and old != old and new != new
            assert quieted or before[position] == after[position]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_number_of_16_bits_keeps_its_bits_at_factor_one_beside_units_that_are_scaled(
    engine: Engine, name: str
) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[name])
    numbers = every[[not math.isnan(float(floats.value_of(bits, name))) for bits in range(1 << 16)]]
    block = np.stack([numbers, numbers])
    scaled = engine.scale(block, (0,), np.array([1.0, 0.5]))
    np.testing.assert_array_equal(bits_of(scaled[0]), bits_of(numbers))


@given(case=cases())
@ours
def test_scaled_weights_are_their_product_rounded_to_nearest_and_those_of_16_bits_toward_zero(
    engine: Engine, case: Case
) -> None:
    before, after = bits_of(case.block), bits_of(engine.scale(case.block, case.kept, case.factors))
    for position, factor in case.elements():
        old = floats.value_of(int(before[position]), case.dtype)
        new = floats.value_of(int(after[position]), case.dtype)
        if factor == 1.0:
            continue
        if not isinstance(old, Fraction):
            assert str(new) == str(old)
            continue
        assert isinstance(new, Fraction)
        exact = abs(old * Fraction(factor))
        twice = 1 + Fraction(1, 2**20)  # the product itself is rounded to float64 before
        if case.block.itemsize == 2:
            nearest = floats.smallest("float32") / 2 if exact <= floats.smallest_normal("float32") else 0
            assert abs(new) <= exact * (1 + Fraction(1, 2**50)) + nearest
            assert abs(new) > exact - floats.unit_in_last_place(exact, case.dtype) * twice
        else:
            assert abs(abs(new) - exact) <= floats.unit_in_last_place(exact, case.dtype) / 2 * twice
        sign = 8 * case.block.itemsize - 1
        assert int(before[position]) >> sign == int(after[position]) >> sign


@given(case=cases(finite=True))
@ours
def test_scaled_weights_are_the_same_bits_on_numpy(engine: Engine, case: Case) -> None:
    expected = NumpyEngine().scale(case.block, case.kept, case.factors)
    np.testing.assert_array_equal(bits_of(engine.scale(case.block, case.kept, case.factors)), bits_of(expected))


@given(case=cases())
@ours
def test_the_block_itself_is_left_alone(engine: Engine, case: Case) -> None:
    before = case.block.tobytes()
    case.block.flags.writeable = False
    engine.peaks(case.block, case.kept)
    engine.power_sums(case.block, case.kept, 2.0, None)
    assert not np.shares_memory(engine.scale(case.block, case.kept, case.factors), case.block)
    assert case.block.tobytes() == before


LARGE = [
    ((300, 1000), (1,)),
    ((300, 1000), (0,)),
    ((300, 1000), ()),
    ((7, 300, 150), (1,)),
    ((7, 300, 150), (0, 2)),
    ((200_000,), ()),
    ((200_000,), (0,)),
    ((3, 5, 70_000), (0, 2)),
    ((70_000, 5, 3), (0, 2)),
]


@pytest.mark.parametrize(("shape", "kept"), LARGE)
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64 swapped"])
def test_blocks_of_many_tiles_give_what_numpy_gives_in_one_piece(
    engine: Engine, shape: tuple[int, ...], kept: tuple[int, ...], name: str
) -> None:
    rng = np.random.default_rng(7)
    block = rng.standard_normal(shape).astype(native(DTYPES[name])).astype(DTYPES[name])
    block[(-1,) * len(shape)] = 2.0**-20  # exact in every dtype
    axes = tuple(axis for axis in range(len(shape)) if axis not in kept)
    wide = np.abs(block.astype(np.float64))
    np.testing.assert_array_equal(engine.peaks(block, kept), wide.max(axis=axes))
    roundoffs = (4 + wide.size // math.prod(shape[axis] for axis in kept)) * 2.0**-52  # both sums are rounded
    np.testing.assert_allclose(engine.power_sums(block, kept, 2.0, None), (wide**2).sum(axis=axes), rtol=roundoffs)
    factors = np.where(rng.random(tuple(shape[axis] for axis in kept)) < 0.5, 1.0, 0.3)
    scaled = engine.scale(block, kept, factors)
    grid = np.broadcast_to(np.expand_dims(factors, axes), shape)
    np.testing.assert_array_equal(bits_of(scaled)[grid == 1.0], bits_of(block)[grid == 1.0])
    products = wide * grid
    step = 2.0 ** -floats.FRACTION_BITS[block.dtype.name]
    found = np.abs(scaled.astype(np.float64))
    allowance = 2.0**-24 if name == "float16" else 0.0  # the distance between its subnormals
    above, below = (0.0, step) if block.itemsize == 2 else (step / 2, step / 2)
    assert np.all(found <= products * (1 + above))
    assert np.all(found >= products * (1 - below) - allowance)


@given(case=cases(finite=True))
@ours
def test_short_factors_give_the_same_bits_whether_products_are_taken_in_float32_or_float64(case: Case) -> None:
    """A unit with a factor that is no float32 beside the others has the whole block multiplied in float64."""
    if case.dtype != "float32" or not case.kept:
        return
    short = case.factors.astype(np.float32).astype(np.float64)
    whole = NumpyEngine().scale(case.block, case.kept, short).tobytes()
    axis = case.kept[0]
    wider = np.insert(case.block, 0, 1.0, axis=axis)
    factors = np.insert(short, 0, 1.0 - 2.0**-40, axis=0)
    scaled = np.delete(NumpyEngine().scale(wider, case.kept, factors), 0, axis=axis)
    assert scaled.tobytes() == whole


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float64"])
def test_one_tiny_weight_among_many_is_not_set_to_zero(engine: Engine, name: str) -> None:
    block = np.ones((1000, 300), dtype=DTYPES[name])
    block[:, 17] = 0.0
    block[777, 17] = 3 * float(floats.smallest(name))
    tiny = float(block[777, 17])
    assert tiny > 0
    assert engine.peaks(block, (1,))[17] == tiny
    assert engine.power_sums(block, (1,), 1.0, None)[17] == tiny
    factors = np.full(300, 1.0)
    factors[17] = 0.4
    assert float(engine.scale(block, (1,), factors)[777, 17]) == float(floats.smallest(name))


@pytest.mark.slow
def test_tensorflow_compiles_one_function_for_all_shapes(
    tensorflow_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from renorm_cli.norms.engines import tensorflow_engine as module

    made: list[str] = []
    build = module._function
    monkeypatch.setattr(module, "_function", lambda tf, python, *rest: made.append(python) or build(tf, python, *rest))
    fresh = module.TensorFlowEngine(os.environ.get("RENORM_TEST_DEVICE", "cpu"))
    assert fresh.device == tensorflow_engine.device
    for rows, columns in itertools.product((1, 2, 5, 30), (3, 4, 50)):
        block = np.ones((rows, columns), dtype=np.float32)
        fresh.peaks(block, (1,))
        for p in (2.0, 0.5, 0.7, 9.0):
            fresh.power_sums(block, (1,), p, None)
        fresh.scale(block, (1,), np.full(columns, 0.5))
        fresh.scale(block, (0,), np.full(rows, 0.5))
    assert len(made) == 4  # peaks, sums of squares, sums of any power, products


def test_an_executor_says_where_it_runs(engine: Engine) -> None:
    asked = os.environ.get("RENORM_TEST_DEVICE", "cpu")
    assert engine.name in ("numpy", "tensorflow")
    assert engine.device.startswith("gpu:0 " if engine.name == "tensorflow" and asked == "gpu" else "cpu")


def test_infinity_times_the_smallest_factor_is_infinity(engine: Engine) -> None:
    scaled = engine.scale(np.array([math.inf, -math.inf, 1.0], dtype=np.float32), (0,), np.array([5e-324, 0.5, 1.0]))
    np.testing.assert_array_equal(scaled, [math.inf, -math.inf, 1.0])


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_signalling_nans_keep_their_payload_beside_a_unit_that_is_scaled(engine: Engine, name: str) -> None:
    dtype = DTYPES[name]
    fraction_bits = floats.FRACTION_BITS[dtype.name]
    signalling = (2 ** floats.EXPONENT_BITS[dtype.name] - 1 << fraction_bits) + 5
    block = np.ones((2, 3), dtype=dtype)
    words = np.dtype(f"u{dtype.itemsize}")
    block.view(words if dtype.isnative else words.newbyteorder())[0, 1] = signalling
    scaled = engine.scale(block, (0,), np.array([math.nan, 0.5]))
    assert scaled[0].tobytes() == block[0].tobytes()
    assert scaled[1].tolist() == [0.5] * 3
