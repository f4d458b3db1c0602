"""TensorFlow's files made field by field, without TensorFlow and without the code under test.

Field numbers are those of tensor_bundle.proto, trackable_object_graph.proto, saved_tensor_slice.proto and their kin.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import crc32c as library
import numpy as np
from support import raw_tables as raw

FLOAT, DOUBLE, INT32, STRING, HALF = 1, 2, 3, 7, 19
GRAPH_KEY = b"_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
HEADER = bytes.fromhex("08011a020801")
"""BundleHeaderProto: one data file, little-endian, version 1."""
WHOLE = -1
"""The length of an axis that a slice does not cut."""

Pairs = Sequence[tuple[bytes, bytes]]


def number(field: int, value: int) -> bytes:
    """A varint field; negative numbers in two's complement."""
    return raw.varint(field << 3) + raw.varint(value % (1 << 64))


def text(field: int, value: bytes | str) -> bytes:
    """A field of a length and bytes."""
    value = value.encode() if isinstance(value, str) else value
    return raw.varint(field << 3 | 2) + raw.varint(len(value)) + value


def fixed(field: int, value: int) -> bytes:
    return raw.varint(field << 3 | 5) + struct.pack("<I", value)


# V2 checkpoints


def shape(*sizes: int) -> bytes:
    """TensorShapeProto."""
    return b"".join(text(2, number(1, size)) for size in sizes)


def box(*extents: tuple[int, int]) -> bytes:
    """TensorSliceProto."""
    return b"".join(text(1, number(1, at) + (b"" if size == WHOLE else number(2, size))) for at, size in extents)


@dataclass(frozen=True)
class Entry:
    """BundleEntryProto; `more` are fields put behind the known ones."""

    sizes: tuple[int, ...] = (2, 2)
    offset: int = 0
    size: int = 16
    crc: int | None = 0
    dtype: int = FLOAT
    shard: int = 0
    boxes: tuple[bytes, ...] = ()
    more: bytes = b""

    def encode(self) -> bytes:
        where = b"".join(number(n, v) for n, v in ((3, self.shard), (4, self.offset), (5, self.size)) if v)
        crc = b"" if self.crc is None else fixed(6, self.crc)
        boxes = b"".join(text(7, each) for each in self.boxes)
        return number(1, self.dtype) + text(2, shape(*self.sizes)) + where + crc + boxes + self.more


def string_tensor(*strings: bytes) -> tuple[bytes, int]:
    """A stored string tensor and its masked checksum."""
    lengths = b"".join(struct.pack("<I", len(each)) for each in strings)
    check = struct.pack("<I", raw.masked(lengths))
    content = check + b"".join(strings)
    return b"".join(raw.varint(len(each)) for each in strings) + content, raw.masked(lengths + content)


def weights(rows: int = 4, columns: int = 3) -> np.ndarray[Any, Any]:
    """A kernel whose units have the norms 1, 2, 3, ..."""
    values = np.zeros((rows, columns), np.float32)
    values[0] = np.arange(1, columns + 1)
    return values


@dataclass(frozen=True)
class Draft:
    """A V2 checkpoint to be: the values of the index by key, the bytes of the one data file."""

    pairs: tuple[tuple[bytes, bytes], ...]
    data: bytes

    def changed(self, key: bytes, value: bytes | None) -> Draft:
        """With another value under a key; without it for None."""
        kept = [pair for pair in self.pairs if pair[0] != key]
        return replace(self, pairs=tuple(sorted(kept if value is None else [*kept, (key, value)])))

    def write(self, prefix: Path, index: bytes | None = None) -> Path:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(self.data)
        prefix.with_name(f"{prefix.name}.index").write_bytes(raw.table(self.pairs) if index is None else index)
        return prefix


def draft(tensors: Mapping[str, np.ndarray[Any, Any]] | None = None, graph: bytes | None = None) -> Draft:
    """Float tensors by key ("dense/kernel" and "dense/bias" unless given), and an object graph."""
    if tensors is None:
        tensors = {"dense/kernel": weights(), "dense/bias": np.zeros(3, np.float32)}
    codes = {"f4": FLOAT, "f8": DOUBLE, "f2": HALF, "i4": INT32}
    pairs = [(b"", HEADER)]
    data = bytearray()
    if graph is not None:
        content, crc = string_tensor(graph)
        pairs.append((GRAPH_KEY, Entry((), 0, len(content), crc, STRING).encode()))
        data += content
    for key, values in sorted(tensors.items()):
        entry = Entry(values.shape, len(data), values.nbytes, raw.masked(values.tobytes()), codes[values.dtype.str[1:]])
        pairs.append((key.encode(), entry.encode()))
        data += values.tobytes()
    return Draft(tuple(sorted(pairs)), bytes(data))


# Object graphs


def edge(name: str | bytes, node: int) -> bytes:
    """A child of an object."""
    return text(1, number(1, node) + text(2, name))


def attribute(full_name: str | bytes, key: str | bytes, name: str = "VARIABLE_VALUE") -> bytes:
    """A tensor of an object."""
    return text(2, text(1, name) + text(2, full_name) + text(3, key))


def slot(original: int, name: str, node: int) -> bytes:
    return text(3, number(1, original) + text(2, name) + number(3, node))


def graph(*nodes: bytes) -> bytes:
    """TrackableObjectGraph."""
    return b"".join(text(1, node) for node in nodes)


def dense_graph(more: bytes = b"", root: bytes = b"", layer: bytes = b"") -> bytes:
    """A root, a layer, a kernel and a bias with the keys of `dense_tensors`, and an optimizer.

    `root` and `layer` are further fields of these two, `more` further objects.
    """
    return graph(
        edge("layer", 1) + edge("optimizer", 4) + root,
        edge("kernel", 2) + edge("bias", 3) + layer,
        attribute("dense/kernel", f"layer/kernel{VALUE}"),
        attribute("dense/bias", f"layer/bias{VALUE}"),
        edge("_iterations", 5) + slot(2, "m", 6),
        attribute("iter", f"optimizer/iter{VALUE}"),
        attribute("dense/kernel/m", f"layer/kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}"),
    ) + more  # fmt: skip


def dense_tensors() -> dict[str, np.ndarray[Any, Any]]:
    return {
        f"layer/kernel{VALUE}": weights(),
        f"layer/bias{VALUE}": np.zeros(3, np.float32),
        f"optimizer/iter{VALUE}": np.zeros((), np.int32),
        f"layer/kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}": weights(),
    }


# SavedModels


def constant(values: np.ndarray[Any, Any], name: str = "Const") -> bytes:
    """A NodeDef that holds a tensor as plain bytes."""
    tensor = number(1, FLOAT) + text(2, shape(*values.shape)) + text(4, values.tobytes())
    return text(1, name) + text(2, "Const") + text(5, text(1, "value") + text(2, text(8, tensor)))


def operation(kind: str, name: str = "op") -> bytes:
    return text(1, name) + text(2, kind)


def saved_variable(name: str, trainable: bool = True) -> bytes:
    """A SavedObject."""
    return text(7, number(1, FLOAT) + text(2, shape(4, 3)) + number(3, int(trainable)) + text(6, name))


def keras_object(identifier: str, metadata: str | bytes) -> bytes:
    """A SavedObject of Keras, as TensorFlow until 2.4 wrote it."""
    return text(4, text(1, identifier) + text(3, metadata))


def meta_graph(
    nodes: Sequence[bytes] = (), functions: Sequence[Sequence[bytes]] = (), objects: Sequence[bytes] = (),
    collections: Mapping[str, Sequence[str]] | None = None, more: bytes = b"",
) -> bytes:  # fmt: skip
    """MetaGraphDef: operations, those of functions, objects, and the names of variables in collections."""
    library_ = b"".join(text(1, b"".join(text(3, node) for node in function)) for function in functions)
    graph_def = b"".join(text(1, node) for node in nodes) + (text(2, library_) if functions else b"")
    listed = b"".join(
        text(4, text(1, name) + text(2, text(2, b"".join(text(1, text(1, f"{each}:0")) for each in names))))
        for name, names in (collections or {}).items()
    )
    told = text(7, b"".join(text(1, each) for each in objects)) if objects else b""
    return text(2, graph_def) + listed + told + more


def saved_model_pb(*graphs: bytes) -> bytes:
    return number(1, 1) + b"".join(text(2, each) for each in graphs)


def keras_metadata(*objects: tuple[int, str, str | bytes]) -> bytes:
    """`keras_metadata.pb`: number, identifier and JSON text of each object."""
    return b"".join(text(1, number(2, node) + text(4, kind) + text(5, json)) for node, kind, json in objects)


def saved_model(
    folder: Path, pb: bytes | None = None, inner: Draft | None = None, files: Mapping[str, bytes] | None = None
) -> Path:
    """A SavedModel of one dense layer; other files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = inner or draft(dense_tensors(), dense_graph())
    inner.write(folder / "variables" / "variables")
    if pb is None:
        objects = [b"", b"", saved_variable("dense/kernel"), saved_variable("dense/bias"), b"", b"", b""]
        pb = saved_model_pb(meta_graph([operation("VarHandleOp")], objects=objects))
    for name, content in {"saved_model.pb": pb, **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# V1 checkpoints


def v1_contents(*tensors: tuple[str | bytes, int, bytes, Sequence[bytes]], versions: bytes = b"") -> bytes:
    """SavedTensorSlices with the table of contents: name, dtype, TensorShapeProto and boxes of each tensor."""
    listed = b"".join(
        text(1, text(1, name) + text(2, sizes) + number(3, dtype) + b"".join(text(4, each) for each in boxes))
        for name, dtype, sizes, boxes in tensors
    )
    return text(1, listed + text(2, number(1, 1) + versions))


def v1_slice(name: str | bytes, extents: Sequence[tuple[int, int]], proto: bytes) -> tuple[bytes, bytes]:
    """Key and value of one slice, whose TensorProto is `proto`."""
    name = name.encode() if isinstance(name, str) else name
    return raw.slice_key(name, *extents), text(2, text(1, name) + text(2, box(*extents)) + text(3, proto))


def v1_floats(values: np.ndarray[Any, Any]) -> bytes:
    """The TensorProto of floats: packed in its field 5."""
    return text(5, values.astype("<f4").tobytes())


def v1_pairs(*more: tuple[bytes, bytes]) -> Pairs:
    """A kernel, a bias cut in two, half floats as varints, strings."""
    whole = ((0, WHOLE), (0, WHOLE))
    parts = [((0, 2),), ((2, 1),)]
    contents = v1_contents(
        ("dense/kernel", FLOAT, shape(4, 3), [box(*whole)]),
        ("dense/bias", FLOAT, shape(3), [box(*each) for each in parts]),
        ("half/kernel", HALF, shape(2, 2), [box(*whole)]),
        ("words", STRING, shape(2), [box((0, WHOLE))]),
    )
    bits = b"".join(raw.varint(int(each)) for each in np.arange(4, dtype="<f2").view("<u2"))
    return [
        (b"", contents),
        *sorted(
            [
                v1_slice("dense/kernel", whole, v1_floats(weights())),
                v1_slice("dense/bias", parts[0], v1_floats(np.ones(2))),
                v1_slice("dense/bias", parts[1], v1_floats(np.ones(1))),
                v1_slice("half/kernel", whole, text(13, bits)),
                v1_slice("words", ((0, WHOLE),), text(8, "a") + text(8, "bc")),
                *more,
            ]
        ),
    ]


def checksum(data: bytes) -> int:
    """The plain CRC-32C."""
    return library.crc32c(data)
