"""The table of Keras layers, against the layers themselves."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from renorm_cli.conventions.keras.layers import CONTAINERS, LAYERS, class_from_name, find_weight, snake_case
from renorm_cli.conventions.keras.stored import cell_class, holds_quantized, is_quantized, stored_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:keras|tf_keras|tensorflow|google",
        "ignore:You passed `rms_scaling=True`:UserWarning",
    ),
]

LINE, GRID, CUBE = (6, 4), (6, 5, 4), (6, 5, 4, 3)
MADE: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("Dense", {"units": 3}, (4,)),
    ("Dense", {"units": 3, "use_bias": False}, (4,)),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 3)}, LINE),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d"}, LINE),
    ("Embedding", {"input_dim": 7, "output_dim": 3}, (6,)),
    ("ReversibleEmbedding", {"input_dim": 7, "output_dim": 3}, (6,)),
    ("ReversibleEmbedding", {"input_dim": 7, "output_dim": 3, "tie_weights": False}, (6,)),
    *((f"Conv{n}D", {"filters": 2, "kernel_size": 2}, shape) for n, shape in enumerate((LINE, GRID, CUBE), 1)),
    *((f"Conv{n}DTranspose", {"filters": 2, "kernel_size": 2}, shape) for n, shape in enumerate((LINE, GRID, CUBE), 1)),
    *((f"DepthwiseConv{n}D", {"kernel_size": 2, "depth_multiplier": 2}, s) for n, s in enumerate((LINE, GRID), 1)),
    *((f"SeparableConv{n}D", {"filters": 2, "kernel_size": 2}, shape) for n, shape in enumerate((LINE, GRID), 1)),
    *(
        (f"{name}Cell", {"units": 3, "use_bias": bias}, (4,))
        for name in ("SimpleRNN", "LSTM", "GRU")
        for bias in (0, 1)
    ),
    ("Attention", {"use_scale": True, "score_mode": "concat"}, (LINE, LINE)),
    ("Attention", {}, (LINE, LINE)),
    ("AdditiveAttention", {}, (LINE, LINE)),
    *(
        (name, {"scale": scale, "center": center}, LINE)
        for name in ("BatchNormalization", "LayerNormalization")
        for scale, center in itertools.product((True, False), repeat=2)
    ),
    ("BatchNormalization", {"renorm": True}, LINE),
    ("LayerNormalization", {"axis": [1, 2]}, LINE),
    ("LayerNormalization", {"rms_scaling": True}, LINE),
    ("GroupNormalization", {"groups": 2, "center": False}, LINE),
    ("RMSNormalization", {}, LINE),
    ("UnitNormalization", {}, LINE),
    ("PReLU", {}, LINE),
    ("Normalization", {}, LINE),
    ("Normalization", {"mean": 0.0, "variance": 1.0}, LINE),
    *(
        ("STFTSpectrogram", {"mode": mode, "frame_length": 4, "frame_step": 2, "window": None}, (16, 1))
        for mode in ("log", "real", "imag")
    ),
    ("LocallyConnected1D", {"filters": 2, "kernel_size": 2}, LINE),
    *(("LocallyConnected2D", {"filters": 2, "kernel_size": 2, "implementation": way}, GRID) for way in (1, 2, 3)),
    ("RandomFourierFeatures", {"output_dim": 3}, (4,)),
]
"""Layers with the arguments they are made with and the shape of what goes in, without the batch."""


@pytest.fixture(scope="module")
def flavours() -> list[ModuleType]:
    import keras
    import tf_keras

    return [keras, tf_keras]


def layer_classes(keras: ModuleType) -> dict[str, type]:
    everything = dict(inspect.getmembers(keras.layers, inspect.isclass))
    everything.update(inspect.getmembers(getattr(keras.layers, "experimental", None), inspect.isclass))
    return {name: item for name, item in everything.items() if issubclass(item, keras.layers.Layer)}


def built(keras: ModuleType, name: str, arguments: dict[str, Any], shape: tuple[Any, ...]) -> Any | None:
    """The layer with its weights, or None where this Keras has no such layer or argument."""
    layer_class = layer_classes(keras).get(name)
    if layer_class is None:
        return None
    known = set(inspect.signature(layer_class.__init__).parameters)
    if "rms_scaling" in inspect.getsource(layer_class):
        known.add("rms_scaling")
    if not set(arguments) <= known:
        return None
    layer = layer_class(**arguments)
    batched = [(2, *one) for one in shape] if isinstance(shape[0], tuple) else (2, *shape)
    layer.build(batched)
    return layer


def stored(layer: Any) -> list[Any]:
    """The layer's own weights in storing order (`Layer.save_own_variables`)."""
    if hasattr(layer, "_trainable_variables"):
        return list(layer._trainable_variables + layer._non_trainable_variables)
    return list(layer._trainable_weights + layer._non_trainable_weights)


def own_name(weight: Any) -> str:
    return str(weight.name).rpartition("/")[2].removesuffix(":0")


def test_snake_case_is_keras_own_rule_for_all_layer_classes(flavours: list[ModuleType]) -> None:
    from keras.src.utils.naming import to_snake_case

    for keras in flavours:
        names = {item.__name__ for item in layer_classes(keras).values()}
        assert len(names) > 100
        assert {name: snake_case(name) for name in names} == {name: to_snake_case(name) for name in names}


@pytest.mark.parametrize("made", MADE, ids=lambda made: f"{made[0]}-{'-'.join(map(str, made[1].values()))}")
def test_the_table_lists_the_weights_of_a_layer_in_storing_order(
    flavours: list[ModuleType], made: tuple[str, dict[str, Any], tuple[Any, ...]]
) -> None:
    seen = 0
    for keras in flavours:
        layer = built(keras, *made)
        if layer is None:
            continue
        seen += 1
        weights = stored(layer)
        shapes = [tuple(weight.shape) for weight in weights]
        names = stored_weights(made[0], shapes, layer.get_config())
        assert names is not None
        found = [find_weight(made[0], own_name(weight)) for weight in weights]
        assert list(names) == [weight.name if weight else None for weight in found]
        open_names = stored_weights(made[0], shapes)
        assert open_names is not None
        for name, open_name in zip(names, open_names, strict=True):
            assert name in open_name.split("_or_")
    assert seen


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"])
def test_recurrent_layers_keep_the_weights_of_the_table_in_their_cell(flavours: list[ModuleType], name: str) -> None:
    arguments = {"filters": 2, "kernel_size": 2} if "Conv" in name else {"units": 3}
    shape = (5, *((6, 4), (6, 5, 4), (6, 5, 4, 3))[int(name[-2]) - 1]) if "Conv" in name else (5, 4)
    for keras in flavours:
        layer = getattr(keras.layers, name)(**arguments)
        layer(np.zeros((1, *shape), "float32"))
        weights = stored(layer.cell)
        shapes = [tuple(weight.shape) for weight in weights]
        assert stored_weights(name, shapes, layer.get_config(), "cell") == tuple(own_name(item) for item in weights)
        assert stored_weights(name, []) == ()
        expected = "ConvLSTMCell" if "Conv" in name else f"{name}Cell"
        assert cell_class(shapes) == type(layer.cell).__name__ == expected


def test_attention_keeps_the_weights_of_the_table_in_its_parts(flavours: list[ModuleType]) -> None:
    keras = flavours[0]
    layer = keras.layers.MultiHeadAttention(2, 3, value_dim=5, use_gate=True)
    layer.build((1, 6, 4), (1, 6, 4))
    for attribute, part in (("query", "query"), ("gate", "gate"), ("output", "attention_output")):
        weights = stored(getattr(layer, f"_{attribute}_dense"))
        names = stored_weights("MultiHeadAttention", [tuple(item.shape) for item in weights], {}, part)
        assert names == tuple(f"{part}/{own_name(item)}" for item in weights)


def test_every_layer_of_keras_with_weights_is_in_the_table(flavours: list[ModuleType]) -> None:
    made = {name for name, _, _ in MADE} | {"SpectralNormalization", "MultiHeadAttention", "GroupedQueryAttention"}
    for keras in flavours:
        adding = {item.__name__ for item in layer_classes(keras).values() if adds_weights(item, keras)}
        assert adding - set(LAYERS) == set()
        assert adding - made - {"SyncBatchNormalization", "Discretization", "DynamicLookup"} == set()


def adds_weights(layer_class: type, keras: ModuleType) -> bool:
    """Whether the class or one it is made from, short of Layer itself, calls add_weight."""
    lineage = list(itertools.takewhile(lambda item: item is not keras.layers.Layer, layer_class.__mro__))
    return any("add_weight(" in inspect.getsource(item).split("quantized_build")[0] for item in _own(lineage))


def _own(lineage: list[type]) -> Iterator[type]:
    for item in lineage:
        if item.__module__.startswith(("keras.src.layers", "tf_keras.src.layers")) and "rnn" not in item.__module__:
            yield item


@pytest.mark.parametrize("name", sorted({*LAYERS, *CONTAINERS}))
def test_default_names_tell_the_class(name: str) -> None:
    assert class_from_name(snake_case(name)) == name
    assert class_from_name(f"{snake_case(name)}_17") == name


@pytest.mark.parametrize(
    "name", ["", "head", "dense_", "dense_a", "my_dense", "dense1", "Dense", "dense/0", "dense_1_1", "dense_\u0661"]
)
def test_other_names_tell_no_class(name: str) -> None:
    assert class_from_name(name) is None


def test_a_name_stays_open_where_only_the_config_would_tell_it() -> None:
    assert stored_weights("BatchNormalization", [(4,)] * 3) == ("gamma_or_beta", "moving_mean", "moving_variance")
    assert stored_weights("BatchNormalization", [(4,)] * 3, {"scale": False})[:1] == ("beta",)  # type: ignore[index]


def test_arrays_a_class_never_stores_are_refused() -> None:
    assert stored_weights("Dense", [(3, 3, 4, 2)]) is None
    assert stored_weights("Dense", [(3, 4), (4,), (4,)]) is None
    assert stored_weights("Nothing", [(3, 4)]) is None
    assert cell_class([(4, 12), (3, 13)]) is None
    assert cell_class([(4, 12), (0, 12)]) is None
    assert cell_class([(4,), (3,)]) is None


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_layers_are_told_by_config_and_by_what_they_store(flavours: list[ModuleType], mode: str) -> None:
    keras = flavours[0]
    for layer, shape in ((keras.layers.Dense(8), (1, 16)), (keras.layers.Embedding(8, 16), (1, 3))):
        if mode == "float8" and type(layer).__name__ == "Embedding":
            continue
        layer.build(shape)
        name = type(layer).__name__
        before = stored(layer)
        assert not is_quantized(layer.get_config())
        assert not holds_quantized(name, [tuple(item.shape) for item in before], [str(item.dtype) for item in before])
        layer.quantize(mode)
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        arrays = [np.asarray(value) for value in store.values()]
        assert is_quantized(keras.saving.serialize_keras_object(layer)["config"])
        assert holds_quantized(name, [item.shape for item in arrays], [item.dtype.name for item in arrays])
