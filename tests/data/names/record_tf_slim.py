"""Write `tf_slim.txt`: variables of networks that TF-Slim builds, and the op that uses each.

    TF_USE_LEGACY_KERAS=1 python record_tf_slim.py

Recorded with tf_slim 1.1.0, TensorFlow 2.15 and tf_keras 2.15, the last that had the layers of TensorFlow 1. Each line
has a name, a shape, and the types of the ops to which the variable leads through ops that only pass it on ("-" for
none); "T" behind MatMul means that it is multiplied transposed.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tensorflow.compat.v1 as tf
from tf_keras.src import legacy_tf_layers
from tf_keras.src.legacy_tf_layers import base, convolutional, core, normalization, pooling

module = types.ModuleType("tf_keras.legacy_tf_layers")  # tf.layers looks for it where other versions have it
for part in (base, core, convolutional, normalization, pooling):
    module.__dict__.update({name: value for name, value in vars(part).items() if not name.startswith("_")})
    name = part.__name__.rpartition(".")[2]
    setattr(module, name, part)
    sys.modules[f"tf_keras.legacy_tf_layers.{name}"] = part
sys.modules["tf_keras.legacy_tf_layers"] = module
assert legacy_tf_layers is not None

import tf_slim as slim  # noqa: E402
from tf_slim import nets  # noqa: E402

PASSING = {"Identity", "ReadVariableOp", "Cast", "Reshape", "ExpandDims"}
ASIDE = {"Assign", "AssignVariableOp", "AssignSub", "IsVariableInitialized", "VarIsInitializedOp", "L2Loss", "Sub"}


def uses(graph: tf.Graph, variable: tf.Variable) -> set[str]:
    """The types of the ops that use the variable."""
    todo = [op for op in graph.get_operations() if any(tensor.op is variable.op for tensor in op.inputs)]
    seen: set[str] = set()
    found: set[str] = set()
    while todo:
        op = todo.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.type in PASSING:
            todo += [consumer for tensor in op.outputs for consumer in tensor.consumers()]
        elif op.type not in ASIDE:
            found.add(op.type + ("T" if op.type == "MatMul" and op.get_attr("transpose_b") else ""))
    return found


def images(size: int) -> tf.Tensor:
    return tf.zeros([1, size, size, 3])


def network(build: Callable[..., object], size: int, scope: Callable[[], object] | None = None) -> None:
    with slim.arg_scope(scope() if scope is not None else []):
        build(images(size), num_classes=10, is_training=False)


def layers() -> None:
    """Every layer under its default scope, and some under scopes that say nothing."""
    x = slim.conv2d(images(16), 8, 3)
    x = slim.conv2d_transpose(x, 8, 4)
    x = slim.separable_conv2d(x, 8, 3, 1)
    x = slim.conv2d(x, 8, 3, scope="reduce", normalizer_fn=slim.batch_norm)
    x = slim.conv2d(x, 12, 3, scope="widen", normalizer_fn=slim.batch_norm)
    x = slim.conv2d_transpose(x, 6, 3, scope="grow")
    x = slim.conv2d_transpose(x, 6, 3, scope="square")
    x = slim.fully_connected(slim.flatten(x), 5)
    slim.layer_norm(slim.fully_connected(x, 5, scope="head"))
    slim.conv3d(tf.zeros([1, 4, 4, 4, 2]), 3, 2)
    slim.convolution1d(tf.zeros([1, 9, 2]), 3, 2)


NETWORKS: dict[str, Callable[[], None]] = {
    "inception_v3": partial(network, nets.inception.inception_v3, 299, nets.inception.inception_v3_arg_scope),
    "resnet_v2": partial(network, nets.resnet_v2.resnet_v2_50, 224, nets.resnet_utils.resnet_arg_scope),
    "vgg_16": partial(network, nets.vgg.vgg_16, 224, nets.vgg.vgg_arg_scope),
    "alexnet": partial(network, nets.alexnet.alexnet_v2, 224, nets.alexnet.alexnet_v2_arg_scope),
    "layers": layers,
}

tf.disable_v2_behavior()
lines: list[str] = []
for title, build in NETWORKS.items():
    with tf.Graph().as_default() as graph:
        build()
        lines.append(f"# {title}")
        for variable in tf.global_variables():
            shape = "x".join(map(str, variable.shape.as_list()))
            lines.append(f"{variable.op.name} {shape} {','.join(sorted(uses(graph, variable))) or '-'}")
Path(__file__).with_name("tf_slim.txt").write_text("\n".join((*lines, "")), "utf-8")
