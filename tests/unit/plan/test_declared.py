"""`--declared`: limits and axes from the file's own config, and the tolerance for what Keras itself left."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import builders, keras_zoo, oracle, peek
from support.cli import refused, renorm, renorm_here
from support.effort import examples
from support.memory import Tensor
from support.places import SAMPLES
from support.tensors import DTYPES, ROUNDOFF, dtype_of
from support.variables import keras_variable

from renorm_cli.errors import SelectionError, UsageError
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Plan, Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Declared, Variable
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.plan.bounds import bound_source
from renorm_cli.plan.declared import KERAS_EPSILON, DeclaredBounds, Use, excess_notes, tolerances
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.steps import Work, renorm_variable

pytestmark = [pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS]

ONE = Declared("MaxNorm", "MaxNorm", 1.0, axis=(0,))
UNIT = Declared("UnitNorm", "UnitNorm", 1.0, 1.0, axis=(0,))
NONNEG = Declared("NonNeg", "NonNeg")
CUSTOM = Declared("unknown", "Clip", problem="never run")


def variable(name: str, declared: Declared | None, shape: tuple[int, ...] = (4, 3), **facts: Any) -> Variable:
    facts = {"layer": "Dense", "weight": name.rpartition("/")[2], **facts}
    dtype = facts.pop("dtype", "float32")
    return keras_variable(name, f"file/{name}", shape, dtype, declared=declared, **facts)


def plan(*variables: Variable, use: Use = "check", **wanted: Any) -> Plan:
    return make_plan(variables, (), Request(DeclaredBounds(use), **wanted))


def step_of(one: Variable, use: Use = "check") -> Step:
    (step,) = plan(one, use=use).steps
    return step


def measured(array: np.ndarray, declared: Declared, use: Use = "check", into: np.ndarray | None = None) -> Row:
    """The row of one array; with `into` what is scaled is written there."""
    step = step_of(variable("d/kernel", declared, array.shape, dtype=array.dtype.name), use)
    sink = None if into is None else Tensor(into)
    return renorm_variable(step, Work(Tensor(array), NumpyEngine(), bound=into is not None, sink=sink))


# The plan


def test_what_declares_a_norm_is_a_step_with_its_own_limit_and_all_else_a_skip_that_says_so() -> None:
    bias = variable("d/bias", UNIT, (3,))
    made = plan(
        variable("a/kernel", ONE),
        bias,
        variable("b/kernel", None),
        variable("c/kernel", NONNEG),
        variable("d/kernel", CUSTOM),
        variable("adam/kernel", ONE, state="optimizer"),
        variable("e/kernel", ONE, dtype="int8"),
    )
    assert [(step.variable.name, step.unit_axes, step.axis_source) for step in made.steps] == [
        ("a/kernel", (1,), "declared"),
        ("d/bias", (), "declared"),
        ("c/kernel", (), "declared"),
    ]
    assert [step.constraint.limit for step in made.steps] == [1.0, 1.0, None]
    assert [step.constraint.low for step in made.steps] == [None, 1.0, None]
    assert [step.constraint.nonnegative for step in made.steps] == [False, False, True]
    assert {skip.variable.name: skip.reason for skip in made.skips} == {
        "b/kernel": "declares no constraint",
        "d/kernel": "declares 'Clip', which is unknown: never run",
        "adam/kernel": "not a weight of the model",
        "e/kernel": "int8: not a floating type we bound",
    }


def test_apply_takes_the_upper_limit_exactly_and_says_what_it_does_not_enforce() -> None:
    made = plan(
        variable("a/kernel", UNIT),
        variable("b/kernel", Declared("MinMaxNorm", "MinMaxNorm", 2.0, 0.0, axis=(0,))),
        variable("c/kernel", NONNEG),
        use="apply",
    )
    assert [step.constraint for step in made.steps] == [Constraint(1.0), Constraint(2.0)]
    assert [skip.reason for skip in made.skips] == ["declares NonNeg, which bounds no norm: not enforced"]
    tail = "which `apply` does not enforce; `check` tells whether it holds"
    assert [(note.text, note.warning) for note in made.notes] == [
        (f"'a/kernel': declared with a lower bound, {tail}", True),
        (f"'c/kernel': declared NonNeg, {tail}", True),
    ]


def test_patterns_restrict_what_is_declared_and_never_widen_it() -> None:
    one, two, free = variable("a/kernel", ONE), variable("b/kernel", ONE), variable("c/kernel", None)
    made = plan(one, two, free, selection=Selection(("a/*", "c/*")))
    assert [step.variable.name for step in made.steps] == ["a/kernel"]
    assert [skip.reason for skip in made.skips] == ["not named by include", "declares no constraint"]
    bias = variable("b/bias", ONE, (3,))
    made = plan(one, two, bias, free, selection=Selection((), ("b/*",)))
    assert [skip.reason for skip in made.skips] == ["named by exclude"] * 2 + ["declares no constraint"]
    with pytest.raises(SelectionError, match="matches none"):
        plan(one, selection=Selection(("nothing",)))


def test_an_unknown_declaration_is_a_warning() -> None:
    known, unknown = variable("a/kernel", ONE), variable("b/kernel", CUSTOM)
    (note,) = plan(known, unknown).notes
    assert note.text == "'b/kernel': not looked at, the config declares 'Clip', which is unknown: never run"
    assert note.warning
    assert plan(known, unknown, selection=Selection((), ("b/*",))).notes == ()


@pytest.mark.parametrize(
    ("declared", "shape", "units"),
    [
        ((0,), (3, 3, 2, 5), (1, 2, 3)),
        ((0, 1, 2), (3, 3, 2, 5), (3,)),
        ((-1,), (3, 3, 2, 5), (0, 1, 2)),
        ((-2, 0), (3, 3, 2, 5), (1, 3)),
        ((1,), (9, 4), (0,)),
        ((), (9, 4), (0, 1)),
        (None, (9, 4), ()),
        ((0,), (7,), ()),
    ],
)
def test_the_reduced_axes_of_keras_become_unit_axes(
    declared: tuple[int, ...] | None, shape: tuple[int, ...], units: tuple[int, ...]
) -> None:
    limited = Declared("MaxNorm", "MaxNorm", 1.0, axis=declared)
    assert plan(variable("a/kernel", limited, shape)).steps[0].unit_axes == units
    values = np.random.default_rng(1).standard_normal(shape)
    expected = np.sqrt((values**2).sum(axis=declared))  # what keras.ops.sum(axis=...) reduces
    norm = measured(values, limited).norm
    assert norm is not None
    assert (norm.min, norm.max) == pytest.approx((expected.min(), expected.max()), rel=1e-14)


@pytest.mark.parametrize(("axis", "named"), [((2,), "axis 2"), ((-3,), "axis -3"), ((0, 7), "axis 7")])
def test_an_axis_that_is_not_there_names_the_variable_and_the_axis(axis: tuple[int, ...], named: str) -> None:
    wrong = Declared("MaxNorm", "MaxNorm", 1.0, axis=axis)
    with pytest.raises(SelectionError, match=rf"'a/kernel' of shape \[4, 3\] .*: {named} is out of range for rank 2"):
        plan(variable("a/kernel", wrong))
    plan(variable("a/kernel", wrong), variable("b/kernel", ONE), selection=Selection((), ("a/*",)))


def test_an_axis_of_a_scalar_and_one_that_is_named_twice_are_errors() -> None:
    with pytest.raises(SelectionError, match="axis 0 is out of range for rank 0"):
        plan(variable("a/scale", ONE, ()))
    with pytest.raises(SelectionError, match="it names one axis twice"):
        plan(variable("a/kernel", Declared("MaxNorm", "MaxNorm", 1.0, axis=(0, -2))))


def test_axes_that_do_not_name_the_units_of_the_layer_are_taken_and_remarked_on() -> None:
    made = plan(
        variable("dense/kernel", ONE),
        variable("conv/kernel", ONE, (3, 3, 2, 5), layer="Conv2D"),
        variable("again/kernel", ONE, (3, 3, 5, 5), layer="Conv2D"),
        variable("words/embeddings", ONE, (9, 4), layer="Embedding"),
        variable("conv/bias", ONE, (5,), layer="Conv2D"),
        variable("own/kernel", Declared("MaxNorm", "MaxNorm", 1.0, axis=(0, 1, 2)), (3, 3, 2, 5), layer="Conv2D"),
    )
    assert [(note.text, note.warning) for note in made.notes] == [
        (
            "'conv/kernel', 'again/kernel': MaxNorm(1.0, axis 0) is taken as it is, with units along axis 1 2 3;"
            " the layer's units are along axis 3",
            True,
        ),
        (
            "'words/embeddings': MaxNorm(1.0, axis 0) is taken as it is, with units along axis 1;"
            " the layer's units are along axis 0",
            True,
        ),
    ]


def test_a_rate_below_1_is_said() -> None:
    (note,) = plan(variable("a/kernel", Declared("MinMaxNorm", "MinMaxNorm", 2.0, 0.5, 0.3, (0,)))).notes
    assert "'a/kernel': the declared rate is below 1" in note.text


@pytest.mark.parametrize(
    ("variables", "use", "text"),
    [
        ([variable("a/kernel", None, layer=None)], "check", "the file has no Keras config"),
        ([variable("a/kernel", None, source="name")], "apply", "the file has no Keras config"),
        ([variable("a/kernel", None)], "check", "the config in the file declares no constraint for any of its weights"),
        ([variable("a/kernel", CUSTOM)], "check", "all that is declared is unknown: 'a/kernel', 'Clip', which is"),
        ([variable("a/kernel", NONNEG)], "apply", "the file declares no bound but NonNeg"),
    ],
)
def test_a_file_that_declares_nothing_usable_is_an_error_that_says_what_it_has(
    variables: list[Variable], use: Use, text: str
) -> None:
    with pytest.raises(SelectionError, match=f"^{text}"):
        plan(*variables, use=use)


def test_leaving_out_all_that_declares_is_an_error() -> None:
    with pytest.raises(SelectionError, match="none of the variables that declare a constraint is selected"):
        plan(variable("a/kernel", ONE), variable("b/kernel", None), selection=Selection((), ("a/*",)))


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({"constraint": Constraint(1.0)}, "max_norm"),
        ({"constraint": Constraint(norm=PNorm(1.0))}, "p"),
        ({"constraint": Constraint(per="tensor")}, "per"),
        ({"constraint": Constraint(per="global")}, "per"),
        ({"constraint": Constraint(), "units": (0,)}, "units"),
    ],
)
def test_options_that_say_what_the_file_says_are_a_usage_error_that_names_both_ways_out(wanted: Any, name: str) -> None:
    with pytest.raises(UsageError, match="declared constraints have their limits and axes from the file") as error:
        bound_source(**wanted, declared="check")
    assert str(error.value).endswith(f"leave out declared=True, or leave out {name}=")


# What Keras' own constraints leave, and the tolerance for it


def by_keras(package: ModuleType, declared: Declared, values: np.ndarray, dtype: str) -> np.ndarray:
    """The constraint itself, in the dtype of the weight, as in training."""
    import tensorflow as tf

    axis = None if declared.axis is None else list(declared.axis)
    known = package.constraints
    constraint = {
        "MaxNorm": lambda: known.MaxNorm(declared.limit, axis=axis),
        "MinMaxNorm": lambda: known.MinMaxNorm(declared.low, declared.limit, axis=axis),
        "UnitNorm": lambda: known.UnitNorm(axis=axis),
    }[declared.kind]()
    return np.asarray(constraint(tf.cast(tf.constant(values), dtype)))


def units_around(rng: np.random.Generator, shape: tuple[int, ...], declared: Declared) -> np.ndarray:
    """Units of random weights with norms from a tenth of the lower bound to 20 times the limit."""
    values = rng.standard_normal(shape)
    norms = np.sqrt((values**2).sum(axis=declared.axis, keepdims=True))
    limit = declared.limit or 1.0
    targets = np.exp(rng.uniform(np.log((declared.low or limit) / 10), np.log(limit * 20), norms.shape))
    return np.asarray(values / norms * targets)


PRODUCED = [
    ((3, 40), Declared("MaxNorm", "MaxNorm", 1.5, axis=(0,))),
    ((1000, 30), Declared("MaxNorm", "MaxNorm", 0.7, axis=(0,))),
    ((30, 700), Declared("MaxNorm", "MaxNorm", 3.0, axis=(1,))),
    ((3, 3, 64, 20), Declared("MaxNorm", "MaxNorm", 1.0, axis=(0, 1, 2))),
    ((300, 30), Declared("UnitNorm", "UnitNorm", 1.0, 1.0, axis=(0,))),
    ((2, 50), Declared("UnitNorm", "UnitNorm", 1.0, 1.0, axis=(0,))),
    ((300, 30), Declared("MinMaxNorm", "MinMaxNorm", 2.0, 0.3, axis=(0,))),
    ((40, 9), Declared("MinMaxNorm", "MinMaxNorm", 1.0, 1.0, axis=(-1,))),
]


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "declared"), PRODUCED)
def test_what_the_constraint_of_keras_made_passes_and_a_thousandth_more_or_less_does_not(
    flavour: str, dtype: str, shape: tuple[int, ...], declared: Declared
) -> None:
    package = pytest.importorskip(flavour)
    strict = 0
    for seed in range(12):
        made = by_keras(package, declared, units_around(np.random.default_rng(seed), shape, declared), dtype)
        row = measured(made, declared)
        assert (row.over, row.under, row.nonfinite) == (0, 0, 0)
        limit = declared.limit or 1.0
        norms = np.sqrt((made.astype(np.float64) ** 2).sum(axis=declared.axis))
        strict += int(np.count_nonzero(norms > limit))
        if ROUNDOFF[dtype] < 1e-4:
            at_limit = np.abs(norms / limit - 1) < 1e-4
            assert measured((made * 1.001).astype(made.dtype), declared).over == np.count_nonzero(at_limit)
            if declared.low:
                at_low = np.abs(norms / declared.low - 1) < 1e-4
                assert at_low.any()
                assert measured((made * 0.999).astype(made.dtype), declared).under == np.count_nonzero(at_low)
    if dtype == "float32" and declared.kind == "MaxNorm":
        assert strict > 10  # without a tolerance Keras' own work would be a violation


def test_the_tolerance_is_of_roundoffs_and_grows_with_the_root_of_the_terms() -> None:
    for dtype in ("float16", "float32", "float64"):
        assert tolerances(dtype, 900)[0] == pytest.approx(34 * ROUNDOFF[dtype])
    assert tolerances("bfloat16", 900)[0] == pytest.approx(4 * 2.0**-8 + 30 * 2.0**-24)
    assert tolerances("float32", 10**6)[0] < 1e-4
    assert tolerances("float64", 4, 0.5) == pytest.approx((6 * 2.0**-53, 6 * 2.0**-53 + 20 * KERAS_EPSILON))


@settings(max_examples=examples(150), deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 6)),
    axis=st.sampled_from([(0,), (1,), (-1,), (0, 1), None]),
    limit=st.floats(0.05, 20.0),
    factor=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_check_counts_by_limits_that_a_plain_loop_confirms(
    dtype: str, shape: tuple[int, int], axis: tuple[int, ...] | None, limit: float, factor: float, seed: int
) -> None:
    values = (np.random.default_rng(seed).standard_normal(shape) * limit).astype(dtype_of(dtype))
    low = limit * factor
    declared = Declared("MinMaxNorm", "MinMaxNorm", limit, low, axis=axis)
    row = measured(values, declared)
    reduced = range(2) if axis is None else [one % 2 for one in axis]
    norms = oracle.unit_norms(values, tuple(one for one in range(2) if one not in reduced))
    terms = values.size // norms.size
    above, below = tolerances(dtype, terms, low or None)
    # Two float64 norms of one unit may differ in the last bits.
    sure = 1e-12
    assert np.count_nonzero(norms > limit * (1 + above) * (1 + sure)) <= row.over
    assert row.over <= np.count_nonzero(norms > limit * (1 + above) * (1 - sure))
    assert np.count_nonzero(norms < low * (1 - below) * (1 - sure)) <= row.under
    assert row.under <= np.count_nonzero(norms < low * (1 - below) * (1 + sure))
    assert row.excess == pytest.approx(max(0.0, float(norms.max()) / limit - 1), abs=1e-12)


def test_a_unit_exactly_at_the_tolerance_passes_whatever_the_order_of_summation() -> None:
    values = np.random.default_rng(7).standard_normal((4097, 3)).astype(np.float32)
    norm = float(oracle.unit_norms(values, (1,)).max())
    above = tolerances("float32", 4097)[0]
    limit = norm / (1 + above)
    while limit * (1 + above) < norm:
        limit = math.nextafter(limit, math.inf)
    while limit * (1 + above) > norm:
        limit = math.nextafter(limit, 0)
    assert limit * (1 + above) == norm
    for size, over in ((limit, 0), (math.nextafter(limit, 0), 1)):
        step = step_of(variable("d/kernel", Declared("MaxNorm", "MaxNorm", size, axis=(0,)), values.shape))
        for block_bytes in (1200, 4096, 1 << 24):
            assert renorm_variable(step, Work(Tensor(values), NumpyEngine(), block_bytes=block_bytes)).over == over


@settings(max_examples=examples(100), deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 6)),
    limit=st.floats(0.05, 20.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_apply_bounds_is_within_the_strict_limit_and_not_under_the_lower_one(
    dtype: str, shape: tuple[int, int], limit: float, seed: int
) -> None:
    before = (np.random.default_rng(seed).standard_normal(shape) * limit * 3).astype(dtype_of(dtype))
    declared = Declared("MinMaxNorm", "MinMaxNorm", limit, limit, axis=(0,))
    short = measured(before, declared).under
    after = before.copy()
    row = measured(before, declared, "apply", into=after)
    assert (oracle.unit_norms(after, (1,)) <= limit * (1 + 1e-12 * (dtype == "float64"))).all()
    assert row.under == 0  # not looked at
    again = measured(after, declared)
    assert (again.over, again.under) == (0, short)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_bytes", [8, 1 << 20])
def test_negative_weights_are_counted_one_by_one(dtype: str, block_bytes: int) -> None:
    array = np.random.default_rng(4).standard_normal((7, 5)).astype(dtype_of(dtype))
    array[0] = [-0.0, 0.0, np.nan, -np.inf, 3.0]
    step = step_of(variable("d/kernel", NONNEG, array.shape, dtype=dtype))
    row = renorm_variable(step, Work(Tensor(array), NumpyEngine(), block_bytes=block_bytes))
    below = [value for value in array.ravel().tolist() if float(value) < 0]
    assert (row.negative, row.units, row.nonfinite, row.over) == (len(below), 1, 1, 0)
    assert measured(np.abs(np.nan_to_num(array.astype(np.float32))), NONNEG).negative == 0


def test_the_largest_excess_is_said_with_what_is_allowed() -> None:
    rows = [measured(np.full((4, 1), size, np.float32), ONE) for size in (0.25, 0.50000006, 0.50000018)]
    (note,) = excess_notes(rows)
    assert note.text == (
        "largest relative excess over a declared limit: 3.6e-07, in 'd/kernel';"
        " up to 3.6e-07 there counts as the rounding of Keras' own constraint"
    )
    assert excess_notes(rows[:1]) == ()


# The command line, on real files


def declaring_18(keras: ModuleType, path: Path) -> Any:
    """A model that declares MaxNorm(1.0) on two kernels, saved with unit norms of 18."""
    keras.backend.clear_session()
    layers, max_norm = keras.layers, keras.constraints.MaxNorm
    start = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, kernel_constraint=max_norm(1.0, axis=[0, 1, 2]), name="conv")(start)
    x = layers.Dense(3, kernel_constraint=max_norm(1.0), name="dense")(layers.Flatten()(x))
    model = keras_zoo.scramble(keras.Model(start, layers.Dense(2, name="free")(x)))
    for name in ("conv", "dense"):
        kernel = model.get_layer(name).kernel
        values = np.asarray(kernel)
        norms = np.sqrt((values**2).sum(axis=tuple(range(values.ndim - 1)), keepdims=True))
        kernel.assign(values / norms * 18)
    model.save(path)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_model_that_declares_1_and_holds_18_is_found_and_mended_and_keras_loads_it(name: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    source, output = tmp_path / name, tmp_path / f"mended-{name}"
    before = declaring_18(keras, source)
    found = renorm("check", source, "--declared")
    assert (found.returncode, found.stderr) == (1, "")
    assert "violated: 7 of 7 units over 1" in found.stdout
    assert "largest relative excess over a declared limit: 17, in" in found.stdout
    applied = renorm("apply", source, "--declared", "-o", output)
    assert (applied.returncode, applied.stderr) == (0, "")
    mended = renorm("check", output, "--declared")
    assert (mended.returncode, mended.stderr) == (0, "")
    assert "holds: 7 units within what the file declares" in mended.stdout
    after = keras.models.load_model(output)
    for old, new in zip(before.weights, after.weights, strict=True):
        if old.constraint is None:
            assert np.array_equal(np.asarray(old), np.asarray(new))
            continue
        norms = oracle.unit_norms(np.asarray(new), (-1,))
        assert (norms <= 1).all()
        assert (norms >= 1 - 1e-6).all()
        np.testing.assert_allclose(np.asarray(new) * 18, np.asarray(old), rtol=1e-6)
        assert new.constraint.get_config() == old.constraint.get_config()


@pytest.mark.slow
def test_what_keras_trained_under_its_constraints_passes(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    layers, known = keras.layers, keras.constraints
    start = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, kernel_constraint=known.UnitNorm(axis=[0, 1, 2]), name="conv")(start)
    x = layers.Flatten()(x)
    wide = keras.initializers.RandomNormal(stddev=0.5)
    own = {"kernel_constraint": known.MaxNorm(4.0), "bias_constraint": known.NonNeg()}
    x = layers.Dense(30, "tanh", kernel_initializer=wide, name="dense", **own)(x)
    model = keras.Model(start, layers.Dense(4, kernel_constraint=known.MinMaxNorm(0.9, 1.1), name="out")(x))
    model.compile(keras.optimizers.SGD(0.02), "mse")
    rng = np.random.default_rng(3)
    model.fit(rng.standard_normal((96, 8, 8, 2)), rng.standard_normal((96, 4)), batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    done = renorm("check", tmp_path / "m.keras", "--declared", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads(done.stdout)["variables"]}
    assert set(rows) == {"conv/kernel", "dense/kernel", "dense/bias", "out/kernel"}
    assert max(row["excess"] or 0 for row in rows.values()) > 0  # Keras itself left units above
    model.get_layer("dense").bias.assign(np.full(30, -0.01))
    model.save(tmp_path / "m.keras")
    assert renorm("check", tmp_path / "m.keras", "--declared", "-q").returncode == 1


@pytest.mark.parametrize("name", ["declared.h5", "declared.keras"])
def test_the_sample_is_bounded_by_its_own_limits_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    limits = {"edges/kernel": (1.0, (3,)), "hidden/kernel": (1.0, (1,)), "labels/embeddings": (1.5, (0,))}
    output = tmp_path / name
    assert renorm("apply", SAMPLES / name, "--declared", "-o", output, "-q").returncode == 0
    report = json.loads(output.with_name(f"{name}.report.json").read_text())
    assert {row["name"]: (row["limit"], tuple(row["unit_axes"])) for row in report["variables"]} == limits
    assert {row["axis_source"] for row in report["variables"]} == {"declared"}
    assert report["totals"]["constrained"] == 3
    assert report["totals"]["skipped"] == report["totals"]["variables"] - 3
    before, after = peek.arrays(SAMPLES / name), peek.arrays(output)
    bound = {row["key"]: limits[row["name"]] for row in report["variables"]}
    for key, array in before.items():
        if key not in bound:
            assert array.tobytes() == after[key].tobytes()
            continue
        limit, axes = bound[key]
        over = oracle.over(array, axes, limit)
        assert over.any()
        assert (oracle.unit_norms(after[key], axes) <= limit).all()
        kept = np.moveaxis(after[key], axes, range(len(axes)))[~over]
        assert kept.tobytes() == np.moveaxis(array, axes, range(len(axes)))[~over].tobytes()
    assert renorm("check", SAMPLES / name, "--declared", "-q").returncode == 1
    assert renorm("check", output, "--declared", "-q").returncode == 0


def constraint(name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.constraints", "class_name": name, "config": config, "registered_name": None}


def saved_dense(path: Path, kernel: np.ndarray, bias: np.ndarray, **constraints: Any) -> Path:
    """A file of one Dense layer `d`."""
    weights = {"d": {"kernel": kernel, "bias": bias}}
    config = builders.dense_config(weights, **constraints)
    if path.suffix == ".h5":
        builders.write_legacy(path, weights, config=config)
    else:
        builders.write_keras(path, config, builders.v3_layers(weights))
    return path


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_check_finds_units_under_their_bound_and_negative_weights(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = (np.eye(4) * [1.0, 0.5, 3.0, 0.25]).astype(np.float32)
    bias = np.array([1, -2, 0, -4], np.float32)
    path = saved_dense(
        tmp_path / name,
        kernel,
        bias,
        kernel_constraint=constraint("MinMaxNorm", min_value=0.5, max_value=2.0, rate=1.0, axis=0),
        bias_constraint=constraint("NonNeg"),
    )
    done = renorm_here(capfd, "check", str(path), "--declared", "--format", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    by_name = {row["name"]: row for row in report["variables"]}
    assert [by_name["d/kernel"][key] for key in ("limit", "low", "over", "under", "negative")] == [2, 0.5, 1, 1, 0]
    assert by_name["d/kernel"]["excess"] == 0.5
    assert [by_name["d/bias"][key] for key in ("limit", "over", "under", "negative")] == [None, 0, 0, 2]
    assert by_name["d/bias"]["declared"]["kind"] == "NonNeg"
    assert (report["totals"]["under"], report["totals"]["negative"]) == (1, 2)
    table = renorm_here(capfd, "check", str(path), "--declared").stdout
    assert "violated: 1 of 5 units over their limit, 1 under their lower bound, 2 weights below zero" in table
    for only, code in (("d/bias", 1), ("d/kernel", 1)):
        assert renorm_here(capfd, "check", str(path), "--declared", "-q", "-i", only).returncode == code


def test_inspect_shows_what_is_declared_in_the_table_the_json_and_the_csv(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved_dense(
        tmp_path / "m.keras",
        np.ones((4, 3), np.float32),
        np.ones(3, np.float32),
        kernel_constraint=constraint("MaxNorm", max_value=1.5, axis=0),
        bias_constraint={"module": "mine", "class_name": "Clip\n::error::", "config": {}, "registered_name": "Clip"},
    )
    table = renorm_here(capfd, "inspect", str(path)).stdout
    assert "\ndeclared: MaxNorm(1.5, axis 0) on 1 variable: 'd/kernel'\n" in table
    assert "\ndeclared: 'Clip\\n::error::', which is unknown: never run on 1 variable: 'd/bias'\n" in table
    report = json.loads(renorm_here(capfd, "inspect", str(path), "--format", "json").stdout)
    assert report["variables"][0]["declared"] == {
        "kind": "MaxNorm",
        "class": "MaxNorm",
        "limit": 1.5,
        "low": None,
        "rate": 1.0,
        "axis": [0],
        "units": None,
        "p": 2.0,
        "problem": None,
    }
    assert report["skipped"][0]["declared"]["kind"] == "unknown"
    lines = list(csv.DictReader(io.StringIO(renorm_here(capfd, "inspect", str(path), "--format", "csv").stdout)))
    assert [line["declared"].split(",")[0] for line in lines] == ["MaxNorm(1.5", "'Clip\\n::error::'"]


def test_a_file_without_declarations_looks_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    table = renorm_here(capfd, "inspect", str(SAMPLES / "dense.h5")).stdout
    assert "declared" not in table
    report = json.loads(renorm_here(capfd, "inspect", str(SAMPLES / "dense.h5"), "--format", "json").stdout)
    assert all(row["declared"] is None for row in (*report["variables"], *report["skipped"]))


Command = Literal["apply", "check"]


@pytest.mark.parametrize("command", ["apply", "check"])
@pytest.mark.parametrize(
    ("sample", "options", "text"),
    [
        ("declared.h5", ["--max-norm", "1"], "declared constraints have their limits and axes from the file"),
        ("declared.h5", ["--units", "0"], "declared constraints have their limits and axes from the file"),
        ("declared.h5", ["--per", "tensor"], "declared constraints have their limits and axes from the file"),
        ("declared.h5", ["--per", "global"], "declared constraints have their limits and axes from the file"),
        ("declared.h5", ["--p", "1"], "declared constraints have their limits and axes from the file"),
        ("declared.h5", ["-x", "*"], "none of the variables that declare a constraint is selected"),
        ("dense.h5", [], "the config in the file declares no constraint for any of its weights"),
        ("dense.weights.h5", [], "the file has no Keras config"),
        ("dense.weights.json", [], "the file has no Keras config"),
        ("dense_keras2_weights.h5", [], "the file has no Keras config"),
        ("generic.hdf5", [], "the file has no Keras config"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    command: Command, sample: str, options: list[str], text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written = ["-o", str(tmp_path / sample)] if command == "apply" else []
    refused(renorm_here(capfd, command, str(SAMPLES / sample), "--declared", *options, *written), text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["apply", "check"])
@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (constraint("MaxNorm", axis=5), "'d/kernel' of shape [4, 3] declares MaxNorm(2.0, axis 5): axis 5 is out of"),
        (constraint("MaxNorm", axis=[0, 0]), "it names one axis twice"),
        (constraint("MaxNorm", max_value=-1), "all that is declared is unknown: 'd/kernel', 'MaxNorm', which is"),
        (constraint("MaxNorm", max_value="1"), "max_value is no number"),
        ("whatever", "'whatever', which is unknown: never run"),
        ({"class_name": "own>Clip", "config": {}}, "'own>Clip', which is unknown: never run"),
    ],
)
def test_a_declaration_that_cannot_be_taken_is_one_line_and_exit_2(
    command: Command, declared: Any, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel, bias = np.ones((4, 3), np.float32), np.ones(3, np.float32)
    for name in ("m.keras", "m.h5"):
        path = saved_dense(tmp_path / name, kernel, bias, kernel_constraint=declared)
        refused(renorm_here(capfd, command, str(path), "--declared"), text)


def test_bfloat16_and_float16_files_are_bounded_by_what_they_declare(tmp_path: Path) -> None:
    for dtype in (ml_dtypes.bfloat16, np.float16):
        kernel = builders.kernel((12, 8), dtype=dtype)
        own = constraint("UnitNorm", axis=0)
        path = saved_dense(tmp_path / "m.keras", kernel, np.ones(8, dtype), kernel_constraint=own)
        done = renorm("apply", path, "--declared", "--in-place", "-q")
        assert (done.returncode, done.stdout) == (0, "")
        assert "declared with a lower bound, which `apply` does not enforce" in done.stderr
        checked = renorm("check", path, "--declared", "--format", "json")
        (row,) = json.loads(checked.stdout)["variables"]
        assert (checked.returncode, row["over"], row["under"]) == (1, 0, 4)
