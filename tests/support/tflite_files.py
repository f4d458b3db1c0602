"""Models of TensorFlow Lite, written and read by the package flatbuffers and the field numbers of schema.fbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import ml_dtypes
import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table

from support import builders

DTYPES = {
    0: np.dtype("<f4"),
    1: np.dtype("<f2"),
    2: np.dtype("<i4"),
    9: np.dtype("i1"),
    10: np.dtype("<f8"),
    18: np.dtype(ml_dtypes.bfloat16),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
Fields = Mapping[int, Any]
"""The fields of a table: tables, vectors of tables, of int32s (lists), bytes, arrays, texts, and ("u1", number)."""

_FLAGS = {"u1": number_types.Uint8Flags, "u4": number_types.Uint32Flags, "u8": number_types.Uint64Flags}
_FLAGS |= {"i4": number_types.Int32Flags}


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """A table, vector or text; returns its offset."""
    match value:
        case bytes():
            return int(builder.CreateByteVector(value))
        case str():
            return int(builder.CreateString(value))
        case np.ndarray():
            return int(builder.CreateNumpyVector(value))
        case Mapping():
            made = {number: one if isinstance(one, tuple) else _write(builder, one) for number, one in value.items()}
            builder.StartObject(max(value, default=0) + 1)
            for number, one in made.items():
                if isinstance(one, tuple):
                    flags = _FLAGS[one[0]]
                    builder.Prep(flags.bytewidth, 0)
                    builder.Place(one[1], flags)
                else:
                    builder.PrependUOffsetTRelative(one)
                builder.Slot(number)
            return int(builder.EndObject())
    tables = bool(value) and isinstance(value[0], Mapping)
    offsets = [_write(builder, one) for one in value] if tables else []
    builder.StartVector(4, len(value), 4)
    for one in reversed(offsets or value):
        (builder.PrependUOffsetTRelative if tables else builder.PrependInt32)(one)
    return int(builder.EndVector())


def flatbuffer(model: Fields) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, model), b"TFL3")
    return bytes(builder.Output())


def operator(code: int, inputs: Sequence[int], outputs: Sequence[int], options: Fields | None = None) -> Fields:
    """An operator; `model` makes a number of its code."""
    found: dict[int, Any] = {0: ("u4", code), 1: list(inputs), 2: list(outputs)}
    return found if options is None else found | {3: ("u1", 1), 4: options}


def model(
    tensors: Mapping[str, np.ndarray | None], operators: Sequence[Fields], buffers: Sequence[bytes] | None = None
) -> Fields:
    """A model of one subgraph. An array is a constant, None a tensor that is computed."""
    known = sorted({one[0][1] for one in operators})
    stored, described = [{}], []
    for name, array in tensors.items():
        if array is None:
            described.append({0: [1], 3: name})
            continue
        described.append({0: list(array.shape), 1: ("u1", CODES[array.dtype]), 2: ("u4", len(stored)), 3: name})
        stored.append({0: array.tobytes()})
    numbered = [{**one, 0: ("u4", known.index(one[0][1]))} for one in operators]
    codes = [{0: ("u1", min(code, 127)), 3: ("i4", code)} for code in known]
    subgraph = {0: described, 1: [], 2: [len(tensors) - 1], 3: numbered}
    return {0: ("u4", 3), 1: codes, 2: [subgraph], 4: stored}


def small_arrays() -> dict[str, np.ndarray]:
    """The constants of a small model, every second unit of its kernels of norm 2."""
    return {
        "conv": builders.kernel((4, 2, 2, 3), (0,)),
        "conv bias": np.full(4, 3.0, np.float32),
        "depthwise": builders.kernel((1, 2, 2, 4), (3,), seed=1),
        "dense": builders.kernel((5, 4), (0,), seed=2, dtype=np.float16),
        "table": builders.kernel((6, 4), (0,), seed=3),
        "up": builders.kernel((4, 2, 2, 3), (0,), seed=4),
        "product": builders.kernel((4, 3), (1,), seed=5),
        "eight": np.full((3, 2), 2, np.int8),
        "sizes": np.array([1, 2], np.int32),
    }


SMALL_KERNELS = {"conv": (0,), "depthwise": (3,), "dense": (0,), "table": (0,), "up": (0,), "product": (1,)}


def small_model() -> bytes:
    """It is read and never run."""
    tensors: dict[str, np.ndarray | None] = {**small_arrays(), "x": None, "wide": None, "y": None}
    place = {name: number for number, name in enumerate(tensors)}

    def taking(code: int, *names: str, output: str = "y", options: Fields | None = None) -> Fields:
        return operator(code, [place[name] for name in names], [place[output]], options)

    operators = [
        taking(3, "x", "conv", "conv bias"),
        taking(4, "x", "depthwise"),
        taking(6, "dense", output="wide"),
        taking(9, "x", "wide"),
        taking(7, "x", "table"),
        taking(67, "sizes", "up", "x"),
        taking(126, "x", "product", options={0: ("u1", 0), 1: ("u1", 0)}),
        taking(9, "x", "eight"),
    ]
    return flatbuffer(model(tensors, operators))


def read_tflite(path: Path) -> dict[str, np.ndarray]:
    """Every constant of the first subgraph, by its name."""
    raw = bytearray(path.read_bytes())
    root = Table(raw, int.from_bytes(raw[:4], "little"))
    buffers, found = _tables(root, 4), {}
    for one in _tables(_tables(root, 2)[0], 0):
        number = one.Offset(8)
        data = buffers[one.Get(number_types.Uint32Flags, number + one.Pos) if number else 0]
        content = data.Offset(4)
        if content:
            code = one.Offset(6)
            dtype = DTYPES[one.Get(number_types.Uint8Flags, code + one.Pos) if code else 0]
            shape, start = one.Offset(4), data.Vector(content)
            sizes = [one.Get(number_types.Int32Flags, one.Vector(shape) + 4 * n) for n in range(one.VectorLen(shape))]
            name = one.String(one.Offset(10) + one.Pos).decode()
            found[name] = np.frombuffer(bytes(raw[start : start + data.VectorLen(content)]), dtype).reshape(sizes)
    return found


def _tables(table: Table, field: int) -> list[Table]:
    offset = table.Offset(4 + 2 * field)
    start = table.Vector(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * number)) for number in range(table.VectorLen(offset))]
