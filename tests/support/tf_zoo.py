"""Checkpoints and SavedModels that TensorFlow, Keras and tf_keras write, each made once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from renorm_cli.formats.naming import Naming
from renorm_cli.formats.tensorflow.bundle import OBJECT_GRAPH_KEY, Bundle, read_bundle
from renorm_cli.formats.tensorflow.graph import read_saved_model, untrained_keys
from renorm_cli.formats.tensorflow.keras_metadata import layer_facts, read_keras_metadata
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, read_object_graph
from support import keras_zoo

WARNINGS = keras_zoo.WARNINGS

_made: dict[str, tuple[Path, Any]] = {}


def saved(kind: str, factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a SavedModel or the prefix of a checkpoint, and what wrote it: a model, an optimizer."""
    if kind in ("older_save", "without_metadata"):
        saved("tf_keras_save", factory)
    if kind not in _made:
        path = factory.mktemp(kind) / "saved"
        _made[kind] = path, _MAKERS[kind](path)
    return _made[kind]


def prefix_of(path: Path) -> Path:
    """The prefix of the checkpoint: of a SavedModel's own, if the path is its folder."""
    return path / "variables" / "variables" if path.is_dir() else path


def bundle_of(prefix: Path) -> tuple[Bundle, ObjectGraph | None]:
    shards = sorted(prefix.parent.glob(prefix.name + ".data-*"))
    index = prefix.with_name(prefix.name + ".index").read_bytes()
    bundle = read_bundle(index, [shard.stat().st_size for shard in shards], "shown")
    entry = next((entry for entry in bundle.entries if entry.key == OBJECT_GRAPH_KEY), None)
    if entry is None:
        return bundle, None
    stored = shards[entry.shard].read_bytes()[entry.offset : entry.offset + entry.size]
    return bundle, read_object_graph(stored, "shown", crc=entry.crc)


def named(path: Path, **options: Any) -> Naming:
    """The names as a reader of the whole SavedModel or checkpoint finds them."""
    bundle, graph = bundle_of(prefix_of(path))
    if not path.is_dir():
        return name_variables(bundle, graph, {}, **{"exported": False} | options)
    facts = read_saved_model((path / "saved_model.pb").read_bytes(), "shown")
    metadata = path / "keras_metadata.pb"
    objects = {**facts.keras, **(read_keras_metadata(metadata.read_bytes(), "shown") if metadata.exists() else {})}
    layers = layer_facts(graph, objects, "shown") if graph is not None else {}
    return name_variables(bundle, graph, layers, exported=True, untrained=untrained_keys(facts, graph))


def values_of(path: Path) -> dict[str, Any]:
    """Every tensor that TensorFlow's own reader lists."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix_of(path)))
    return {key: np.asarray(reader.get_tensor(key)) for key in reader.get_variable_to_shape_map()}


def _layers(keras: ModuleType) -> Any:
    """Layers whose names do not tell their classes, a frozen one, moving statistics."""
    layers = keras.layers
    start = keras.Input((8, 8, 3), name="start")
    x = layers.Conv2D(4, 3, name="first")(start)
    x = layers.Conv2DTranspose(3, 2, name="up")(x)
    x = layers.DepthwiseConv2D(2, name="deep")(x)
    x = layers.SeparableConv2D(3, 2, name="apart")(layers.BatchNormalization(name="norm")(x))
    x = layers.Reshape((-1, 3))(x)
    x = layers.MultiHeadAttention(2, 3, name="look")(x, x)
    x = layers.EinsumDense("abc,dc->abd", (None, 3), name="turned")(x)
    x = layers.LSTM(4, return_sequences=True, name="memory")(x)
    x = layers.Bidirectional(layers.GRU(4, name="both"), name="sides")(x)
    x = layers.Dense(4, trainable=False, name="frozen")(x)
    return keras.Model(start, x)


def _compiled(keras: ModuleType, optimizer: Any) -> Any:
    """A model and all the state that its first training step would make."""
    keras.backend.clear_session()
    model = _layers(keras)
    model.compile(optimizer, "mse", metrics=["mae"])
    build = getattr(optimizer, "build", None) or optimizer._create_all_weights
    build(model.trainable_variables)
    return keras_zoo.scramble(model)


def _keras_3(**options: Any) -> Any:
    import keras

    return _compiled(keras, keras.optimizers.Adam(**options))


def _keras_2(*, legacy: bool = False, **options: Any) -> Any:
    import tf_keras

    optimizers = tf_keras.optimizers.legacy if legacy else tf_keras.optimizers
    return _compiled(tf_keras, optimizers.Adam(**options))


def _checkpoint(make: Callable[..., Any], **options: Any) -> Callable[[Path], Any]:
    def save(path: Path) -> Any:
        import tensorflow as tf

        model = make(**options)
        tf.train.Checkpoint(model=model, optimizer=model.optimizer, step=tf.Variable(3)).write(str(path))
        return model

    return save


def _saved_model(make: Callable[..., Any], **options: Any) -> Callable[[Path], Any]:
    def save(path: Path) -> Any:
        import tensorflow as tf

        model = make(**options)
        tf.saved_model.save(model, str(path))
        return model

    return save


def _export(path: Path) -> Any:
    model = _keras_3()
    model.export(str(path), verbose=False)
    return model


def _tf_keras_save(path: Path) -> Any:
    model = _keras_2()
    model.save(path, save_format="tf", save_traces=False)
    return model


def _metrics(path: Path) -> Any:
    """A model with metrics, one of which is a matrix."""
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2, activation="sigmoid")])
    model.compile(loss="mse", metrics=[tf_keras.metrics.MeanIoU(2)])
    model.evaluate(np.ones((2, 3)), np.zeros((2, 2)), verbose=0)
    model.save(path, save_format="tf")
    return model


def _without_metadata(path: Path) -> Any:
    """As `tf.saved_model.save` writes a model of tf_keras."""
    shutil.copytree(_made["tf_keras_save"][0], path)
    (path / "keras_metadata.pb").unlink()
    return _made["tf_keras_save"][1]


def _older_save(path: Path) -> Any:
    """As TensorFlow until 2.4 wrote it: the metadata of Keras in saved_model.pb itself."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tf_keras.protobuf import saved_metadata_pb2

    shutil.copytree(_made["tf_keras_save"][0], path)
    metadata = path / "keras_metadata.pb"
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    objects = model.meta_graphs[0].object_graph_def.nodes
    for node in saved_metadata_pb2.SavedMetadata.FromString(metadata.read_bytes()).nodes:
        objects[node.node_id].user_object.metadata = node.metadata
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    metadata.unlink()
    return _made["tf_keras_save"][1]


def _module(path: Path) -> Any:
    """Weights without names, constants, a lookup table; one weight is not trained."""
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.ones((3, 4)), name="w")
            self.blocks = [tf.Variable(tf.ones((4, 4))), tf.Variable(tf.ones((4, 4)))]
            self.kernel = tf.Variable(tf.ones((4, 2)))
            self.other = tf.Variable(tf.ones((4, 4)), trainable=False, name="running")
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
            self.table.insert(["a"], [1.0])
            self.held = tf.constant(np.arange(12.0).reshape(3, 4), tf.float32)

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            y = x @ (self.w + self.held + tf.constant(np.arange(12.0).reshape(3, 4) / 7, tf.float32)) @ self.other
            y = y + tf.cast(tf.cast(x, tf.float64) @ tf.constant(np.ones((3, 4)) * 0.1, tf.float64), tf.float32)
            return y @ self.blocks[0] @ self.blocks[1] @ self.kernel

    module = Module()
    tf.saved_model.save(module, str(path))
    return module


def _twice_the_name(path: Path) -> Any:
    """Two inner models of tf_keras, each with a layer of one name: their variables have one name too."""
    import tensorflow as tf
    import tf_keras

    def inner(name: str) -> Any:
        return tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(4, name="same")], name=name)

    start = tf_keras.Input((4,))
    model = keras_zoo.scramble(tf_keras.Model(start, inner("b")(inner("a")(start))))
    tf.train.Checkpoint(model).write(str(path))
    return model


def _tf1_graph() -> tuple[list[Any], dict[str, Any]]:
    """A graph of TF1 with the slots of many optimizers, moving averages and a table; optimizers by name."""
    import tensorflow as tf
    from tensorflow.compat import v1

    x = v1.placeholder(tf.float32, (None, 8, 8, 3), name="x")
    with v1.variable_scope("tower"):
        kernel = v1.get_variable("1conv/kernel", (3, 3, 3, 4))
        bias = v1.get_variable("1conv/bias", (4,))
        w = v1.get_variable("w", (4, 5))
    dense = v1.get_variable("dense/kernel", (5, 5))
    mean = v1.get_variable("batch_normalization/moving_mean", (5,), trainable=False)
    x = tf.reduce_mean(tf.nn.conv2d(x, kernel, 1, "SAME") + bias, [1, 2])
    loss = tf.reduce_sum((x @ w @ dense - mean) ** 2, name="loss")
    train = v1.train
    optimizers = {
        "adam": train.AdamOptimizer(),
        "momentum": train.MomentumOptimizer(0.1, 0.9),
        "rms": train.RMSPropOptimizer(0.1, momentum=0.9, centered=True),
        "ftrl": train.FtrlOptimizer(0.1),
        "adagrad": train.AdagradOptimizer(0.1),
        "adadelta": train.AdadeltaOptimizer(0.1),
        "own": train.AdamOptimizer(name="OfOurOwn"),
    }
    step = train.get_or_create_global_step()
    steps = [optimizer.minimize(loss, global_step=step) for optimizer in optimizers.values()]
    with v1.variable_scope("outer"):
        inside = train.AdamOptimizer()
        steps.append(inside.minimize(loss))
    with tf.control_dependencies(steps):
        train.ExponentialMovingAverage(0.9, step).apply([kernel, w])
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, [0.0] * 3, name="rows")
    return [loss, table], {**optimizers, "inside": inside}


def _tf1(path: Path) -> Any:
    import tensorflow as tf
    from tensorflow.compat import v1

    with tf.Graph().as_default(), v1.Session() as session:
        _, optimizers = _tf1_graph()
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(path), write_meta_graph=False)
        return {variable.op.name for optimizer in optimizers.values() for variable in optimizer.variables()}


def _tf1_averages(path: Path) -> Any:
    """Only the averages of the weights that have one, for a program that takes them as its weights."""
    import tensorflow as tf
    from tensorflow.compat import v1

    with tf.Graph().as_default(), v1.Session() as session:
        _tf1_graph()
        session.run(v1.global_variables_initializer())
        averages = [v for v in v1.global_variables() if v.op.name.endswith("ExponentialMovingAverage")]
        v1.train.Saver(averages).save(session, str(path), write_meta_graph=False)
        return {variable.op.name for variable in averages}


def _tf1_saved_model(path: Path) -> Any:
    import tensorflow as tf
    from tensorflow.compat import v1

    with tf.Graph().as_default() as graph, v1.Session() as session:
        with v1.variable_scope("cut", partitioner=v1.fixed_size_partitioner(3, 0)):
            v1.get_variable("table", (9, 4))
            v1.get_variable("held", (9, 4), trainable=False)
        (loss, _), _ = _tf1_graph()
        session.run(v1.global_variables_initializer())
        inputs = {"x": graph.get_tensor_by_name("x:0")}
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def(inputs, {"loss": loss})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
        return {variable.op.name for variable in v1.trainable_variables()}


_MAKERS: dict[str, Callable[[Path], Any]] = {
    "keras_3": _checkpoint(_keras_3),
    "keras_3_average": _checkpoint(_keras_3, use_ema=True),
    "keras_3_save": _saved_model(_keras_3),
    "keras_3_export": _export,
    "tf_keras_new": _checkpoint(_keras_2),
    "tf_keras_average": _checkpoint(_keras_2, use_ema=True),
    "tf_keras_legacy": _checkpoint(_keras_2, legacy=True),
    "tf_keras_save": _tf_keras_save,
    "without_metadata": _without_metadata,
    "older_save": _older_save,
    "metrics": _metrics,
    "module": _module,
    "twice": _twice_the_name,
    "tf1": _tf1,
    "tf1_averages": _tf1_averages,
    "tf1_save": _tf1_saved_model,
}
