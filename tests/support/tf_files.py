"""Small checkpoints that TensorFlow and Keras write, one for each way they have, with known kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from support import builders

KERNEL, BIAS = builders.kernel((12, 6)), np.full(6, 9.0, np.float32)


def prefix(folder: Path) -> Path:
    """Two tensors by their names."""
    _save(folder / "m", {"dense/kernel": KERNEL, "dense/bias": BIAS})
    return folder / "m"


def prefix_of_shards(folder: Path) -> Path:
    """Two checkpoints merged into one of two data files."""
    import tensorflow as tf

    parts = {"one": {"dense/kernel": KERNEL}, "two": {"dense_1/kernel": KERNEL * 2, "dense_1/bias": BIAS}}
    for name, tensors in parts.items():
        _save(folder / name, tensors)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(folder / name) for name in parts], destination_prefix=str(folder / "m")
    )
    return folder / "m"


def _save(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[*tensors.values()],
    )


def v1(folder: Path) -> Path:
    """The two tensors in the format before V2."""
    import tensorflow as tf

    tf.raw_ops.Save(filename=str(folder / "m.ckpt"), tensor_names=["dense/kernel", "dense/bias"], data=[KERNEL, BIAS])
    return folder / "m.ckpt"


def saver(folder: Path, *, partitions: int = 0, axis: int = 0) -> Path:
    """TF1 Saver: a dense and a transposed convolution, Adam slots, a global step; `partitions` cut the first kernel."""
    import tensorflow as tf

    v1 = tf.compat.v1
    cut = v1.fixed_size_partitioner(partitions, axis) if partitions else None
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("dense", partitioner=cut):
            initializer = _cut(KERNEL) if cut else v1.constant_initializer(KERNEL)
            v1.get_variable("kernel", shape=(12, 6), initializer=initializer)
        v1.get_variable("dense/bias", initializer=BIAS)
        up = v1.get_variable("conv2d_transpose/kernel", initializer=builders.kernel((2, 2, 4, 3), (2,), seed=1))
        v1.train.AdamOptimizer().minimize(tf.reduce_sum(up**2), global_step=v1.train.create_global_step())
        session.run(v1.global_variables_initializer())
        return Path(v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=7))


def _cut(kernel: np.ndarray) -> Any:
    def initialize(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        start = partition_info.var_offset
        return kernel[tuple(slice(at, at + size) for at, size in zip(start, shape, strict=True))]

    return initialize


def keras_model() -> Any:
    """A Keras 3 model with an Adam that has state; unit norms 0.5 and 2 in turn."""
    import keras

    keras.backend.clear_session()
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(8, name="hidden"), keras.layers.Dense(4, name="digit")], name="net"
    )
    model.compile("adam", "mse")
    model.fit(np.ones((4, 12), np.float32), np.ones((4, 4), np.float32), verbose=0)
    for name, own in builders.two_dense().items():
        model.get_layer(name).set_weights(list(own.values()))
    return model


def object_checkpoint(folder: Path, **options: Any) -> Path:
    """TF2 object-based: model and optimizer, so that the kernels are stored under the optimizer."""
    import tensorflow as tf

    model = keras_model()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    return Path(checkpoint.write(str(folder / "ckpt-7"), tf.train.CheckpointOptions(**options)))


def sharded(folder: Path) -> Path:
    """The same cut into slices and data files by a callback."""
    import tensorflow as tf

    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=200)
    return object_checkpoint(folder, experimental_sharding_callback=policy)


def module(folder: Path) -> Path:
    """A SavedModel of a tf.Module, with an asset."""
    import tensorflow as tf

    class Net(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            words = folder / "words.txt"
            words.write_text("one\ntwo\n")
            self.words = tf.saved_model.Asset(str(words))
            self.kernel = tf.Variable(KERNEL, name="dense/kernel")
            self.bias = tf.Variable(BIAS, name="dense/bias")

        @tf.function(input_signature=[tf.TensorSpec((None, 12))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return x @ self.kernel + self.bias

    tf.saved_model.save(Net(), str(folder / "module"))
    return folder / "module"


def export(folder: Path) -> Path:
    """Keras 3 `export`, which stores every weight twice."""
    keras_model().export(str(folder / "export"), verbose=False)
    return folder / "export"


def tf_keras_saved(folder: Path) -> Path:
    """tf_keras `save(save_format="tf")`: a SavedModel with the configs of its layers."""
    import tf_keras

    tf_keras.backend.clear_session()
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((4, 4, 2)),
            layers.Conv2DTranspose(3, 2, name="up"),
            layers.DepthwiseConv2D(2, name="deep"),
            layers.Flatten(),
            layers.Dense(4, name="head"),
        ]
    )
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4, 4, 2)), np.ones((2, 4)), verbose=0)
    for layer, axes in (("up", (2,)), ("deep", (2, 3)), ("head", (1,))):
        kernel, *rest = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([builders.kernel(kernel.shape, axes), *rest])
    model.save(str(folder / "tf_keras"), save_format="tf")
    return folder / "tf_keras"
