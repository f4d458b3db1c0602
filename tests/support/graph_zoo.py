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


def variants(keras: ModuleType) -> list[tuple[tuple[int, ...], Callable[[str], Any]]]:
    """(shape of the input without the batch, maker of the layer by its name); those that the flavour has."""
    layers = keras.layers
    three = keras.__name__ == "keras"

    def of(kind: str, *args: Any, **options: Any) -> Callable[[str], Any]:
        return lambda name: getattr(layers, kind)(*args, name=name, **options)

    def wrapped(kind: str, inner: Callable[[str], Any], **options: Any) -> Callable[[str], Any]:
        return lambda name: getattr(layers, kind)(inner(f"{name}i"), name=name, **options)

    def attention(**options: Any) -> Callable[[str], Any]:
        return lambda name: _Itself(layers.MultiHeadAttention(name=name, **options))

    found: list[tuple[tuple[int, ...], Callable[[str], Any]]] = [
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
        *(
            (shape, of(f"Conv{n}D", 7, 3, **options))
            for n, shape in ((1, _LINE), (2, _IMAGE), (3, _VOLUME))
            for options in _CONVS
        ),
        (_LINE, of("Conv1D", 8, 3, groups=2)),
        (_IMAGE, of("Conv2D", 8, 3, groups=2)),
        (_IMAGE, of("Conv2D", 7, 1)),
        (_IMAGE, of("Conv2D", 7, (1, 3), padding="same", activation="relu")),
        *(
            (shape, of(f"Conv{n}DTranspose", 7, 3, **options))
            for n, shape in ((1, _LINE), (2, _IMAGE), (3, _VOLUME))
            for options in _TRANSPOSED
        ),
        *(
            (shape, of(f"DepthwiseConv{n}D", 3, depth_multiplier=m))
            for n, shape in ((1, _LINE), (2, _IMAGE))
            for m in (1, 2)
        ),
        (_IMAGE, of("DepthwiseConv2D", 3, strides=2, padding="same", use_bias=False)),
        *(
            (shape, of(f"SeparableConv{n}D", 7, 3, depth_multiplier=m))
            for n, shape in ((1, _LINE), (2, _IMAGE))
            for m in (1, 2)
        ),
        *((_SERIES, of(kind, 7, **options)) for kind in ("SimpleRNN", "GRU", "LSTM") for options in _RECURRENT),
        (_SERIES, of("GRU", 7, reset_after=False)),
        *((_SERIES, wrapped("Bidirectional", of(kind, 7))) for kind in ("GRU", "LSTM")),
        (_SERIES, wrapped("Bidirectional", of("LSTM", 7, return_sequences=True), merge_mode="sum")),
        (
            _SERIES,
            lambda name: layers.RNN(
                [layers.LSTMCell(7, name=f"{name}a"), layers.GRUCell(5, name=f"{name}b")], name=name
            ),
        ),
        ((4, 8, 4), of("ConvLSTM1D", 7, 3)),
        (_FILM, of("ConvLSTM2D", 7, 3)),
        (_FILM, of("ConvLSTM2D", 7, 3, return_sequences=True, padding="same")),
        (_SERIES, attention(num_heads=2, key_dim=3)),
        (_SERIES, attention(num_heads=2, key_dim=3, value_dim=5, output_shape=7, use_bias=False)),
        (_IMAGE, attention(num_heads=2, key_dim=3, attention_axes=(1, 2))),
        (_SERIES, lambda name: _Itself(layers.Attention(use_scale=True, score_mode="concat", name=name))),
        (_SERIES, lambda name: _Itself(layers.AdditiveAttention(name=name))),
        (_IMAGE, of("BatchNormalization")),
        (_VECTOR, of("BatchNormalization", scale=False)),
        (_SERIES, of("LayerNormalization")),
        (_IMAGE, of("GroupNormalization", 2)),
        (_SERIES, of("PReLU")),
        (_IMAGE, of("PReLU", shared_axes=(1, 2))),
    ]
    if three:
        found += [
            (_SERIES, lambda name: _Itself(layers.GroupQueryAttention(4, 2, 1, name=name))),
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


_CONVS: list[dict[str, Any]] = [{}, {"padding": "same", "use_bias": False}, {"strides": 2}, {"dilation_rate": 2}]
_TRANSPOSED: list[dict[str, Any]] = [{}, {"strides": 2, "padding": "same"}]
_RECURRENT: list[dict[str, Any]] = [{}, {"return_sequences": True, "go_backwards": True}, {"use_bias": False}]


class _Itself:
    """A layer that attends to its own input."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        given = (
            [x, x]
            if "Attention" in (type(self.layer).__name__,) or type(self.layer).__name__ == "AdditiveAttention"
            else None
        )
        return self.layer(given) if given else self.layer(x, x)


def model(keras: ModuleType, only: range | None = None) -> Any:
    """One model of all variants side by side, layers named `x0`, `x1`, ...; every weight has values of its own."""
    keras.backend.clear_session()
    starts: dict[tuple[int, ...], Any] = {}
    ends = []
    for number, (shape, make) in enumerate(variants(keras)):
        if only is not None and number not in only:
            continue
        if shape not in starts:
            starts[shape] = keras.Input(shape, name=f"in{len(starts)}")
        ends.append(make(f"x{number}")(starts[shape]))
    return keras_zoo.scramble(keras.Model(list(starts.values()), ends))


def truths(model: Any) -> dict[bytes, Truth]:
    """By the bytes of the weight: what the table of layers says of the weight of that live layer object."""
    found: dict[bytes, Truth] = {}
    for layer in _leaves(model):
        name = type(layer).__name__.replace("GroupedQuery", "GroupedQuery")
        for weight in layer.weights:
            values = np.asarray(weight)
            if values.dtype.kind != "f" or values.tobytes() in found:
                continue
            path = str(getattr(weight, "path", weight.name)).removesuffix(":0")
            known = find_weight(name, path) or find_weight(name, path.replace("depthwise_kernel", "kernel"))
            if known is None:
                continue
            units = known.unit_axes(values.ndim) if known.role in ("kernel", "embedding") else None
            if name == "EinsumDense" and known.name == "kernel":
                units = einsum_units(layer.equation, values.ndim)
            found[values.tobytes()] = Truth(name, known.name, known.role, values.shape, units)
    return found


def _leaves(layer: Any) -> list[Any]:
    """The layers that hold weights themselves, innermost first, then the layer itself."""
    inner = getattr(layer, "_layers", None) or getattr(layer, "_flatten_layers", lambda **_: ())(include_self=False)
    return [*(leaf for each in list(inner) for leaf in _leaves(each)), layer]


def meta(model_of: Callable[[], Any], path: Path) -> None:
    """A graph of TF1 with a training step of Adam, as `path`.meta, and its checkpoint."""
    import tensorflow as tf
    from tensorflow.compat import v1

    with tf.Graph().as_default(), v1.Session() as session:
        made = model_of()
        loss = tf.add_n(
            [tf.reduce_mean(tf.square(tf.cast(each, tf.float32))) for each in tf.nest.flatten(made.outputs)]
        )
        v1.train.AdamOptimizer().minimize(loss, var_list=made.trainable_weights)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(path))
