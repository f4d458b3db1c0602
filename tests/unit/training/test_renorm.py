"""`renorm` of tensors: what files are promised holds in eager code, graphs and XLA, judged by the oracle's loops."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import oracle
from support.keras_zoo import WARNINGS
from support.memory import bounded
from support.places import DATA
from support.promises import promises_hold
from support.tensors import DTYPES, LARGEST, POWERS, ROUNDOFF, SLACK, SMALLEST_NORMAL, bits, dtype_of, tensors

from renorm_cli.norms.engines.numpy_engine import NumpyEngine

tf = pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in WARNINGS)]

RECORDED = json.loads((DATA / "torch_renorm.json").read_text("utf-8"))
WORKED = np.array([[0, 0], [3, 4], [30, 40], [300, 400]], dtype=np.float32)
BOX = (4, 3, 5)
"""The one shape in which XLA is tried with many values: it compiles for each shape anew."""

GRAPHS = [(dtype, p) for dtype in DTYPES for p in POWERS]
COMPILED = [(dtype, p) for dtype in ("bfloat16", "float32") for p in (2.0, math.inf)]
"""Each takes XLA seconds. The arithmetic is that of eager code, where all are tried."""

Function = Callable[..., np.ndarray]


@functools.cache
def traced(dtype: str, axis: Any, p: float, xla: bool) -> Any:
    from renorm_cli.tf import renorm

    shape = [None] * len(BOX)
    signature = [tf.TensorSpec(shape, dtype), tf.TensorSpec([], tf.float64)]
    return tf.function(lambda x, limit: renorm(x, axis, limit, p), input_signature=signature, jit_compile=xla)


def in_eager(x: np.ndarray, axis: Any, limit: float, p: float = 2.0) -> np.ndarray:
    from renorm_cli.tf import renorm

    found = renorm(tf.constant(x), axis, limit, p)
    assert found.dtype.name == x.dtype.name
    assert tuple(found.shape) == x.shape
    return np.asarray(found)


def in_graph(x: np.ndarray, axis: Any, limit: float, p: float = 2.0) -> np.ndarray:
    from renorm_cli.tf import renorm

    function = tf.function(lambda x: renorm(x, axis, limit, p), input_signature=[tf.TensorSpec(None, x.dtype.name)])
    return np.asarray(function(tf.constant(x)))


def in_xla(x: np.ndarray, axis: Any, limit: float, p: float = 2.0) -> np.ndarray:
    from renorm_cli.tf import renorm

    signature = [tf.TensorSpec([None] * x.ndim, x.dtype.name)]
    function = tf.function(lambda x: renorm(x, axis, limit, p), input_signature=signature, jit_compile=True)
    return np.asarray(function(tf.constant(x)))


everywhere = pytest.mark.parametrize("renormed", [in_eager, in_graph, in_xla])


@st.composite
def boxes(draw: st.DrawFn, dtype: str) -> np.ndarray:
    """Random values of `BOX`, of very different sizes, some of them zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.choice([0.0, 1e-3, 1.0, 30.0, 1e4], (*BOX[:1], 1, *BOX[2:]))
    return np.asarray(rng.standard_normal(BOX) * sizes).astype(dtype_of(dtype))


def holds_in_eager(before: np.ndarray, unit_axes: tuple[int, ...], limit: float, p: float) -> None:
    promises_hold(before, in_eager(before, unit_axes, limit, p), unit_axes, limit, p, roundings=roundings(before, p))


def roundings(before: np.ndarray, p: float) -> int:
    """The oracle's cube root is rounded, too."""
    return 8 if before.dtype.itemsize == 8 and p == 3 else 4


@settings(max_examples=120, deadline=None)
@given(tensor=tensors(), limit=st.floats(0.01, 100.0), p=st.sampled_from(POWERS))
def test_in_eager_code_the_bound_holds_tightly_and_only_units_that_are_over_change(
    tensor: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float
) -> None:
    before, unit_axes = tensor
    if before.ndim == 0:
        return
    holds_in_eager(before, unit_axes, limit, p)


@pytest.mark.parametrize(
    ("dtype", "p", "xla"),
    [*((*case, False) for case in GRAPHS), *((*case, True) for case in COMPILED)],
    ids=lambda value: {False: "graph", True: "xla"}[value] if isinstance(value, bool) else str(value),
)
def test_in_graphs_and_xla_the_bound_holds_tightly_and_only_units_that_are_over_change(
    dtype: str, p: float, xla: bool
) -> None:
    """And no bit changes the second time, in the other modes too."""

    @settings(max_examples=12, deadline=None, database=None)
    @given(before=boxes(dtype), limit=st.floats(0.01, 100.0))
    def holds(before: np.ndarray, limit: float) -> None:
        function = traced(dtype, (0, 2), p, xla)
        after = np.asarray(function(tf.constant(before), limit))
        promises_hold(before, after, (0, 2), limit, p, roundings=roundings(before, p))
        assert np.array_equal(bits(after), bits(np.asarray(function(tf.constant(after), limit))))
        assert np.array_equal(bits(after), bits(in_eager(after, (-3, -1), limit, p)))

    holds()


@settings(max_examples=80, deadline=None)
@given(tensor=tensors(), limit=st.floats(0.01, 100.0), p=st.sampled_from((*POWERS, 0.5, 1.5, 9.0)))
def test_the_second_time_changes_no_bit_nor_does_apply_on_a_file(
    tensor: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float
) -> None:
    before, unit_axes = tensor
    if before.ndim == 0:
        return
    once = in_eager(before, unit_axes, limit, p)
    assert np.array_equal(bits(once), bits(in_eager(once, unit_axes, limit, p)))
    applied, row = bounded(once, unit_axes, limit, p, NumpyEngine())
    assert row.over == 0
    assert np.array_equal(bits(once), bits(applied))


@settings(max_examples=80, deadline=None)
@given(tensor=tensors(), limit=st.floats(0.01, 100.0), p=st.sampled_from(POWERS))
def test_values_are_those_that_apply_stores_within_a_unit_in_the_last_place(
    tensor: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float
) -> None:
    before, unit_axes = tensor
    if before.ndim == 0:
        return
    stored, _ = bounded(before, unit_axes, limit, p, NumpyEngine())
    ours = in_eager(before, unit_axes, limit, p)
    apart = np.abs(bits(ours).astype(np.int64) - bits(stored).astype(np.int64))  # float64 would round such numbers
    assert (apart <= (4 if before.dtype.itemsize == 8 else 1)).all()


@everywhere
def test_rows_and_columns_of_the_worked_example(renormed: Function) -> None:
    rows = renormed(WORKED, 0, 10.0)
    assert rows[:2].tolist() == [[0, 0], [3, 4]]
    np.testing.assert_allclose(rows[2:], [[6, 8], [6, 8]], rtol=2.0**-22)
    columns = renormed(WORKED, -1, 350.0)
    assert columns[:, 0].tolist() == [0, 3, 30, 300]
    np.testing.assert_allclose(columns[:, 1], [0, 3.4825, 34.825, 348.25], rtol=1e-4)


@everywhere
def test_where_the_nearest_numbers_lie_just_above_the_limit_those_below_are_taken(renormed: Function) -> None:
    limit = math.nextafter(10, 0)
    after = renormed(WORKED, 0, limit)
    assert after[:2].tolist() == [[0, 0], [3, 4]]
    assert (after[2:] < [6, 8]).all()
    np.testing.assert_allclose(after[2:], [[6, 8], [6, 8]], rtol=2.0**-22)


@everywhere
def test_a_unit_exactly_at_the_limit_keeps_its_bits_whatever_the_order_of_summation(renormed: Function) -> None:
    before = np.random.default_rng(7).standard_normal((4097, 3)).astype(np.float32)
    limit = float(oracle.unit_norms(before, (1,))[1])
    after = renormed(before, 1, limit)
    assert np.array_equal(bits(after)[:, 1], bits(before)[:, 1])
    below = renormed(before, 1, math.nextafter(limit, 0))
    assert not np.array_equal(bits(below)[:, 1], bits(before)[:, 1])
    assert oracle.unit_norms(below, (1,))[1] < limit


@pytest.mark.parametrize(
    ("renormed", "name"), [*((in_eager, name) for name in DTYPES), (in_graph, "float16"), (in_xla, "bfloat16")]
)
def test_negative_zero_and_nan_payloads_survive_in_units_that_are_left_alone(renormed: Function, name: str) -> None:
    before = np.array([[-0.0, 5.0, 0.5, 0.5], [0.25, -0.0, -0.0, 5.0]]).astype(dtype_of(name))
    signalling = {"float16": 0x7C05, "bfloat16": 0x7F85, "float32": 0x7F800123, "float64": 0x7FF0000000000123}[name]
    bits(before)[0, 2] = signalling
    before[0, 3] = np.inf
    after = renormed(before, 1, 1.0)
    assert np.array_equal(bits(after)[:, [0, 2, 3]], bits(before)[:, [0, 2, 3]])
    exact = 0.0 if name != "float32" else 2.0**-22
    np.testing.assert_allclose(after[:, 1].astype(np.float64), [1.0, 0.0], rtol=exact)
    assert np.signbit(after[1, 1].astype(np.float64))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("p", POWERS)
def test_a_unit_with_nan_or_inf_is_left_alone_and_others_are_bounded(bad: float, p: float) -> None:
    before = np.array([[bad, 9.0, 30.0], [30.0, 40.0, 0.0]], dtype=np.float32)
    after = in_eager(before, 0, 5.0, p)
    assert np.array_equal(bits(after)[0], bits(before)[0])
    assert oracle.unit_norms(after[1:], (0,), p) <= 5.0


@pytest.mark.parametrize(
    ("renormed", "name", "size"),
    [
        *((in_eager, *case) for case in (("float32", 1e30), ("float64", 1e200), ("bfloat16", 1e38))),
        *((in_eager, *case) for case in (("float32", 1e-30), ("float64", 1e-200))),
        (in_xla, "float64", 1e200),
    ],
)
def test_squares_beyond_float64_or_float32_neither_overflow_nor_vanish(
    renormed: Function, name: str, size: float
) -> None:
    before = (np.arange(1, 13).reshape(4, 3) / 12 * size).astype(dtype_of(name))
    for limit in (size / 8, 1.0) if size > 1 else (size / 8,):
        norms = oracle.unit_norms(renormed(before, 1, limit), (1,))
        assert (norms <= limit * (1 + SLACK.get(name, 0.0))).all()
        assert (norms >= limit * (1 - 4 * ROUNDOFF[name])).all()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("p", [0.5, *POWERS, 9.0, 300.0])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e4])
def test_the_largest_numbers_of_a_dtype_are_bounded_even_where_their_norm_is_no_float64(
    name: str, p: float, limit: float
) -> None:
    before = np.full((5, 2), LARGEST[name]).astype(dtype_of(name))
    before[:, 1] = 0
    after = in_eager(before, 1, limit, p)
    norms = oracle.unit_norms(after, (1,), p)
    assert norms[0] <= limit * (1 + SLACK.get(name, 0.0))
    assert norms[0] >= limit * (1 - (4 if p in POWERS else 1e3) * ROUNDOFF[name])
    assert norms[1] == 0


def test_float64_units_of_infinite_norm_are_bounded_with_their_direction() -> None:
    before = np.array([[1.7e308, -1.7e308, 1e308, 0.0]])
    after = in_eager(before, 0, 2.0)
    assert oracle.unit_norms(after, (0,)) == pytest.approx(2.0, rel=1e-15)
    np.testing.assert_allclose(after / after[0, 0], before / before[0, 0], rtol=1e-15)


@everywhere
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_float64_from_the_largest_power_of_two_on_is_bounded_in_every_mode(renormed: Function, p: float) -> None:
    """2**-1023 is subnormal: TensorFlow makes it of two factors when it multiplies them first."""
    before = np.array([[2.0**1023, 1.0], [2.0**1022, 2.0], [1.7e308, -3e307]])
    for limit in (1.0, 2.0**1000, 1e-28):
        norms = oracle.unit_norms(renormed(before, 1, limit, p), (1,), p)
        assert (norms <= limit * (1 + SLACK["float64"])).all()
        assert (norms >= limit * (1 - 1e-12)).all()


@pytest.mark.parametrize("p", [0.5, 1.5, 2.5, 3.7, 9.0, 33.0])
@everywhere
def test_a_unit_at_the_limit_is_not_over_whatever_the_p_and_whoever_computes_the_powers(
    renormed: Function, p: float
) -> None:
    sizes = np.array([[1.5, 2, 3, 5, 6, 7, 0.3, 0.1, 10, 1.1, 0.7, 13, 0.9, 1.7, 2.3]], np.float32)
    for limit in map(float, sizes[0]):
        at_limit = np.abs(sizes[0].astype(np.float64)) <= limit
        after = renormed(sizes, 1, limit, p)
        assert np.array_equal(bits(after)[0, at_limit], bits(sizes)[0, at_limit])
        stored, row = bounded(sizes, (1,), limit, p, NumpyEngine())
        assert row.over == np.count_nonzero(~at_limit)
        assert np.array_equal(bits(stored)[0, at_limit], bits(sizes)[0, at_limit])
        _, row = bounded(after, (1,), limit, p, NumpyEngine())
        assert row.over == 0


@everywhere
def test_powers_of_two_and_factors_out_of_float32_are_as_in_files(renormed: Function) -> None:
    """What is multiplied in float32 only where that is the product rounded from float64."""
    rng = np.random.default_rng(5)
    for size, limit in ((1.0, 0.25), (2.0**20, 2.0**-3), (1e37, 1e-3), (1e38, 1e-28), (3.0, 1.0)):
        for before in (np.full((4, 3), size, np.float32), (rng.standard_normal((64, 3)) * size).astype(np.float32)):
            before[0, 1] = 0.0
            stored, _ = bounded(before, (1,), limit, 2.0, NumpyEngine())
            apart = np.abs(bits(renormed(before, 1, limit)).astype(np.int64) - bits(stored).astype(np.int64))
            assert apart.max() <= 1


def test_squares_of_narrow_weights_are_summed_exactly_in_graphs_and_xla() -> None:
    from renorm_cli.training import squares

    rng = np.random.default_rng(5)
    rows = [(rng.standard_normal(40) * 2.0**power).astype(np.float32) for power in range(-99, 124, 3)]
    weights = np.stack([*rows, np.zeros(40, np.float32), np.full(40, np.inf, np.float32), np.full(40, np.nan, "f4")])
    exact = [float(sum(Fraction(float(value)) ** 2 for value in row)) for row in rows]
    rough = np.array([*(number * (1 + 1e-13) for number in exact), 0.0, np.inf, np.nan])[:, None]
    for jit in (False, True):
        summed = tf.function(lambda x, sums: squares.exact_norms(x, tf.sqrt(sums), (1,)), jit_compile=jit)
        found = summed(tf.constant(weights), tf.constant(rough)).numpy()[:, 0]
        assert found[:-2].tolist() == [*map(math.sqrt, exact), 0.0]
        assert not np.isfinite(found[-2:]).any()


def test_what_xla_compiles_is_told_from_other_graphs_also_in_branches_and_functions() -> None:
    from renorm_cli.training import traced

    found: list[bool] = []

    def tell(x: Any) -> Any:
        found.append(traced._is_fused())
        return x

    inner = tf.function(tell)
    branches = tf.function(lambda x: tf.cond(x > 0, lambda: tell(x), lambda: inner(x)), jit_compile=True)
    for function in (tf.function(tell, jit_compile=True), branches, tell, tf.function(tell)):
        function(tf.constant(1.0))
    assert found == [True, True, True, False, False]


@pytest.mark.parametrize("gone", ["_get_control_flow_context", "IsXLAContext", "outer_context", "outer_graph"])
def test_a_tensorflow_without_a_private_name_takes_the_usual_path(monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    from renorm_cli.training import traced

    context: dict[str, Any] = {"IsXLAContext": lambda: False, "outer_context": None}
    context.pop(gone, None)
    graph: dict[str, Any] = {"_get_control_flow_context": lambda: SimpleNamespace(**context), "outer_graph": None}
    graph.pop(gone, None)
    monkeypatch.setattr(tf.compat.v1, "get_default_graph", lambda: SimpleNamespace(**graph))
    assert not traced._is_fused()


def test_a_hundred_variables_are_bounded_by_calls_of_one_function_with_one_constant() -> None:
    """TensorFlow optimizes a function anew for each place where it is copied to, and for each constant: 60 ms each."""
    from renorm_cli.tf import renorm

    def function(x: Any) -> Any:
        return [renorm(x, 1, 1.5) for _ in range(100)]

    graph = tf.function(function).get_concrete_function(tf.TensorSpec((4, 3), "float32")).graph.as_graph_def()
    calls = [node for node in graph.node if node.op == "PartitionedCall"]
    assert len(calls) == 100
    assert len({(node.attr["f"].func.name, node.input[1]) for node in calls}) == 1
    called = next(found for found in graph.library.function if found.signature.name == calls[0].attr["f"].func.name)
    assert called.attr["_noinline"].b


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), limit=st.floats(2.0**-24, 2.0**-12), p=st.sampled_from(POWERS))
def test_float16_subnormals_are_bounded_like_any_other_number(seed: int, limit: float, p: float) -> None:
    before = (np.random.default_rng(seed).standard_normal((9, 4)) * 2.0**-14).astype(np.float16)
    after = in_eager(before, 1, limit, p)
    assert (oracle.unit_norms(after, (1,), p) <= limit).all()
    exact = oracle.renorm(before, (1,), limit, p)
    assert (np.abs(exact - after.astype(np.float64)) <= np.maximum(2.0**-10 * np.abs(exact), 2.0**-24)).all()


@pytest.mark.parametrize("name", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("renormed", [in_eager, in_graph, in_xla])
def test_subnormals_are_kept_in_units_not_over_and_become_zeros_of_their_sign_in_others(
    renormed: Function, name: str
) -> None:
    tiny = SMALLEST_NORMAL[name]
    before = np.array([[tiny / 4, -tiny / 4], [-tiny / 2, 3.0], [0.5, 2 * tiny], [0.0, -40.0]]).astype(dtype_of(name))
    after = renormed(before, 1, 1.0)
    assert np.array_equal(bits(after)[:, 0], bits(before)[:, 0])
    changed = after[:, 1].astype(np.float64)
    assert changed[[0, 2]].tolist() == [0.0, 0.0]
    assert np.signbit(changed).tolist() == [True, False, False, True]
    promise = 1 - 4 * ROUNDOFF[name]
    assert promise <= oracle.unit_norms(after, (1,))[1] <= 1.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), power=st.integers(-135, -92), p=st.sampled_from(POWERS))
def test_with_a_limit_of_1e_28_or_more_float32_subnormals_do_not_matter(seed: int, power: int, p: float) -> None:
    values = np.random.default_rng(seed).standard_normal((6, 5))
    values[:3] *= 2.0**power
    values[3:] *= 3e-28
    before = values.astype(np.float32)
    promises_hold(before, in_eager(before, 1, 1e-28, p), (1,), 1e-28, p, lost=SMALLEST_NORMAL["float32"])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
@pytest.mark.parametrize("p", POWERS)
def test_a_tensor_without_elements_stays_what_it_is(shape: tuple[int, ...], p: float) -> None:
    for name in ("float32", "float64"):
        for axis in (0, -1, ()):
            assert in_eager(np.zeros(shape, name), axis, 1.0, p).shape == shape


@pytest.mark.parametrize("renormed", [in_eager, in_graph])
def test_no_axis_makes_one_unit_of_all_and_all_axes_make_a_unit_of_each_element(renormed: Function) -> None:
    x = np.array([[3.0, -4.0], [12.0, 84.0]], dtype=np.float32)  # of norm 85
    assert renormed(x, (), 85.0).tolist() == x.tolist()
    assert renormed(x, (), 42.5).tolist() == (x / 2).tolist()
    np.testing.assert_allclose(renormed(x, (1, 0), 10.0), [[3.0, -4.0], [10.0, 10.0]], rtol=2.0**-22)
    np.testing.assert_allclose(renormed(x[1], 0, 20.0), [12.0, 20.0], rtol=2.0**-22)


# The gradient


def in_modes(*powers: float) -> Any:
    """A gradient by every p in eager code and graphs, and by two of them in XLA."""
    cases = [(p, mode) for mode in ("eager", "graph") for p in powers]
    return pytest.mark.parametrize(("p", "mode"), [*cases, (2.0, "xla"), (math.inf, "xla")])


def exact_map(x: np.ndarray, unit_axes: tuple[int, ...], limit: float, p: float) -> np.ndarray:
    """x -> x * limit / norm where over, in plain NumPy float64, without rounding to a narrower dtype."""
    others = tuple(axis for axis in range(x.ndim) if axis not in unit_axes)
    sizes = np.abs(x)
    norms = sizes.max(axis=others, keepdims=True) if math.isinf(p) else (sizes**p).sum(others, keepdims=True) ** (1 / p)
    return np.asarray(np.where(norms > limit, x * limit / np.where(norms > 0, norms, 1.0), x))


def slope(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Gradient of sum(above * function(x)) by central differences."""
    step, found = 1e-5, np.zeros_like(x)
    for position in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[position] = step
        found[position] = (above * (function(x + moved) - function(x - moved))).sum() / (2 * step)
    return found


def gradient(x: Any, axis: Any, limit: Any, p: float, above: Any, mode: str = "eager") -> list[np.ndarray]:
    """Gradients of sum(above * renorm(x)) for x and the limit."""
    from renorm_cli.tf import renorm

    def both(x: Any, limit: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, limit])
            y = renorm(x, axis, limit, p)
        return tape.gradient(y, [x, limit], tf.constant(above))

    made = {"eager": both, "graph": tf.function(both), "xla": tf.function(both, jit_compile=True)}[mode]
    return [np.asarray(found) for found in made(tf.constant(x), tf.constant(limit, tf.float64))]


@in_modes(1.0, 1.5, 2.0, 3.0, 9.0, math.inf)
def test_the_gradient_is_that_of_numeric_differentiation(p: float, mode: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 4, 2)) * np.array([0.1, 1.0, 3.0, 10.0])[:, None]
    above = rng.standard_normal(x.shape)
    limit = 1.3
    to_x, to_limit = gradient(x, 1, limit, p, above, mode)
    over = oracle.over(x, (1,), limit, p)
    assert over.any()
    assert not over.all()
    np.testing.assert_allclose(to_x, slope(lambda x: exact_map(x, (1,), limit, p), x, above), atol=1e-8)
    expected = slope(lambda c: exact_map(x, (1,), float(c[0]), p), np.array([limit]), above[None]).item()
    assert to_limit == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_the_gradient_of_narrow_tensors_is_that_of_the_exact_map_rounded_once(name: str) -> None:
    rng = np.random.default_rng(6)
    x = (rng.standard_normal((5, 3)) * 4).astype(dtype_of(name))
    above = rng.standard_normal(x.shape).astype(dtype_of(name))
    to_x, _ = gradient(x, 1, 2.0, 2.0, above)
    assert to_x.dtype == x.dtype
    wide = slope(lambda x: exact_map(x, (1,), 2.0, 2.0), x.astype(np.float64), above.astype(np.float64))
    np.testing.assert_allclose(to_x.astype(np.float64), wide, rtol=2 * ROUNDOFF[name], atol=1e-7)


@in_modes(0.5, 1.0, 2.0, 3.0, math.inf)
def test_the_gradient_is_never_nan_at_zeros_and_passes_through_units_that_are_not_over(p: float, mode: str) -> None:
    x = np.array([[0.0, 0.0, 9.0, np.nan], [0.0, 0.1, 0.0, 1.0], [0.0, 0.0, -9.0, np.inf]], dtype=np.float32)
    above = np.arange(12, dtype=np.float32).reshape(3, 4)
    to_x, to_limit = gradient(x, 1, 1.0, p, above, mode)
    assert np.isfinite(to_x).all()
    assert np.isfinite(to_limit)
    assert to_x[:, [0, 1, 3]].tolist() == above[:, [0, 1, 3]].tolist()


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_the_gradient_neither_overflows_nor_vanishes(size: float) -> None:
    x = np.array([[3.0, 4.0]]) * size
    to_x, _ = gradient(x, 0, size, 2.0, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(to_x, [[0.2 * 16 / 25, -0.2 * 12 / 25]], rtol=1e-14)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
def test_second_derivatives_are_those_of_the_exact_map(p: float, mode: str) -> None:
    from renorm_cli.tf import renorm

    rng = np.random.default_rng(8)
    x, above, weights = (rng.standard_normal((4, 3)) * scale for scale in (2.0, 1.0, 1.0))
    x[:, 0] *= 0.1

    def twice(x: Any) -> Any:
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = renorm(x, 1, 1.3, p)
            first = inner.gradient(y, x, above)
        return outer.gradient(first, x, weights)

    found = (tf.function(twice) if mode == "graph" else twice)(tf.constant(x))
    expected = slope(lambda x: gradient(x, 1, 1.3, p, above)[0], x, weights)
    np.testing.assert_allclose(found, expected, atol=1e-8)


# torch


def recorded(sample: dict[str, Any], key: str) -> np.ndarray:
    return np.array(sample[key]).reshape(sample.get("shape", np.shape(sample[key]))).astype(dtype_of(sample["dtype"]))


@pytest.mark.parametrize("sample", RECORDED["samples"], ids=lambda s: f"{s['dtype']} p={s['p']} axis={s['axis']}")
def test_torchs_own_samples_agree_within_torchs_tolerance_and_with_its_gradients(sample: dict[str, Any]) -> None:
    x, p = recorded(sample, "input"), float(sample["p"])
    found = in_eager(x, sample["axis"], sample["max_norm"], p).astype(np.float64)
    np.testing.assert_allclose(found, recorded(sample, "output").astype(np.float64), **sample["tolerances"])
    if "gradient_from_linspace" in sample:
        above = np.linspace(-1, 1, x.size).reshape(x.shape)
        to_x, _ = gradient(x, sample["axis"], sample["max_norm"], p, above)
        np.testing.assert_allclose(to_x, recorded(sample, "gradient_from_linspace"), **sample["tolerances"])


def test_in_torchs_samples_torch_leaves_units_above_the_bound_and_renorm_none() -> None:
    theirs = ours = 0
    for sample in RECORDED["samples"]:
        x, p, limit = recorded(sample, "input"), float(sample["p"]), sample["max_norm"]
        axis = sample["axis"] % 3
        edge = limit * (1 + SLACK.get(sample["dtype"], 0.0))
        theirs += np.count_nonzero(oracle.unit_norms(recorded(sample, "output"), (axis,), p) > edge)
        ours += np.count_nonzero(oracle.unit_norms(in_eager(x, axis, limit, p), (axis,), p) > edge)
    assert (theirs, ours) == (26, 0)


OTHERWISE = {
    "a norm of 1e-6, bound 1e-7": [[6e-8, 8e-8]],
    "norms that overflow float32": [[0.5**0.5, 0.5**0.5], [0.6, 0.8]],
    "a unit with Inf": [[math.inf, 9.0], [3.0, 4.0]],
    "a factor that bfloat16 rounds": [[0.400390625, 0.80078125, 1.2]],
    "a vector": [1.0, 1.0],
}
ALIKE = ["a unit with NaN"]
REFUSED = ["a bound of 0", "a bound without end"]


@pytest.mark.parametrize("case", RECORDED["differences"], ids=lambda case: case["name"])
def test_where_renorm_differs_from_torch_it_does_what_the_docstring_says(case: dict[str, Any]) -> None:
    x, limit = recorded(case, "input"), case["max_norm"]
    if case["name"] in REFUSED:
        with pytest.raises(ValueError, match="max_norm must be a finite number above 0"):
            in_eager(x, 0, limit)
        return
    found = in_eager(x, 0, limit).astype(np.float64)
    same = "output" in case and np.allclose(found, case["output"], rtol=1e-6, atol=0, equal_nan=True)
    assert same == (case["name"] in ALIKE)
    if not same:
        np.testing.assert_allclose(found, OTHERWISE[case["name"]], rtol=8e-3 if case["dtype"] == "bfloat16" else 1e-6)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((WORKED.astype(np.int32), 0, 1.0), TypeError, "x must be float16, bfloat16, float32, float64, got int32"),
        ((WORKED.astype(np.complex64), 0, 1.0), TypeError, "got complex64"),
        ((WORKED > 1, 0, 1.0), TypeError, "got bool"),
        ((np.float32(3), (), 1.0), ValueError, "x must have at least one axis"),
        ((WORKED, 2, 1.0), ValueError, "axis 2 is out of range for rank 2: axes go from -2 to 1"),
        ((WORKED, -3, 1.0), ValueError, "axis -3 is out of range"),
        ((WORKED, (0, -2), 1.0), ValueError, r"axis \(0, -2\) names one axis twice"),
        ((WORKED, 0.5, 1.0), TypeError, "axis must be an integer or a sequence of integers, got 0.5"),
        ((WORKED, "0", 1.0), TypeError, "axis must be an integer"),
        *(((WORKED, 0, bad), ValueError, "max_norm must be a finite number") for bad in (0, -1.0, math.nan, math.inf)),
        *(((WORKED, 0, np.float32(bad)), ValueError, "max_norm must be") for bad in (0, math.nan)),
        ((WORKED, 0, np.array(-1.0)), ValueError, "max_norm must be a finite number above 0, got -1"),
        ((WORKED, 0, [1.0, 2.0]), ValueError, "max_norm must be one number, got a tensor of shape"),
        ((WORKED, 0, "1"), TypeError, "max_norm must be a number, got a tensor of string"),
        ((WORKED, 0, 1j), TypeError, "max_norm must be a number"),
        *(((WORKED, 0, 1.0, bad), ValueError, "p must be from 1/512 to 512, or inf") for bad in (0, -1, 0.001, 513)),
        ((WORKED, 0, 1.0, math.nan), ValueError, "p must be from 1/512"),
        ((WORKED, 0, 10**400), ValueError, "max_norm is beyond the range of float64"),
        ((WORKED, 0, 1.0, 10**400), ValueError, "p is beyond the range of float64"),
        ((WORKED, 0, 1.0, "2"), TypeError, "p must be a Python number, got str"),
    ],
)
def test_an_argument_that_makes_no_sense_is_an_error_of_one_line(arguments: Any, error: Any, said: str) -> None:
    from renorm_cli.tf import renorm

    for function in (renorm, tf.function(lambda: renorm(*arguments))):
        with pytest.raises(error, match=said) as raised:
            function() if function is not renorm else renorm(*arguments)
        assert function is not renorm or "\n" not in str(raised.value)


def test_the_bound_may_be_a_tensor_or_a_variable() -> None:
    from renorm_cli.tf import renorm

    for limit in (10, np.float32(10), np.array(10), tf.constant(10), tf.constant(10.0), tf.Variable(10.0)):
        np.testing.assert_allclose(renorm(WORKED, 0, limit), [[0, 0], [3, 4], [6, 8], [6, 8]], rtol=2.0**-22)


def test_a_bad_bound_known_only_in_the_graph_is_an_error_there_and_nan_under_xla() -> None:
    from renorm_cli.tf import renorm

    def function(limit: Any) -> Any:
        return renorm(WORKED, 0, limit)

    graph, xla = tf.function(function), tf.function(function, jit_compile=True)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(tf.errors.InvalidArgumentError, match="max_norm must be a finite number above 0"):
            graph(tf.constant(bad))
        assert np.isnan(xla(tf.constant(bad))).all()


def test_a_bad_axis_known_only_in_the_graph_is_an_error_there() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"axis .* is out of range, or names one axis twice"):
        in_graph(WORKED, 2, 1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"axis .* is out of range, or names one axis twice"):
        in_graph(WORKED, (1, -1), 1.0)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("columns", [False, True])
def test_products_in_float32_are_taken_only_where_no_unit_leaves_a_doubt(name: str, columns: bool) -> None:
    from renorm_cli.training import products
    from renorm_cli.training.bound import Bound, band

    rng = np.random.default_rng(3)
    before = (rng.standard_normal((40, 6)) + 0.01).astype(dtype_of(name))
    norms = oracle.unit_norms(before, (1,))

    def sure(weights: np.ndarray, limit: float) -> bool:
        bound = Bound((0,), tf.constant(limit, tf.float64), 2.0, tf.constant(band(40, 2.0), tf.float64))
        rough = tf.constant(oracle.unit_norms(weights, (1,))[None])
        value, over, found = products.scaled(tf.constant(weights), bound, rough, columns)
        if found:
            promises_hold(weights, np.asarray(value), (1,), limit, 2.0)
            assert (np.asarray(over)[0] == (oracle.unit_norms(weights, (1,)) > limit)).all()
        return bool(found)

    assert sure(before, float(norms.min()) / 3)
    assert sure(before, float(np.median(norms)) * 1.01)
    nan, zero = before.copy(), before.copy()
    nan[1, 1], zero[1, 1] = np.nan, 0.0
    doubts = [(before, float(norms[2])), (before, float(norms[2]) / 4), (before, 1e-40), (nan, 1.0)]
    if name != "float32":
        doubts.append((before, float(norms[2]) / 4 * (1 + 1e-9)))  # cutting takes nothing from the products
    assert not any(sure(*doubt) for doubt in doubts)
    assert sure(zero, 1.01) is (name == "float16")  # others could be products that vanished
