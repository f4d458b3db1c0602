"""TensorFlow V2 checkpoints: tensors at extents of the data files, their checksums in the index."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Extent, Found, Sink, digest
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming, join_copies
from renorm_cli.formats.numbers import same_bytes, stored_dtype
from renorm_cli.formats.plain import Layout, Part, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.tensorflow import state_file
from renorm_cli.formats.tensorflow.bundle import ITEM_BYTES, OBJECT_GRAPH_KEY, Bundle, Entry, read_bundle, with_crc
from renorm_cli.formats.tensorflow.leveldb import crc32c, mask, reseal_block, write_table
from renorm_cli.formats.tensorflow.locations import Prefix
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.object_graph import MAX_GRAPH_BYTES, ObjectGraph, read_object_graph
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.checksum import Crc
from renorm_cli.storage.files import Opener, SourceFile, read_parts, read_range, read_start
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    from renorm_cli.formats.tensorflow.graph_uses import GraphUses

_INDEX_BYTES = 128 << 20

CRC32C = Crc(crc32c, 0x82F63B78)
"""The checksum of tensors in TensorFlow checkpoints: Castagnoli's polynomial."""


class Entries(Layout):
    """Tensors at the places that an index tells, by their keys; a partitioned one is stored in its slices."""

    def __init__(self, entries: Mapping[str, Entry], order: str) -> None:
        self._entries = entries
        self._order = order

    def parts(self, variable: Variable) -> Sequence[Part]:
        entry = self._entries[variable.key]
        if not entry.slices:
            return (Part(extent_of(entry), (0,) * len(entry.shape), entry.shape),)
        return [Part(extent_of(part.entry), part.start, part.entry.shape) for part in entry.slices]

    def dtype(self, variable: Variable) -> np.dtype[Any]:
        return stored_dtype(variable.dtype, self._order)


def extent_of(entry: Entry) -> Extent:
    """Where the bytes of an entry are."""
    return Extent(entry.shard, entry.offset, entry.size)


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """The open files at a prefix: the index, its content as bytes and parsed, and the data files."""

    index: SourceFile
    content: bytes
    bundle: Bundle
    data: tuple[SourceFile, ...]

    def graph(self) -> ObjectGraph | None:
        """The object graph of an object-based checkpoint; None for one saved by names. Raises FormatError."""
        entry = self._graph_entry()
        if entry is None:
            return None
        order: Literal["<", ">"] = "<" if self.bundle.order == "<" else ">"
        return read_object_graph(self._content_of(entry), self.index.shown, order=order, crc=entry.crc)

    def is_named_as(self, other: OpenBundle) -> bool:
        """Whether all that names come from is as in `other`: keys, shapes, dtypes, and the object graph."""
        if self.bundle.order != other.bundle.order or len(self.bundle.entries) != len(other.bundle.entries):
            return False
        for one, two in zip(self.bundle.entries, other.bundle.entries, strict=True):
            if (one.key, one.shape, one.dtype) != (two.key, two.shape, two.dtype):
                return False
        mine, theirs = self._graph_entry(), other._graph_entry()
        if mine is None or theirs is None:
            return mine is theirs
        return mine.crc == theirs.crc and self._content_of(mine) == other._content_of(theirs)

    def _graph_entry(self) -> Entry | None:
        entry = next((entry for entry in self.bundle.entries if entry.key == OBJECT_GRAPH_KEY), None)
        return None if entry is None or entry.dtype != "string" or entry.shape else entry

    def _content_of(self, graph: Entry) -> bytes:
        if graph.size > MAX_GRAPH_BYTES:
            raise FormatError(
                f"{self.index.shown!r}: its object graph is {graph.size} bytes; at most {MAX_GRAPH_BYTES} are read"
            )
        return read_range(self.data[graph.shard], graph.offset, graph.size)


class Graph(NamedTuple):
    """An open file with a graph: `saved_model.pb`, or the `.meta` beside a checkpoint."""

    file: SourceFile

    @contextmanager
    def content(self) -> Iterator[memoryview]:
        """Its bytes, mapped and not read, whatever their number."""
        if not self.file.size:
            yield memoryview(b"")
            return
        mapped = mmap.mmap(self.file.descriptor(), self.file.size, access=mmap.ACCESS_READ)
        view = memoryview(mapped)
        try:
            yield view
        finally:
            # The mapping has a descriptor of its own. What was read of a graph may live on in cycles; what an error
            # still holds of the view goes with the error.
            with suppress(BufferError):
                view.release()
                mapped.close()


class TfCheckpoint(PlainCheckpoint):
    """A checkpoint of one index and its data files. Files are the data files, others that belong to it, then the index.

    A partitioned variable is read and written as the whole it is part of.
    """

    def __init__(
        self, format: str, found: Found, opened: OpenBundle, naming: Naming, others: Sequence[SourceFile] = ()
    ) -> None:
        self.opened = opened
        self.others = tuple(others)
        self.bundle = opened.bundle
        self.naming = naming
        self.entries = {entry.key: entry for entry in opened.bundle.entries}
        data = PlainData(opened.data, Entries(self.entries, opened.bundle.order), CRC32C)
        variables = join_copies(naming, partial(same_bytes, data))
        super().__init__(format, found, (*opened.data, *others, opened.index), variables, data, naming.notes)

    @property
    def checksums(self) -> dict[str, int]:
        return {entry.key: entry.crc for entry in self.bundle.stored if entry.crc is not None}

    def extents(self, variable: Variable) -> tuple[Extent, ...]:
        return tuple(part.extent for part in self.data.layout.parts(variable))

    def context(self) -> dict[str, str | None]:
        return {file.path.suffix: digest(read_parts(file, 0, file.size)) for file in self.others}

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        """Names of the tensors of numbers whose stored checksum does not match their bytes."""
        entries = [entry for entry in self.bundle.stored if entry.size and entry.dtype in ITEM_BYTES]
        crcs = self.data.checksums(map(extent_of, entries), imap)
        return tuple(entry.key for entry, crc in zip(entries, crcs, strict=True) if entry.crc != crc)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        sink = self.stage_bundle(staging, output, changing)
        for file in self.others:
            staging.copy(file, output.beside(file.path.name.replace(self.location.name, output.name, 1)))
        state = output.folder / state_file.NAME
        if not state.exists():
            staging.companion(state, [state_file.state_text(output.name)])
        return sink

    def stage_bundle(
        self,
        staging: Staging,
        output: Location,
        changing: Sequence[Variable],
        finish: Callable[[bytes], None] = lambda index: None,
    ) -> PlainSink:
        """Staged copies of the data files, and an index; `finish` is called with the content that it gets."""
        suffixes = [shard_suffix(number, len(self.opened.data)) for number in range(len(self.opened.data))]
        data = self.copies(staging, [output.beside(f"{output.name}{suffix}") for suffix in suffixes], changing)
        index = staging.create(output.index)
        return PlainSink(self.data.staged(data), data, partial(self._seal, index, finish))

    def _seal(self, index: Staged, finish: Callable[[bytes], None], data: PlainData, imap: Imap) -> dict[str, int]:
        """Compute the checksums of what was written from the staged bytes, and write the index with them."""
        changed = [entry for entry in self.bundle.stored if entry.size and extent_of(entry) in data.written]
        found = data.checksums(map(extent_of, changed), imap)
        crcs = {entry.key: crc for entry, crc in zip(changed, found, strict=True)}
        content = with_checksums(self.opened.content, self.bundle, crcs, self.opened.index.shown)
        index.write(0, memoryview(content))
        finish(content)
        return crcs


def open_tf_checkpoint(found: Found) -> TfCheckpoint:
    """Open the checkpoint at a prefix. Raises FormatError where a file of it is missing, damaged or a link."""
    assert isinstance(found.location, Prefix)
    with ExitStack() as files:
        index = found.file
        if index is None or found.path.is_symlink():
            index = found.beside(found.location.index)
            files.callback(index.close)
        opened = open_bundle(found.location, index, found.beside, files)
        others = _others(found.location, found.beside)
        for other in others:
            files.callback(other.close)
        like = found.like if type(found.like) is TfCheckpoint else None
        if like is not None and opened.is_named_as(like.opened):
            naming = like.naming
        else:
            uses = uses_beside(others, opened.bundle)
            naming = name_variables(opened.bundle, opened.graph(), {}, exported=False, uses=uses)
        checkpoint = TfCheckpoint("tf-checkpoint", found, opened, naming, others)
        files.pop_all()
    return checkpoint


def open_bundle(prefix: Prefix, index: SourceFile, open_file: Opener, files: ExitStack) -> OpenBundle:
    """Read the index of a prefix, and open all data files; `files` is to close them.

    Raises FormatError where one is missing, damaged or a link.
    """
    if index.size > _INDEX_BYTES:
        raise FormatError(f"{index.shown!r} is {index.size} bytes; an index of at most {_INDEX_BYTES} was expected")
    content = read_start(index, _INDEX_BYTES)
    opened: dict[int, SourceFile] = {}

    def size_of(shard: int, count: int) -> int:
        if shard not in opened:
            opened[shard] = open_file(prefix.beside(f"{prefix.name}{shard_suffix(shard, count)}"))
            files.callback(opened[shard].close)
        return opened[shard].size

    bundle = read_bundle(content, size_of, index.shown)
    for shard in range(bundle.num_shards):
        size_of(shard, bundle.num_shards)
    return OpenBundle(index, content, bundle, tuple(opened[shard] for shard in range(bundle.num_shards)))


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


def _others(prefix: Prefix, open_file: Opener) -> list[SourceFile]:
    """The graph that TF1 savers write beside the data, `NAME.meta`: it is carried over."""
    meta = prefix.beside(f"{prefix.name}.meta")
    return [open_file(meta)] if meta.exists() else []


def uses_beside(others: Sequence[SourceFile], bundle: Bundle) -> Callable[[], GraphUses] | None:
    """A function that reads what the `.meta` file, if that is among the others, tells of the tensors."""
    return partial(_uses, Graph(others[0]), bundle) if others else None


def _uses(meta: Graph, bundle: Bundle) -> GraphUses:
    from renorm_cli.formats.tensorflow.graph_uses import uses_in_meta_graph  # most checkpoints have no `.meta`

    with meta.content() as content:
        return uses_in_meta_graph(content, meta.file.shown, bundle.shapes)
