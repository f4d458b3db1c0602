"""The tensors of a TensorFlow V1 checkpoint: a table of contents under the empty key, and one entry for each slice.

Source: tensorflow/core/util/saved_tensor_slice.proto; tensor_slice_writer.cc says which field of TensorProto
(tensorflow/core/framework/tensor.proto) holds the values of which dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import BYTES, FIXED32, FIXED64, VARINT, Budget, Message, damaged, read_message
from renorm_cli.formats.tensorflow.bundle import (
    DTYPES,
    ITEM_BYTES,
    MAX_AXES,
    Bundle,
    Entry,
    Extents,
    decode_slice_key,
    read_box,
    read_shape,
    read_slices,
)
from renorm_cli.formats.tensorflow.leveldb import Table
from renorm_cli.formats.tensorflow.v1.table import Cursor, Run, TableBudget, read_runs
from renorm_cli.storage.files import SourceFile
from renorm_cli.untrusted import quoted

if TYPE_CHECKING:
    import numpy.typing as npt

_META_BYTES = 64 << 20
_NAME_BYTES = 1 << 20
_VERSION = 1  # TF_CHECKPOINT_VERSION
_MAX_STRINGS = 1 << 20
_SEGMENT_BYTES = 1 << 18
_MAX_VARINT = 10

_VALUES = {
    "float32": 5, "float64": 6, "int32": 7, "uint8": 7, "int16": 7, "int8": 7, "qint8": 7, "quint8": 7, "qint32": 7,
    "uint16": 7, "string": 8, "complex64": 9, "int64": 10, "bool": 11, "complex128": 12,
    "float16": 13,
}  # fmt: skip
"""The field of TensorProto that holds the values of a dtype; V1 cannot store other dtypes."""
_PLAIN = {"float32", "float64", "complex64", "complex128"}
"""Dtypes whose packed values are their little-endian bytes; the numbers of all other dtypes are varints."""
_CODES = {
    "float16": "<f2", "float32": "<f4", "float64": "<f8", "complex64": "<c8", "complex128": "<c16", "bool": "?",
    "int8": "i1", "int16": "<i2", "int32": "<i4", "int64": "<i8", "uint8": "u1", "uint16": "<u2", "qint8": "i1",
    "qint32": "<i4", "quint8": "u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Values:
    """The stored numbers or strings of one slice, in C order.

    `segments` locate varints: the first byte and the first element of each segment, and finally the end of both.
    """

    run: Run
    dtype: str
    elements: int
    where: str
    segments: tuple[tuple[int, int], ...] = ()

    def read(self, first: int, count: int) -> npt.NDArray[Any]:
        """`count` numbers, starting with number `first`. Raises FormatError if a number does not fit the dtype."""
        out = np.empty(count, dtype=numpy_dtype(self.dtype))
        if self.dtype in _PLAIN:
            self.run.read(first * out.itemsize, out.view(np.uint8).data)
            return out
        for (at, begin), (stop, end) in pairwise(self.segments):
            low, high = max(first, begin), min(first + count, end)
            if low < high:
                raw = self.run.part(at, stop - at).content()
                found = _decode(raw, end - begin, np.dtype(_CODES[self.dtype]), self.where).view(out.dtype)
                out[low - first : high - first] = found[low - begin : high - begin]
        return out

    def strings(self) -> npt.NDArray[np.int64]:
        """Start (in the run) and size of each string; shape (elements, 2)."""
        places = ((found.offset - self.run.offset, found.size) for found in _strings(self.run, self.where))
        found = np.fromiter(chain.from_iterable(places), np.int64).reshape(-1, 2)
        return _all_there(found, self.elements, self.where)


@dataclass(frozen=True, slots=True)
class Tensors:
    """All tensors, each as a partitioned one (mostly of one part), and the values of each part by its entry's key."""

    bundle: Bundle
    values: dict[str, Values]


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The little-endian NumPy dtype in which numbers are read; bool and quantized dtypes are read as unsigned bits."""
    found = np.dtype(_CODES[dtype])
    return np.dtype(f"<u{found.itemsize}") if dtype == "bool" or dtype.startswith("q") else found


def read_tensors(files: Sequence[SourceFile]) -> Tensors:
    """The tensors of a checkpoint of one or more files. Numbers are counted, not decoded.

    Raises FormatError if anything is not as TensorFlow writes it: tables and their checksums, dtypes, shapes, counts of
    values, slices that do not tile their tensor or are stored twice.
    """
    contents = _Contents()
    budget = TableBudget()
    for file in files:
        _read_file(file, contents, budget)
    shown = files[0].shown
    entries: list[Entry] = []
    values: dict[str, Values] = {}
    for name, tensor in contents.tensors.items():
        parts = {
            (name, extents): _part(extents, tensor.entry, run, shown, values, budget)
            for extents, run in contents.parts.pop(name, {}).items()
        }
        entries.append(
            replace(tensor.entry, slices=read_slices(tensor.entry, tensor.boxes, parts, shown, contents.work))
        )
        if parts:
            raise damaged(shown, f"found a slice of {quoted(name)} that its contents do not list")
    for name in contents.parts:
        raise damaged(shown, f"found a slice of {quoted(name)}, which its contents do not list")
    return Tensors(Bundle(1, "<", tuple(entries), Table((), ())), values)


@dataclass(frozen=True, slots=True)
class _Tensor:
    entry: Entry
    boxes: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Contents:
    """The content of the tables: tensors with their encoded slices, and TensorProtos by name and slice."""

    tensors: dict[str, _Tensor] = field(default_factory=dict)
    parts: dict[str, dict[Extents, Run]] = field(default_factory=dict)
    work: Budget = field(default_factory=Budget)


def _read_file(file: SourceFile, contents: _Contents, budget: TableBudget) -> None:
    shown = file.shown
    first = True
    for key, run in read_runs(file, budget):
        if first and key:
            raise damaged(shown, "expected a table of contents as the first entry, found none")
        if first:
            _read_contents(run, contents, shown)
            first = False
            continue
        name, extents = decode_slice_key(key, shown, contents.work)
        where = f"{shown}: {quoted(name)}"
        data = _messages(_messages(run, where, {2}, budget).get(2), where, {1, 2, 3}, budget)
        if any(data[number].size > _NAME_BYTES for number in (1, 2) if number in data):
            raise damaged(where, "expected the name and the box of a slice, found more than 1 MiB")
        stored = data[1].content() if 1 in data else b""
        box = read_box(data[2].content(), where, contents.work) if 2 in data else ()
        if (stored.decode("utf-8", "surrogateescape"), box) != (name, extents):
            raise damaged(where, "expected the name and the box of its key in a slice, found others")
        if extents in contents.parts.setdefault(name, {}):
            raise damaged(where, "expected each of its slices once, found one twice")
        contents.parts[name][extents] = data.get(3) or run.part(0, 0)
    if first:
        raise damaged(shown, "expected a table of contents as the first entry, found none")


def _read_contents(run: Run, contents: _Contents, shown: str) -> None:
    """Add the tensors that one file lists: SavedTensorSlices with a SavedTensorSliceMeta."""
    if run.size > _META_BYTES:
        raise damaged(shown, f"expected a table of contents of at most {_META_BYTES} bytes, found {run.size}")
    outer = read_message(run.content(), shown, budget=contents.work)
    if any(item.wire_type == VARINT for item in outer.found.get(1, ())):
        raise FormatError(f"{shown!r} is the index of a V2 checkpoint; give the checkpoint by its prefix")
    meta = read_message(outer.blob(1) or b"", shown, budget=contents.work)
    versions = read_message(meta.blob(2) or b"", shown, budget=contents.work)
    if versions.integer(2) > _VERSION or _VERSION in versions.integers(3):
        raise FormatError(
            f"{shown!r}: expected a checkpoint for readers of version {_VERSION}, found one not for them"
            f" (minimum {versions.integer(2)}); save it again with another TensorFlow"
        )
    for encoded in meta.blobs(1):
        _add_tensor(read_message(encoded, shown, budget=contents.work), contents, shown)


def _add_tensor(message: Message, contents: _Contents, shown: str) -> None:
    """Add the tensor of a SavedSliceMeta; each file lists its own slices of a tensor."""
    name = message.text(1)
    where = f"{shown}: {quoted(name)}"
    if not name or name.startswith("\0"):
        raise damaged(where, "expected a name of a tensor, found one that cannot be")
    number = message.integer(3)
    dtype = DTYPES.get(number, "")
    if dtype not in _VALUES:
        raise FormatError(f"{where}: expected a dtype that V1 checkpoints can hold, found {dtype or number!r}")
    shape = read_shape(message.blob(2) or b"", where, contents.work)
    if len(shape) > MAX_AXES:
        raise FormatError(
            f"{where}: expected at most {MAX_AXES} axes, found {len(shape)}; leave it out of the checkpoint"
        )
    tensor = contents.tensors.setdefault(name, _Tensor(Entry(name, dtype, shape, 0, 0, 0, None, None, 0)))
    if (tensor.entry.dtype, tensor.entry.shape) != (dtype, shape):
        raise damaged(where, "expected one dtype and shape in all files, found two")
    tensor.boxes.extend(message.blobs(4))


def _part(
    extents: Extents, whole: Entry, run: Run, shown: str, values: dict[str, Values], budget: TableBudget
) -> Entry:
    """The entry of a slice; adds its values to `values`, under the entry's key."""
    where = f"{shown}: {quoted(whole.key)}"
    if len(extents) != len(whole.shape):
        raise damaged(where, f"expected slices of {len(whole.shape)} axes, found one of {len(extents)}")
    lengths = tuple(size if length < 0 else length for (_, length), size in zip(extents, whole.shape, strict=True))
    key = f"{whole.key}\0{len(values)}"
    found = values[key] = _find_values(run, whole.dtype, math.prod(lengths), where, budget)
    return Entry(key, whole.dtype, lengths, 0, 0, found.elements * ITEM_BYTES.get(whole.dtype, 0), None, None, 0)


def _find_values(proto: Run, dtype: str, elements: int, where: str, budget: TableBudget) -> Values:
    """The values in a TensorProto. Raises FormatError if their count is wrong."""
    if dtype == "string":
        values = Values(proto, dtype, elements, where)
        if elements > _MAX_STRINGS:
            raise FormatError(f"{where}: expected at most {_MAX_STRINGS} strings, found {elements}; leave them out")
        if (count := sum(1 for _ in _strings(proto, where, budget))) != elements:
            raise damaged(where, f"expected {elements} strings, found {count}")
        return values
    run = _messages(proto, where, {_VALUES[dtype]}, budget).get(_VALUES[dtype]) or proto.part(0, 0)
    if dtype in _PLAIN:
        if run.size != elements * ITEM_BYTES[dtype]:
            raise damaged(where, f"expected {elements} values of {dtype}, found {run.size} bytes")
        return Values(run, dtype, elements, where)
    return Values(run, dtype, elements, where, _count_varints(run, elements, where))


def _count_varints(run: Run, elements: int, where: str) -> tuple[tuple[int, int], ...]:
    """Divide packed varints into segments of whole varints; see `Values`."""
    at, count, segments = 0, 0, []
    while at < run.size:
        segments.append((at, count))
        raw = np.frombuffer(run.part(at, min(_SEGMENT_BYTES, run.size - at)).content(), np.uint8)
        ends = np.flatnonzero(raw < 128)
        if not ends.size:
            raise damaged(where, "expected numbers, found one without an end")
        at += int(ends[-1]) + 1
        count += int(ends.size)
    if count != elements:
        raise damaged(where, f"expected {elements} values, found {count}")
    return (*segments, (at, count))


def _all_there(found: npt.NDArray[Any], elements: int, where: str) -> npt.NDArray[Any]:
    """`found`, if it has the expected length: the values were counted before, so the file changed if it has not."""
    if len(found) != elements:
        raise FormatError(f"{where}: expected {elements} values, found {len(found)}; the file changed, run again")
    return found


def _decode(raw: bytes, elements: int, dtype: np.dtype[Any], where: str) -> npt.NDArray[Any]:
    """Decode packed varints into `elements` numbers of `dtype`; a float16 is stored as the integer of its bits."""
    data = np.frombuffer(raw, np.uint8)
    ends = _all_there(np.flatnonzero(data < 128), elements, where)
    starts = np.concatenate(([0], ends[:-1] + 1))
    longest = int((ends - starts).max()) + 1
    if longest > _MAX_VARINT:
        raise damaged(where, f"expected numbers of at most {_MAX_VARINT} bytes, found {longest}")
    found = np.zeros(ends.size, np.uint64)
    for place in range(longest):
        more = np.flatnonzero(starts + place <= ends)
        bytes_here = data[starts[more] + place]
        if place == _MAX_VARINT - 1 and (bytes_here > 1).any():
            raise damaged(where, "expected numbers below 2**64, found one above")
        found[more] |= (bytes_here & 127).astype(np.uint64) << np.uint64(7 * place)
    signed = found.view(np.int64)
    bits = np.dtype("<u2") if dtype.kind == "f" else np.dtype("u1") if dtype.kind == "b" else dtype
    most = 1 if dtype.kind == "b" else np.iinfo(bits).max
    if ((signed > most) | (signed < np.iinfo(bits).min)).any():
        raise damaged(where, "expected numbers that fit its dtype, found others")
    return signed.astype(bits).view(dtype)


def _strings(run: Run, where: str, budget: TableBudget | None = None) -> Iterator[Run]:
    for number, kind, value in _fields(run, where, budget):
        if number != _VALUES["string"]:
            continue
        if kind != BYTES:
            raise damaged(where, "expected strings as lengths and bytes, found them otherwise")
        yield value


def _messages(run: Run | None, where: str, numbers: set[int], budget: TableBudget) -> dict[int, Run]:
    """The runs of the wanted fields of a message, each of which may occur once, as a length and bytes."""
    found: dict[int, Run] = {}
    for number, kind, value in _fields(run, where, budget) if run is not None else ():
        if number not in numbers:
            continue
        if kind != BYTES or number in found:
            raise damaged(where, f"expected field {number} once, as a length and bytes, found it otherwise")
        found[number] = value
    return found


def _fields(run: Run, where: str, budget: TableBudget | None = None) -> Iterator[tuple[int, int, Run]]:
    """Number, wire type and run of the fields of a message, as `protobuf.read_fields`, but without loading them.

    Pass no budget for fields that were counted before.
    """
    cursor = Cursor(run, where)
    while not cursor.done:
        if budget is not None:
            budget.fields -= 1
            if budget.fields < 0:
                raise damaged(where, f"expected fewer fields in the checkpoint, found more at byte {cursor.at}")
        tag = cursor.varint()
        number, kind = tag >> 3, tag & 7
        size = cursor.varint() if kind == BYTES else {FIXED32: 4, FIXED64: 8}.get(kind, 0)
        start = cursor.at
        if kind == VARINT:
            cursor.varint()
        elif kind in (BYTES, FIXED32, FIXED64):
            cursor.skip(size)
        if not number or kind not in (VARINT, BYTES, FIXED32, FIXED64):
            raise damaged(where, f"expected a field of a message before byte {start}, found {number} of kind {kind}")
        yield number, kind, run.part(start, cursor.at - start)
