"""Small files of the kinds that were once misread, by h5py and by TensorFlow's bytes alone, and what is true of them.

The layouts are those that Keras 1, 2 and 3, TensorFlow 1 and transformers write; the truth is that of the layers named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from hostile import tf_build
from support import builders

from zoo.judge import Truth

KERNEL = Truth("kernel", (-1,))
TABLE = Truth("embedding", (0,))
BIAS, SCALE, STATISTIC, OPTIMIZER = Truth("bias"), Truth("scale"), Truth("statistic"), Truth("optimizer")


class Known(NamedTuple):
    shape: tuple[int, ...]
    truth: Truth
    group: str = ""
    """The name that the layer itself has, where a `.weights.h5` holds it."""


def _values(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * 9).astype(np.float32)


def _tensors(path: Path, known: Mapping[str, Known]) -> Path:
    """A TensorFlow checkpoint by names."""
    tensors = {name: _values(one.shape, seed) for seed, (name, one) in enumerate(known.items())}
    return tf_build.draft(tensors).write(path)


def _v3(path: Path, known: Mapping[str, Known]) -> Path:
    """A `.weights.h5`: the variables by their paths, and the names of the layers at their groups."""
    arrays = {name: _values(one.shape, seed) for seed, (name, one) in enumerate(known.items())}
    attrs = {name.rpartition("/")[0]: {"name": one.group} for name, one in known.items() if one.group}
    builders.write_h5(path, arrays, attrs={"vars": {"name": "net"}} | attrs)
    return path


def _legacy(path: Path, layers: Mapping[str, Mapping[str, Known]], config: object = None) -> Path:
    """A legacy `.h5`: groups of layers, and in them the names of weights as they are."""
    with h5py.File(path, "w") as file:
        _model(file, layers, config)
    return path


def _model(root: h5py.Group, layers: Mapping[str, Mapping[str, Known]], config: object = None) -> None:
    if config is not None:
        root.attrs["model_config"] = json.dumps(config)
        root = root.create_group("model_weights")
    root.attrs["layer_names"] = [name.encode() for name in layers]
    for layer, weights in layers.items():
        group = root.create_group(layer)
        group.attrs["weight_names"] = [name.encode() for name in weights]
        for seed, (name, one) in enumerate(weights.items()):
            group[name] = _values(one.shape, seed)


def _models(path: Path, models: Mapping[str, tuple[Mapping[str, Mapping[str, Known]], object]]) -> Path:
    """An HDF5 file of several models, each in a group of its own."""
    with h5py.File(path, "w") as file:
        for name, (layers, config) in models.items():
            _model(file.create_group(name), layers, config)
    return path


def _archive(path: Path, known: Mapping[str, Known], config: Mapping[str, Any]) -> Path:
    """A `.keras`: the config, and the variables in the order of each group, with the names of all layers."""
    names = [layer["config"]["name"] for layer in config["config"]["layers"]]
    layers: dict[str, tuple[str, list[np.ndarray]]] = {f"layers/{name}": (name, []) for name in names}
    for seed, (name, one) in enumerate(known.items()):
        layers.setdefault(name.rpartition("/vars/")[0], (one.group, []))[1].append(_values(one.shape, seed))
    builders.write_keras(path, config, layers)
    return path


def _plain(path: Path, known: Mapping[str, Known]) -> Path:
    """An HDF5 file of arrays by their paths, and no attribute."""
    builders.write_h5(path, {name: _values(one.shape, seed) for seed, (name, one) in enumerate(known.items())})
    return path


class Case(NamedTuple):
    """`make` writes the file; `known` has the truth of each variable, by the end of its storage key."""

    make: Callable[[Path], Path]
    known: Mapping[str, Known]


def _case(name: str, known: Mapping[str, Known], write: Callable[[Path, Mapping[str, Known]], Path]) -> Case:
    return Case(lambda folder: write(folder / name, known), known)


def _flat(layers: Mapping[str, Mapping[str, Known]]) -> dict[str, Known]:
    return {f"{layer}/{name}": one for layer, weights in layers.items() for name, one in weights.items()}


ATTRIBUTES_THAT_MISLEAD = {
    "embedding/vars/0": Known((3, 4), KERNEL, "dense"),
    "conv2d/vars/0": Known((3, 3, 5, 4), Truth("kernel", (2,)), "conv2d_transpose"),
    "conv2d/vars/1": Known((5,), BIAS, "conv2d_transpose"),
    "attention/vars/0": Known((5, 6), KERNEL, "dense_1"),
    "attention/vars/1": Known((6,), BIAS, "dense_1"),
}
NAMED_SUBLAYERS = {
    "conv1/vars/0": Known((3, 3, 3, 4), KERNEL, "conv1"),
    "conv1/vars/1": Known((4,), BIAS, "conv1"),
    "deconv/vars/0": Known((3, 3, 6, 4), Truth("kernel", (2,)), "deconv"),
    "deconv/vars/1": Known((6,), BIAS, "deconv"),
    "dw/vars/0": Known((3, 3, 6, 1), Truth("kernel", (2, 3)), "dw"),
    "dw/vars/1": Known((6,), BIAS, "dw"),
    "fc/vars/0": Known((6, 5), KERNEL, "fc"),
    "fc/vars/1": Known((5,), BIAS, "fc"),
    "layers/dense_1/vars/0": Known((5, 3), KERNEL, "dense"),
    "layers/dense_1/vars/1": Known((3,), BIAS, "dense"),
    "layers/embedding/vars/0": Known((9, 5), TABLE, "table"),
}
_HEADS_FIRST = Truth("kernel", (0, 2))
HEADS_FIRST = {
    "layers/heads_first/query_dense/vars/0": Known((2, 64, 4), _HEADS_FIRST, "query"),
    "layers/heads_first/key_dense/vars/0": Known((1, 64, 4), _HEADS_FIRST, "key"),
    "layers/heads_first/value_dense/vars/0": Known((1, 64, 4), _HEADS_FIRST, "value"),
    "layers/heads_first/output_dense/vars/0": Known((2, 4, 64), KERNEL, "attention_output"),
}
KERAS_1 = {
    "block1_conv1": {
        "block1_conv1_W_1:0": Known((3, 3, 3, 8), KERNEL),
        "block1_conv1_b_1:0": Known((8,), BIAS),
    },
    "fc1": {"fc1_W_1:0": Known((32, 16), KERNEL), "fc1_b_1:0": Known((16,), BIAS)},
    "lstm_1": {
        f"lstm_1_{kind}_{gate}": Known(shape, truth)
        for gate in "icfo"
        for kind, shape, truth in (("W", (8, 4), KERNEL), ("U", (4, 4), KERNEL), ("b", (4,), BIAS))
    },
    "embedding_1": {"embedding_1_W": Known((20, 8), TABLE)},
}
KERAS_1_THEANO = {
    **KERAS_1,
    "block1_conv1": {
        "block1_conv1_W_1:0": Known((8, 3, 3, 3), Truth("kernel", (0,))),
        "block1_conv1_b_1:0": Known((8,), BIAS),
    },
}
_CLASSES = {"block1_conv1": "Convolution2D", "fc1": "Dense", "lstm_1": "LSTM", "embedding_1": "Embedding"}
_THEANO = {
    "class_name": "Sequential",
    "config": [{"class_name": of, "config": {"name": name, "dim_ordering": "th"}} for name, of in _CLASSES.items()],
}
MOMENTS = {
    "dense/kernel": Known((8, 6), KERNEL),
    "dense/bias": Known((6,), BIAS),
    **{f"{slot}/dense/kernel": Known((8, 6), OPTIMIZER) for slot in ("Adam/m", "Adam/v", "SGD/m")},
    **{f"{slot}/dense/bias": Known((6,), OPTIMIZER) for slot in ("Adam/m", "Adam/v")},
}
BERT = {
    "bert/embeddings/word_embeddings": Known((400, 16), TABLE),
    "bert/embeddings/word_embeddings/adam_m": Known((400, 16), OPTIMIZER),
    "bert/embeddings/position_embeddings": Known((20, 16), TABLE),
    "bert/embeddings/token_type_embeddings": Known((2, 16), TABLE),
    "bert/embeddings/LayerNorm/gamma": Known((16,), SCALE),
    "bert/encoder/layer_0/attention/self/query/kernel": Known((16, 16), KERNEL),
    "bert/encoder/layer_0/attention/self/query/bias": Known((16,), BIAS),
    "bert/encoder/layer_0/intermediate/dense/kernel": Known((16, 64), KERNEL),
    "bert/encoder/layer_0/intermediate/dense/kernel/adam_m": Known((16, 64), OPTIMIZER),
    "cls/seq_relationship/output_weights": Known((2, 16), Truth("kernel", (0,))),
}
SLIM = {
    "MobilenetV1/Conv2d_0/weights": Known((3, 3, 3, 8), KERNEL),
    "MobilenetV1/Conv2d_0/BatchNorm/beta": Known((8,), BIAS),
    "MobilenetV1/Conv2d_0/BatchNorm/moving_mean": Known((8,), STATISTIC),
    "MobilenetV1/Conv2d_1_depthwise/depthwise_weights": Known((3, 3, 8, 1), Truth("kernel", (2, 3))),
    "MobilenetV1/Conv2d_1_pointwise/weights": Known((1, 1, 8, 16), KERNEL),
    "MobilenetV1/Conv2d_1_pointwise/weights/RMSProp": Known((1, 1, 8, 16), OPTIMIZER),
    "MobilenetV1/Conv2d_1_pointwise/weights/ExponentialMovingAverage": Known((1, 1, 8, 16), OPTIMIZER),
    "MobilenetV1/Logits/Conv2d_1c_1x1/weights": Known((1, 1, 16, 10), KERNEL),
    "MobilenetV1/Logits/Conv2d_1c_1x1/biases": Known((10,), BIAS),
}
_GPT2, _BERT = "tfgpt2lm_head_model/transformer", "tf_bert_model/bert"
TRANSFORMERS = {
    "transformer": {
        f"{_GPT2}/wte/weight:0": Known((40, 16), TABLE),
        f"{_GPT2}/wpe/embeddings:0": Known((20, 16), TABLE),
        f"{_GPT2}/h_._0/attn/c_attn/weight:0": Known((16, 48), KERNEL),
        f"{_GPT2}/h_._0/attn/c_attn/bias:0": Known((1, 48), BIAS),
        f"{_GPT2}/h_._0/mlp/c_fc/weight:0": Known((16, 64), KERNEL),
    },
    "bert": {
        f"{_BERT}/embeddings/word_embeddings/weight:0": Known((40, 16), TABLE),
        f"{_BERT}/encoder/layer_._0/attention/self/query/kernel:0": Known((16, 16), KERNEL),
        f"{_BERT}/encoder/layer_._0/intermediate/dense/kernel:0": Known((16, 64), KERNEL),
    },
}
BIASES = {
    name: {f"{name}/kernel:0": Known(shape, Truth("kernel", units)), f"{name}/bias:0": Known((bias,), BIAS)}
    for name, shape, bias, units in (
        ("mask_deconv", (2, 2, 8, 16), 8, (2,)),
        ("conv", (3, 3, 8, 16), 16, (3,)),
        ("last", (2, 5, 4), 5, (1,)),
        ("depth", (3, 3, 6, 1), 6, (2, 3)),
    )
}
WRAPPED = {
    "weight_normalization": {
        "weight_normalization/kernel:0": Known((3, 3, 4, 8), Truth("kernel", (2,))),
        "weight_normalization/g:0": Known((8,), SCALE),
        "weight_normalization/bias:0": Known((4,), BIAS),
    }
}
_INNER = {"class_name": "Conv2DTranspose", "config": {"name": "up", "filters": 4}}
_OUTER = {"class_name": "Addons>WeightNormalization", "config": {"name": "weight_normalization", "layer": _INNER}}
_WRAPPER = {"class_name": "Sequential", "config": {"name": "s", "layers": [_OUTER]}}

TWICE_WRAPPED = {
    "weight_normalization": {
        "weight_normalization/kernel:0": Known((3, 3, 4, 4), Truth("kernel", (2,))),
        "weight_normalization/g:0": Known((4,), SCALE),
    },
    "own": {
        "own/kernel:0": Known((4, 4), KERNEL),
        "own/up/kernel:0": Known((3, 3, 4, 4), Truth("kernel", (2,))),
    },
}
_OWN = {"class_name": "Mine>Own", "config": {"name": "own", "layer": _INNER}}
_WRAPPERS = {"class_name": "Sequential", "config": {"name": "s", "layers": [_OUTER, _OWN]}}
_TURNED = {"equation": "abc,dc->abd", "output_shape": [None, 6], "bias_axes": "d"}
_MADE_FROM = {"name": "turned", "class_name": "Turned", "registered_name": "Mine>Turned", "module": None}
_FOREIGN = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {**_MADE_FROM, "config": {"name": "turned", **_TURNED}},
            {"class_name": "Mine>Own", "config": {"name": "own", "layer": _INNER}},
            {"class_name": "Mine>Around", "config": {"name": "around", "layer": {**_INNER, "name": "up"}}},
            {
                "class_name": "Mine>Several",
                "config": {
                    "name": "several",
                    "blocks": [
                        {"class_name": "EinsumDense", "config": {"name": "one", **_TURNED}},
                        {"class_name": "EinsumDense", "config": {"name": "two", **_TURNED, "equation": "abc,cd->abd"}},
                    ],
                },
            },
        ],
    },
}
_UP = Truth("kernel", (2,))
MADE_ELSEWHERE = {
    "layers/turned/vars/0": Known((6, 6), Truth("kernel", (0,)), "turned"),
    "layers/turned/vars/1": Known((6,), BIAS, "turned"),
    "layers/own/vars/0": Known((3, 3, 4, 4), _UP, "own"),
    "layers/around/held/vars/0": Known((3, 3, 4, 4), _UP, "up"),
    "layers/several/parts/einsum_dense/vars/0": Known((6, 6), Truth("kernel", (0,)), "one"),
    "layers/several/parts/einsum_dense/vars/1": Known((6,), BIAS, "one"),
    "layers/several/parts/einsum_dense_1/vars/0": Known((6, 6), KERNEL, "two"),
    "layers/several/parts/einsum_dense_1/vars/1": Known((6,), BIAS, "two"),
}
TURNED = {"turned": {"turned/kernel": Known((6, 6), Truth("kernel", (0,))), "turned/bias": Known((6,), BIAS)}}

GENERATOR = {"a": {"a/kernel:0": Known((3, 3, 4, 4), Truth("kernel", (2,)))}}
CRITIC = {"a": {"a/kernel:0": Known((3, 3, 4, 4), Truth("kernel", (2, 3)))}}
ENCODER = {"dense": {"dense/kernel:0": Known((4, 4), KERNEL), "dense/bias:0": Known((4,), BIAS)}}
MODELS_IN_GROUPS = {
    f"{group}/{name}": one
    for group, layers in (
        ("gan/generator/model_weights", GENERATOR),
        ("gan/critic/model_weights", CRITIC),
        ("encoder", ENCODER),
    )
    for name, one in _flat(layers).items()
}


def _sequential(layer: str) -> object:
    """The config of a model of one layer, called "a"."""
    layers = [{"class_name": layer, "config": {"name": "a"}}]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


BEFORE_1 = {
    "layer_1/param_0": Known((64, 3, 3, 3), Truth("kernel", (0,))),
    "layer_1/param_1": Known((64,), BIAS),
    "layer_2/param_0": Known((64, 64, 3, 3), Truth("kernel", (0,))),
    "layer_2/param_1": Known((64,), BIAS),
    "layer_3/param_0": Known((3, 3, 64, 64), KERNEL),
    "layer_3/param_1": Known((64,), BIAS),
    "layer_5/param_0": Known((25, 40), KERNEL),
    "layer_5/param_1": Known((40,), BIAS),
    "layer_6/param_0": Known((40, 40), KERNEL),
    "layer_6/param_1": Known((40,), BIAS),
    **{
        f"layer_7/param_{3 * gate + n}": Known(*facts)
        for gate in range(4)
        for n, facts in enumerate((((7, 5), KERNEL), ((5, 5), KERNEL), ((5,), BIAS)))
    },
}

CASES = {
    "attributes that mislead": _case("a.weights.h5", ATTRIBUTES_THAT_MISLEAD, _v3),
    "sublayers with names of their own": _case("n.weights.h5", NAMED_SUBLAYERS, _v3),
    "heads before inputs": _case("g.weights.h5", HEADS_FIRST, _v3),
    "Keras 1": Case(lambda folder: _legacy(folder / "k1.h5", KERAS_1), _flat(KERAS_1)),
    "Keras 1 in Theano's order": Case(
        lambda folder: _legacy(folder / "k1.h5", KERAS_1_THEANO, _THEANO), _flat(KERAS_1_THEANO)
    ),
    "moments by names": _case("moments", MOMENTS, _tensors),
    "BERT": _case("bert", BERT, _tensors),
    "TF-Slim": _case("slim", SLIM, _tensors),
    "transformers": Case(lambda folder: _legacy(folder / "tf_model.h5", TRANSFORMERS), _flat(TRANSFORMERS)),
    "biases tell": Case(lambda folder: _legacy(folder / "tb.h5", BIASES), _flat(BIASES)),
    "wrappers whose weights are their layer's, and their own": Case(
        lambda folder: _legacy(folder / "ww.h5", TWICE_WRAPPED, _WRAPPERS), _flat(TWICE_WRAPPED)
    ),
    "models in groups": Case(
        lambda folder: _models(
            folder / "two.h5",
            {
                "gan/generator": (GENERATOR, _sequential("Conv2DTranspose")),
                "gan/critic": (CRITIC, _sequential("DepthwiseConv2D")),
                "encoder": (ENCODER, None),
            },
        ),
        MODELS_IN_GROUPS,
    ),
    "layers of other packages in an archive": Case(
        lambda folder: _archive(folder / "f.keras", MADE_ELSEWHERE, _FOREIGN), MADE_ELSEWHERE
    ),
    "a layer of another package that is made from EinsumDense": Case(
        lambda folder: _legacy(folder / "e.h5", TURNED, _FOREIGN), _flat(TURNED)
    ),
    "Keras before 1.0": _case("nb.h5", BEFORE_1, _plain),
    "a wrapper's inner layer": Case(lambda folder: _legacy(folder / "w.h5", WRAPPED, _WRAPPER), _flat(WRAPPED)),
}
