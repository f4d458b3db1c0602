"""TensorFlow V1 checkpoints: read where they are, written out as V2, since values inside them cannot be replaced."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from renorm_cli.errors import some_names
from renorm_cli.formats.base import Checkpoint, Found, Sink, digest
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import PlainData, PlainSink, pieces
from renorm_cli.formats.protobuf import write_varint
from renorm_cli.formats.tensorflow import state_file
from renorm_cli.formats.tensorflow.bundle import DTYPES, ITEM_BYTES, Entry
from renorm_cli.formats.tensorflow.checkpoint import CRC32C, Entries, extent_of, shard_suffix, uses_beside
from renorm_cli.formats.tensorflow.leveldb import crc32c, mask, write_table
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.v1.file_names import base_name, shard_name
from renorm_cli.formats.tensorflow.v1.tensors import Tensors, numpy_dtype, read_tensors
from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.bytes import write_all
from renorm_cli.storage.files import SourceFile, read_parts
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer

_COPY_BYTES = 4 << 20
_STRINGS = 1 << 16
_HEADER = b"\x08\x01\x1a\x02\x08\x01"  # BundleHeaderProto: one data file, little-endian, version 1
_WHOLE_ONLY = {"float16", "uint16", "string"}  # no slices of others: tensor_bundle.cc, GetSliceValue
_NUMBERS = {name: number for number, name in DTYPES.items()}


class V1Checkpoint(Checkpoint):
    """A checkpoint of one file, or of several that hold tensors, or parts of tensors, each."""

    def __init__(
        self, found: Found, shards: Sequence[SourceFile], others: Sequence[SourceFile], tensors: Tensors
    ) -> None:
        self.others = tuple(others)
        self.tensors = tensors
        self.entries = {entry.key: entry for entry in tensors.bundle.entries}
        uses = uses_beside(self.others, tensors.bundle)
        naming = name_variables(tensors.bundle, None, {}, exported=False, uses=uses)
        said = Note(f"{shards[0].shown!r} is a V1 checkpoint; `apply` writes it out as a V2 checkpoint")
        notes = (said, *_joined_notes(self.entries.values()), *naming.notes)
        super().__init__("tf-checkpoint-v1", found, (*shards, *others), naming.variables, notes)

    def read_block(self, variable: Variable, block: Block, into: Buffer | None) -> npt.NDArray[Any]:
        return self.values(self.entries[variable.key], block)

    def values(self, entry: Entry, block: Block) -> npt.NDArray[Any]:
        """A block of any tensor of numbers, put together from the parts that it lies in."""
        assembled: npt.NDArray[Any] | None = None
        for piece in pieces(((part.start, part.entry.shape) for part in entry.slices), block):
            part = entry.slices[piece.number].entry
            stored = self.tensors.values[part.key]
            found = stored.read(piece.block.first_element(part.shape), piece.block.elements)
            if piece.block.shape == block.shape:
                return found.reshape(block.shape)
            if assembled is None:
                assembled = np.empty(block.shape, dtype=found.dtype)
            assembled[piece.where] = found.reshape(piece.block.shape)
        return np.empty(block.shape, dtype=numpy_dtype(entry.dtype)) if assembled is None else assembled

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        """Strings as a V2 checkpoint stores them, so that an output can be compared with its input."""
        return None if variable.locked else _Strings(self, self.entries[variable.key]).stored()

    @property
    def output_format(self) -> str:
        return "tf-checkpoint"

    def context(self) -> dict[str, str | None]:
        return {file.path.suffix: digest(read_parts(file, 0, file.size)) for file in self.others}

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        data = staging.create(output.beside(f"{output.name}{shard_suffix(0, 1)}"))
        base = base_name(self.location.name)
        for file in self.others:
            staging.copy(file, output.beside(file.path.name.replace(base, output.name, 1)))
        index = staging.create(output.index)
        state = output.folder / state_file.NAME
        if not state.exists():
            staging.companion(state, [state_file.state_text(output.name)])
        entries = write_data(self, data.fd)
        plain = PlainData([data], Entries(entries, "<"), CRC32C)
        return PlainSink(plain, [], partial(_write_index, index, entries))


def _write_index(index: Staged, entries: Mapping[str, Entry], data: PlainData, imap: Imap) -> dict[str, int]:
    """Write the index of a V2 checkpoint of these tensors; their crc is known for strings."""
    unknown = [extent_of(entry) for entry in entries.values() if entry.crc is None]
    found = data.checksums(unknown, imap)
    crcs = {key: next(found) if entry.crc is None else entry.crc for key, entry in entries.items()}
    lines = [(_key(key), encode_entry(replace(entry, crc=crcs[key]))) for key, entry in entries.items()]
    index.write(0, memoryview(write_table([(b"", _HEADER), *lines])))
    return crcs


def open_v1(found: Found) -> V1Checkpoint:
    """Open the checkpoint that the file found is or belongs to.

    Raises FormatError where a file of it is missing, damaged or a link.
    """
    file = found.only
    shards: list[SourceFile] = []
    with ExitStack() as opened:
        while name := shard_name(file.path.name, len(shards)):
            if name == file.path.name:
                shards.append(file)
            else:
                shards.append(found.beside(file.path.with_name(name)))
                opened.callback(shards[-1].close)
        others: list[SourceFile] = []
        meta = file.path.with_name(f"{base_name(file.path.name)}.meta")
        if meta.exists():
            others.append(found.beside(meta))
            opened.callback(others[-1].close)
        checkpoint = V1Checkpoint(found, shards, others, read_tensors(shards))
        opened.pop_all()
    return checkpoint


def _joined_notes(entries: Iterable[Entry]) -> tuple[Note, ...]:
    names = [entry.key for entry in entries if len(entry.slices) > 1 and entry.dtype in _WHOLE_ONLY]
    if not names:
        return ()
    text = "joined from its parts in the V2 checkpoint, and TensorFlow restores such a tensor only whole"
    return (Note(f"{some_names(names)}: {text}"),)


def write_data(source: V1Checkpoint, fd: int) -> dict[str, Entry]:
    """Write all tensors one after the other, in the order of their keys; returns their entries in a V2 checkpoint.

    A partitioned tensor is written whole. The crc is given for strings only: it does not run over their bytes as they
    are stored. Raises OutputError.
    """
    entries: dict[str, Entry] = {}
    offset = 0
    for entry in sorted(source.entries.values(), key=lambda entry: _key(entry.key)):
        try:
            if entry.dtype == "string":
                size, crc = _write_strings(_Strings(source, entry), fd, offset)
                placed = replace(entry, slices=(), offset=offset, size=size, crc=crc)
            else:
                placed = replace(entry, slices=(), offset=offset, size=_write_numbers(source, entry, fd, offset))
        except OSError as error:
            raise unwritten(error) from None
        entries[entry.key] = placed
        offset += placed.size
    return entries


def _write_numbers(source: V1Checkpoint, entry: Entry, fd: int, offset: int) -> int:
    item = ITEM_BYTES[entry.dtype]
    for block in partition(entry.shape, _COPY_BYTES // item):
        if block.elements:
            raw = source.values(entry, block).reshape(-1).view(np.uint8).data
            write_all(fd, offset + block.first_element(entry.shape) * item, raw)
    return math.prod(entry.shape) * item


class _Strings:
    """The strings of a tensor in C order over its parts: the part, the start in it, and the size of each."""

    def __init__(self, source: V1Checkpoint, entry: Entry) -> None:
        self._parts = [source.tensors.values[part.entry.key] for part in entry.slices]
        places = np.empty((*entry.shape, 3), np.int64) if math.prod(entry.shape) else np.empty((0, 3), np.int64)
        for number, part in enumerate(entry.slices if places.size else ()):
            where = tuple(slice(at, at + size) for at, size in zip(part.start, part.entry.shape, strict=True))
            box = places[where]
            box[..., 0] = number
            box[..., 1:] = self._parts[number].strings().reshape(*part.entry.shape, 2)
        self._places = places.reshape(-1, 3)

    def lengths(self) -> Iterator[list[int]]:
        """The sizes, some at a time."""
        for start in range(0, len(self._places), _STRINGS):
            yield self._places[start : start + _STRINGS, 2].tolist()

    def stored(self) -> Iterator[bytes]:
        """Lengths as varints, their masked checksum, the strings (tensor_bundle.cc, WriteStringTensor)."""
        crc = 0
        for lengths in self.lengths():
            yield b"".join(map(write_varint, lengths))
            crc = crc32c(_fixed(lengths), crc)
        yield struct.pack("<I", mask(crc))
        yield from self.content()

    def content(self) -> Iterator[bytes]:
        """The bytes of one string after the other, large ones in pieces."""
        for number, begin, size in map(np.ndarray.tolist, self._places):
            yield from self._parts[number].run.part(begin, size).pieces(_COPY_BYTES)


def _write_strings(strings: _Strings, fd: int, offset: int) -> tuple[int, int]:
    """Lengths as varints, their masked checksum, the strings (tensor_bundle.cc, WriteStringTensor).

    Returns the number of bytes and the checksum of the tensor: over the lengths as 4 bytes (8 from 2**32 on), then all
    that follows them.
    """
    at, crc = offset, 0
    for lengths in strings.lengths():
        at += _append(fd, at, b"".join(map(write_varint, lengths)))
        crc = crc32c(_fixed(lengths), crc)
    check = struct.pack("<I", mask(crc))
    for raw in chain((check,), strings.content()):
        at += _append(fd, at, raw)
        crc = crc32c(raw, crc)
    return at - offset, crc


def _fixed(lengths: Iterable[int]) -> bytes:
    """The form of lengths that checksums run over."""
    return b"".join(length.to_bytes(4 if length < 1 << 32 else 8, "little") for length in lengths)


def _append(fd: int, at: int, raw: bytes) -> int:
    write_all(fd, at, memoryview(raw))
    return len(raw)


def encode_entry(entry: Entry) -> bytes:
    """A BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto); fields of value 0 are left out."""
    shape = b"".join(_message(2, _number(1, size)) for size in entry.shape)
    crc = b"" if entry.crc is None else write_varint(6 << 3 | 5) + struct.pack("<I", mask(entry.crc))
    return (
        _number(1, _NUMBERS[entry.dtype]) + _message(2, shape) + _number(4, entry.offset) + _number(5, entry.size) + crc
    )


def _number(field: int, value: int) -> bytes:
    return write_varint(field << 3) + write_varint(value) if value else b""


def _message(field: int, content: bytes) -> bytes:
    return write_varint(field << 3 | 2) + write_varint(len(content)) + content


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
