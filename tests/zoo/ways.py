"""The ways to save a model of Keras 3 or tf_keras without its graph, and TensorFlow 1's with and without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from zoo import live
from zoo.judge import Truth

Way = Callable[[Any, Path], Path]


def _as(name: str, write: str = "save", **options: Any) -> Way:
    def way(model: Any, folder: Path) -> Path:
        getattr(model, write)(folder / name, **options)
        return folder / name

    return way


def objects(model: Any, folder: Path) -> Path:
    import tensorflow as tf

    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / "ckpt"))
    return folder / "ckpt"


KERAS_3: dict[str, Way] = {
    ".keras": _as("m.keras"),
    ".h5": _as("m.h5"),
    ".weights.h5": _as("m.weights.h5", "save_weights"),
    "checkpoint": objects,
}
TF_KERAS: dict[str, Way] = {
    ".keras": _as("m.keras"),
    ".h5": _as("m.h5"),
    ".h5 of weights": _as("w.h5", "save_weights"),
    ".weights.h5": _as("m.weights.h5", "save_weights", save_format="keras"),
    "checkpoint": objects,
    "checkpoint of weights": _as("ckpt", "save_weights", save_format="tf"),
}
FLAVOURS = {"keras": KERAS_3, "tf_keras": TF_KERAS}
NEEDS_CONFIG = (".h5",)
"""Ways that refuse models of a class of their own."""


def tf_1(folder: Path, names: str = "neutral", some: slice = slice(None)) -> tuple[dict[str, Path], dict[bytes, Truth]]:
    """A model of TensorFlow 1 with Adam's slots as checkpoints with and without the graph beside them, and its truths.

    Trained once, because TensorFlow takes longest for the gradients.
    """
    import tensorflow as tf
    import tf_keras
    from support import graph_zoo
    from tensorflow.compat import v1

    tf_keras.backend.clear_session()
    with tf.Graph().as_default(), v1.Session() as session:
        starts: dict[tuple[int, ...], Any] = {}
        ends = []
        for number, (shape, make) in list(enumerate(graph_zoo.variants(tf_keras)))[some]:
            start = starts.setdefault(shape, tf_keras.Input(shape, name=f"in{len(starts)}"))
            ends.append(make(live.NAMED[names](tf_keras, number, make))(start))
        model = tf_keras.Model(list(starts.values()), ends)
        loss = tf.add_n([tf.reduce_mean(tf.square(each)) for each in tf.nest.flatten(model.outputs)])
        optimizer = v1.train.AdamOptimizer()
        optimizer.minimize(loss, var_list=model.trainable_weights)
        session.run(v1.global_variables_initializer())
        rng = np.random.default_rng(5)
        slots = list(optimizer.variables())
        fed = {slot.initializer.inputs[1]: rng.normal(size=slot.shape).astype(np.float32) for slot in slots}
        session.run([slot.initializer for slot in slots], fed)
        paths = {}
        for way, graph in (("alone", False), ("with .meta", True)):
            paths[way] = folder / way / "m"
            paths[way].parent.mkdir()
            v1.train.Saver().save(session, str(paths[way]), write_meta_graph=graph)
        weights = [*model.weights, *slots]
        values = dict(zip(map(id, weights), session.run(weights), strict=True))  # one run: each costs the whole graph
        found = live.truths(model, lambda weight: values[id(weight)])
        for slot in slots:
            if slot.shape.rank:
                found[values[id(slot)].tobytes()] = Truth("optimizer")
        return paths, found


def module(flavour: str) -> ModuleType:
    import keras
    import tf_keras

    return keras if flavour == "keras" else tf_keras


def made(flavour: str, structure: str, names: str, some: slice = slice(None)) -> Any:
    build = live.functional if structure == "functional" else live.held
    return build(module(flavour), names, some)
