"""Models of TensorFlow.js, written and read by plain loops after the description of the format in tfjs-core."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support import builders

Weight = tuple[str, np.ndarray, dict[str, Any]]
"""Name, stored numbers, and what its entry has besides name, shape and dtype."""

NAMES = {"f": {4: "float32", 2: "float32"}, "i": {4: "int32"}, "b": {1: "bool"}, "c": {8: "complex64"}}
STORED = {"float32": "<f4", "int32": "<i4", "bool": "?", "complex64": "<c8"} | {
    "float16": "<f2",
    "uint8": "u1",
    "uint16": "<u2",
}
HALF = {"quantization": {"dtype": "float16", "original_dtype": "float32"}}


def few_bits(dtype: str) -> dict[str, Any]:
    return {"quantization": {"dtype": dtype, "min": -1.5, "scale": 0.01, "original_dtype": "float32"}}


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}}


def layers_model(*layers: dict[str, Any]) -> dict[str, Any]:
    """A topology as tfjs-converter writes that of a Sequential model of Keras."""
    config = {"class_name": "Sequential", "config": {"name": "small", "layers": list(layers)}}
    return {"keras_version": "2.15.0", "backend": "tensorflow", "model_config": config}


SMALL_KERNELS = {
    "dense/kernel": (1,),
    "conv/kernel": (3,),
    "half/kernel": (1,),
    "turned/conv/kernel": (2,),
    "words/embeddings": (0,),
}


def small_weights() -> list[list[Weight]]:
    """In two groups; strings and flags make offsets odd, so that numbers lie across the ends of files."""
    kernels = {
        name: builders.kernel(shape, axes) for (name, axes), shape in zip(SMALL_KERNELS.items(), _SHAPES, strict=True)
    }
    first: list[Weight] = [
        ("dense/bias", np.arange(4, dtype="f4"), {}),
        ("dense/kernel", kernels["dense/kernel"], {}),
        ("flags", np.array([True, False, True]), {}),
        ("labels", np.array(["a", "bcd", ""], object), {}),
        ("conv/kernel", kernels["conv/kernel"], {}),
        ("half/kernel", kernels["half/kernel"].astype("f2"), HALF),
        ("few/kernel", np.arange(12, dtype="u1").reshape(3, 4), few_bits("uint8")),
        ("steps", np.array(7, "i4"), {}),
    ]
    second: list[Weight] = [
        ("turned/conv/kernel", kernels["turned/conv/kernel"], {}),
        ("words/embeddings", kernels["words/embeddings"], {}),
        ("none/kernel", np.zeros((0, 3), "f4"), {}),
        ("wave", np.array([[1 + 2j, 3]], "c8"), {}),
        ("fewer/kernel", np.arange(6, dtype="u2").reshape(2, 3), few_bits("uint16")),
    ]
    return [first, second]


_SHAPES = ((5, 4), (2, 3, 3, 4), (4, 6), (2, 2, 4, 3), (6, 5))


def small_topology() -> dict[str, Any]:
    return layers_model(
        layer("Embedding", "words", input_dim=6, output_dim=5),
        layer("Conv2D", "conv", filters=4),
        layer("Conv2DTranspose", "turned/conv", filters=4),
        layer("Dense", "dense", units=4),
        layer("Dense", "half", units=6),
        layer("Dense", "few", units=4),
        layer("Dense", "fewer", units=3),
    )


def stored_bytes(array: np.ndarray) -> bytes:
    if array.dtype.hasobject:
        texts = [text.encode() for text in array.reshape(-1)]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def entry(weight: Weight) -> dict[str, Any]:
    name, array, more = weight
    quantized = "quantization" in more and "float32"
    dtype = "string" if array.dtype.hasobject else quantized or NAMES[array.dtype.kind][array.dtype.itemsize]
    return {"name": name, "shape": list(array.shape), "dtype": dtype, **more}


def write_tfjs(
    folder: Path,
    groups: Sequence[Sequence[Weight]],
    topology: Mapping[str, Any] | None = None,
    *,
    name: str = "model.json",
    shard_bytes: int = 70,
    bare: bool = False,
) -> Path:
    """A model with files of at most `shard_bytes`; if `bare`, the manifest alone."""
    manifest = []
    for number, weights in enumerate(groups, 1):
        content = b"".join(stored_bytes(array) for _, array, _ in weights)
        parts = [content[at : at + shard_bytes] for at in range(0, len(content), shard_bytes)]
        paths = [f"group{number}-shard{place}of{len(parts)}.bin" for place in range(1, len(parts) + 1)]
        for path, part in zip(paths, parts, strict=True):
            (folder / path).write_bytes(part)
        manifest.append({"paths": paths, "weights": list(map(entry, weights))})
    told: dict[str, Any] = {"format": "layers-model", "generatedBy": "keras v2.15.0", "convertedBy": None}
    if topology is not None and "node" in topology:
        told["format"] = "graph-model"
    told |= {"modelTopology": topology, "weightsManifest": manifest}
    (folder / name).write_text(json.dumps(manifest if bare else told))
    return folder / name


def write_small(folder: Path) -> Path:
    return write_tfjs(folder, small_weights(), small_topology())


def read_tfjs(path: Path) -> dict[str, np.ndarray]:
    """The stored numbers of every weight: of each group its files one behind the other, and in these its weights."""
    told = json.loads(path.read_text())
    found = {}
    for group in told["weightsManifest"] if isinstance(told, dict) else told:
        content = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        at = 0
        for weight in group["weights"]:
            shape = weight["shape"]
            count = int(np.prod(shape, dtype=np.int64))
            if weight["dtype"] == "string":
                texts = []
                for _ in range(count):
                    length = int.from_bytes(content[at : at + 4], "little")
                    texts.append(content[at + 4 : at + 4 + length].decode())
                    at += 4 + length
                found[weight["name"]] = np.array(texts, object).reshape(shape)
                continue
            dtype = np.dtype(STORED[weight.get("quantization", weight)["dtype"]])
            found[weight["name"]] = np.frombuffer(content, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        assert at == len(content)
    return found


def but_paths(path: Path) -> Any:
    """What the JSON tells, without the names of files."""
    told = json.loads(path.read_text())
    for group in told["weightsManifest"]:
        group["paths"] = len(group["paths"])
    return told


def node(op: str, name: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    """A NodeDef as JSON: integers are texts, bytes are base64."""
    return {"name": name, "op": op, "input": list(inputs), "attr": {key: _attr(one) for key, one in attributes.items()}}


def _attr(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"b": value}
        case int():
            return {"i": str(value)}
        case str():
            return {"s": base64.b64encode(value.encode()).decode()}
        case [str(), *_]:
            return {"list": {"s": [base64.b64encode(text.encode()).decode() for text in value]}}
        case list():
            return {"list": {"i": [str(number) for number in value]}}
    return dict(value)


def write_graph(folder: Path, **options: Any) -> Path:
    """Weights that a graph turns, shapes, looks up in, adds and gives to a function."""
    nodes = [
        *(node("Const", name) for name in ("turned", "filter", "bias", "table", "axis", "flat", "shape", "given")),
        node("Placeholder", "x"),
        node("_FusedMatMul", "product", "x", "turned", "bias", transpose_b=True, fused_ops=["BiasAdd", "Relu"]),
        node("_FusedConv2D", "convolved", "x:0", "filter", "bias", "^product", fused_ops=["BiasAdd"], strides=[1, 1]),
        node("GatherV2", "row", "table", "x", "axis"),
        node("Reshape", "shaped", "flat", "shape"),
        node("DepthwiseConv2dNative", "deep", "x", "shaped"),
        node("PartitionedCall", "call", "x", "given", f={"func": {"name": "inside"}}),
    ]
    inside = {
        "signature": {"name": "inside", "inputArg": [{"name": "a"}, {"name": "w"}], "outputArg": [{"name": "y"}]},
        "nodeDef": [node("MatMul", "m", "w", "a")],
        "ret": {"y": "m:product:0"},
    }
    weights: list[Weight] = [
        ("turned", builders.kernel((3, 4), (0,)), {}),
        ("filter", builders.kernel((2, 2, 3, 4), (3,)).astype("f2"), HALF),
        ("bias", np.ones(4, "f4"), {}),
        ("table", builders.kernel((5, 2), (1,)), {}),
        ("axis", np.array([1], "i4"), {}),
        ("flat", builders.kernel((4, 6), (1,)), {}),
        ("shape", np.array([2, 2, 3, 2], "i4"), {}),
        ("given", builders.kernel((3, 2), (0,)), {}),
    ]
    return write_tfjs(folder, [weights], {"node": nodes, "library": {"function": [inside]}}, **options)
