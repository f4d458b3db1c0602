"""What configs declare, against the constraints that Keras' own variables have in the models that wrote them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import builders, keras_zoo
from support.effort import examples

from renorm_cli.formats.keras.constraints import parse_constraint
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.blocks import Block
from renorm_cli.model.variable import Declared, Variable

pytestmark = [
    pytest.mark.slow,
    *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS),
    pytest.mark.filterwarnings("ignore:The `keras.constraints.serialize:UserWarning"),
]

Make = Callable[[], Any]


def constraints_of(package: ModuleType) -> Make:
    """A new constraint at each call, of every kind and way to say its axis in turn; no two norms have one limit."""
    known, number = package.constraints, itertools.count(1)
    kinds: Iterator[Callable[[float], Any]] = itertools.cycle(
        [
            lambda limit: known.MaxNorm(limit),
            lambda limit: known.MinMaxNorm(limit / 2, limit, rate=0.5, axis=[0]),
            lambda limit: known.UnitNorm(axis=-1),
            lambda limit: known.MaxNorm(int(limit * 4), axis=(0, -1)),
            lambda limit: known.NonNeg(),
            lambda limit: known.MaxNorm(limit, axis=None),
            lambda limit: known.MinMaxNorm(max_value=limit),
        ]
    )
    return lambda: next(kinds)(next(number) / 4)


def own(make: Make, *names: str) -> dict[str, Any]:
    return {f"{name}_constraint": make() for name in (*names, "bias")}


def images(package: ModuleType, make: Make) -> Any:
    layers = package.layers
    start = package.Input((3, 6, 6, 2))
    x = layers.TimeDistributed(layers.Conv2D(3, 2, name="each", **own(make, "kernel")))(start)
    x = layers.ConvLSTM2D(2, 2, **own(make, "kernel", "recurrent"))(x)
    x = layers.BatchNormalization(gamma_constraint=make(), beta_constraint=make())(x)
    x = layers.Conv2DTranspose(3, 2, **own(make, "kernel"))(x)
    x = layers.SeparableConv2D(3, 2, **own(make, "depthwise", "pointwise"))(x)
    x = layers.DepthwiseConv2D(2, **own(make, "depthwise"))(x)
    x = layers.GroupNormalization(3, gamma_constraint=make())(x)
    return package.Model(start, layers.PReLU(alpha_constraint=make())(x))


def sequences(package: ModuleType, make: Make) -> Any:
    layers = package.layers
    recurrent = ("kernel", "recurrent")
    start = package.Input((6, 5))
    x = layers.MultiHeadAttention(2, 3, name="mha", **own(make, "kernel"))(start, start)
    outputs = [
        layers.Bidirectional(layers.LSTM(3, name="both", **own(make, *recurrent)), name="pair")(x),
        layers.Bidirectional(
            layers.GRU(3, name="ahead", **own(make, *recurrent)),
            backward_layer=layers.GRU(3, name="back", go_backwards=True, **own(make, *recurrent)),
            name="unlike",
        )(x),
        layers.SimpleRNN(2, recurrent_constraint=make())(x),
        layers.RNN([layers.GRUCell(3, **own(make, *recurrent)), layers.LSTMCell(2, **own(make, *recurrent))])(x),
        layers.RNN(layers.LSTMCell(2, name="my_cell", **own(make, *recurrent)))(x),
        layers.EinsumDense("abc,dc->abd", (None, 3), bias_axes="d", name="turned", **own(make, "kernel"))(start),
        layers.Conv1D(2, 2, **own(make, "kernel"))(start),
        layers.LayerNormalization(beta_constraint=make())(start),
    ]
    if package.__name__ == "keras":
        grouped = layers.GroupQueryAttention(3, 4, 2, name="gqa", **own(make, "kernel"))
        outputs.append(grouped(start, start))
    else:
        outputs.append(layers.LocallyConnected1D(2, 2, name="local", **own(make, "kernel"))(start))
    return package.Model(start, outputs)


def nested(package: ModuleType, make: Make) -> Any:
    """Models in models, and a layer that is used twice."""
    layers = package.layers
    both = layers.Dense(4, name="shared", **own(make, "kernel"))
    deep = package.Sequential([package.Input((4,)), layers.Dense(4, name="last", **own(make, "kernel"))], name="deep")
    inner = package.Sequential([package.Input((4,)), both, deep], name="inner")
    words = package.Input((4,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(9, 1, name="words", embeddings_constraint=make())(words))
    x = both(inner(x))
    return package.Model(words, layers.Dense(2, name="out", **own(make, "kernel"))(layers.Dense(4, name="free")(x)))


def namesakes(package: ModuleType, make: Make) -> Any:
    """Layers of one name in different models, with constraints of their own."""
    layers = package.layers
    start = package.Input((4,))
    x = start
    for name in ("first", "second"):
        dense = layers.Dense(4, name="project", **own(make, "kernel"))
        x = package.Sequential([package.Input((4,)), layers.Dense(4, name=f"free_{name}"), dense], name=name)(x)
    return package.Model(start, layers.Dense(4, name="project", **own(make, "kernel"))(x))


MODELS = {"images": images, "sequences": sequences, "nested": nested, "namesakes": namesakes}


def expected(constraint: Any) -> Declared | None:
    """The same from the live object."""
    if constraint is None:
        return None
    kind, config = type(constraint).__name__, constraint.get_config()
    if kind == "NonNeg":
        return Declared("NonNeg", kind)
    axis = config["axis"]
    axes = None if axis is None else tuple(np.atleast_1d(axis).tolist())
    limits = {"UnitNorm": (1.0, 1.0), "MaxNorm": (config.get("max_value"), None)}
    limit, low = limits.get(kind, (config.get("max_value"), config.get("min_value")))
    return Declared(kind, kind, limit, low, config.get("rate", 1.0), axes)  # type: ignore[arg-type]


def stored(path: Path) -> list[tuple[Variable, bytes]]:
    with open_checkpoint(path) as source:
        return [
            (each, source.read(each, Block((0,) * len(each.shape), each.shape)).tobytes())
            for each in source.variables
            if each.dtype == "float32"
        ]


SAVES: dict[str, Callable[[Any, Path], object]] = {
    "m.keras": lambda model, path: model.save(path),
    "m.h5": lambda model, path: model.save(path),
    "folder": lambda model, path: model.save(path, save_format="tf", save_traces=False),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("flavour", "name"),
    [("keras", "m.keras"), ("keras", "m.h5"), ("tf_keras", "m.keras"), ("tf_keras", "m.h5"), ("tf_keras", "folder")],
)
def test_every_variable_declares_the_constraint_that_keras_gave_it(
    flavour: str, name: str, kind: str, tmp_path: Path
) -> None:
    import keras
    import tf_keras

    package = keras if flavour == "keras" else tf_keras
    package.backend.clear_session()
    model = keras_zoo.scramble(MODELS[kind](package, constraints_of(package)))
    SAVES[name](model, tmp_path / name)
    live = {np.asarray(weight).tobytes(): expected(weight.constraint) for weight in model.weights}
    found = [(variable.name, variable.declared, live[data]) for variable, data in stored(tmp_path / name)]
    assert [(label, ours) for label, ours, _ in found] == [(label, real) for label, _, real in found]
    assert len(found) >= len(live)
    assert sum(declared is not None for _, declared, _ in found) > len(found) // 2


def save_one(package: ModuleType, layer: Any, path: Path) -> dict[str, Declared | None]:
    package.backend.clear_session()
    model = package.Sequential([package.Input((3,)), layer])
    model.save(path)
    return {variable.name: variable.declared for variable, _ in stored(path)}


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_constraint_of_a_custom_class_is_unknown_whatever_its_name(flavour: str, name: str, tmp_path: Path) -> None:
    package = pytest.importorskip(flavour)
    register = package.saving.register_keras_serializable if flavour == "keras" else None
    register = register or package.utils.register_keras_serializable

    class MaxNorm(package.constraints.Constraint):  # type: ignore[name-defined, misc]
        def __init__(self, max_value: float = 1.0, axis: int = 0) -> None:
            self.max_value = max_value

        def get_config(self) -> dict[str, Any]:
            return {"max_value": self.max_value}

    register("own")(MaxNorm)
    found = save_one(package, package.layers.Dense(2, kernel_constraint=MaxNorm(), name="d"), tmp_path / name)
    declared = found["d/kernel"]
    assert declared is not None
    assert (declared.kind, declared.limit, declared.problem) == ("unknown", None, "never run")
    assert declared.name.rpartition(">")[2] == "MaxNorm"
    assert found["d/bias"] is None


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("class_name", ["Mine", "Dense"])
def test_what_a_layer_of_a_custom_class_declares_is_of_no_known_weight(
    flavour: str, name: str, class_name: str, tmp_path: Path
) -> None:
    package = pytest.importorskip(flavour)
    register = package.saving.register_keras_serializable if flavour == "keras" else None
    register = register or package.utils.register_keras_serializable

    Mine = type(class_name, (package.layers.Dense,), {})
    register("own")(Mine)
    layer = Mine(2, kernel_constraint=package.constraints.MaxNorm(1.5), name="d")
    found = list(save_one(package, layer, tmp_path / name).values())
    problem = "nothing tells which weight of the layer it is for"
    assert found == [Declared("unknown", "MaxNorm", problem=problem)] * 2


MAX_NORM = Declared("MaxNorm", "MaxNorm", 2.0, axis=(0,))


@pytest.mark.parametrize(
    ("raw", "known"),
    [
        ({"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}, MAX_NORM),
        ({"class_name": "MaxNorm"}, MAX_NORM),
        ({"class_name": "MaxNorm", "config": None}, MAX_NORM),
        ({"module": "keras.constraints", "class_name": "MaxNorm", "config": {}, "registered_name": None}, MAX_NORM),
        ({"module": "keras.src.constraints.constraints", "class_name": "MaxNorm", "config": {}}, MAX_NORM),
        ("MaxNorm", MAX_NORM),
        ("max_norm", Declared("MaxNorm", "max_norm", 2.0, axis=(0,))),
        ("maxnorm", Declared("MaxNorm", "maxnorm", 2.0, axis=(0,))),
        ({"class_name": "unit_norm", "config": {"axis": [0, 1]}}, Declared("UnitNorm", "unit_norm", 1, 1, axis=(0, 1))),
        ("nonneg", Declared("NonNeg", "nonneg")),
        ("min_max_norm", Declared("MinMaxNorm", "min_max_norm", 1.0, 0.0, axis=(0,))),
        (
            {"class_name": "UnitNorm", "config": {"axis": {"class_name": "__tuple__", "items": [0, -2]}}},
            Declared("UnitNorm", "UnitNorm", 1.0, 1.0, axis=(0, -2)),
        ),
        ({"class_name": "MaxNorm", "config": {"axis": None}}, Declared("MaxNorm", "MaxNorm", 2.0, axis=None)),
        ({"class_name": "MaxNorm", "config": {"axis": []}}, Declared("MaxNorm", "MaxNorm", 2.0, axis=())),
    ],
)
def test_every_form_that_keras_writes_is_read(raw: object, known: Declared) -> None:
    assert parse_constraint(raw) == known


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("MaxNorm", {"max_value": float("nan")}, "max_value is not finite"),
        ("MaxNorm", {"max_value": float("inf")}, "max_value is not finite"),
        ("MaxNorm", {"max_value": 10**400}, "max_value is not finite"),
        ("MaxNorm", {"max_value": 0}, "max_value is 0.0, a number above 0"),
        ("MaxNorm", {"max_value": -1.5}, "max_value is -1.5, a number above 0"),
        ("MaxNorm", {"max_value": "2"}, "max_value is no number"),
        ("MaxNorm", {"max_value": True}, "max_value is no number"),
        ("MaxNorm", {"max_value": None}, "max_value is no number"),
        ("MaxNorm", {"max_value": [2]}, "max_value is no number"),
        ("MaxNorm", {"axis": 0.0}, "axis is neither an integer"),
        ("MaxNorm", {"axis": "0"}, "axis is neither an integer"),
        ("MaxNorm", {"axis": [0, None]}, "axis is neither an integer"),
        ("MaxNorm", {"axis": False}, "axis is neither an integer"),
        ("UnitNorm", {"axis": {"class_name": "__tuple__", "items": 3.5}}, "axis is neither an integer"),
        ("UnitNorm", {"axis": 10**40}, "axis is neither an integer"),
        ("UnitNorm", {"axis": list(range(99))}, "axis lists 99 axes"),
        ("UnitNorm", {"max_value": 1}, "no argument 'max_value'"),
        ("UnitNorm", {"dim": 1}, "no argument 'dim'"),
        ("NonNeg", {"axis": 0}, "no argument 'axis'"),
        ("MinMaxNorm", {"min_value": -0.5}, "min_value is -0.5, a number from 0 to max_value 1.0"),
        ("MinMaxNorm", {"min_value": 2, "max_value": 1}, "min_value is 2.0, a number from 0 to max_value 1.0"),
        ("MinMaxNorm", {"rate": 0}, "rate is 0.0, a number above 0 and at most 1"),
        ("MinMaxNorm", {"rate": 1.5}, "rate is 1.5, a number above 0 and at most 1"),
        ("MinMaxNorm", {"rate": float("nan")}, "rate is not finite"),
        ("MaxNorm", [1], "its config is no object"),
        ("MaxNorm", "x", "its config is no object"),
        ("RadialConstraint", {}, "never run"),
        ("own>MaxNorm", {}, "never run"),
    ],
)
def test_a_value_that_bounds_nothing_is_unknown_and_says_why(name: str, arguments: object, problem: str) -> None:
    found = parse_constraint({"class_name": name, "config": arguments})
    assert (found.kind, found.name, found.limit, found.low) == ("unknown", name, None, None)
    assert problem in (found.problem or "")
    assert "\n" not in found.text


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("square", "square"),
        ({"module": "builtins", "class_name": "function", "config": "clip", "registered_name": "function"}, "clip"),
        ({"class_name": "__lambda__", "config": {"value": "4wEA"}}, "__lambda__"),
        ({"module": "mine", "class_name": "NonNeg", "config": {}, "registered_name": "NonNeg"}, "NonNeg"),
        (3, "int"),
        ([], "list"),
        ({}, "dict"),
        ({"class_name": 5}, "dict"),
        ("x" * 10_000, "x" * 200),
    ],
)
def test_what_is_no_constraint_of_keras_is_unknown_by_its_name(raw: object, name: str) -> None:
    assert parse_constraint(raw) == Declared("unknown", name, problem="never run")


OURS = {"module": "renorm_cli.tf", "class_name": "RenormConstraint", "registered_name": "renorm_ckpt>RenormConstraint"}
FORMER = {"module": "renorm_cli.tf", "class_name": "MaxNorm", "registered_name": "renorm_ckpt>MaxNorm"}


@pytest.mark.parametrize("written", [OURS, FORMER, {"class_name": "renorm_ckpt>MaxNorm"}])
@pytest.mark.parametrize(
    ("config", "units", "p", "text"),
    [
        ({"limit": 1.5, "units": "auto", "p": 2.0}, "auto", 2.0, "RenormConstraint(1.5, units auto, p 2)"),
        ({"limit": 1.5, "units": [-1], "p": "inf"}, (-1,), math.inf, "RenormConstraint(1.5, units -1, p inf)"),
        ({"limit": 1.5, "units": [], "p": 1}, (), 1.0, "RenormConstraint(1.5, units none, p 1)"),
        ({"limit": 1.5}, "auto", 2.0, "RenormConstraint(1.5, units auto, p 2)"),
    ],
)
def test_the_constraint_of_this_project_is_known_under_both_its_names(
    written: dict[str, Any], config: dict[str, Any], units: object, p: float, text: str
) -> None:
    found = parse_constraint({**written, "config": config})
    assert (found.kind, found.limit, found.units, found.p) == ("RenormConstraint", 1.5, units, p)
    assert found.text == text


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "limit is no number"),
        ({"limit": 0}, "limit is 0.0, a number above 0 is expected"),
        ({"limit": 1, "p": 0}, "p must be from 1/512"),
        ({"limit": 1, "p": "two"}, "p is no number"),
        ({"limit": 1, "units": None}, "units is null"),
        ({"limit": 1, "units": [0.5]}, "axis is neither an integer nor a list of integers"),
        ({"limit": 1, "max_value": 2}, "it has no argument 'max_value'"),
    ],
)
def test_of_the_constraint_of_this_project_too_a_value_that_bounds_nothing_is_unknown(
    config: dict[str, Any], problem: str
) -> None:
    found = parse_constraint({**OURS, "config": config})
    assert (found.kind, found.limit) == ("unknown", None)
    assert problem in (found.problem or "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(
    st.sampled_from(["max_value", "min_value", "rate", "axis", "class_name", "items", "limit", "units", "p"]),
    json_values,
    max_size=4,
)
declarations = json_values | st.fixed_dictionaries(
    {"class_name": st.sampled_from(["MaxNorm", "MinMaxNorm", "UnitNorm", "NonNeg", *OURS.values()]) | json_values},
    optional={"config": arguments | json_values, "module": json_values, "registered_name": json_values},
)


@settings(max_examples=examples(400), deadline=None)
@given(raw=declarations)
def test_no_json_makes_it_raise_and_what_is_known_is_sound(raw: object) -> None:
    found = parse_constraint(json.loads(json.dumps(raw)))
    assert found.text.isprintable() or found.kind != "unknown"
    if found.kind == "unknown":
        assert found.limit is None
        assert found.problem
    elif found.kind != "NonNeg":
        assert found.limit is not None
        assert 0 < found.limit < float("inf")
        assert 0 <= (found.low or 0) <= found.limit


def test_a_quantized_layer_and_the_optimizer_declare_nothing(tmp_path: Path) -> None:
    weights = {"hidden": {"kernel": np.ones((4, 3), np.int8), "bias": np.ones(3, np.float32)}}
    declared = {"class_name": "MaxNorm", "config": {}}
    layer = builders.layer_config("Dense", "hidden", units=3, kernel_constraint=declared, bias_constraint=declared)
    config = builders.sequential_config([layer])
    slots = {"adam/hidden/kernel": np.ones((4, 3), np.float32)}
    builders.write_legacy(tmp_path / "m.h5", weights, config=config, optimizer=slots)
    builders.write_keras(tmp_path / "m.keras", config, builders.v3_layers(weights))
    for name in ("m.h5", "m.keras"):
        assert all(variable.declared is None or variable.state for variable, _ in stored(tmp_path / name))
