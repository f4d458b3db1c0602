"""B1 to B6: what `apply` promises, over dtypes, p, shapes, unit axes, block sizes, jobs and both executors."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import oracle
from support.effort import examples
from support.memory import Tensor, bounded, step_of
from support.promises import promises_hold
from support.tensors import DTYPES, POWERS, ROUNDOFF, SLACK, SMALLEST_NORMAL, bits, dtype_of, tensors

from renorm_cli.errors import NonFiniteError, UsageError
from renorm_cli.model.blocks import Block
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.parallel.memory import Buffer
from renorm_cli.parallel.threads import threads
from renorm_cli.run.steps import Work, renorm_variable, run

limits = st.floats(0.01, 100.0)


@settings(max_examples=examples(150), deadline=None)
@given(tensor=tensors(), limit=limits, p=st.sampled_from(POWERS), block_bytes=st.sampled_from([8, 64, 1 << 20]))
def test_the_bound_holds_tightly_and_only_units_that_are_over_change(
    engine: Engine, tensor: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float, block_bytes: int
) -> None:
    """B1, B2, B4 and B5 in one sweep, judged by the plain loop of the oracle."""
    before, unit_axes = tensor
    name = before.dtype.name
    after, row = bounded(before, unit_axes, limit, p, engine, block_bytes=block_bytes)
    # The factor is rounded, and each element once; for float64 the norms are, too.
    over = promises_hold(before, after, unit_axes, limit, p)
    assert row.over == np.count_nonzero(over)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.abs(after) >= SMALLEST_NORMAL[name], after / before.astype(np.float64), np.nan)
    others = tuple(axis for axis in range(before.ndim) if axis not in unit_axes)
    largest, least = np.fmax.reduce(ratios, axis=others), np.fmin.reduce(ratios, axis=others)
    apart = 4.001 if name == "float64" else 2.001  # the quotient is rounded, too
    assert not (largest - least > apart * ROUNDOFF[name] * largest)[over].any()  # B5: one rounding each


@settings(max_examples=examples(100), deadline=None)
@given(
    tensor=tensors(),
    limit=limits,
    p=st.sampled_from((*POWERS, 0.5, 1.5, 9.0)),
    first=st.sampled_from([8, 48, 1 << 20]),
    second=st.sampled_from([8, 96, 1 << 20]),
)
def test_applying_again_changes_no_bit_on_any_engine_and_any_block_size(
    engine: Engine, tensor: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float, first: int, second: int
) -> None:
    """B3."""
    before, unit_axes = tensor
    once, _ = bounded(before, unit_axes, limit, p, engine, block_bytes=first)
    again, row = bounded(once, unit_axes, limit, p, NumpyEngine(), block_bytes=second)
    assert row.over == 0
    assert np.array_equal(bits(once), bits(again))


@pytest.mark.slow
@settings(max_examples=examples(100), deadline=None)
@given(tensor=tensors(), limit=limits, p=st.sampled_from(POWERS))
def test_both_engines_clip_the_same_units_and_store_the_same_values(
    tensorflow_engine: Engine, tensor: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float
) -> None:
    """B6: within one unit in the last place, four for float64."""
    before, unit_axes = tensor
    ours, row = bounded(before, unit_axes, limit, p, NumpyEngine(), block_bytes=64)
    theirs, other = bounded(before, unit_axes, limit, p, tensorflow_engine, block_bytes=1 << 20)
    assert row.over == other.over
    apart = np.abs(bits(ours).astype(np.int64) - bits(theirs).astype(np.int64))
    assert (apart <= (4 if before.dtype.itemsize == 8 else 1)).all()


@pytest.mark.parametrize(
    ("name", "size"), [("float32", 1e30), ("float64", 1e200), ("float32", 1e-30), ("float64", 1e-200)]
)
def test_squares_beyond_float64_or_float32_neither_overflow_nor_vanish(engine: Engine, name: str, size: float) -> None:
    before = (np.arange(1, 13).reshape(4, 3) * size).astype(name)
    after, row = bounded(before, (1,), size, 2.0, engine)
    norms = oracle.unit_norms(after, (1,))
    assert row.over == 3
    assert (norms <= size * (1 + SLACK.get(name, 0.0))).all()
    assert (norms >= size * (1 - 4 * ROUNDOFF[name])).all()


def test_a_float16_unit_of_norm_2000_keeps_its_direction(engine: Engine) -> None:
    """tf.clip_by_norm and keras.constraints.MaxNorm turn it into zeros: their sum of squares overflows."""
    before = np.full((4, 1), 1000.0, dtype=np.float16)
    after, _ = bounded(before, (1,), 1.0, 2.0, engine)
    assert np.array_equal(after, np.full((4, 1), 0.5, dtype=np.float16))


def test_rows_and_columns_of_the_worked_example(engine: Engine) -> None:
    before = np.array([[0, 0], [3, 4], [30, 40], [300, 400]], dtype=np.float32)
    rows, _ = bounded(before, (0,), 10.0, 2.0, engine)
    assert rows[:2].tolist() == [[0, 0], [3, 4]]
    np.testing.assert_allclose(rows[2:], [[6, 8], [6, 8]], rtol=4 * ROUNDOFF["float32"])
    assert (np.linalg.norm(rows.astype(np.float64), axis=1) <= 10).all()
    columns, row = bounded(before, (1,), 350.0, 2.0, engine)
    assert row.over == 1
    assert columns[:, 0].tolist() == [0, 3, 30, 300]
    np.testing.assert_allclose(columns[:, 1], [0, 3.4825, 34.825, 348.25], rtol=1e-4)


def test_a_unit_exactly_at_the_limit_keeps_its_bytes_whatever_the_order_of_summation(engine: Engine) -> None:
    """The correctly rounded norm decides, also where plain float64 sums land on either side of it."""
    rng = np.random.default_rng(7)
    before = rng.standard_normal((4097, 3)).astype(np.float32)
    limit = float(oracle.unit_norms(before, (1,))[1])
    for block_bytes in (1200, 4096, 1 << 24):
        after, row = bounded(before, (1,), limit, 2.0, engine, block_bytes=block_bytes)
        assert np.array_equal(bits(after)[:, 1], bits(before)[:, 1])
        assert row.over == np.count_nonzero(oracle.over(before, (1,), limit))
        just_below = math.nextafter(limit, 0)
        assert bounded(before, (1,), just_below, 2.0, engine, block_bytes=block_bytes)[1].over == row.over + 1


@pytest.mark.parametrize("name", DTYPES)
def test_negative_zero_and_nan_payloads_survive_in_units_that_are_left_alone(engine: Engine, name: str) -> None:
    before = np.array([[-0.0, 5.0, 0.5], [0.25, 5.0, -0.0]]).astype(dtype_of(name))
    payload = {2: 0x7FC1, 4: 0x7FC00123, 8: 0x7FF8000000000123}[before.dtype.itemsize]
    if name == "float16":
        payload = 0x7E01
    bits(before)[0, 2] = payload
    after, row = bounded(before, (1,), 1.0, 2.0, engine, nonfinite="skip")
    assert (row.over, row.nonfinite) == (1, 1)
    assert np.array_equal(bits(after)[:, [0, 2]], bits(before)[:, [0, 2]])
    assert bits(after)[0, 2] == payload


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_unit_that_is_not_finite_is_refused_or_counted_never_over(engine: Engine, bad: float) -> None:
    before = np.array([[1.0, 9.0], [bad, 9.0]], dtype=np.float32)
    with pytest.raises(NonFiniteError, match=r"'w' holds NaN or Inf in 1 of 2 units"):
        bounded(before, (1,), 1.0, 2.0, engine, nonfinite="refuse")
    row = renorm_variable(step_of(before, (1,), 1.0), Work(Tensor(before), engine))
    assert (row.units, row.over, row.nonfinite) == (2, 1, 1)
    assert row.norm is not None
    assert row.norm.max == pytest.approx(math.sqrt(162))


@settings(max_examples=examples(50), deadline=None)
@given(tensor=tensors(), limit=limits)
def test_a_dry_run_an_inspection_and_an_apply_give_the_same_numbers(
    tensor: tuple[np.ndarray, tuple[int, ...]], limit: float
) -> None:
    before, unit_axes = tensor
    step = step_of(before, unit_axes, limit)
    _, wet = bounded(before, unit_axes, limit, 2.0, NumpyEngine())
    dry = renorm_variable(step, Work(Tensor(before), NumpyEngine(), bound=True))
    seen = renorm_variable(step, Work(Tensor(before), NumpyEngine()))
    assert dry == wet
    assert (seen.norm, seen.over, seen.histogram) == (wet.norm, wet.over, wet.histogram)
    assert seen.norm_after is None


def test_results_do_not_depend_on_the_number_of_jobs() -> None:
    rng = np.random.default_rng(3)
    shapes = [((70, 50), (1,)), ((3, 3, 20, 8), (2, 3)), ((900, 8), (0,)), ((5,), ())]
    tensors = [((rng.standard_normal(shape) * 3).astype(np.float32), axes) for shape, axes in shapes]
    for array, axes in tensors:
        results = []
        for jobs in (1, 2, 5):
            with threads(jobs) as imap:
                sink = Tensor(array.copy())
                work = Work(Tensor(array), NumpyEngine(), bound=True, sink=sink, block_bytes=256)
                results.append((run([step_of(array, axes, 1.0)] * 2, work, imap), sink.array.tobytes()))
        assert results[0] == results[1] == results[2]


class Watched(Tensor):
    """The first block that is read back is held up until a later one is written."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.wrote_while_read = False
        self._first_is_back = threading.Event()
        self._wrote = threading.Event()

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> np.ndarray:
        if not any(block.start):
            self._first_is_back.set()
            self.wrote_while_read |= self._wrote.wait(30)
        return super().read(variable, block, into)

    def write(self, variable: Variable, block: Block, values: np.ndarray) -> None:
        if any(block.start):
            assert self._first_is_back.wait(30)
            self._wrote.set()
        super().write(variable, block, values)


def test_one_block_is_written_while_another_is_read_back_and_summed() -> None:
    kernel = np.full((64, 8), 3, dtype=np.float32)
    sink = Watched(kernel.copy())
    with threads(2) as imap:
        work = Work(Tensor(kernel), NumpyEngine(), bound=True, sink=sink, block_bytes=kernel.nbytes // 8)
        row = renorm_variable(step_of(kernel, (1,), 1.0), work, imap)
    assert sink.wrote_while_read
    assert row.norm_after is not None
    assert len(sink.written) == 8


def test_blocks_without_a_unit_over_are_not_written() -> None:
    table = np.ones((100, 4), dtype=np.float32)
    table[57] = 10
    sink = Tensor(table.copy())
    renorm_variable(
        step_of(table, (0,), 2.0), Work(Tensor(table), NumpyEngine(), bound=True, sink=sink, block_bytes=160)
    )
    assert [block.start for block in sink.written] == [(50, 0)]


def test_a_norm_beyond_float64_is_an_error_and_not_a_zero() -> None:
    before = np.ones((2000, 1), dtype=np.float32)
    with pytest.raises(UsageError, match=r"the norm of a unit of '\w+' for p = 0\.01 is beyond"):
        bounded(before, (1,), 1.0, 0.01, NumpyEngine())


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float16, np.float32]),
    steps=st.floats(1.0, 4096.0),
    size=st.sampled_from([2, 100, 10_000]),
    p=st.sampled_from(POWERS),
)
def test_the_bound_holds_among_subnormals(
    engine: Engine, seed: int, dtype: type, steps: float, size: int, p: float
) -> None:
    """Weights, and a limit, of few times the smallest number of their dtype."""
    smallest = float(np.finfo(dtype).smallest_subnormal)
    before = (np.random.default_rng(seed).integers(-size, size, (9, 4)) * smallest).astype(dtype)
    assume(oracle.over(before, (1,), steps * smallest, p).any())
    after, _ = bounded(before, (1,), steps * smallest, p, engine)
    assert (oracle.unit_norms(after, (1,), p) <= steps * smallest).all()


@pytest.mark.parametrize("limit", [1e-20, 3.0, 1e-300, 5e-324])
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_a_unit_far_above_a_limit_is_scaled_though_its_factor_is_no_float64(limit: float, p: float) -> None:
    before = np.array([[1.5e308, limit / 4, math.nan], [-2e307, 0.0, 1.0], [1e300, -0.0, 1.0]])
    after, row = bounded(before, (1,), limit, p, NumpyEngine(), nonfinite="skip")
    assert after[:, 1:].tobytes() == before[:, 1:].tobytes()
    assert after[:, 0] == pytest.approx(oracle.renorm(before[:, :1], (1,), limit, p)[:, 0], rel=1e-15, abs=5e-324)
    assert after[0, 0] > 0 or limit < 1e-323
    assert oracle.unit_norms(after[:, :1], (1,), p)[0] <= limit * (1 + 1e-12)
    assert row.norm_after is not None
