"""LevelDB tables, the form of a TensorFlow V2 checkpoint's index: read with every check, written, resealed.

Format: data blocks, an empty metaindex block, an index block (separator key -> block handle) and a footer of 48
bytes. A block is followed by its type (0 raw, 1 snappy) and the masked CRC-32C of block and type. Source: LevelDB,
doc/table_format.md, as TensorFlow writes it (tsl/lib/io/table_builder.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from renorm_cli.formats.protobuf import damaged, read_varint, write_varint
from renorm_cli.formats.tensorflow.snappy import Unpacking, snappy_decompress

MAGIC = bytes.fromhex("57fb808b247547db")
"""The last 8 bytes of every table."""
FOOTER_BYTES, TRAILER_BYTES = 48, 5
MAX_TABLE_BYTES = 128 << 20
MAX_ENTRIES = 200_000
MAX_KEY_BYTES = 32 << 20
"""Bytes of all keys together: a few stored bytes can give a long key that shares its prefix with the one before."""
MAX_UNPACKED = 32 << 20
"""Bytes of all compressed blocks together, decompressed."""

_RAW, _SNAPPY = 0, 1
_BLOCK_BYTES = 1 << 18
_RESTART_INTERVAL = 16
_MASK_DELTA = 0xA282EAD8


class Block(NamedTuple):
    """The position of a block in the file; `size` excludes its trailer, `raw` is False if it is compressed."""

    offset: int
    size: int
    raw: bool


class TableEntry(NamedTuple):
    """A key and its value. `block` is an index of `Table.blocks`.

    `position` is the offset of the value in the file; None in a compressed block.
    """

    key: bytes
    value: bytes
    position: int | None
    block: int


@dataclass(frozen=True, slots=True)
class Table:
    """All entries, with strictly ascending keys, and the data blocks that hold them."""

    entries: tuple[TableEntry, ...]
    blocks: tuple[Block, ...]


def crc32c(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """CRC-32C (Castagnoli, polynomial 0x1EDC6F41) of `data`, continued from `value`, the CRC of the preceding bytes."""
    from crc32c import crc32c as fast  # imported here, because other formats do not need it

    return fast(data, value)


def mask(crc: int) -> int:
    """The stored form of a CRC: rotated right by 15 bits, plus a constant (LevelDB, util/crc32c.h)."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def unmask(masked: int) -> int:
    """The CRC whose stored form is `masked`."""
    rotated = (masked - _MASK_DELTA) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def read_table(data: bytes, shown: str) -> Table:
    """All entries of a table; `shown` names the file in errors.

    The blocks must fill the file from its first byte to the footer, each used once, so that no entry can be hidden.
    Raises FormatError for any deviation (magic, handles, checksums, compression, restart arrays, key order) and for
    more than MAX_TABLE_BYTES, MAX_ENTRIES, MAX_KEY_BYTES, MAX_UNPACKED or snappy.MAX_ELEMENTS.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise damaged(shown, f"expected an index of at most {MAX_TABLE_BYTES} bytes, found {len(data)}")
    meta, index = read_footer(data, shown)
    budget = _Budget(MAX_ENTRIES, MAX_KEY_BYTES, Unpacking(MAX_UNPACKED))
    _, index_content = _block(data, index, budget, shown)
    separators: list[bytes] = []
    spans: list[tuple[int, int]] = []
    for key, start, end in _entries(index_content, budget, f"{shown}: index block"):
        offset, size, at = read_handle(index_content, start, end, f"{shown}: index block")
        if at != end:
            raise damaged(shown, f"expected only a block handle in entry {len(spans)} of the index block")
        separators.append(key)
        spans.append((offset, size))
    check_layout([*spans, meta, index], len(data) - FOOTER_BYTES, shown)
    _, meta_content = _block(data, meta, budget, shown)
    for _key in _entries(meta_content, budget, f"{shown}: metaindex block"):
        raise damaged(shown, f"expected an empty metaindex block at byte {meta[0]}, found an entry")
    return _read_blocks(data, spans, separators, budget, shown)


def write_table(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An uncompressed table of `entries` in TensorFlow's layout. Raises ValueError unless keys ascend."""
    out, index, block = bytearray(), _BlockWriter(1), _BlockWriter(_RESTART_INTERVAL)
    waiting: bytes | None = None  # the handle of the last block, whose separator depends on the next key
    for key, value in entries:
        if block.last is not None and key <= block.last:
            raise ValueError(f"keys must ascend, got {key!r} after {block.last!r}")
        if waiting is not None and block.last is not None:
            index.add(_separator(block.last, key), waiting)
            waiting = None
        block.add(key, value)
        if block.size >= _BLOCK_BYTES:
            waiting = _append_block(out, block.finish())
    if block.count:
        waiting = _append_block(out, block.finish())
    meta = _append_block(out, _BlockWriter(_RESTART_INTERVAL).finish())
    if waiting is not None and block.last is not None:
        index.add(_successor(block.last), waiting)
    footer = meta + _append_block(out, index.finish())
    return bytes(out + footer.ljust(FOOTER_BYTES - len(MAGIC), b"\0") + MAGIC)


def reseal_block(buffer: bytearray, block: Block) -> None:
    """Update the checksum of a raw block after its bytes in `buffer` (the whole file) were changed."""
    end = block.offset + block.size
    if not block.raw or end + TRAILER_BYTES > len(buffer) or buffer[end] != _RAW:
        raise ValueError(f"no raw block at byte {block.offset}")
    struct.pack_into("<I", buffer, end + 1, mask(crc32c(bytes(buffer[block.offset : end + 1]))))


def read_footer(data: bytes, shown: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The handles (offset, size) of the metaindex and the index block."""
    if len(data) < FOOTER_BYTES:
        raise damaged(shown, f"expected an index of at least {FOOTER_BYTES} bytes, found {len(data)}")
    if data[-len(MAGIC) :] != MAGIC:
        raise damaged(shown, "expected the mark of a TensorFlow index in the last 8 bytes, found another")
    end = len(data) - len(MAGIC)
    *meta, at = read_handle(data, len(data) - FOOTER_BYTES, end, shown)
    *index, at = read_handle(data, at, end, shown)
    if any(data[at:end]):
        raise damaged(shown, f"expected zeros from byte {at} to byte {end} of the footer")
    return (meta[0], meta[1]), (index[0], index[1])


def read_handle(data: bytes, at: int, end: int, shown: str) -> tuple[int, int, int]:
    offset, at = read_varint(data, at, end, shown)
    size, at = read_varint(data, at, end, shown)
    return offset, size, at


def check_layout(spans: list[tuple[int, int]], end: int, shown: str) -> None:
    at = 0
    for offset, size in spans:
        if offset != at:
            raise damaged(shown, f"expected a block at byte {at}, found one at byte {offset}: blocks overlap or miss")
        at += size + TRAILER_BYTES
    if at != end:
        raise damaged(shown, f"expected the blocks to end at byte {end}, found their end at byte {at}")


@dataclass(slots=True)
class _Budget:
    """What one table may still use: through shared prefixes and compression, few bytes can expand to many."""

    entries: int
    key_bytes: int
    unpacking: Unpacking


def _block(data: bytes, span: tuple[int, int], budget: _Budget, shown: str) -> tuple[Block, bytes]:
    """A checked block, and its decompressed content."""
    offset, size = span
    end = offset + size
    if end + TRAILER_BYTES > len(data) - FOOTER_BYTES:
        raise damaged(shown, f"expected a block of {size} bytes at byte {offset}, found it outside the file")
    kind, stored = struct.unpack_from("<BI", data, end)
    if mask(crc32c(memoryview(data)[offset : end + 1])) != stored:
        raise damaged(shown, f"the checksum of the block of {size} bytes at byte {offset} does not match")
    if kind not in (_RAW, _SNAPPY):
        raise damaged(shown, f"expected a raw or snappy block at byte {offset}, found compression {kind}")
    content = data[offset:end]
    if kind == _SNAPPY:
        content = snappy_decompress(content, budget.unpacking, shown)
    return Block(offset, size, kind == _RAW), content


def _entries(content: bytes, budget: _Budget, where: str) -> Iterator[tuple[bytes, int, int]]:
    """The ascending keys of a block, with start and end of their values; `where` names the block in errors."""
    restarts, end = _restarts(content, where)
    key, at, expected = b"", 0, 0
    while at < end:
        here = at
        shared, at = read_varint(content, at, end, where)
        unshared, at = read_varint(content, at, end, where)
        size, at = read_varint(content, at, end, where)
        if shared > len(key) or at + unshared + size > end:
            raise damaged(where, f"expected the entry at byte {here} to lie in the block, found it reaching out")
        if expected < len(restarts) and restarts[expected] <= here:
            if restarts[expected] != here or shared:
                raise damaged(where, f"expected an entry with a whole key at byte {restarts[expected]}, found none")
            expected += 1
        budget.entries -= 1
        budget.key_bytes -= shared + unshared
        if budget.entries < 0 or budget.key_bytes < 0:
            raise damaged(where, f"expected at most {MAX_ENTRIES} entries and {MAX_KEY_BYTES} bytes of keys")
        last, key = key, key[:shared] + content[at : at + unshared]
        if key <= last and here:
            raise damaged(where, f"expected ascending keys, found one at byte {here} that is not above the one before")
        at += unshared + size
        yield key, at - size, at
    if expected != len(restarts) and end:
        raise damaged(where, f"expected an entry with a whole key at byte {restarts[expected]}, found none")


def _restarts(content: bytes, where: str) -> tuple[tuple[int, ...], int]:
    """The restart points (offsets of entries with whole keys), and the offset where the entries end."""
    count = int.from_bytes(content[-4:], "little")
    end = len(content) - 4 - 4 * count
    if len(content) < 4 or not 0 < count <= MAX_ENTRIES or end < 0:
        raise damaged(where, f"expected restart points at the end of {len(content)} bytes, found {count}")
    restarts = struct.unpack_from(f"<{count}I", content, end)
    if restarts[0] != 0 or any(a >= b for a, b in pairwise(restarts)):
        raise damaged(where, "expected restart points that ascend from 0, found others")
    if restarts[-1] >= max(end, 1):
        raise damaged(where, f"expected restart points below {end}, found {restarts[-1]}")
    return restarts, end


def _read_blocks(
    data: bytes, spans: list[tuple[int, int]], separators: list[bytes], budget: _Budget, shown: str
) -> Table:
    blocks: list[Block] = []
    entries: list[TableEntry] = []
    for number, span in enumerate(spans):
        block, content = _block(data, span, budget, shown)
        before = len(entries)
        where = f"{shown}: block at byte {block.offset}"
        for key, start, end in _entries(content, budget, where):
            position = block.offset + start if block.raw else None
            entries.append(TableEntry(key, content[start:end], position, number))
        if before == len(entries):
            raise damaged(where, "expected entries, found none")
        # Together with the order in each block: all keys ascend, and a search by separators finds every key.
        if number and entries[before].key <= separators[number - 1]:
            raise damaged(where, "expected a first key above the separator before it, found one that is not")
        if entries[-1].key > separators[number]:
            raise damaged(where, "expected a last key up to its separator in the index block, found one above")
        blocks.append(block)
    return Table(tuple(entries), tuple(blocks))


class _BlockWriter:
    """Collects the entries of one block after another; `last` is the last key added to any block."""

    def __init__(self, interval: int) -> None:
        self.interval, self.last = interval, None  # type: int, bytes | None
        self._start()

    def _start(self) -> None:
        self.content, self.restarts, self.count = bytearray(), [0], 0

    @property
    def size(self) -> int:
        return len(self.content) + 4 * len(self.restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self.count % self.interval:
            shared = _common(self.last or b"", key)
        elif self.count:
            self.restarts.append(len(self.content))
        for number in (shared, len(key) - shared, len(value)):
            self.content += write_varint(number)
        self.content += key[shared:] + value
        self.last, self.count = key, self.count + 1

    def finish(self) -> bytes:
        count = len(self.restarts)
        done = bytes(self.content + struct.pack(f"<{count}II", *self.restarts, count))
        self._start()
        return done


def _append_block(out: bytearray, content: bytes) -> bytes:
    """Append a raw block with its trailer; returns its handle."""
    handle = write_varint(len(out)) + write_varint(len(content))
    content += bytes([_RAW])
    out += content + struct.pack("<I", mask(crc32c(content)))
    return handle


def _common(one: bytes, other: bytes) -> int:
    shared = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key, at least `last` and below `following`, chosen as LevelDB's bytewise comparator does."""
    at = _common(last, following)
    if at < min(len(last), len(following)) and last[at] < 255 and last[at] + 1 < following[at]:
        return last[:at] + bytes([last[at] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """A short key, at least `last`."""
    for at, byte in enumerate(last):
        if byte < 255:
            return last[:at] + bytes([byte + 1])
    return last
