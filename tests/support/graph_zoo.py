"""Models of many layer variants, and what their layer objects say of each weight; names that tell nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from renorm_cli.conventions.keras import einsum_units, find_weight
from support import keras_zoo

WARNINGS = keras_zoo.WARNINGS


class Truth(NamedTuple):
    """What a layer object tells of one of its weights; `units` is None where it has no kernel or embedding."""

    layer: str
    weight: str
    role: str
    shape: tuple[int, ...]
    units: tuple[int, ...] | None


_VECTOR, _SERIES, _LINE, _IMAGE, _VOLUME, _WORDS = (6,), (5, 6), (8, 4), (8, 8, 4), (6, 6, 6, 3), (5,)
_FILM = (3, 8, 8, 3)
_PLACES = ((1, _LINE), (2, _IMAGE), (3, _VOLUME))
_CONVS: list[dict[str, Any]] = [{}, {"padding": "same", "use_bias": False}, {"strides": 2}, {"dilation_rate": 2}]
_TRANSPOSED: list[dict[str, Any]] = [{}, {"strides": 2, "padding": "same"}]
_RECURRENT: list[dict[str, Any]] = [{}, {"return_sequences": True, "go_backwards": True}, {"use_bias": False}]

Make = Callable[[str], Any]
"""Of a layer, by its name."""


def variants(keras: ModuleType) -> list[tuple[tuple[int, ...], Make]]:
    """The shape of the input without the batch, and the maker, of every variant that the flavour of Keras has."""
    layers = keras.layers

    def of(kind: str, *args: Any, **options: Any) -> Make:
        return lambda name: getattr(layers, kind)(*args, name=name, **options)

    def wrapped(kind: str, inner: Make, **options: Any) -> Make:
        return lambda name: getattr(layers, kind)(inner(f"{name}i"), name=name, **options)

    def itself(kind: str, *args: Any, **options: Any) -> Make:
        return lambda name: _Itself(getattr(layers, kind)(*args, name=name, **options))

    def cells(name: str) -> Any:
        return layers.RNN([layers.LSTMCell(7, name=f"{name}a"), layers.GRUCell(5, name=f"{name}b")], name=name)

    found: list[tuple[tuple[int, ...], Make]] = [
        (_VECTOR, of("Dense", 5)),
        (_VECTOR, of("Dense", 5, use_bias=False, activation="relu")),
        (_SERIES, of("Dense", 5)),
        (_IMAGE, of("Dense", 5)),
        (_SERIES, wrapped("TimeDistributed", of("Dense", 7))),
        (_VECTOR, of("EinsumDense", "ab,bc->ac", 5, bias_axes="c")),
        (_SERIES, of("EinsumDense", "abc,cd->abd", (None, 7), bias_axes="d")),
        (_SERIES, of("EinsumDense", "abc,dc->abd", (None, 7))),
        (_SERIES, of("EinsumDense", "abc,cde->abde", (None, 2, 3), bias_axes="de")),
        (_SERIES, of("EinsumDense", "abc,bcd->abd", (5, 7))),
        (_SERIES, of("EinsumDense", "...x,xy->...y", (7,))),
        (_WORDS, of("Embedding", 11, 7)),
        (_WORDS, of("Embedding", 11, 7, mask_zero=True)),
        (_LINE, of("Conv1D", 8, 3, groups=2)),
        (_IMAGE, of("Conv2D", 8, 3, groups=2)),
        (_IMAGE, of("Conv2D", 7, 1)),
        (_IMAGE, of("Conv2D", 7, (1, 3), padding="same", activation="relu")),
        (_IMAGE, of("DepthwiseConv2D", 3, strides=2, padding="same", use_bias=False)),
        (_SERIES, of("GRU", 7, reset_after=False)),
        (_SERIES, wrapped("Bidirectional", of("GRU", 7))),
        (_SERIES, wrapped("Bidirectional", of("LSTM", 7, return_sequences=True), merge_mode="sum")),
        (_SERIES, cells),
        ((4, 8, 4), of("ConvLSTM1D", 7, 3)),
        (_FILM, of("ConvLSTM2D", 7, 3)),
        (_FILM, of("ConvLSTM2D", 7, 3, return_sequences=True, padding="same")),
        (_SERIES, itself("MultiHeadAttention", num_heads=2, key_dim=3)),
        (_SERIES, itself("MultiHeadAttention", 2, 3, value_dim=5, output_shape=7, use_bias=False)),
        (_IMAGE, itself("MultiHeadAttention", num_heads=2, key_dim=3, attention_axes=(1, 2))),
        (_SERIES, itself("Attention", use_scale=True, score_mode="concat")),
        (_SERIES, itself("AdditiveAttention")),
        (_IMAGE, of("BatchNormalization")),
        (_VECTOR, of("BatchNormalization", scale=False)),
        (_SERIES, of("LayerNormalization")),
        (_IMAGE, of("GroupNormalization", 2)),
        (_SERIES, of("PReLU")),
        (_IMAGE, of("PReLU", shared_axes=(1, 2))),
    ]
    for n, shape in _PLACES:
        found += [(shape, of(f"Conv{n}D", 7, 3, **options)) for options in _CONVS]
        found += [(shape, of(f"Conv{n}DTranspose", 7, 3, **options)) for options in _TRANSPOSED]
    for n, shape in _PLACES[:2]:
        for multiplier in (1, 2):
            found.append((shape, of(f"DepthwiseConv{n}D", 3, depth_multiplier=multiplier)))
            found.append((shape, of(f"SeparableConv{n}D", 7, 3, depth_multiplier=multiplier)))
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        found += [(_SERIES, of(kind, 7, **options)) for options in _RECURRENT]
    if keras.__name__ == "keras":
        found += [
            (_SERIES, itself("GroupQueryAttention", 4, 2, 1)),
            (_WORDS, of("ReversibleEmbedding", 11, 7)),
            (_SERIES, of("RMSNormalization")),
            (_VECTOR, wrapped("SpectralNormalization", of("Dense", 5))),
            (_IMAGE, wrapped("SpectralNormalization", of("Conv2D", 5, 3))),
        ]
    else:
        found += [
            (_LINE, of("LocallyConnected1D", 7, 3)),
            (_LINE, of("LocallyConnected1D", 7, 3, implementation=2)),
            (_IMAGE, of("LocallyConnected2D", 7, 3)),
        ]
    return found


class _Itself:
    """A layer that attends to its own input."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        takes_a_list = type(self.layer).__name__ in ("Attention", "AdditiveAttention")
        return self.layer([x, x]) if takes_a_list else self.layer(x, x)


def model(keras: ModuleType) -> Any:
    """One model of all variants side by side, with names that tell nothing: "x0", "x1", ..."""
    starts: dict[tuple[int, ...], Any] = {}
    ends = []
    for number, (shape, make) in enumerate(variants(keras)):
        if shape not in starts:
            starts[shape] = keras.Input(shape, name=f"in{len(starts)}")
        ends.append(make(f"x{number}")(starts[shape]))
    return keras.Model(list(starts.values()), ends)


def truths(model: Any, value_of: Callable[[Any], Any] = np.asarray) -> dict[bytes, Truth]:
    """What the table of layers says of the weights of the live layer objects, by the bytes of each weight."""
    found: dict[bytes, Truth] = {}
    for layer in _layers(model):
        kind = type(layer).__name__
        for weight in layer.weights:
            values = np.asarray(value_of(weight))
            known = find_weight(kind, str(getattr(weight, "path", weight.name)).removesuffix(":0"))
            if known is None or values.dtype.kind != "f" or values.tobytes() in found:
                continue
            units = known.unit_axes(values.ndim) if known.role in ("kernel", "embedding") else None
            if kind == "EinsumDense" and known.name == "kernel":
                units = einsum_units(layer.equation, values.ndim)
            found[values.tobytes()] = Truth(kind, known.name, known.role, values.shape, units)
    return found


def _layers(layer: Any) -> list[Any]:
    """All layers, innermost first."""
    flat = getattr(layer, "_flatten_layers", None)
    inner = getattr(layer, "_layers", None) or (flat(include_self=False) if flat else ())
    return [*(each for part in list(inner) for each in _layers(part)), layer]


def _made(keras: ModuleType) -> Any:
    """The model with values that identify its weights."""
    keras.backend.clear_session()
    return keras_zoo.scramble(model(keras))


def _exported(keras: ModuleType, path: Path, policy: str = "float32") -> dict[bytes, Truth]:
    keras.mixed_precision.set_global_policy(policy)
    try:
        made = _made(keras)
        made.export(str(path), **({"verbose": False} if keras.__name__ == "keras" else {}))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    return truths(made)


def keras_3_export(path: Path) -> dict[bytes, Truth]:
    import keras

    return _exported(keras, path)


def keras_3_export_in_bfloat16(path: Path) -> dict[bytes, Truth]:
    import keras

    return _exported(keras, path, "mixed_bfloat16")


def keras_3_save(path: Path) -> dict[bytes, Truth]:
    import keras
    import tensorflow as tf

    made = _made(keras)
    tf.saved_model.save(made, str(path))
    return truths(made)


def tf_keras_save(path: Path) -> dict[bytes, Truth]:
    import tf_keras

    made = _made(tf_keras)
    made.save(path, save_format="tf")
    return truths(made)


def tf_keras_export(path: Path) -> dict[bytes, Truth]:
    import tf_keras

    return _exported(tf_keras, path)


def training_graph(path: Path) -> dict[bytes, Truth]:
    """A graph of TF1 with a training step of Adam: `path`.meta, and the checkpoint at `path`."""
    import tensorflow as tf
    import tf_keras
    from tensorflow.compat import v1

    with tf.Graph().as_default(), v1.Session() as session:
        made = model(tf_keras)
        loss = tf.add_n([tf.reduce_mean(tf.square(each)) for each in tf.nest.flatten(made.outputs)])
        v1.train.AdamOptimizer().minimize(loss, var_list=made.trainable_weights)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(path))
        return truths(made, session.run)


WAYS = [
    keras_3_export,
    keras_3_export_in_bfloat16,
    keras_3_save,
    tf_keras_save,
    tf_keras_export,
    training_graph,
]
