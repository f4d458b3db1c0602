"""`--per tensor` and `--per global` keep the promises of `--per unit`, for a norm over a tensor or over all of them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import oracle
from support.effort import examples
from support.memory import Tensor, bounded
from support.tensors import POWERS, ROUNDOFF, bits, dtype_of

from renorm_cli.errors import NonFiniteError
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.parallel.memory import Buffer
from renorm_cli.parallel.threads import threads
from renorm_cli.run.joint import joint_note, run_joint
from renorm_cli.run.steps import Work


class Tensors:
    """Several arrays by name, as a source and a sink."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.tensors = {name: Tensor(array.copy()) for name, array in arrays.items()}

    def read(self, variable: Variable, block: Any, into: Buffer | None = None) -> np.ndarray:
        return self.tensors[variable.name].read(variable, block, into)

    def write(self, variable: Variable, block: Any, values: np.ndarray) -> None:
        self.tensors[variable.name].write(variable, block, values)

    def stored(self) -> dict[str, np.ndarray]:
        return {name: tensor.array for name, tensor in self.tensors.items()}


def bound_all(
    arrays: dict[str, np.ndarray], limit: float, p: float, engine: Engine, jobs: int = 1, **work: Any
) -> tuple[dict[str, np.ndarray], tuple[Row, ...]]:
    steps = [
        Step(
            Variable(name, name, array.shape, array.dtype.name),
            "kernel",
            (),
            "option",
            Constraint(limit, PNorm(p), "global"),
        )
        for name, array in arrays.items()
    ]
    sink = Tensors(arrays)
    with threads(jobs) as imap:
        rows = run_joint(steps, Work(Tensors(arrays), engine, bound=True, sink=sink, **work), imap)
    return sink.stored(), rows


def joint_norm(arrays: dict[str, np.ndarray], p: float) -> float:
    """One unit after the other, as a person would do it."""
    flat = np.concatenate([array.astype(np.float64).ravel() for array in arrays.values()])
    return float(oracle.unit_norms(flat, (), p))


@st.composite
def models(draw: st.DrawFn) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = draw(st.lists(st.lists(st.integers(1, 6), max_size=3), min_size=1, max_size=4))
    return {
        f"w{number}": np.asarray(rng.standard_normal(shape) * draw(st.sampled_from([0.0, 0.01, 1.0, 50.0]))).astype(
            dtype_of(draw(st.sampled_from(["float16", "bfloat16", "float32", "float64"])))
        )
        for number, shape in enumerate(shapes)
    }


@settings(max_examples=examples(120), deadline=None)
@given(
    model=models(),
    limit=st.floats(0.01, 100),
    p=st.sampled_from(POWERS),
    first=st.sampled_from([8, 64, 1 << 20]),
    second=st.sampled_from([8, 1 << 20]),
)
def test_the_joint_norm_is_bounded_tightly_once_and_for_all(
    engine: Engine, model: dict[str, np.ndarray], limit: float, p: float, first: int, second: int
) -> None:
    """B1 to B5."""
    before = joint_norm(model, p)
    wide = any(array.dtype == np.float64 for array in model.values())
    after, rows = bound_all(model, limit, p, engine, block_bytes=first)
    assert joint_norm(after, p) <= limit * (1 + (1e-12 if wide else 0))  # B1
    if before <= limit:
        assert all(np.array_equal(bits(after[name]), bits(model[name])) for name in model)  # B2
        assert not any(row.over for row in rows)
    elif before > limit * (1 + 1e-12):
        assert all(row.over for row in rows)
        coarsest = max(ROUNDOFF[array.dtype.name] for array in model.values())
        assert joint_norm(after, p) >= limit * (1 - 4 * coarsest) - 1e-3 * (coarsest == ROUNDOFF["float16"])  # B4
        for name, array in model.items():
            old, new = array.astype(np.float64), after[name].astype(np.float64)
            assert (np.abs(new) <= np.abs(old)).all()  # B5
            assert (np.signbit(new) == np.signbit(old)).all()
            exact = old * (limit / before)
            slack = 4 * ROUNDOFF[array.dtype.name] * np.abs(exact) + 1e-7 * (array.dtype == np.float16)
            assert (np.abs(new - exact) <= slack).all()
    again, second_rows = bound_all(after, limit, p, NumpyEngine(), block_bytes=second)
    assert not any(row.over for row in second_rows)
    assert all(np.array_equal(bits(again[name]), bits(after[name])) for name in model)  # B3


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(model=models(), limit=st.floats(0.01, 100), p=st.sampled_from(POWERS))
def test_both_engines_and_any_number_of_jobs_store_the_same(
    tensorflow_engine: Engine, model: dict[str, np.ndarray], limit: float, p: float
) -> None:
    """B6."""
    ours, rows = bound_all(model, limit, p, NumpyEngine(), block_bytes=64)
    spread, spread_rows = bound_all(model, limit, p, NumpyEngine(), jobs=3, block_bytes=64)
    theirs, other = bound_all(model, limit, p, tensorflow_engine)
    assert rows == spread_rows
    assert [row.over for row in rows] == [row.over for row in other]
    for name in model:
        assert np.array_equal(bits(ours[name]), bits(spread[name]))
        apart = np.abs(bits(ours[name]).astype(np.int64) - bits(theirs[name]).astype(np.int64))
        assert (apart <= (4 if model[name].dtype.itemsize == 8 else 1)).all()


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e308])
def test_the_note_tells_a_joint_norm_whose_squares_are_beyond_float64(scale: float) -> None:
    model = {name: np.full((1, 1), size * scale) for name, size in {"a": 1.3, "b": 1.2}.items()}
    _, rows = bound_all(model, 1.79e308, 2.0, NumpyEngine())
    norm = math.hypot(1.3, 1.2) * scale
    assert joint_note(rows).text.startswith(f"the norm over all 2 variables together is {norm:.6g}, ")


def test_the_note_on_the_norm_of_one_variable_counts_one() -> None:
    _, rows = bound_all({"a": np.full((1, 1), 3.0)}, 9.0, 2.0, NumpyEngine())
    assert joint_note(rows).text.startswith("the norm over 1 variable is 3, ")


@pytest.mark.slow
def test_a_global_bound_is_that_of_tensorflow_to_its_rounding() -> None:
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(5)
    model = {"a": rng.standard_normal((30, 20)).astype(np.float32), "b": rng.standard_normal(7).astype(np.float32)}
    expected, norm = tf.clip_by_global_norm(list(model.values()), 3.0)
    after, rows = bound_all(model, 3.0, 2.0, NumpyEngine())
    for ours, theirs in zip(after.values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
    assert joint_note(rows).text == f"the norm over all 2 variables together is {float(norm):.6g}, 3 after"


@pytest.mark.slow
def test_a_tensor_bound_is_that_of_tensorflow_to_its_rounding() -> None:
    tf = pytest.importorskip("tensorflow")
    array = np.random.default_rng(6).standard_normal((30, 20)).astype(np.float32)
    after, row = bounded(array, (), 3.0, 2.0, NumpyEngine())
    np.testing.assert_allclose(after, tf.clip_by_norm(array, 3.0).numpy(), rtol=1e-6)
    assert row.units == 1


def test_a_joint_norm_has_the_tolerance_of_float64_where_one_variable_is() -> None:
    narrow, limit = np.array([3.0], np.float32), 5 * (1 - 1e-13)
    for dtype, over in (("float64", 0), ("float32", 1)):
        _, rows = bound_all({"a": narrow, "b": np.array([4.0], dtype)}, limit, 2.0, NumpyEngine())
        assert [row.over for row in rows] == [over, over]


def test_nan_is_refused_counted_or_left_alone() -> None:
    model = {"bad": np.array([1.0, math.nan], np.float32), "good": np.array([3.0, 4.0], np.float32)}
    with pytest.raises(NonFiniteError, match="'bad' holds NaN or Inf in 1 of 1 unit;"):
        bound_all(model, 1.0, 2.0, NumpyEngine(), nonfinite="refuse")
    _, counted = bound_all(model, 1.0, 2.0, NumpyEngine())
    assert [(row.over, row.nonfinite) for row in counted] == [(0, 1), (0, 0)]
    after, skipped = bound_all(model, 1.0, 2.0, NumpyEngine(), nonfinite="skip")
    assert [(row.over, row.nonfinite) for row in skipped] == [(0, 1), (1, 0)]
    assert np.array_equal(bits(after["bad"]), bits(model["bad"]))
    assert np.linalg.norm(after["good"].astype(np.float64)) <= 1.0


def test_a_dry_run_has_the_numbers_of_the_real_one() -> None:
    model = {"a": np.full((4, 3), 2.0, np.float32), "b": np.ones(5, np.float32)}
    steps = [
        Step(Variable(name, name, array.shape, "float32"), "kernel", (), "option", Constraint(1.0, per="global"))
        for name, array in model.items()
    ]
    run_it = partial(run_joint, steps)
    assert run_it(Work(Tensors(model), NumpyEngine(), bound=True)) == bound_all(model, 1.0, 2.0, NumpyEngine())[1]


def test_variables_far_above_a_limit_are_scaled_though_their_factor_is_no_float64() -> None:
    arrays = {"a": np.array([1e308, -1e290]), "b": np.full((2, 2), 3e307), "c": np.ones(3, np.float32)}
    after, _ = bound_all(arrays, 1e-20, 2.0, NumpyEngine())
    joint = math.hypot(1e308, *[3e307] * 4)
    for name in "ab":
        assert after[name] == pytest.approx(arrays[name] / joint * 1e-20, rel=1e-12)
    assert not after["c"].any()
