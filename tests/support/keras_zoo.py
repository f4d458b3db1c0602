"""Small Keras models of many kinds, with weights that are all different, for tests of naming."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

WARNINGS = (
    "ignore::DeprecationWarning:keras|tf_keras|tensorflow|google",
    "ignore:You are saving your model as an HDF5 file:UserWarning",
    "ignore:.*does not have a `quantize` method implemented:UserWarning",
)
"""What Keras and TensorFlow themselves warn of when imported and saved."""


def scramble(model: Any) -> Any:
    """Give every floating weight values that no other has, so that its bytes identify it."""
    rng = np.random.default_rng(7)
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f":
            weight.assign(rng.normal(size=values.shape).astype(values.dtype))
    return model


def names_by_bytes(model: Any) -> dict[bytes, str]:
    """The bytes of every floating weight -> its own path, without the name of the model and TensorFlow's ":0"."""
    prefix = f"{model.name}/"
    named: dict[bytes, str] = {}
    for weight in model.weights:
        if np.asarray(weight).dtype.kind == "f":
            path = str(getattr(weight, "path", weight.name)).removesuffix(":0")
            named[np.asarray(weight).tobytes()] = path.removeprefix(prefix)
    return named


def unzipped(archive: Path) -> tuple[Path, str]:
    """The weights of a .keras file as a file beside it, and the text of its config."""
    weights = archive.with_suffix(".inside.h5")
    with zipfile.ZipFile(archive) as members:
        weights.write_bytes(members.read("model.weights.h5"))
        return weights, members.read("config.json").decode("utf-8")


def confusing(keras: ModuleType) -> Any:
    """Layers whose names are not the names of their groups, an operation among them, models in models."""
    layers = keras.layers
    deep = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="d2")], name="deep")
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="d1"), layers.BatchNormalization(), deep], name="inner"
    )
    start = keras.Input((5,))
    x = layers.Dense(4, name="head")(start)
    x = layers.Dense(4, name="dense")(x)
    x = x + 1.0
    x = inner(layers.Add()([x, x]))
    for number in range(10):
        x = layers.Dense(4, name=f"more{number}")(x)
    x = layers.LayerNormalization(center=False)(layers.Dropout(0.5)(x))
    return scramble(keras.Model(start, layers.PReLU()(x)))


def sequences(keras: ModuleType) -> Any:
    """Recurrent layers, their cells and wrappers, and attention."""
    layers = keras.layers
    start = keras.Input((6, 5))
    attended = layers.MultiHeadAttention(2, 3, name="mha")(start, start)
    outputs = [
        layers.Bidirectional(layers.LSTM(3))(start),
        layers.Bidirectional(layers.GRU(3, name="both"), backward_layer=layers.GRU(3, name="back", go_backwards=True))(
            start
        ),
        layers.LSTM(3, name="my_lstm", dropout=0.1)(start),
        layers.GRU(2, reset_after=False)(attended),
        layers.SimpleRNN(2, use_bias=False)(attended),
        layers.RNN([layers.GRUCell(3), layers.LSTMCell(3), layers.LSTMCell(2)])(start),
        layers.RNN(layers.LSTMCell(2, name="my_cell"))(start),
        layers.EinsumDense("abc,dc->abd", (None, 3), bias_axes="d", name="turned")(start),
        layers.Attention(use_scale=True)([start, start]),
        layers.Conv1D(2, 2)(start),
        layers.Conv1DTranspose(2, 2, name="up")(start),
        layers.SeparableConv1D(2, 2)(start),
        layers.DepthwiseConv1D(2, depth_multiplier=2)(start),
    ]
    return scramble(keras.Model(start, outputs))


def images(keras: ModuleType) -> Any:
    """Convolutions, recurrent ones too."""
    layers = keras.layers
    start = keras.Input((3, 6, 6, 2))
    x = layers.TimeDistributed(layers.Conv2D(3, 2, name="each"))(start)
    x = layers.ConvLSTM2D(2, 2)(x)
    x = layers.Conv2DTranspose(3, 2)(layers.BatchNormalization(scale=False)(x))
    x = layers.DepthwiseConv2D(2)(layers.SeparableConv2D(3, 2)(x))
    return scramble(keras.Model(start, layers.GroupNormalization(3)(x)))


def shared(keras: ModuleType) -> Any:
    """One layer in an inner model and in the outer one, and another of its class after it."""
    layers = keras.layers
    both = layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), both], name="inner")
    start = keras.Input((4,))
    return scramble(keras.Model(start, layers.Dense(4, name="last")(both(inner(start)))))


def subclassed(keras: ModuleType) -> Any:
    """A model and a layer of custom classes, with private attributes, lists, dicts and a model of their own."""
    layers = keras.layers

    class Block(layers.Layer):  # type: ignore[name-defined, misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.blocks = [layers.Dense(3), layers.Dense(3)]
            self.named = {"a": layers.Dense(3, name="aa")}
            self._hidden = layers.Dense(3)
            self.inner = keras.Sequential([layers.Dense(3, name="deep")])
            self.own = self.add_weight(shape=(3, 3), name="own")

        def call(self, x: Any) -> Any:
            for layer in (*self.blocks, self.named["a"], self._hidden, self.inner):
                x = layer(x)
            return keras.ops.matmul(x, self.own) if hasattr(keras, "ops") else x @ self.own

    class Sub(keras.Model):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Dense(3)
            self._second = layers.Dense(3)
            self.block = Block(name="blk")

        def call(self, x: Any) -> Any:
            return self.block(self._second(self.first(x)))

    model = Sub()
    model(np.zeros((1, 3), "float32"))
    return scramble(model)


ZOO = {"confusing": confusing, "sequences": sequences, "images": images, "shared": shared, "subclassed": subclassed}


@functools.cache
def made(flavour: str, kind: str) -> Any:
    """A model of the zoo in Keras 3 ("keras") or tf_keras, made once for all tests."""
    import keras
    import tf_keras

    package = keras if flavour == "keras" else tf_keras
    package.backend.clear_session()
    return ZOO[kind](package)
