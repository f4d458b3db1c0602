"""The LevelDB table of a TensorFlow V1 checkpoint, read in place: values are located, not loaded.

The format is that of `leveldb`, but the values are the tensors themselves, and a large one has a block of its own. So
blocks are checked piece by piece, and a value is a run of bytes in the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import damaged, read_varint
from renorm_cli.formats.tensorflow.leveldb import (
    FOOTER_BYTES,
    MAX_ENTRIES,
    MAX_KEY_BYTES,
    TRAILER_BYTES,
    check_layout,
    crc32c,
    mask,
    read_footer,
    read_handle,
)
from renorm_cli.formats.tensorflow.snappy import Unpacking, snappy_decompress
from renorm_cli.storage.files import SourceFile

_RAW, _SNAPPY = 0, 1
_CRC_BYTES = 4 << 20
_WINDOW_BYTES = 1 << 16
_VARINT_BYTES = 10
_HANDLE_BYTES = 2 * _VARINT_BYTES


@dataclass(frozen=True, slots=True)
class Run:
    """`size` bytes at `offset` of a file or, if `memory` is set, of `memory`, the content of a compressed block."""

    file: SourceFile
    offset: int
    size: int
    memory: bytes | None = None

    def part(self, start: int, size: int) -> Run:
        """The run of `size` bytes from `start` of this run, which must hold them."""
        assert 0 <= start <= start + size <= self.size
        return Run(self.file, self.offset + start, size, self.memory)

    def read(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` from `start` of this run. Raises FormatError if the file was cut short meanwhile."""
        at = self.offset + start
        if self.memory is None:
            self.file.read_into(at, buffer)
        else:
            buffer[:] = self.memory[at : at + len(buffer)]

    def content(self) -> bytes:
        """All bytes of a run that is known to be small."""
        buffer = bytearray(self.size)
        self.read(0, memoryview(buffer))
        return bytes(buffer)

    def pieces(self, size: int) -> Iterator[bytes]:
        """All bytes, in pieces of at most `size` bytes."""
        for start in range(0, self.size, size):
            yield self.part(start, min(size, self.size - start)).content()


class Cursor:
    """Reads a run forward, through a window in memory. Raises FormatError if the run ends too soon."""

    def __init__(self, run: Run, where: str) -> None:
        self.at = 0
        self._run, self._where = run, where
        self._window, self._window_at = b"", 0

    @property
    def done(self) -> bool:
        return self.at >= self._run.size

    def skip(self, count: int) -> None:
        """Skip `count` bytes."""
        if count > self._run.size - self.at:
            raise damaged(
                self._where,
                f"expected {count} bytes at byte {self.at}, found {self._run.size - self.at} before the end",
            )
        self.at += count

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        at = self.at
        self.skip(count)
        return self._at(at, count)

    def varint(self) -> int:
        """The next number."""
        head = self._at(self.at, min(_VARINT_BYTES, self._run.size - self.at))
        value, length = read_varint(head, 0, len(head), f"{self._where}: byte {self.at}")
        self.at += length
        return value

    def _at(self, at: int, count: int) -> bytes:
        start = at - self._window_at
        if start < 0 or start + count > len(self._window):
            size = min(max(count, _WINDOW_BYTES), self._run.size - at)
            self._window, self._window_at, start = self._run.part(at, size).content(), at, 0
        return self._window[start : start + count]


@dataclass(slots=True)
class TableBudget:
    """What the tables of one checkpoint may still use: entries, bytes of keys, compressed blocks, and fields."""

    entries: int = MAX_ENTRIES
    key_bytes: int = MAX_KEY_BYTES
    unpacking: Unpacking = field(default_factory=lambda: Unpacking(64 << 20))
    fields: int = 1_200_000
    """Fields of the messages that are not loaded, each of which takes time."""


def read_runs(file: SourceFile, budget: TableBudget) -> Iterator[tuple[bytes, Run]]:
    """The keys of a table, strictly ascending, with the runs of their values.

    Reads every byte of the file to verify the checksums. Raises FormatError for any deviation from the format, as
    `leveldb.read_table` does.
    """
    shown = file.shown
    if file.size < FOOTER_BYTES:
        raise damaged(shown, f"expected a table of at least {FOOTER_BYTES} bytes, found {file.size}")
    whole = Run(file, 0, file.size)
    meta, index = read_footer(whole.part(file.size - FOOTER_BYTES, FOOTER_BYTES).content(), shown)
    separators, spans = _index(whole, index, budget, shown)
    check_layout([*spans, meta, index], file.size - FOOTER_BYTES, shown)
    for _entry in _entries(_block(whole, meta, budget, shown), budget, f"{shown}: metaindex block"):
        raise damaged(shown, f"expected an empty metaindex block at byte {meta[0]}, found an entry")
    last: bytes | None = None
    for span, separator in zip(spans, separators, strict=True):
        where = f"{shown}: block at byte {span[0]}"
        first, key = True, b""
        for key, run in _entries(_block(whole, span, budget, shown), budget, where):
            if first and last is not None and key <= last:
                raise damaged(where, "expected a first key above the separator before it, found one that is not")
            first = False
            yield key, run
        if first:
            raise damaged(where, "expected entries, found none")
        if key > separator:
            raise damaged(where, "expected a last key up to its separator in the index block, found one above")
        last = separator


def _index(
    whole: Run, span: tuple[int, int], budget: TableBudget, shown: str
) -> tuple[list[bytes], list[tuple[int, int]]]:
    """The separator, and offset and size, of every data block."""
    where = f"{shown}: index block"
    separators: list[bytes] = []
    spans: list[tuple[int, int]] = []
    for key, run in _entries(_block(whole, span, budget, shown), budget, where):
        handle = run.content() if run.size <= _HANDLE_BYTES else b""
        offset, size, at = read_handle(handle, 0, len(handle), where)
        if at != len(handle):
            raise damaged(where, f"expected only a block handle in entry {len(spans)}")
        separators.append(key)
        spans.append((offset, size))
    return separators, spans


def _block(whole: Run, span: tuple[int, int], budget: TableBudget, shown: str) -> Run:
    """The content of a block, after its checksum was verified."""
    offset, size = span
    end = offset + size
    if end + TRAILER_BYTES > whole.size - FOOTER_BYTES:
        raise damaged(shown, f"expected a block of {size} bytes at byte {offset}, found it outside the file")
    kind, stored = struct.unpack("<BI", whole.part(end, TRAILER_BYTES).content())
    if mask(_crc(whole.part(offset, size + 1))) != stored:
        raise damaged(shown, f"the checksum of the block of {size} bytes at byte {offset} does not match")
    block = whole.part(offset, size)
    if kind == _RAW:
        return block
    if kind != _SNAPPY:
        raise damaged(shown, f"expected a raw or snappy block at byte {offset}, found compression {kind}")
    if size > budget.unpacking.bytes:
        raise FormatError(f"{shown}: its compressed blocks are too large to be read; save it again in format V2")
    content = snappy_decompress(block.content(), budget.unpacking, shown)
    return Run(whole.file, 0, len(content), content)


def _crc(run: Run) -> int:
    crc = 0
    buffer = memoryview(bytearray(min(run.size, _CRC_BYTES)))
    for start in range(0, run.size, _CRC_BYTES):
        part = buffer[: min(_CRC_BYTES, run.size - start)]
        run.read(start, part)
        crc = crc32c(part, crc)
    return crc


def _entries(block: Run, budget: TableBudget, where: str) -> Iterator[tuple[bytes, Run]]:
    """The ascending keys of a block and their values."""
    restarts, end = _restarts(block, where)
    cursor = Cursor(block.part(0, end), where)
    key, expected = b"", 0
    while not cursor.done:
        here = cursor.at
        shared, unshared, size = cursor.varint(), cursor.varint(), cursor.varint()
        if expected < len(restarts) and restarts[expected] <= here:
            if restarts[expected] != here or shared:
                raise damaged(where, f"expected an entry with a whole key at byte {restarts[expected]}, found none")
            expected += 1
        budget.entries -= 1
        budget.key_bytes -= shared + unshared
        if shared > len(key) or budget.entries < 0 or budget.key_bytes < 0:
            raise damaged(where, f"expected a key in the limits at byte {here}, found {shared + unshared} bytes of it")
        last, key = key, key[:shared] + cursor.take(unshared)
        if key <= last and here:
            raise damaged(where, f"expected ascending keys, found one at byte {here} that is not above the one before")
        start = cursor.at
        cursor.skip(size)
        yield key, block.part(start, size)
    if expected != len(restarts) and end:
        raise damaged(where, f"expected an entry with a whole key at byte {restarts[expected]}, found none")


def _restarts(block: Run, where: str) -> tuple[tuple[int, ...], int]:
    """The restart points (offsets of entries with whole keys), and the offset where the entries end."""
    if block.size < 4:
        raise damaged(where, f"expected restart points at the end, found {block.size} bytes")
    count = int.from_bytes(block.part(block.size - 4, 4).content(), "little")
    end = block.size - 4 - 4 * count
    if not 0 < count <= MAX_ENTRIES or end < 0:
        raise damaged(where, f"expected restart points at the end of {block.size} bytes, found {count}")
    restarts = struct.unpack(f"<{count}I", block.part(end, 4 * count).content())
    if restarts[0] != 0 or any(a >= b for a, b in pairwise(restarts)) or restarts[-1] >= max(end, 1):
        raise damaged(where, f"expected restart points that ascend from 0 to below {end}, found others")
    return restarts, end
