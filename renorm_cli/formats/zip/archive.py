"""The content of a zip: read in blocks, checked, patched in place, or copied with one member replaced.

Nothing is extracted to a path, and memory is bounded. Everything that does not change keeps its bytes: other records,
prefix, gaps, extra fields, times, attributes, comments. Reads raise FormatError, writes OSError.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.zip.directory import Archive, Member, read_archive
from renorm_cli.formats.zip.records import (
    CENTRAL,
    DEFLATED,
    END,
    END64,
    END64_SIGNATURE,
    LOCAL,
    LOCATOR,
    LOCATOR_SIGNATURE,
    MAX32,
    STORED,
    STREAMED,
    ZIP64_VERSION,
    Central,
    End,
    End64,
    Local,
    Locator,
    central_length,
    descriptor,
    widen,
    with_zip64,
    zip64_data,
)
from renorm_cli.storage.bytes import copy_range, write_all
from renorm_cli.storage.files import Readable, SourceFile, read_parts, read_range
from renorm_cli.untrusted import quoted

__all__ = [
    "Archive",
    "Content",
    "Member",
    "crc_places",
    "inflate",
    "other_parts",
    "read_archive",
    "read_member",
    "refuse_twins",
    "repack",
    "repack_members",
    "stored_parts",
]

_BLOCK = 1 << 20
_RAW_DEFLATE = -15
_LOCAL_CRC, _CENTRAL_CRC = 14, 16


def read_member(file: SourceFile, member: Member, limit: int) -> bytes:
    """The content of a small member. Raises FormatError if it has more than `limit` bytes or is damaged."""
    if member.size > limit:
        raise FormatError(f"{_where(file.shown, member)} has {member.size} bytes; expected at most {limit}")
    return b"".join(_content(file, member))


def inflate(file: SourceFile, member: Member, out_fd: int, offset: int = 0) -> None:
    """Write the content of a stored or deflated member to `out_fd`, from `offset`, never more than its declared size.

    Raises FormatError if size or crc differ from the headers; `out_fd` then holds damaged content.
    """
    at = offset
    for block in _content(file, member):
        write_all(out_fd, at, memoryview(block))
        at += len(block)


def refuse_twins(archive: Archive, shown: str, reader: str) -> None:
    """Raise FormatError where names differ only in case: `reader` finds a member whatever the case of its name, so that
    of two such members it reads one, and we the other."""
    seen: dict[str, str] = {}
    for name in (member.name for member in archive.members):
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise FormatError(f"{shown!r}: members {quoted(other)} and {quoted(name)} differ only in case to {reader}")


def crc_places(file: Readable, member: Member) -> Iterator[int]:
    """The offsets in the archive of the crc of a stored member: 4 bytes, little-endian, at each of them."""
    if member.method != STORED:
        raise ValueError("only a stored member can be changed in place")
    (stored,) = struct.unpack("<L", read_range(file, member.header_offset + _LOCAL_CRC, 4))
    if stored or not member.flags & STREAMED:
        yield member.header_offset + _LOCAL_CRC
    yield member.central_offset + _CENTRAL_CRC
    if member.flags & STREAMED:
        signed, _ = _descriptor_shape(member)
        yield member.payload_offset + member.compressed + (4 if signed else 0)


def stored_parts(file: Readable, member: Member) -> Iterator[bytes]:
    """The stored bytes of a member (compressed if it is compressed), in parts."""
    return read_parts(file, member.payload_offset, member.compressed)


def other_parts(file: Readable, archive: Archive, held: Collection[Member]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The names and the stored payloads of all members but those that are `held`."""
    for member in archive.members:
        if member not in held:
            yield member.name, stored_parts(file, member)


class Content(NamedTuple):
    """The new content of a member: `length` bytes of a file from `start`, to be stored (0) or deflated (8) as zlib's
    default level does."""

    file: Readable
    start: int
    length: int
    method: int


def repack(
    file: SourceFile, archive: Archive, member: Member, content: Readable, length: int, out_fd: int, method: int
) -> int:
    """Write the archive with the content of one member replaced, as `repack_members` does; returns its crc."""
    made = repack_members(file, archive, {member: Content(content, 0, length, method)}, out_fd)
    return made[member.name]


def repack_members(
    file: SourceFile, archive: Archive, contents: Mapping[Member, Content], out_fd: int
) -> dict[str, int]:
    """Write to `out_fd`, from byte 0, the archive with the content of some members replaced; returns their crcs.

    Offsets, sizes and crc are updated, and have 64 bits where they had or where 32 are not enough.
    """
    if not all(content.method in (STORED, DEFLATED) for content in contents.values()):
        raise ValueError("a method must be 0 or 8")
    fd, at, out = file.descriptor(), 0, 0
    moved = _Moved()
    for member in sorted(contents, key=lambda one: one.header_offset):
        copy_range(fd, at, out_fd, out, member.header_offset - at)
        out += member.header_offset - at
        new = _write_record(file, archive, member, out, contents[member], out_fd)
        at, out = member.record_end, new.record_end
        moved.add(member, new)
    copy_range(fd, at, out_fd, out, archive.central_start - at)
    central_start = archive.central_start + out - at
    directory = b"".join(_central_records(file, archive, moved))
    tail = _end_records(file, archive, central_start, len(directory))
    write_all(out_fd, central_start, memoryview(directory + tail))
    os.ftruncate(out_fd, central_start + len(directory) + len(tail))
    return {new.name: new.crc for new in moved.replaced.values()}


class _Moved:
    """Where the records of an archive are after some were replaced, which are added in the order of the file."""

    def __init__(self) -> None:
        self.replaced: dict[int, Member] = {}
        self._ends: list[int] = []
        self._growth: list[int] = [0]

    def add(self, old: Member, new: Member) -> None:
        self.replaced[old.header_offset] = new
        self._ends.append(old.record_end)
        self._growth.append(new.record_end - old.record_end)  # of all records so far, as the new one has moved, too

    def now(self, member: Member) -> Member:
        """The member as it is now."""
        new = self.replaced.get(member.header_offset)
        if new is not None:
            return new
        growth = self._growth[bisect_right(self._ends, member.header_offset)]
        return replace(member, header_offset=member.header_offset + growth)


# Content


def _content(file: SourceFile, member: Member) -> Iterator[bytes]:
    """The content in blocks of at most 1 MiB. Raises FormatError at the end if the crc is wrong, and as soon as the
    size is."""
    shown, blocks = file.shown, read_parts(file, member.payload_offset, member.compressed)
    crc = size = 0
    for block in blocks if member.method == STORED else _inflated(blocks, member, shown):
        size += len(block)
        if size > member.size:
            raise FormatError(f"{_where(shown, member)} inflates to more than the {member.size} bytes of its header")
        crc = zlib.crc32(block, crc)
        yield block
    if (size, crc) != (member.size, member.crc):
        raise FormatError(
            f"{_where(shown, member)} has {size} bytes of crc {crc:#010x}; "
            f"its header says {member.size} bytes of crc {member.crc:#010x}, the content is damaged"
        )


def _inflated(blocks: Iterator[bytes], member: Member, shown: str) -> Iterator[bytes]:
    """The decompressed deflate stream of `blocks`, which must end where the blocks end."""
    stream = zlib.decompressobj(_RAW_DEFLATE)
    for block in blocks:
        if stream.eof:
            break
        full = True
        while full or block:
            try:
                out = stream.decompress(block, _BLOCK)
            except zlib.error as error:
                raise FormatError(f"{_where(shown, member)} holds no deflate stream; its content is damaged") from error
            block, full = stream.unconsumed_tail, len(out) == _BLOCK
            yield out
    else:
        if stream.eof and not stream.unused_data:
            return
    found = "bytes after the end of" if stream.eof else "no end of"
    raise FormatError(f"{_where(shown, member)} has {found} its deflate stream in {member.compressed} bytes")


# Records of the new archive


def _write_record(
    file: Readable, archive: Archive, member: Member, offset: int, content: Content, out_fd: int
) -> Member:
    """Write local header, payload and data descriptor at an offset; returns the new member."""
    where = _where(archive.shown, member)
    local = Local._make(LOCAL.unpack(read_range(file, member.header_offset, LOCAL.size)))
    rest = read_range(file, member.header_offset + LOCAL.size, local.name_length + local.extra_length)
    # The header precedes the payload, so its width follows from an upper bound on the payload (zlib's deflateBound).
    length = content.length
    was_wide = MAX32 in (local.size, local.compressed)
    wide = was_wide or length + length // 1024 + 64 >= MAX32
    payload_offset = offset + len(_local_header(local, rest, member, wide, where))
    crc, compressed = _write_content(content, out_fd, payload_offset)
    end = payload_offset + compressed
    tail = b""
    if member.flags & STREAMED:
        signed, wide_tail = _descriptor_shape(member)
        wide_tail |= wide > was_wide or max(length, compressed) > MAX32
        tail = descriptor(crc, compressed, length, signed=signed, wide=wide_tail)
        write_all(out_fd, end, memoryview(tail))
    new = replace(
        member,
        method=content.method,
        crc=crc,
        compressed=compressed,
        size=length,
        header_offset=offset,
        payload_offset=payload_offset,
        record_end=end + len(tail),
    )
    write_all(out_fd, offset, memoryview(_local_header(local, rest, new, wide, where)))
    return new


def _local_header(local: Local, rest: bytes, member: Member, wide: bool, where: str) -> bytes:
    """The local header with name and extra fields; fields that a streamed member left 0 stay 0."""
    name, extra = rest[: local.name_length], rest[local.name_length :]
    before = (local.crc, *widen((local.size, local.compressed), extra, where))
    now = (member.crc, member.size, member.compressed)
    streamed = member.flags & STREAMED
    crc, size, compressed = (0 if streamed and not old else new for old, new in zip(before, now, strict=True))
    if wide:
        if MAX32 not in (local.size, local.compressed):
            local = local._replace(needed=max(local.needed, ZIP64_VERSION))
        extra = with_zip64(extra, struct.pack("<QQ", size, compressed), where)
        size = compressed = MAX32
    local = local._replace(method=member.method, crc=crc, size=size, compressed=compressed, extra_length=len(extra))
    return LOCAL.pack(*local) + name + extra


def _write_content(content: Content, out_fd: int, offset: int) -> tuple[int, int]:
    """Write the payload at `offset`; returns its crc and the number of bytes written."""
    is_deflated = content.method == DEFLATED
    deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _RAW_DEFLATE) if is_deflated else None
    crc, at = 0, offset
    for block in read_parts(content.file, content.start, content.length):
        crc = zlib.crc32(block, crc)
        data = deflate.compress(block) if deflate else block
        write_all(out_fd, at, memoryview(data))
        at += len(data)
    if deflate:
        data = deflate.flush()
        write_all(out_fd, at, memoryview(data))
        at += len(data)
    return crc, at - offset


def _descriptor_shape(member: Member) -> tuple[bool, bool]:
    """Whether the data descriptor has a signature, and whether its sizes have 64 bits."""
    length = member.record_end - member.payload_offset - member.compressed
    return length in (16, 24), length in (20, 24)


def _central_records(file: Readable, archive: Archive, moved: _Moved) -> Iterator[bytes]:
    """The records of the new central directory in their old order, with updated offsets and sizes."""
    directory = read_range(file, archive.central_start, archive.central_end - archive.central_start)
    for member in archive.members:
        at = member.central_offset - archive.central_start
        record = Central._make(CENTRAL.unpack_from(directory, at))
        rest = directory[at + CENTRAL.size : at + central_length(record)]
        member = moved.now(member)
        yield _central_record(record._replace(method=member.method, crc=member.crc), rest, member, archive)


def _central_record(record: Central, rest: bytes, member: Member, archive: Archive) -> bytes:
    """The record with the sizes and the offset of `member`; a value that was in the zip64 field stays there."""
    where = _where(archive.shown, member)
    name, rest = rest[: record.name_length], rest[record.name_length :]
    extra, comment = rest[: record.extra_length], rest[record.extra_length :]
    narrow = (record.size, record.compressed, record.offset)
    values = (member.size, member.compressed, member.header_offset - archive.shift)
    wide = [field == MAX32 or value >= MAX32 for field, value in zip(narrow, values, strict=True)]
    if any(wide):
        data = b"".join(struct.pack("<Q", value) for value, is_wide in zip(values, wide, strict=True) if is_wide)
        extra = with_zip64(extra, data + zip64_data(extra, where)[8 * narrow.count(MAX32) :], where)
        if sum(wide) > narrow.count(MAX32):
            record = record._replace(needed=max(record.needed, ZIP64_VERSION))
    size, compressed, offset = (MAX32 if is_wide else value for value, is_wide in zip(values, wide, strict=True))
    record = record._replace(size=size, compressed=compressed, offset=offset, extra_length=len(extra))
    return CENTRAL.pack(*record) + name + extra + comment


def _end_records(file: Readable, archive: Archive, central_start: int, size: int) -> bytes:
    """The bytes after the central directory: zip64 records if the archive has or needs them, end record, comment."""
    data = read_range(file, archive.central_end, archive.length - archive.central_end)
    end_at = archive.end_start - archive.central_end
    end = End._make(END.unpack_from(data, end_at))
    comment = data[end_at + END.size :]
    offset = central_start - archive.shift
    wide = b""
    if end_at or max(size, offset) >= MAX32:
        if end_at:
            end64 = End64._make(END64.unpack_from(data))
            locator = Locator._make(LOCATOR.unpack_from(data, END64.size))
        else:
            count = len(archive.members)
            end64 = End64(END64_SIGNATURE, END64.size - 12, ZIP64_VERSION, ZIP64_VERSION, 0, 0, count, count, 0, 0)
            locator = Locator(LOCATOR_SIGNATURE, 0, 0, 1)
        wide = END64.pack(*end64._replace(size=size, offset=offset))
        wide += LOCATOR.pack(*locator._replace(offset=offset + size))
    end = end._replace(
        size=MAX32 if end.size == MAX32 else min(size, MAX32),
        offset=MAX32 if end.offset == MAX32 else min(offset, MAX32),
    )
    return wide + END.pack(*end) + comment


def _where(shown: str, member: Member) -> str:
    return f"{shown}: member {quoted(member.name)}"
