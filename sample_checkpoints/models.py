"""The models behind the sample checkpoints, and what is known of each: its kernels, and the axes that name units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

UnitAxes = Mapping[str, tuple[int, ...]]


def digits(library: Any = keras) -> Any:
    """Two Dense layers, compiled with Adam, so that the file has optimizer slots of the kernels' shapes."""
    pixels = library.Input((64,), name="pixels")
    hidden = library.layers.Dense(24, activation="relu", name="hidden")(pixels)
    digit = library.layers.Dense(10, activation="softmax", name="digit")(hidden)
    model = library.Model(pixels, digit, name="digits")
    model.compile(optimizer=library.optimizers.Adam(), loss=library.losses.CategoricalCrossentropy())
    model.optimizer.build(model.trainable_variables)
    return model


def bfloat16() -> keras.Model:
    policy = keras.DTypePolicy("bfloat16")
    pixels = keras.Input((64,), name="pixels")
    hidden = keras.layers.Dense(24, activation="relu", name="hidden", dtype=policy)(pixels)
    digit = keras.layers.Dense(10, name="digit", dtype=policy)(hidden)
    return keras.Model(pixels, digit, name="digits_bfloat16")


def nested() -> keras.Model:
    """A Functional model and a Sequential model inside a model; both use the layer name `project`."""
    inner = keras.Input((16,), name="features")
    encoder = keras.Model(inner, keras.layers.Dense(12, name="project")(inner), name="encoder")
    head = keras.Sequential([keras.layers.Dense(8, name="project"), keras.layers.Dense(4, name="score")], name="head")
    record = keras.Input((16,), name="record")
    return keras.Model(record, head(encoder(record)), name="ranking")


def convolutions() -> keras.Model:
    layers = keras.layers
    photo = keras.Input((12, 12, 3), name="photo")
    x = layers.Conv2D(8, 3, padding="same", name="edges")(photo)
    x = layers.BatchNormalization(name="normalize")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="filters")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", name="textures")(x)
    x = layers.Conv2D(12, 3, groups=3, padding="same", name="grouped")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="upsample")(x)
    return keras.Model(photo, x, name="photo_upscaler")


def attention() -> keras.Model:
    layers = keras.layers
    tokens = keras.Input((6, 16), name="tokens")
    x = layers.MultiHeadAttention(2, 8, name="attention")(tokens, tokens)
    x = layers.LayerNormalization(name="normalize")(x)
    x = layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 8), bias_axes="de", name="split_heads")(x)
    x = layers.EinsumDense("abde,dec->abc", output_shape=(None, 16), bias_axes="c", name="join_heads")(x)
    x = layers.EinsumDense("abc,dc->abd", output_shape=(None, 10), name="output_first")(x)
    return keras.Model(tokens, x, name="token_tagger")


def recurrent() -> keras.Model:
    layers = keras.layers
    series = keras.Input((20, 6), name="series")
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True, name="lstm"), name="reader")(series)
    x = layers.GRU(6, name="memory")(x)
    return keras.Model(series, layers.Dense(3, name="forecast")(x), name="forecaster")


def embedding() -> keras.Model:
    layers = keras.layers
    words = keras.Input((12,), dtype="int32", name="words")
    x = layers.Embedding(150, 16, name="vocabulary")(words)
    x = layers.GlobalAveragePooling1D(name="average")(x)
    return keras.Model(words, layers.Dense(5, name="topic")(x), name="topics")


def declared() -> keras.Model:
    """Three weights with a MaxNorm of their own, which loading does not enforce, and one without."""
    layers, max_norm = keras.layers, keras.constraints.MaxNorm
    photo = keras.Input((8, 8, 3), name="photo")
    x = layers.Conv2D(6, 3, kernel_constraint=max_norm(1.0, axis=[0, 1, 2]), name="edges")(photo)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(12, kernel_constraint=max_norm(1.0), name="hidden")(x)
    x = layers.Dense(4, name="score")(x)
    label = keras.Input((1,), dtype="int32", name="label")
    y = layers.Embedding(30, 4, embeddings_constraint=max_norm(1.5, axis=1), name="labels")(label)
    y = layers.Flatten(name="label_vector")(y)
    return keras.Model([photo, label], layers.Dot(1, name="match")([x, y]), name="matcher")


@keras.saving.register_keras_serializable(package="sample")
class Gate(keras.layers.Layer):
    """A layer that Keras does not know: one weight with an ordinary name, one with a name of its own."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        width = input_shape[-1]
        self.kernel = self.add_weight(shape=(width, width), name="kernel")
        self.mixture = self.add_weight(shape=(width, width), name="mixture")

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        return ops.sigmoid(ops.matmul(inputs, self.kernel)) * ops.matmul(inputs, self.mixture)


def custom_layer() -> keras.Model:
    signal = keras.Input((16,), name="signal")
    x = keras.layers.Dense(12, name="expand")(signal)
    x = Gate(name="gate")(x)
    return keras.Model(signal, keras.layers.Dense(4, name="decide")(x), name="gated")


@dataclass(frozen=True)
class Sample:
    """One model, the suffixes it is saved under, and its kernels and embeddings: name -> axes that name units.

    `named_only` are selected only where the file stores weight names (.h5), `declared` maps a name to the limit in the
    file's own config, `highest` is the largest unit norm in 64ths.
    """

    build: Callable[[], Any]
    what: str
    suffixes: tuple[str, ...]
    kernels: UnitAxes
    named_only: tuple[str, ...] = ()
    declared: Mapping[str, float] | None = None
    highest: int = 120


DIGITS_KERNELS = {"hidden/kernel": (1,), "digit/kernel": (1,)}
SAMPLES = {
    "dense": Sample(
        digits, "two Dense layers with Adam state", (".h5", ".weights.h5", ".weights.json", ".keras"), DIGITS_KERNELS
    ),
    "bfloat16": Sample(bfloat16, "two Dense layers stored in bfloat16", (".weights.h5", ".keras"), DIGITS_KERNELS),
    "nested": Sample(
        nested,
        "a Functional and a Sequential model inside a model, two layers of one name",
        (".h5", ".weights.h5", ".keras"),
        {"project/kernel": (1,), "head/project/kernel": (1,), "head/score/kernel": (1,)},
    ),
    "convolutions": Sample(
        convolutions,
        "Conv2D (plain and grouped), DepthwiseConv2D, SeparableConv2D, Conv2DTranspose and BatchNormalization",
        (".h5", ".weights.h5", ".keras"),
        {
            "edges/kernel": (3,),
            "filters/kernel": (2, 3),
            "textures/depthwise_kernel": (2, 3),
            "textures/pointwise_kernel": (3,),
            "grouped/kernel": (3,),
            "upsample/kernel": (2,),
        },
    ),
    "attention": Sample(
        attention,
        "MultiHeadAttention and three EinsumDense equations; biases of rank 2",
        (".h5", ".keras"),
        {
            "attention/query/kernel": (1, 2),
            "attention/key/kernel": (1, 2),
            "attention/value/kernel": (1, 2),
            "attention/attention_output/kernel": (2,),
            "split_heads/kernel": (1, 2),
            "join_heads/kernel": (2,),
            "output_first/kernel": (0,),
        },
    ),
    "recurrent": Sample(
        recurrent,
        "Bidirectional LSTM and GRU; a GRU bias of rank 2",
        (".h5", ".weights.h5", ".keras"),
        {
            "reader/forward_lstm/lstm_cell/kernel": (1,),
            "reader/forward_lstm/lstm_cell/recurrent_kernel": (1,),
            "reader/backward_lstm/lstm_cell/kernel": (1,),
            "reader/backward_lstm/lstm_cell/recurrent_kernel": (1,),
            "memory/gru_cell/kernel": (1,),
            "memory/gru_cell/recurrent_kernel": (1,),
            "forecast/kernel": (1,),
        },
    ),
    "embedding": Sample(
        embedding,
        "an Embedding, whose rows are its units, and a Dense layer",
        (".h5", ".weights.h5", ".keras"),
        {"vocabulary/embeddings": (0,), "topic/kernel": (1,)},
    ),
    "declared": Sample(
        declared,
        "weights that declare MaxNorm and are far above it, and one that declares nothing",
        (".h5", ".keras"),
        {"edges/kernel": (3,), "hidden/kernel": (1,), "score/kernel": (1,), "labels/embeddings": (0,)},
        declared={"edges/kernel": 1.0, "hidden/kernel": 1.0, "labels/embeddings": 1.5},
        highest=1200,
    ),
    "custom_layer": Sample(
        custom_layer,
        "a layer class that Keras does not know, between two Dense layers",
        (".h5", ".keras"),
        {"expand/kernel": (1,), "gate/kernel": (1,), "decide/kernel": (1,)},
        named_only=("gate/kernel",),
    ),
}
