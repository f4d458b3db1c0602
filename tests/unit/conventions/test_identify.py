"""Roles and unit axes, against what single weights of real layers do."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import keras_zoo
from support.variables import keras_variable

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.conventions.keras.layers import LAYERS, TELLING
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Variable

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

LINE, GRID, CUBE = (5, 2), (4, 4, 2), (3, 3, 3, 2)
MEASURED: list[tuple[str, dict[str, Any], tuple[int, ...], str]] = [
    ("Dense", {"units": 3}, (4,), "all"),
    ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 2, 3)}, LINE, "all"),
    ("EinsumDense", {"equation": "abcd,cde->abe", "output_shape": (None, 3)}, (3, 2, 4), "all"),
    ("EinsumDense", {"equation": "abc,dc->abd", "output_shape": (None, 3)}, LINE, "all"),
    ("EinsumDense", {"equation": "abc,bcd->abd", "output_shape": (5, 3)}, LINE, "all"),
    *((f"Conv{n}D", {"filters": 3, "kernel_size": 2}, s, "last") for n, s in enumerate((LINE, GRID, CUBE), 1)),
    ("Conv2D", {"filters": 4, "kernel_size": 2, "groups": 2}, GRID, "last"),
    *((f"Conv{n}DTranspose", {"filters": 3, "kernel_size": 2}, s, "last") for n, s in enumerate((LINE, GRID, CUBE), 1)),
    *(
        (f"DepthwiseConv{n}D", {"kernel_size": 2, "depth_multiplier": 2}, s, "last")
        for n, s in enumerate((LINE, GRID), 1)
    ),
    ("LocallyConnected1D", {"filters": 2, "kernel_size": 2}, LINE, "all"),
    ("LocallyConnected1D", {"filters": 2, "kernel_size": 2, "implementation": 2}, LINE, "all"),
    ("LocallyConnected2D", {"filters": 2, "kernel_size": 2}, GRID, "all"),
    ("LocallyConnected2D", {"filters": 2, "kernel_size": 2, "implementation": 2}, GRID, "all"),
]
"""Layers without activation, the shape of what goes in, and which output axes tell channels apart.

Convolutions use a weight at many places, so their last axis only.
"""


def variable(shape: tuple[int, ...], **told: Any) -> Variable:
    return keras_variable("it", "it", shape, **told)


@pytest.fixture(scope="module")
def packages() -> list[ModuleType]:
    import keras
    import tf_keras

    return [keras, tf_keras]


def reached(layer: Any, weight: Any, x: Any, axes: str) -> dict[tuple[int, ...], frozenset[tuple[int, ...]]]:
    """For each entry of the weight, the output channels that change when the entry does."""
    values = np.asarray(weight).copy()
    before = np.asarray(layer(x))
    found = {}
    for place in np.ndindex(values.shape):
        changed = values.copy()
        changed[place] += 1
        weight.assign(changed)
        outputs = np.argwhere(np.asarray(layer(x)) != before)
        found[place] = frozenset(tuple(map(int, row[1:] if axes == "all" else row[-1:])) for row in outputs)
    weight.assign(values)
    return found


@pytest.mark.parametrize("made", MEASURED, ids=lambda made: f"{made[0]}-{'-'.join(map(str, made[1].values()))}")
def test_a_unit_is_what_reaches_one_output(
    packages: list[ModuleType], made: tuple[str, dict[str, Any], tuple[int, ...], str]
) -> None:
    name, arguments, shape, axes = made
    seen = 0
    for keras in packages:
        if not hasattr(keras.layers, name):
            continue
        seen += 1
        layer = getattr(keras.layers, name)(**arguments)
        x = np.random.default_rng(0).uniform(1, 2, (1, *shape)).astype("float32")
        layer(x)
        weight = layer.weights[0]
        own = str(weight.name).rpartition("/")[2].removesuffix(":0")
        told = variable(tuple(weight.shape), layer=name, weight=own, equation=arguments.get("equation"))
        unit, source = unit_axes(told)
        assert source == "layer"
        assert role_of(told) == "kernel"
        outputs: dict[tuple[int, ...], set[frozenset[tuple[int, ...]]]] = {}
        for place, changed in reached(layer, weight, x, axes).items():
            if changed:  # weights that LocallyConnected masks reach nothing
                outputs.setdefault(tuple(place[axis] for axis in unit), set()).add(changed)
        assert all(len(changed) == 1 for changed in outputs.values())
        assert len({next(iter(changed)) for changed in outputs.values()}) == len(outputs) > 1
    assert seen


TABLE: list[tuple[str, str, tuple[int, ...], tuple[int, ...]]] = [
    ("SeparableConv1D", "depthwise_kernel", (3, 4, 2), (1, 2)),
    ("SeparableConv2D", "depthwise_kernel", (3, 3, 4, 2), (2, 3)),
    ("SeparableConv2D", "pointwise_kernel", (1, 1, 8, 5), (3,)),
    *((name, "kernel", (4, 12), (1,)) for name in ("SimpleRNN", "LSTM", "GRU", "LSTMCell", "GRUCell")),
    *((name, "recurrent_kernel", (3, 12), (1,)) for name in ("SimpleRNN", "LSTM", "GRU", "LSTMCell", "GRUCell")),
    ("ConvLSTM2D", "recurrent_kernel", (2, 2, 3, 12), (3,)),
    ("MultiHeadAttention", "query/kernel", (6, 2, 3), (1, 2)),
    ("MultiHeadAttention", "attention_output/kernel", (2, 3, 6), (2,)),
    ("MultiHeadAttention", "attention_output/kernel", (2, 3, 4, 5), (2, 3)),
    ("GroupedQueryAttention", "key/kernel", (6, 1, 3), (1, 2)),
    ("Embedding", "embeddings", (9, 4), (0,)),
    ("ReversibleEmbedding", "embeddings", (9, 4), (0,)),
    ("ReversibleEmbedding", "reverse_embeddings", (4, 9), (1,)),
]


@pytest.mark.parametrize(("layer", "weight", "shape", "axes"), TABLE)
def test_units_by_convention_are_those_of_the_published_table(
    layer: str, weight: str, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    assert unit_axes(variable(shape, layer=layer, weight=weight)) == (axes, "layer")
    assert unit_axes(variable(shape, layer=layer, weight=weight, source="name")) == (axes, "name")
    assert unit_axes(variable(shape, layer=layer, weight=f"deep/inside/{weight}")) == (axes, "layer")
    if weight in TELLING:
        assert unit_axes(variable(shape, weight=weight)) == (axes, "name")


@pytest.mark.parametrize(
    ("shape", "weight", "expected"),
    [
        ((3, 4), "kernel", ((1,), "name")),
        ((3, 3, 4, 5), "kernel", ((3,), "guess")),
        ((3, 4), None, ((1,), "guess")),
        ((3, 4), "whatever", ((1,), "guess")),
        ((7,), "kernel", ((), "guess")),
        ((), "kernel", ((), "guess")),
        ((9, 4), "embeddings", ((0,), "name")),
        ((9, 4, 2), "embeddings", ((2,), "guess")),
        ((2, 3), "depthwise_kernel", ((1,), "guess")),
        ((2, 3), "query/kernel", ((1,), "name")),
        ((4, 2, 3), "query/kernel", ((2,), "guess")),
        ((2, 3, 4), "attention_output/kernel", ((2,), "guess")),
    ],
)
def test_without_a_layer_the_weights_own_name_tells_else_it_is_a_guess(
    shape: tuple[int, ...], weight: str | None, expected: tuple[tuple[int, ...], str]
) -> None:
    assert unit_axes(variable(shape, weight=weight)) == expected


def test_an_einsum_without_its_equation_is_a_guess() -> None:
    for equation in (None, "abc,cde->abde", "nonsense"):
        told = variable((3, 4), layer="EinsumDense", weight="kernel", equation=equation)
        assert unit_axes(told) == ((1,), "guess")


def test_a_layer_whose_kernels_never_have_this_rank_is_not_believed() -> None:
    assert unit_axes(variable((3, 3, 4, 5), layer="Dense", weight="kernel")) == ((3,), "guess")
    assert unit_axes(variable((3, 4), layer="Conv2DTranspose", weight="kernel")) == ((1,), "name")


@given(
    st.lists(st.integers(0, 5), max_size=7).map(tuple),
    st.none() | st.sampled_from([*LAYERS, "Mine"]),
    st.none() | st.sampled_from([*TELLING, "kernel", "a/b/c", ""]),
    st.none() | st.text("abc,->.", max_size=12),
)
def test_unit_axes_are_sorted_distinct_and_inside_the_rank(
    shape: tuple[int, ...], layer: str | None, weight: str | None, equation: str | None
) -> None:
    axes, _ = unit_axes(variable(shape, layer=layer, weight=weight, equation=equation))
    assert list(axes) == sorted(set(axes))
    assert all(0 <= axis < len(shape) for axis in axes)


@pytest.mark.parametrize(
    ("told", "role"),
    [
        ({"weight": "kernel"}, "kernel"),
        ({"weight": "x/lstm_cell/recurrent_kernel"}, "kernel"),
        ({"weight": "embeddings"}, "embedding"),
        ({"weight": "bias", "layer": "GRU"}, "bias"),
        ({"weight": "query/bias", "layer": "MultiHeadAttention"}, "bias"),
        ({"weight": "gamma"}, "scale"),
        ({"weight": "gamma_or_beta", "layer": "BatchNormalization"}, "scale"),
        ({"weight": "beta"}, "bias"),
        ({"weight": "moving_mean"}, "statistic"),
        ({"weight": "mean", "layer": "Normalization"}, "statistic"),
        ({"weight": "scale", "layer": "AdditiveAttention"}, "scale"),
        ({"weight": "alpha", "layer": "PReLU"}, "scale"),
        ({"weight": "vector_u", "layer": "SpectralNormalization"}, "state"),
        ({"weight": "real_kernel", "layer": "STFTSpectrogram"}, "state"),
        ({"weight": "kernel_scale", "layer": "Dense"}, "quantized"),
        ({"weight": "kernel_scale", "layer": "RandomFourierFeatures"}, "scale"),
        ({"weight": "inputs_amax_history"}, "quantized"),
        ({"weight": "lora_kernel_a", "layer": "Dense"}, "lora"),
        ({"weight": "kernel", "state": "optimizer"}, "optimizer"),
        ({"weight": "kernel", "state": "quantized"}, "quantized"),
        ({"weight": "my_matrix"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_role_is_the_files_word_then_the_layers_then_the_names(told: dict[str, Any], role: Role) -> None:
    assert role_of(variable((3, 4), **told)) == role


def test_of_what_keras_stores_only_kernels_and_embeddings_could_be_selected() -> None:
    selected = {
        weight.name for weights in LAYERS.values() for weight in weights if weight.role in ("kernel", "embedding")
    }
    assert {name.rpartition("/")[2] for name in selected} == {
        "kernel",
        "recurrent_kernel",
        "depthwise_kernel",
        "pointwise_kernel",
        "embeddings",
        "reverse_embeddings",
    }
