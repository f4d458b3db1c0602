"""Models of ONNX written as bytes, and their tensors read, by onnx.proto alone; without the onnx package.

`test_builders.py` judges both by onnx, where that is installed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np

from support import builders
from support.graph_build import blob, number
from support.raw_tables import varint

DTYPES = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
    16: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(ml_dtypes.float8_e4m3fn),
}
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
GRAPH, TENSOR, SPARSE = 5, 4, 11

Form = Literal["raw", "typed", "pieces", "none"]
Entries = Mapping[str, str | int]


def tensor(
    name: str, array: np.ndarray, form: Form = "raw", outside: Entries | None = None, more: bytes = b""
) -> bytes:
    """A TensorProto: as raw_data, in the typed field of its dtype, in two pieces of that, or without numbers."""
    array = np.asarray(array)
    raw = array.tobytes()
    content = b"".join(number(1, size) for size in array.shape) + number(2, NUMBERS[array.dtype]) + blob(8, name)
    if outside is not None:
        content += b"".join(blob(13, blob(1, key) + blob(2, str(value))) for key, value in outside.items())
        return content + number(14, 1) + more
    if form == "raw":
        return content + blob(9, raw) + more
    field = {"f4": 4, "f8": 10, "i8": 7}.get(array.dtype.str[1:], 5)
    half = len(raw) // 2 if form == "pieces" else len(raw)
    if form == "none":
        return content + more
    if field in (4, 10):
        return content + blob(field, raw[:half]) + (blob(field, raw[half:]) if form == "pieces" else b"") + more
    bits = array.view(f"u{array.dtype.itemsize}").ravel() if array.dtype.kind not in "iu" else array.ravel()
    return content + blob(field, b"".join(varint(int(one) % (1 << 64)) for one in bits)) + more


Attribute = int | bytes | str | Sequence[int] | tuple[int, bytes]


def attribute(name: str, value: Any) -> bytes:
    """An AttributeProto; (GRAPH, bytes) and (TENSOR, bytes) are messages."""
    match value:
        case (5 | 4 | 11 as kind, bytes() as message):
            return blob(1, name) + blob({GRAPH: 6, TENSOR: 5, SPARSE: 22}[kind], message) + number(20, kind)
        case (field, bytes() as message):
            return blob(1, name) + blob(int(field), message)
        case int():
            return blob(1, name) + number(3, value) + number(20, 2)
        case str() | bytes():
            return blob(1, name) + blob(4, value) + number(20, 3)
    return blob(1, name) + b"".join(number(8, one) for one in value) + number(20, 7)


def node(
    op: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    name: str = "",
    domain: str = "",
    overload: str = "",
    **other: Any,
) -> bytes:
    """A NodeProto."""
    content = b"".join(blob(1, one) for one in inputs) + b"".join(blob(2, one) for one in outputs)
    content += (blob(3, name) if name else b"") + blob(4, op)
    content += b"".join(blob(5, attribute(key, value)) for key, value in other.items())
    return content + (blob(7, domain) if domain else b"") + (blob(8, overload) if overload else b"")


def value_info(name: str, dtype: int, shape: Sequence[int]) -> bytes:
    sizes = b"".join(blob(1, number(1, size)) for size in shape)
    return blob(1, name) + blob(2, blob(1, number(1, dtype) + blob(2, sizes)))


def graph(
    nodes: Iterable[bytes],
    tensors: Iterable[bytes] = (),
    inputs: Iterable[bytes] = (),
    outputs: Iterable[bytes] = (),
    sparse: Iterable[bytes] = (),
) -> bytes:
    """A GraphProto."""
    content = b"".join(blob(1, one) for one in nodes) + blob(2, "main") + b"".join(blob(5, one) for one in tensors)
    content += b"".join(blob(11, one) for one in inputs) + b"".join(blob(12, one) for one in outputs)
    return content + b"".join(blob(15, one) for one in sparse)


def model(graph: bytes, functions: Iterable[bytes] = (), domains: Iterable[str] = ()) -> bytes:
    """A ModelProto of IR version 8 and opset 17."""
    content = number(1, 8) + blob(2, "tests") + blob(7, graph)
    content += b"".join(blob(8, blob(1, domain) + number(2, 1)) for domain in domains) + blob(8, number(2, 17))
    return content + b"".join(blob(25, one) for one in functions)


def function(
    domain: str, name: str, inputs: Iterable[str], outputs: Iterable[str], nodes: Iterable[bytes], overload: str = ""
) -> bytes:
    """A FunctionProto."""
    content = blob(1, name) + b"".join(blob(4, one) for one in inputs) + b"".join(blob(5, one) for one in outputs)
    content += b"".join(blob(7, one) for one in nodes) + blob(9, number(2, 17)) + blob(10, domain)
    return content + (blob(13, overload) if overload else b"")


def small_arrays() -> dict[str, np.ndarray]:
    """The tensors of a small model by their keys, every second unit of its kernels of norm 2."""
    return {
        "body_out/then_branch/inner": builders.kernel((3, 4), (1,), seed=6),
        "embed.weight": builders.kernel((6, 4), (0,)),
        "conv.weight": builders.kernel((4, 3, 2, 2), (0,), seed=1),
        "conv.bias": np.full(4, 3.0, np.float32),
        "fc.bias": np.full(5, 3.0, np.float16),
        "fc.weight": builders.kernel((5, 4), (0,), seed=2, dtype=np.float16),
        "onnx::MatMul_9": builders.kernel((5, 3), (1,), seed=3, dtype=ml_dtypes.bfloat16),
        "up.weight": builders.kernel((3, 4, 2, 2), (1,), seed=4, dtype=np.float64),
        "onnx::LSTM_3": builders.kernel((2, 8, 3), (0, 1), seed=5),
        "turned": builders.kernel((5, 4), (0,), seed=7),
        "packed": builders.kernel((4, 5), (1,), seed=8),
        "norm.weight": np.full(5, 3.0, np.float32),
        "steps": np.array(7, np.int64),
        "eight": np.full((3, 2), 2, np.int8),
        "eight_scale": np.full((3, 2), 3.0, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }


SMALL_KERNELS = {
    "body_out/then_branch/inner": (1,),
    "embed.weight": (0,),
    "conv.weight": (0,),
    "fc.weight": (0,),
    "onnx::MatMul_9": (1,),
    "up.weight": (1,),
    "onnx::LSTM_3": (0, 1),
    "turned": (0,),
    "packed": (1,),
}


def small_model(places: Mapping[str, Entries] | None = None) -> bytes:
    """The small model, with the tensors in `places` in other files. It is read and never run."""
    arrays, places = small_arrays(), places or {}
    inner = tensor("", arrays.pop("body_out/then_branch/inner"))
    then = graph(
        [node("Constant", [], ["inner"], value=(TENSOR, inner)), node("MatMul", ["x", "inner"], ["then_out"])],
        outputs=[value_info("then_out", 1, [2, 4])],
    )
    other = graph([node("Identity", ["x"], ["else_out"])], outputs=[value_info("else_out", 1, [2, 4])])
    nodes = [
        node("Gather", ["embed.weight", "ids"], ["e"]),
        node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], kernel_shape=[2, 2]),
        node("Gemm", ["h", "fc.weight", "fc.bias"], ["g"], transB=1),
        node("MatMul", ["b", "onnx::MatMul_9"], ["m"], name="/head/MatMul"),
        node("ConvTranspose", ["d", "up.weight"], ["u"]),
        node("LSTM", ["s", "onnx::LSTM_3", "onnx::LSTM_3"], ["l"], hidden_size=2),
        node("Transpose", ["turned"], ["turned_t"], perm=[1, 0]),
        node("MatMul", ["x", "turned_t"], ["t"]),
        node("MatMul", ["x", "packed"], ["p"]),
        node("LayerNormalization", ["p", "norm.weight"], ["n"]),
        node("DequantizeLinear", ["eight", "eight_scale"], ["q"]),
        node("MatMul", ["z", "q"], ["r"]),
        node("If", ["condition"], ["body_out"], then_branch=(GRAPH, then), else_branch=(GRAPH, other)),
    ]
    tensors = [
        tensor(name, array, "typed" if name in ("packed", "fc.bias") else "raw", places.get(name))
        for name, array in arrays.items()
    ]
    inputs = [value_info("x", 1, [2, 4]), value_info("condition", 9, [])]
    return model(graph(nodes, tensors, inputs, [value_info("body_out", 1, [2, 4])]))


def write_outside(path: Path, name: str = "m.onnx.data", *, checksum: bool = False) -> None:
    """The small model with its larger tensors in another file, aligned as by the exporter of PyTorch."""
    data, places = b"", {}
    for key in ("embed.weight", "conv.weight", "fc.weight", "onnx::MatMul_9", "turned"):
        raw = small_arrays()[key].tobytes()
        data = data.ljust(-(-len(data) // 64) * 64, b"\0")
        places[key] = {"location": name, "offset": len(data), "length": len(raw)}
        data += raw
    if checksum:
        places = {key: {**place, "checksum": hashlib.sha1(data).hexdigest()} for key, place in places.items()}
    path.with_name(name).write_bytes(data)
    path.write_bytes(small_model(places))


def fields(raw: bytes) -> dict[int, list[Any]]:
    """A message: its fields by number, numbers and bytes."""
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        if tag & 7 == 0:
            value, at = _varint(raw, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, at = _varint(raw, at)
            value, at = raw[at : at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def read_onnx(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a model that has numbers, by its key: initializers, and constants that are no sizes."""
    found: dict[str, np.ndarray] = {}
    _read_graph(fields(path.read_bytes())[7][0], "", path.parent, found)
    return found


def _read_graph(raw: bytes, above: str, folder: Path, found: dict[str, np.ndarray]) -> None:
    stored = fields(raw)
    for one in stored.get(1, []):
        parts = fields(one)
        output = parts[2][0].decode()
        for each in map(fields, parts.get(5, [])):
            if parts[4] == [b"Constant"] and 5 in each:
                array = _array(fields(each[5][0]), folder)
                if array.dtype.kind != "i" or array.dtype.itemsize == 1:
                    found[f"{above}{output}"] = array
            for body in each.get(6, []):
                _read_graph(body, f"{above}{output}/{each[1][0].decode()}/", folder, found)
    for one in map(fields, stored.get(5, [])):
        found[above + one[8][0].decode()] = _array(one, folder)


def _array(one: dict[int, list[Any]], folder: Path) -> np.ndarray:
    dtype, shape = DTYPES[one[2][0]], one.get(1, [])
    if 13 in one:
        told = {entry[1][0].decode(): entry[2][0].decode() for entry in map(fields, one[13])}
        raw = (folder / told["location"]).read_bytes()[int(told["offset"]) :][: int(told["length"])]
    else:
        raw = next((b"".join(one[field]) for field in (9, 4, 10) if field in one), b"")
    if 5 in one:
        numbers, at = list[int](), 0
        while at < len(one[5][0]):
            value, at = _varint(one[5][0], at)
            numbers.append(value)
        raw = np.array(numbers, np.uint64).astype(f"u{dtype.itemsize}").tobytes()
    if not raw:
        return np.zeros(shape, dtype)
    return np.frombuffer(raw, dtype, math.prod(shape)).reshape(shape)
