"""What `apply` writes loads in Keras 3 and tf_keras, with the weights the oracle says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import keras_zoo, oracle
from support.files import agrees, bound

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

LIMIT = 0.8


def model_of(package: Any) -> Any:
    """Layers of every kind of unit axes, with norms on both sides of the limit."""
    layers = package.layers
    start = package.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="conv")(start)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(5, 2, name="separable")(x)
    x = layers.Conv2DTranspose(4, 2, name="conv2d_transpose")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Reshape((16, 4), name="rows")(x)
    x = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    x = layers.Bidirectional(layers.LSTM(4, name="lstm"), name="both")(x)
    inner = package.Sequential([package.Input((8,)), layers.Dense(7, name="inside")], name="inner")
    return keras_zoo.scramble(package.Model(start, layers.Dense(3, name="head")(inner(x)), name="all"))


UNIT_AXES = {
    "conv2d_transpose": (2,),
    "conv": (3,),
    "depthwise": (2, 3),
    "separable_depthwise": (2, 3),
    "separable_pointwise": (3,),
    "query": (1, 2),
    "key": (1, 2),
    "value": (1, 2),
    "attention_output": (2,),
    "lstm": (1,),
    "inside": (1,),
    "head": (1,),
}


def axes_of(path: str) -> tuple[int, ...] | None:
    """The unit axes of a Keras variable by its path; None for what is never constrained."""
    if not path.removesuffix(":0").endswith("kernel"):
        return None
    if "separable" in path:
        return UNIT_AXES["separable_depthwise" if "depthwise" in path else "separable_pointwise"]
    return next(axes for part, axes in UNIT_AXES.items() if part in path)


def compare(before: Any, after: Any) -> None:
    """Every weight of the loaded model is what the oracle makes of the saved one."""
    constrained = 0
    for old, new in zip(before.weights, after.weights, strict=True):
        axes = axes_of(getattr(old, "path", old.name))
        if axes is None:
            assert np.array_equal(np.asarray(old), np.asarray(new))
        else:
            agrees(np.asarray(old), np.asarray(new), axes, LIMIT)
            constrained += bool(oracle.over(np.asarray(old), axes, LIMIT).any())
    assert constrained == 15


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5", "m.weights.json"])
def test_keras_loads_what_apply_wrote(name: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    keras.backend.clear_session()
    before = model_of(keras)
    source, output = tmp_path / name, tmp_path / f"out.{name}"
    if name.endswith("json"):
        before.save_weights(source, max_shard_size=2e-6)
    elif "weights" in name:
        before.save_weights(source)
    else:
        before.save(source)
    assert bound(source, output, limit=LIMIT).totals.constrained == 15
    keras.backend.clear_session()
    if "weights" in name:
        after = model_of(keras)
        after.load_weights(output)
    else:
        after = keras.saving.load_model(output)
    compare(before, after)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "weights.h5", "m.weights.h5"])
def test_tf_keras_loads_what_apply_wrote(name: str, tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    tf_keras.backend.clear_session()
    before = model_of(tf_keras)
    source, output = tmp_path / name, tmp_path / f"out.{name}"
    if name == "weights.h5":  # the legacy layout: tf_keras goes by "m.weights.h5" for the new one
        output = tmp_path / "out.h5"
        source = tmp_path / "m.h5"
    (before.save_weights if "weights" in name else before.save)(source)
    assert bound(source, output, limit=LIMIT).totals.constrained == 15
    tf_keras.backend.clear_session()
    if "weights" in name:
        after = model_of(tf_keras)
        after.load_weights(output)
    else:
        after = tf_keras.models.load_model(output)
    compare(before, after)


def test_a_model_with_a_custom_layer_is_bounded_without_its_code_and_loads_with_it(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    class Scaled(keras.layers.Dense):  # type: ignore[name-defined, misc]
        """Unknown to everybody else."""

    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, name="known"),
            Scaled(3, name="own"),
            keras.layers.Dense(2, name="last"),
        ]
    )
    keras_zoo.scramble(model)
    source, output = tmp_path / "m.keras", tmp_path / "out.keras"
    model.save(source)
    report = bound(source, output, limit=LIMIT)
    assert {row.step.variable.name for row in report.rows} == {"known/kernel", "own/vars/0", "last/kernel"}
    loaded = keras.saving.load_model(output, custom_objects={"Scaled": Scaled})
    for name in ("known", "own"):
        agrees(np.asarray(model.get_layer(name).kernel), np.asarray(loaded.get_layer(name).kernel), (1,), LIMIT)
