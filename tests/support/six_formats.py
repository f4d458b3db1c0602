"""Four Keras models, each trained for one step and saved in six formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FORMATS = ("m.keras", "m.h5", "m.weights.h5", "checkpoint", "saved-model", "export")
MODELS = ("sequential", "functional", "subclassed", "attention")


def save_all(kind: str, folder: Path) -> Any:
    """The model, saved in every one of FORMATS in the folder."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    model, shape, dtype = globals()[f"_{kind}"](keras)
    model.compile("adam", "mse")
    inputs = np.ones((2, *shape), dtype)
    model.fit(inputs, np.zeros(model(inputs).shape), verbose=0)
    rng = np.random.default_rng(3)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            variable.assign(rng.normal(size=variable.shape))
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.save_weights(folder / "m.weights.h5")
    tf.train.Checkpoint(model).write(str(folder / "checkpoint"))
    tf.saved_model.save(model, str(folder / "saved-model"))
    model.export(str(folder / "export"), verbose=False)
    return model


def _sequential(keras: Any) -> tuple[Any, tuple[int, ...], str]:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Conv2DTranspose(5, 3, name="upsample"),
            layers.Flatten(),
            layers.Dense(4),
            layers.Dense(3, name="head"),
        ],
        name="cnn",
    )
    return model, (8, 8, 3), "float32"


def _functional(keras: Any) -> tuple[Any, tuple[int, ...], str]:
    """A functional model and a sequential one, built where it is used, in a functional one."""
    layers = keras.layers
    start = keras.Input((6,))
    x = layers.Dense(5)(layers.Dense(5, name="proj")(start))
    inner = keras.Model(start, layers.LayerNormalization()(x), name="encoder")
    outer = keras.Input((6,))
    tail = keras.Sequential([layers.Dense(7), layers.Dense(2)], name="tail")
    return keras.Model(outer, tail(inner(outer)), name="outer"), (6,), "float32"


def _subclassed(keras: Any) -> tuple[Any, tuple[int, ...], str]:
    layers = keras.layers

    @keras.saving.register_keras_serializable("six_formats")
    class Block(layers.Layer):  # type: ignore[name-defined, misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.fc = layers.Dense(6)
            self.out = layers.Dense(6, name="out")
            self.norm = layers.LayerNormalization()

        def build(self, shape: tuple[int, ...]) -> None:
            for layer in (self.fc, self.out, self.norm):
                layer.build((*shape[:-1], 6))
            self.gain = self.add_weight(shape=(6,), name="gain")

        def call(self, x: Any) -> Any:
            return self.norm(self.out(self.fc(x))) * self.gain

    @keras.saving.register_keras_serializable("six_formats")
    class Blocks(keras.Model):  # type: ignore[name-defined, misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.stem = layers.Dense(6, name="in_proj")
            self.blocks = [Block() for _ in range(3)]
            self.head = layers.Dense(2)

        def call(self, x: Any) -> Any:
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    return Blocks(), (6,), "float32"


def _attention(keras: Any) -> tuple[Any, tuple[int, ...], str]:
    layers = keras.layers
    start = keras.Input((4,), dtype="int32")
    x = layers.Embedding(11, 8, name="tokens")(start)
    x = layers.MultiHeadAttention(2, 4)(x, x) + x
    x = layers.LSTM(3)(layers.LayerNormalization()(x))
    return keras.Model(start, layers.Dense(2)(x), name="transformer"), (4,), "int32"
