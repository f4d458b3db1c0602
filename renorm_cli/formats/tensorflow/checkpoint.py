"""TensorFlow V2 checkpoints: tensors at extents of the data files, their checksums in the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Checkpoint, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming, join_copies
from renorm_cli.formats.numbers import room_for, same_bytes, stored_dtype
from renorm_cli.formats.tensorflow import state_file
from renorm_cli.formats.tensorflow.bundle import ITEM_BYTES, OBJECT_GRAPH_KEY, Bundle, Entry, read_bundle, with_crc
from renorm_cli.formats.tensorflow.leveldb import crc32c, mask, reseal_block, write_table
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.object_graph import MAX_GRAPH_BYTES, ObjectGraph, read_object_graph
from renorm_cli.model.blocks import Block
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.checksum import Crc, Range, Tally, checksums
from renorm_cli.storage.files import Opener, SourceFile, open_beside, read_exactly
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer

_INDEX_BYTES = 128 << 20
_PART_BYTES = 16 << 20

CRC32C = Crc(crc32c, 0x82F63B78)
"""That of tensors in TensorFlow checkpoints: Castagnoli's polynomial."""


class Shard(NamedTuple):
    """An open data file, and how to name it in errors; `tally` is told of what is read and written."""

    fd: int
    shown: str
    tally: Tally

    def range_of(self, entry: Entry) -> Range:
        """Where the bytes of an entry are."""
        return Range(self.fd, entry.offset, entry.size, self.shown, self.tally)


class TfCheckpoint(Checkpoint):
    """A checkpoint of one index and its data files. Files are the data files, others that belong to it, then the index.

    A partitioned variable is read and written as the whole it is part of.
    """

    def __init__(
        self,
        format: str,
        path: Path,
        location: Location,
        data: Sequence[SourceFile],
        others: Sequence[SourceFile],
        index: SourceFile,
        raw_index: bytes,
        bundle: Bundle,
        naming: Naming,
    ) -> None:
        self.location = location
        self.data = tuple(data)
        self.others = tuple(others)
        self.index = index
        self.raw_index = raw_index
        self.bundle = bundle
        self.naming = naming
        self.entries = {entry.key: entry for entry in bundle.entries}
        self._shards = [Shard(file.fd, file.shown, Tally(CRC32C)) for file in data]
        variables = join_copies(naming, lambda one, other: same_bytes(self, one, other))
        super().__init__(format, path, (*data, *others, index), variables, naming.notes)

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        values = room_for(block.shape, stored_dtype(variable.dtype, self.bundle.order), into)
        return read_pieces(self.entries[variable.key], block, values, self._shards)

    def extent(self, variable: Variable) -> tuple[int, int] | None:
        entry = self.entries[variable.key]
        return None if entry.slices else (entry.shard, entry.offset)

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        """Strings and the like as they lie in the data file; parts of a partitioned tensor have no order there."""
        entry = self.entries[variable.key]
        return None if entry.slices else self._parts(entry)

    def _parts(self, entry: Entry) -> Iterator[bytes]:
        file = self.data[entry.shard]
        for start in range(0, entry.size, _PART_BYTES):
            part = bytearray(min(_PART_BYTES, entry.size - start))
            read_exactly(file.fd, entry.offset + start, memoryview(part), file.shown)
            yield bytes(part)

    @property
    def checksums(self) -> dict[str, int]:
        return {entry.key: entry.crc for entry in self.bundle.stored if entry.crc is not None}

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        """Names of the tensors whose stored checksum does not match their bytes; of numbers, not of strings."""
        entries = [entry for entry in self.bundle.stored if entry.size and entry.dtype in ITEM_BYTES]
        found = checksums([self._shards[entry.shard].range_of(entry) for entry in entries], CRC32C, imap)
        return tuple(entry.key for entry, crc in zip(entries, found, strict=True) if entry.crc != crc)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        data = [
            staging.copy(
                file,
                output.beside(f"{output.name}{shard_suffix(number, len(self.data))}"),
                self.extents(changing, number),
            )
            for number, file in enumerate(self.data)
        ]
        for file in self.others:
            staging.copy(file, output.beside(file.path.name.replace(self.location.name, output.name, 1)))
        index = staging.create(output.index)
        state = output.folder / state_file.NAME
        if not state.exists():
            staging.companion(state, [state_file.state_text(output.name)])
        return TfSink(self, data, index)

    def extents(self, variables: Sequence[Variable], shard: int) -> list[tuple[int, int]]:
        """Where in one data file the bytes of these variables lie."""
        entries = [self.entries[variable.key] for variable in variables]
        stored = [part for entry in entries for part in ([s.entry for s in entry.slices] or [entry])]
        return [(part.offset, part.offset + part.size) for part in stored if part.shard == shard and part.size]


class TfSink(Sink):
    """Staged data files, and the index that is written once their checksums are known."""

    def __init__(
        self,
        source: TfCheckpoint,
        data: Sequence[Staged],
        index: Staged,
        finish: Callable[[bytes], None] = lambda index: None,
    ) -> None:
        self._source = source
        self._data = data
        self._index = index
        self._finish = finish
        self._shards = [Shard(staged.fd, str(staged.target), Tally(CRC32C)) for staged in data]
        self._lock = Lock()
        self._written: dict[str, Entry] = {}

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        entry = self._source.entries[variable.key]
        for piece in pieces(entry, block):
            raw = np.ascontiguousarray(values[piece.where]).reshape(-1).view(np.uint8).data
            self._data[piece.entry.shard].write(piece.position, raw)
            self._shards[piece.entry.shard].tally.forget(piece.position)
            with self._lock:
                self._written[piece.entry.key] = piece.entry

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        values = room_for(block.shape, stored_dtype(variable.dtype, self._source.bundle.order), into)
        return read_pieces(self._source.entries[variable.key], block, values, self._shards)

    def seal(self, imap: Imap = map) -> dict[str, int]:
        """Compute the checksums of what was written from the staged bytes, and write the index with them."""
        for staged in self._data:
            staged.fill()
        ranges = [self._shards[entry.shard].range_of(entry) for entry in self._written.values()]
        crcs = dict(zip(self._written, checksums(ranges, CRC32C, imap), strict=True))
        content = with_checksums(self._source.raw_index, self._source.bundle, crcs, self._source.index.shown)
        self._index.write(0, memoryview(content))
        self._finish(content)
        return crcs


def open_tf_checkpoint(
    path: Path, location: Location, open_file: Opener = open_beside, like: Checkpoint | None = None
) -> TfCheckpoint:
    """Open the checkpoint at a prefix. Raises FormatError where a file of it is missing, damaged or a link.

    A copy of `like` with the same tensors and the same object graph shares its names.
    """
    files: list[SourceFile] = []
    try:
        raw, bundle = open_bundle(location, files, open_file)
        index, *data = files
        if isinstance(like, TfCheckpoint) and _is_named_as(bundle, data, index.shown, like):
            naming = like.naming
        else:
            naming = name_variables(bundle, graph_of(bundle, data, index.shown), {}, exported=False)
        others = _others(location)
        files.extend(others)
        return TfCheckpoint("tf-checkpoint", path, location, data, others, index, raw, bundle, naming)
    except BaseException:
        for file in files:
            file.close()
        raise


def open_bundle(location: Location, files: list[SourceFile], open_file: Opener = open_beside) -> tuple[bytes, Bundle]:
    """Read the index of a prefix. Its file, then all data files, are appended to `files` as they are opened."""
    index = open_file(location.index)
    files.append(index)
    if index.size > _INDEX_BYTES:
        raise FormatError(f"{index.shown!r} is {index.size} bytes; an index of at most {_INDEX_BYTES} was expected")
    raw = index.read(_INDEX_BYTES)
    opened: dict[int, SourceFile] = {}

    def size_of(shard: int, count: int) -> int:
        if shard not in opened:
            opened[shard] = open_file(location.beside(f"{location.name}{shard_suffix(shard, count)}"))
        return opened[shard].size

    try:
        bundle = read_bundle(raw, size_of, index.shown)
        for shard in range(bundle.num_shards):
            size_of(shard, bundle.num_shards)
    finally:
        files.extend(file for _, file in sorted(opened.items()))
    return raw, bundle


def graph_of(bundle: Bundle, data: Sequence[SourceFile], shown: str) -> ObjectGraph | None:
    """The object graph of an object-based checkpoint; None for one saved by names."""
    entry = _graph_entry(bundle)
    if entry is None:
        return None
    raw = _graph_bytes(entry, data, shown)
    return read_object_graph(raw, shown, order="<" if bundle.order == "<" else ">", crc=entry.crc)


def _graph_entry(bundle: Bundle) -> Entry | None:
    entry = next((entry for entry in bundle.entries if entry.key == OBJECT_GRAPH_KEY), None)
    return None if entry is None or entry.dtype != "string" or entry.shape else entry


def _graph_bytes(entry: Entry, data: Sequence[SourceFile], shown: str) -> bytes:
    if entry.size > MAX_GRAPH_BYTES:
        raise FormatError(f"{shown!r}: its object graph is {entry.size} bytes; at most {MAX_GRAPH_BYTES} are read")
    raw = bytearray(entry.size)
    file = data[entry.shard]
    read_exactly(file.fd, entry.offset, memoryview(raw), file.shown)
    return bytes(raw)


def _is_named_as(bundle: Bundle, data: Sequence[SourceFile], shown: str, other: TfCheckpoint) -> bool:
    """Whether all that names come from is as in the other checkpoint: keys, shapes, dtypes and the object graph."""

    def facts(entry: Entry) -> object:
        return entry.key, entry.shape, entry.dtype

    if bundle.order != other.bundle.order or len(bundle.entries) != len(other.bundle.entries):
        return False
    if any(facts(one) != facts(two) for one, two in zip(bundle.entries, other.bundle.entries, strict=True)):
        return False
    mine, theirs = _graph_entry(bundle), _graph_entry(other.bundle)
    if mine is None or theirs is None:
        return mine is theirs
    return mine.crc == theirs.crc and _graph_bytes(mine, data, shown) == _graph_bytes(theirs, other.data, shown)


def shard_suffix(shard: int, count: int) -> str:
    """The ending of a data file, `.data-00000-of-00001` (tensorflow/core/util/tensor_bundle/naming.cc)."""
    return f".data-{shard:05}-of-{count:05}"


def with_checksums(index: bytes, bundle: Bundle, crcs: Mapping[str, int], shown: str) -> bytes:
    """The index with these checksums by key: patched in place, or written anew where one has no place in it."""
    changed = [entry for entry in bundle.stored if entry.key in crcs and crcs[entry.key] != entry.crc]
    if all(entry.crc_position is not None for entry in changed):
        content = bytearray(index)
        for entry in changed:
            if entry.crc_position is not None:
                content[entry.crc_position : entry.crc_position + 4] = mask(crcs[entry.key]).to_bytes(4, "little")
        for block in {entry.block for entry in changed}:
            reseal_block(content, bundle.table.blocks[block])
        return bytes(content)
    values = {item.key: item.value for item in bundle.table.entries}
    for entry in changed:
        key = entry.key.encode("utf-8", "surrogateescape")
        values[key] = with_crc(values[key], crcs[entry.key], shown)
    return write_table((item.key, values[item.key]) for item in bundle.table.entries)


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of a block that lies in one stored entry: `block` within the entry, `where` within the block."""

    entry: Entry
    block: Block
    where: tuple[slice, ...]

    @property
    def position(self) -> int:
        """Of its first byte in the data file; a piece is one run, as blocks are whole behind their cut axis."""
        return self.entry.offset + self.block.first_element(self.entry.shape) * ITEM_BYTES[self.entry.dtype]


def read_pieces(entry: Entry, block: Block, values: npt.NDArray[Any], shards: Sequence[Shard]) -> npt.NDArray[Any]:
    """Fill `values` with a block of a tensor from the open data files."""
    for piece in pieces(entry, block):
        target = values if piece.block.shape == block.shape else np.empty(piece.block.shape, dtype=values.dtype)
        shard = shards[piece.entry.shard]
        raw = target.reshape(-1).view(np.uint8).data
        read_exactly(shard.fd, piece.position, raw, shard.shown)
        shard.tally.add(piece.position, raw)
        if target is not values:
            values[piece.where] = target
    return values


def pieces(entry: Entry, block: Block) -> Iterator[_Piece]:
    if not entry.slices:
        yield _Piece(entry, block, (slice(None),) * len(block.shape))
    for part in entry.slices:
        first = [max(at, start) for at, start in zip(block.start, part.start, strict=True)]
        last = [
            min(at + size, start + length)
            for at, size, start, length in zip(block.start, block.shape, part.start, part.entry.shape, strict=True)
        ]
        if all(one < other for one, other in zip(first, last, strict=True)):
            yield _Piece(
                part.entry,
                Block(
                    tuple(one - start for one, start in zip(first, part.start, strict=True)),
                    tuple(other - one for one, other in zip(first, last, strict=True)),
                ),
                tuple(slice(one - at, other - at) for one, other, at in zip(first, last, block.start, strict=True)),
            )


def _others(location: Location) -> list[SourceFile]:
    """The graph that TF1 savers write beside the data, `NAME.meta`: it is carried over."""
    meta = location.beside(f"{location.name}.meta")
    return [open_beside(meta)] if location.name and meta.exists() else []
