"""The Keras constraint and the Keras callback: the right units of every layer, all through training."""

from __future__ import annotations

import json
import math
import operator
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import keras_zoo, oracle
from support.places import ROOT

from renorm_cli.cli import app
from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.blocks import Block

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

LIMIT = 1.5
MODES = {"compiled": {"jit_compile": False}, "xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}
TRAINING = ROOT / "docs" / "training.md"

layers = keras.layers


def largest_norm(kernel: Any, units: tuple[int, ...] = (1,)) -> float:
    """In plain NumPy float64, from the stored bytes."""
    values = np.asarray(kernel).astype(np.float64)
    others = tuple(axis for axis in range(values.ndim) if axis not in units)
    return float(np.sqrt((values**2).sum(axis=others)).max())


def three_dense(**options: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(200, "relu", name="first", **options),
            layers.Dense(100, "relu", name="second", **options),
            layers.Dense(5, name="third", **options),
        ],
        name="small",
    )


def fit(model: Any, mode: str, callbacks: Sequence[Any] = (), epochs: int = 2) -> Any:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 20)).astype(np.float32) * 5, rng.integers(0, 5, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, **MODES[mode])
    return model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def after_each_batch(look: Callable[[], float]) -> tuple[Any, list[float]]:
    """A callback that looks, and what it saw."""
    seen: list[float] = []
    return keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(look())), seen


# Three dense layers, three ways


def test_without_a_bound_the_norms_of_the_three_layers_grow_above_it() -> None:
    """So the tests below can fail."""
    model = three_dense()
    fit(model, "compiled")
    assert max(largest_norm(layer.kernel) for layer in model.layers) > LIMIT


@pytest.mark.parametrize("mode", ["compiled", "eager", pytest.param("xla", marks=pytest.mark.slow)])
def test_three_dense_layers_with_the_constraint_stay_within_the_bound_through_training(mode: str) -> None:
    from renorm_cli.tf import RenormConstraint

    model = three_dense(kernel_constraint=RenormConstraint(LIMIT))
    watch, seen = after_each_batch(lambda: max(largest_norm(layer.kernel) for layer in model.layers))
    fit(model, mode, [watch])
    assert len(seen) == 8
    assert LIMIT * (1 - 2.0**-22) < max(seen) <= LIMIT


@pytest.mark.parametrize("mode", MODES)
def test_three_dense_layers_with_the_callback_stay_within_the_bound_through_training(mode: str) -> None:
    from renorm_cli.tf import RenormCallback

    model = three_dense()
    watch, seen = after_each_batch(lambda: max(largest_norm(layer.kernel) for layer in model.layers))
    history = fit(model, mode, [RenormCallback(["*/kernel"], max_norm=LIMIT), watch])
    assert len(seen) == 8
    assert LIMIT * (1 - 2.0**-22) < max(seen) <= LIMIT
    assert all(count > 0 for count in history["renorm_clipped"])


@pytest.mark.parametrize("xla", [False, True])
def test_three_dense_layers_in_a_training_loop_of_ones_own_stay_within_the_bound(xla: bool) -> None:
    from renorm_cli.tf import renorm

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((32, 20)).astype(np.float32) * 5, rng.integers(0, 5, 32)
    weights = [
        tf.Variable(rng.standard_normal(shape).astype(np.float32)) for shape in ((20, 200), (200, 100), (100, 5))
    ]

    @tf.function(jit_compile=xla)
    def step() -> Any:
        with tf.GradientTape() as tape:
            hidden = tf.constant(x)
            for w in weights:
                hidden = tf.nn.elu(hidden @ w)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, hidden))
        for w, slope in zip(weights, tape.gradient(loss, weights), strict=True):
            w.assign(renorm(w - 0.1 * slope, axis=1, max_norm=LIMIT))
        return loss

    losses = []
    for _ in range(10):
        losses.append(float(step()))
        assert max(largest_norm(w) for w in weights) <= LIMIT
    assert losses[-1] < losses[1]


def test_a_weight_can_be_bounded_inside_the_model_and_trained_through_the_bound() -> None:
    from renorm_cli.tf import renorm

    w = tf.Variable([[3.0, 0.1], [4.0, 0.2]])
    target = tf.constant([[0.0, 0.5], [1.0, 0.5]])

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((renorm(w, 1, 1.0) - target) ** 2)
        w.assign_sub(0.3 * tape.gradient(loss, w))

    for _ in range(300):
        step()
    np.testing.assert_allclose(renorm(w, 1, 1.0), target, atol=1e-3)


# The constraint


KINDS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    "dense": (lambda c: layers.Dense(4, kernel_constraint=c), (6,), {"kernel": (1,)}),
    "conv 1d": (lambda c: layers.Conv1D(4, 2, kernel_constraint=c), (6, 3), {"kernel": (2,)}),
    "conv 2d": (lambda c: layers.Conv2D(4, 2, kernel_constraint=c), (6, 6, 3), {"kernel": (3,)}),
    "conv 3d": (lambda c: layers.Conv3D(4, 2, kernel_constraint=c), (4, 4, 4, 3), {"kernel": (4,)}),
    "grouped": (lambda c: layers.Conv2D(4, 2, groups=2, kernel_constraint=c), (6, 6, 6), {"kernel": (3,)}),
    "up 1d": (lambda c: layers.Conv1DTranspose(4, 2, kernel_constraint=c), (6, 3), {"kernel": (1,)}),
    "up 2d": (lambda c: layers.Conv2DTranspose(4, 2, kernel_constraint=c), (6, 6, 3), {"kernel": (2,)}),
    "up 3d": (lambda c: layers.Conv3DTranspose(4, 2, kernel_constraint=c), (4, 4, 4, 3), {"kernel": (3,)}),
    "depthwise 1d": (
        lambda c: layers.DepthwiseConv1D(2, depth_multiplier=3, depthwise_constraint=c),
        (6, 3),
        {"kernel": (1, 2)},
    ),
    "depthwise 2d": (lambda c: layers.DepthwiseConv2D(2, depthwise_constraint=c), (6, 6, 3), {"kernel": (2, 3)}),
    "separable": (
        lambda c: layers.SeparableConv2D(4, 2, depthwise_constraint=c, pointwise_constraint=c),
        (6, 6, 3),
        {"depthwise_kernel": (2, 3), "pointwise_kernel": (3,)},
    ),
    "embedding": (lambda c: layers.Embedding(9, 4, embeddings_constraint=c), (5,), {"embeddings": (0,)}),
    "einsum": (
        lambda c: layers.EinsumDense("abc,cde->abde", (None, 2, 3), kernel_constraint=c),
        (5, 4),
        {"kernel": (1, 2)},
    ),
    "einsum turned": (
        lambda c: layers.EinsumDense("abc,dc->abd", (None, 3), kernel_constraint=c),
        (5, 4),
        {"kernel": (0,)},
    ),
    "lstm": (
        lambda c: layers.LSTM(3, kernel_constraint=c, recurrent_constraint=c),
        (5, 4),
        {"cell.kernel": (1,), "cell.recurrent_kernel": (1,)},
    ),
    "conv lstm": (
        lambda c: layers.ConvLSTM1D(3, 2, kernel_constraint=c, recurrent_constraint=c),
        (3, 5, 4),
        {"cell.kernel": (2,), "cell.recurrent_kernel": (2,)},
    ),
    "attention": (
        lambda c: layers.MultiHeadAttention(2, 3, kernel_constraint=c),
        (5, 4),
        {**{f"_{part}_dense.kernel": (1, 2) for part in ("query", "key", "value")}, "_output_dense.kernel": (2,)},
    ),
}
"""How a layer is made with a constraint, its input, and its weights with the axes of their incoming units."""


@pytest.mark.parametrize("name", [None, "mine", "dense", "conv2d"])
def test_the_constraint_bounds_the_units_of_each_layer_whatever_its_name(name: str | None) -> None:
    from renorm_cli.tf import RenormConstraint

    made = {kind: made_layer(kind, RenormConstraint(0.5), name) for kind in KINDS}
    rng = np.random.default_rng(3)
    for kind, layer in made.items():
        for path, axes in KINDS[kind][2].items():
            variable = operator.attrgetter(path)(layer)
            before = rng.standard_normal(variable.shape).astype(np.float32) * 0.4
            variable.assign(before)
            norms = oracle.unit_norms(before, axes)
            assert (norms > 0.5).any(), "the case proves nothing"
            after = oracle.unit_norms(np.asarray(variable.constraint(variable)), axes)
            np.testing.assert_allclose(after, np.minimum(norms, 0.5), rtol=4e-7, err_msg=f"{kind} {path}")


def made_layer(kind: str, constraint: Any, name: str | None) -> Any:
    make, shape, _ = KINDS[kind]
    layer = make(constraint)
    if name is not None:
        layer.name = name
    start = keras.Input(shape)
    layer(start, start) if kind == "attention" else layer(start)
    return layer


def test_keras_own_constraint_bounds_other_units_of_a_convolution() -> None:
    """Why there is one of our own: Keras sums over axis 0 unless told otherwise, the height of the filter."""
    kernel = np.ones((3, 3, 4, 2), dtype=np.float32)
    theirs = np.asarray(keras.constraints.MaxNorm(1.0)(tf.constant(kernel)))
    assert oracle.unit_norms(theirs, (3,)).min() > 3


def test_a_class_derived_from_a_layer_of_keras_counts_as_that_layer() -> None:
    from renorm_cli.tf import RenormConstraint

    class Up(layers.Conv2DTranspose):
        pass

    layer = Up(4, 2, kernel_constraint=RenormConstraint(0.1))
    layer.build((None, 6, 6, 3))
    assert largest_norm(layer.kernel.constraint(layer.kernel), (2,)) <= 0.1
    assert largest_norm(layer.kernel.constraint(layer.kernel), (2,)) > 0.0999


class Custom(layers.Layer):
    """Of a class that nobody knows."""

    def __init__(self, shape: tuple[int, ...], weight: str, constraint: Any) -> None:
        super().__init__(name="custom")
        self.w = self.add_weight(shape=shape, name=weight, initializer="ones", constraint=constraint)

    def call(self, x: Any) -> Any:
        return x * keras.ops.sum(self.w)


def test_of_a_layer_nobody_knows_a_telling_name_is_believed_and_nothing_else() -> None:
    from renorm_cli.tf import RenormConstraint

    for shape, name, axes in (((3, 4), "kernel", (1,)), ((3, 4), "embeddings", (0,)), ((2, 3, 4), "w", (0, 2))):
        units: Any = axes if name == "w" else "auto"
        layer = Custom(shape, name, RenormConstraint(0.5, units))
        found = np.asarray(layer.w.constraint(layer.w))
        np.testing.assert_allclose(oracle.unit_norms(found, axes), 0.5, rtol=1e-6)
    for shape, name in (((3, 4), "w"), ((2, 3, 4), "kernel"), ((3,), "kernel"), ((4,), "bias"), ((2, 3), "bias")):
        layer = Custom(shape, name, RenormConstraint(0.5))
        with pytest.raises(ValueError, match=rf"nothing tells which axes of 'custom/{name}', of shape \[.*\], name"):
            layer.w.constraint(layer.w)


def test_units_that_nothing_tells_are_an_error_in_the_first_step_of_training() -> None:
    from renorm_cli.tf import RenormConstraint

    model = three_dense(bias_constraint=RenormConstraint(1.0))
    with pytest.raises(ValueError, match="nothing tells which axes of 'small/first/bias'"):
        fit(model, "compiled")
    fit(three_dense(bias_constraint=RenormConstraint(1.0, units=())), "eager", epochs=1)


def test_a_tensor_has_no_layer_so_its_units_must_be_given() -> None:
    from renorm_cli.tf import RenormConstraint

    kernel = tf.ones((3, 2))
    with pytest.raises(ValueError, match="units='auto' needs the Keras variable"):
        RenormConstraint(1.0)(kernel)
    assert largest_norm(RenormConstraint(1.0, units=-1)(kernel)) <= 1.0
    assert largest_norm(RenormConstraint(1.0, units=[0])(kernel), (0,)) <= 1.0


def test_a_variable_of_no_layer_is_told_by_its_name_alone() -> None:
    from renorm_cli.tf import RenormConstraint

    kernel = keras.Variable(np.ones((3, 2)), name="kernel", dtype="float32")
    assert largest_norm(RenormConstraint(1.0)(kernel)) <= 1.0
    with pytest.raises(ValueError, match="nothing tells which axes of 'thing'"):
        RenormConstraint(1.0)(keras.Variable(np.ones((3, 2)), name="thing"))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((0,), ValueError, "limit must be a finite number above 0, got 0"),
        ((math.nan,), ValueError, "limit must be"),
        (("1",), TypeError, "limit must be a number, got str"),
        ((1.0, "all"), ValueError, "units must be 'auto' or axes such as -1 or"),
        ((1.0, 1.5), TypeError, "units must be an integer or a sequence of integers"),
        ((1.0, True), TypeError, "units must be an integer or a sequence of integers, got True"),
        ((1.0, "auto", 0), ValueError, "p must be from 1/512 to 512, or inf, got 0"),
    ],
)
def test_arguments_of_the_constraint_that_make_no_sense_are_errors_at_once(
    arguments: Any, error: Any, said: str
) -> None:
    from renorm_cli.tf import RenormConstraint

    with pytest.raises(error, match=said):
        RenormConstraint(*arguments)


@pytest.mark.parametrize(("units", "p"), [("auto", 2.0), (-1, math.inf), ((0, 1), 1.0)])
def test_the_constraint_goes_through_json_and_comes_back_the_same(units: Any, p: float) -> None:
    from renorm_cli.tf import RenormConstraint

    config = json.loads(json.dumps(RenormConstraint(1.5, units, p).get_config(), allow_nan=False))
    again = RenormConstraint.from_config(config)
    assert again.get_config() == config
    assert (again.limit, again.p) == (1.5, p)
    written = keras.saving.serialize_keras_object(again)
    assert written["registered_name"] == "renorm_ckpt>RenormConstraint"
    assert written["module"] == "renorm_cli.tf"
    assert keras.saving.deserialize_keras_object(written).get_config() == config


def test_a_model_that_names_the_constraint_as_it_was_called_before_loads() -> None:
    from renorm_cli.tf import MaxNorm, RenormConstraint

    config = RenormConstraint(1.5, -1, 1.0).get_config()
    former = {"module": "renorm_cli.tf", "class_name": "MaxNorm", "registered_name": "renorm_ckpt>MaxNorm"}
    for written in ({**former, "config": config}, {"class_name": "renorm_ckpt>MaxNorm", "config": config}):
        found = keras.saving.deserialize_keras_object(written)
        assert (type(found), found.get_config()) == (RenormConstraint, config)
    assert MaxNorm is RenormConstraint


def test_keras_names_the_constraint_that_is_missing_where_it_was_not_imported(tmp_path: Path) -> None:
    from renorm_cli.tf import RenormConstraint

    three_dense(kernel_constraint=RenormConstraint(LIMIT)).save(tmp_path / "m.keras")
    code = f"import keras\ntry: keras.models.load_model({str(tmp_path / 'm.keras')!r})\nexcept Exception as e: print(e)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'RenormConstraint'" in said
    assert "renorm_cli.tf" in said
    assert "unexpected keyword" not in said


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_check_finds_bounded_what_the_constraint_declares_and_bounded(ending: str, tmp_path: Path) -> None:
    from renorm_cli.api.verbs import check
    from renorm_cli.tf import RenormConstraint

    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(5, 3, kernel_constraint=RenormConstraint(0.4, p=1.0), name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(7, kernel_constraint=RenormConstraint(0.3), name="auto"),
            keras.layers.Dense(
                4,
                kernel_constraint=RenormConstraint(0.2, units=0, p="inf"),
                bias_constraint=RenormConstraint(0.1, units=()),
                name="said",
            ),
        ]
    )
    model.get_layer("said").bias.assign(np.full(4, 0.06))
    for weight in model.weights:
        weight.assign(weight if weight.constraint is None else weight.constraint(weight))
    path = tmp_path / f"m{ending}"
    model.save(path)
    found = check(path, declared=True)
    assert found.verdict == "holds"
    bounds = {"conv/kernel": (0.4, 1.0, (3,)), "auto/kernel": (0.3, 2.0, (1,)), "said/kernel": (0.2, math.inf, (0,))}
    asked = [(row.variable.name, row.step.constraint, row.step.unit_axes) for row in found.rows]
    said = {name: (constraint.limit, constraint.norm.p, axes) for name, constraint, axes in asked}
    assert said == bounds | {"said/bias": (0.1, 2.0, ())}
    for row in found.rows:
        weights = np.asarray(next(one for one in model.weights if one.path.endswith(row.variable.name)), np.float64)
        limit, p, axes = said[row.variable.name]
        units = np.moveaxis(weights, axes, range(len(axes))).reshape(*(weights.shape[axis] for axis in axes), -1)
        norms = np.linalg.norm(units, p, -1)
        assert row.norm.max == pytest.approx(norms.max(), rel=1e-12)
        assert norms.max() <= limit * (1 + 1e-15)
    model.get_layer("auto").kernel.assign(model.get_layer("auto").kernel * 1.001)
    model.save(path)
    worse = check(path, declared=True)
    assert (worse.verdict, [row.variable.name for row in worse.rows if row.over]) == ("violated", ["auto/kernel"])


def test_a_saved_model_loads_with_its_constraints_and_goes_on_within_the_bound(tmp_path: Path) -> None:
    from renorm_cli.tf import RenormConstraint

    model = three_dense(kernel_constraint=RenormConstraint(LIMIT))
    fit(model, "eager", epochs=1)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    fit(again, "eager", epochs=1)
    assert LIMIT * (1 - 2.0**-22) < max(largest_norm(layer.kernel) for layer in again.layers) <= LIMIT
    fit(keras.models.clone_model(model), "eager", epochs=1)


# The callback


@pytest.mark.parametrize("kind", keras_zoo.ZOO)
def test_the_callback_sees_the_variables_that_the_saved_file_holds_with_the_same_units(
    kind: str, tmp_path: Path
) -> None:
    from renorm_cli.training.live import variables_of

    model = keras_zoo.made("keras", kind)
    model.save(tmp_path / "model.keras")
    live = {np.asarray(weight.variable).tobytes(): weight.described for weight in variables_of(model)}
    checkpoint = open_checkpoint(tmp_path / "model.keras")
    seen = 0
    for variable in checkpoint.variables:
        if role_of(variable) not in ("kernel", "embedding"):
            continue
        block = Block((0,) * len(variable.shape), variable.shape)
        described = live[np.asarray(checkpoint.read(variable, block)).tobytes()]
        assert role_of(described) == role_of(variable)
        assert unit_axes(described)[0] == unit_axes(variable)[0]
        assert described.name.endswith(variable.name.rsplit("/", 1)[-1])
        seen += 1
    assert seen >= 2


def test_every_epoch_bounds_after_each_epoch_and_batches_run_free_between() -> None:
    from renorm_cli.tf import RenormCallback

    model = three_dense()
    watch, seen = after_each_batch(lambda: largest_norm(model.layers[2].kernel))
    history = fit(model, "compiled", [RenormCallback("third/kernel", max_norm=0.5, every="epoch"), watch])
    assert min(seen) > 0.5
    assert largest_norm(model.layers[2].kernel) <= 0.5
    assert history["renorm_clipped"] == [5, 5]


def test_logs_hold_the_clipped_units_of_the_batch_and_of_the_epoch_their_sum() -> None:
    from renorm_cli.tf import RenormCallback

    model = three_dense()
    counts: list[int] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: counts.append(logs["renorm_clipped"]))
    history = fit(model, "compiled", [RenormCallback(max_norm=LIMIT), watch])
    assert [sum(counts[:4]), sum(counts[4:])] == history["renorm_clipped"]
    assert sum(counts) > 0


def test_a_count_is_the_number_of_units_that_were_over() -> None:
    from renorm_cli.tf import RenormCallback

    model = three_dense()
    kernel = np.full((100, 5), 0.01, np.float32)
    kernel[:, 3:] = 9.0
    model.layers[2].kernel.assign(kernel)
    model.layers[2].trainable = False
    counts = fit(model, "compiled", [RenormCallback(["third/kernel"], max_norm=LIMIT)])["renorm_clipped"]
    assert counts == [2, 0]
    np.testing.assert_array_equal(np.asarray(model.layers[2].kernel)[:, :3], kernel[:, :3])


def test_without_patterns_kernels_and_embeddings_are_taken_and_exclude_takes_away() -> None:
    from renorm_cli.tf import RenormCallback

    start = keras.Input((4,))
    x = layers.Embedding(7, 6, name="words")(start)
    x = layers.LayerNormalization(name="norm")(layers.Dense(6, name="mix")(x))
    model = keras.Model(start, layers.Dense(2, name="out")(layers.Flatten()(x)))
    for weight in model.weights:
        weight.assign(tf.fill(weight.shape, 3.0))
    model.compile("sgd", "mse")
    callback = RenormCallback(max_norm=1.0, exclude="out/*")
    model.optimizer.learning_rate = 0.0
    model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0, callbacks=[callback])
    norms = {
        weight.path: largest_norm(weight, (0,) if "words" in weight.path else (1,))
        for weight in model.weights
        if len(weight.shape) == 2
    }
    assert 1 - 1e-6 < norms["words/embeddings"] <= 1
    assert 1 - 1e-6 < norms["mix/kernel"] <= 1
    assert norms["out/kernel"] > 5
    assert {float(np.asarray(weight).max()) for weight in model.weights if len(weight.shape) == 1} == {3.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include": ["*/kernl"]}, r"include '\*/kernl' matches none of the 6 variables; closest: '.*/kernel'"),
        ({"exclude": ["thrid/*"]}, r"exclude 'thrid/\*' matches none of the 6 variables; closest: 'third/"),
        ({"include": "*", "exclude": "*"}, "none of the 6 weights of the model is selected"),
        ({"include": "*/kernel", "units": 2}, "'first/kernel': units 2 is out of range for rank 2"),
        ({"include": "*/kernel", "units": (1, -1)}, "'first/kernel': units .* names one axis twice"),
    ],
)
def test_a_selection_that_fits_nothing_is_an_error_when_training_begins(options: dict[str, Any], said: str) -> None:
    from renorm_cli.tf import RenormCallback

    watch, seen = after_each_batch(lambda: 0.0)
    with pytest.raises(ValueError, match=said):
        fit(three_dense(), "compiled", [RenormCallback(max_norm=1.0, **options), watch])
    assert seen == []


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_norm": 0}, ValueError, "max_norm must be a finite number above 0"),
        ({"max_norm": 1.0, "every": "step"}, ValueError, "every must be 'batch' or 'epoch', got 'step'"),
        ({"max_norm": 1.0, "p": -1}, ValueError, "p must be from 1/512"),
        ({"max_norm": 1.0, "units": "last"}, ValueError, "units must be 'auto' or axes"),
        ({"max_norm": 1.0, "include": [3]}, TypeError, "include must be patterns such as"),
        ({"max_norm": 1.0, "include": None}, TypeError, r"include must be patterns such as '\*/kernel', got None"),
        ({"max_norm": 1.0, "exclude": 3}, TypeError, r"exclude must be patterns such as '\*/kernel', got 3"),
    ],
)
def test_arguments_of_the_callback_that_make_no_sense_are_errors_at_once(
    options: dict[str, Any], error: Any, said: str
) -> None:
    from renorm_cli.tf import RenormCallback

    with pytest.raises(error, match=said):
        RenormCallback(**options)


def test_a_variable_whose_units_nothing_tells_is_an_error_and_not_a_guess() -> None:
    from renorm_cli.tf import RenormCallback

    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), Custom((2, 3, 4), "w", None)], name="odd")
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 4)), np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"nothing tells which axes of 'custom/w', of shape \[2, 3, 4\]"):
        model.fit(x, y, verbose=0, callbacks=[RenormCallback("custom/w", max_norm=1.0)])
    model.fit(x, y, verbose=0, callbacks=[RenormCallback("custom/w", max_norm=1.0, units=(0, 2))])
    assert 1 - 1e-6 < largest_norm(model.layers[1].w, (0, 2)) <= 1


def test_a_model_that_fit_itself_builds_is_bounded_from_the_first_batch_on() -> None:
    from renorm_cli.tf import RenormCallback

    model = keras.Sequential([layers.Dense(30, name="a"), layers.Dense(5, name="b")])
    watch, seen = after_each_batch(lambda: max(largest_norm(layer.kernel) for layer in model.layers))
    fit(model, "compiled", [RenormCallback(["*/kernel"], max_norm=0.3), watch])
    assert len(seen) == 8
    assert max(seen) <= 0.3
    with pytest.raises(ValueError, match=r"include '\*/kernl' matches none"):
        fit(keras.Sequential([layers.Dense(5)]), "compiled", [RenormCallback(["*/kernl"], max_norm=0.3)])


def test_what_training_bounded_the_command_line_finds_bounded_and_leaves_as_it_is(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from renorm_cli.tf import RenormCallback

    model = three_dense()
    fit(model, "compiled", [RenormCallback(max_norm=LIMIT)])
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    assert CliRunner().invoke(app.app, ["check", str(path), "--max-norm", str(LIMIT)]).exit_code == 0
    out = tmp_path / "out.weights.h5"
    assert CliRunner().invoke(app.app, ["apply", str(path), "--max-norm", str(LIMIT), "-o", str(out)]).exit_code == 0
    assert out.read_bytes() == path.read_bytes()


# README


def examples() -> list[str]:
    """The Python blocks of the page on training."""
    section = TRAINING.read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(examples())))
def test_the_examples_of_readme_run_and_bound_what_they_say(number: int) -> None:
    found: dict[str, Any] = {"print": lambda *values: None}
    exec(compile(examples()[number], f"README example {number}", "exec"), found)  # a notebook would do no other
    if "x" not in found and "model" in found:
        model = found["model"]
        model.fit(np.random.default_rng(0).normal(size=(64, 784)) * 5, np.zeros((64, 5)), verbose=0)
    kernels = found.get("weights") or [layer.kernel for layer in found["model"].layers]
    assert 1.4999 < max(map(largest_norm, kernels)) <= 1.5
