"""A model of ONNX as an exporter of PyTorch writes it, by the field numbers of onnx.proto: no package is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

EXPORTED = {"words.weight": (0,), "conv.weight": (0,), "fc.weight": (0,), "onnx::MatMul_21": (1,)}
"""The weights that should be constrained; the exporter has transposed and renamed the last of them."""
SHAPES = {
    "words.weight": (60, 8),
    "conv.weight": (12, 8, 3),
    "conv.bias": (12,),
    "fc.weight": (10, 12),
    "fc.bias": (10,),
    "onnx::MatMul_21": (10, 6),
}

_FLOAT, _INT64 = 1, 7


def _varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _blob(field: int, content: bytes | str) -> bytes:
    encoded = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(encoded)) + encoded


def _node(op: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> bytes:
    content = b"".join(_blob(1, one) for one in inputs) + _blob(2, output) + _blob(3, f"/{output}/{op}") + _blob(4, op)
    for name, value in attributes.items():
        several = isinstance(value, list)
        numbers = b"".join(_number(8, one) for one in value) if isinstance(value, list) else _number(3, value)
        content += _blob(5, _blob(1, name) + numbers + _number(20, 7 if several else 2))
    return content


def _value(name: str, dtype: int, *shape: int) -> bytes:
    sizes = b"".join(_blob(1, _number(1, size)) for size in shape)
    return _blob(1, name) + _blob(2, _blob(1, _number(1, dtype) + _blob(2, sizes)))


def exported(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Words of nine numbers in, six numbers out: an embedding, a convolution, their mean, two linear layers."""
    nodes = [
        _node("Gather", ["words.weight", "words"], "words_out"),
        _node("Transpose", ["words_out"], "turned", perm=[0, 2, 1]),
        _node("Conv", ["turned", "conv.weight", "conv.bias"], "conv_out", kernel_shape=[3]),
        _node("ReduceMean", ["conv_out"], "mean", axes=[2], keepdims=0),
        _node("Gemm", ["mean", "fc.weight", "fc.bias"], "fc_out", transB=1),
        _node("Relu", ["fc_out"], "relu"),
        _node("MatMul", ["relu", "onnx::MatMul_21"], "head"),
    ]
    tensors = [
        b"".join(_number(1, size) for size in array.shape)
        + _number(2, _FLOAT)
        + _blob(8, name)
        + _blob(9, array.tobytes())
        for name, array in arrays.items()
    ]
    graph = b"".join(_blob(1, one) for one in nodes) + _blob(2, "main") + b"".join(_blob(5, one) for one in tensors)
    graph += _blob(11, _value("words", _INT64, 1, 9)) + _blob(12, _value("head", _FLOAT, 1, 6))
    return _number(1, 8) + _blob(2, "exported.py") + _blob(7, graph) + _blob(8, _number(2, 17))
