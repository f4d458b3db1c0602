"""The records of a zip archive as plain tuples, and its extra fields: pure functions on bytes.

Section numbers refer to PKWARE's APPNOTE.TXT 6.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from renorm_cli.errors import FormatError

STORED, DEFLATED = 0, 8
ENCRYPTED, STREAMED, PATCHED, UTF8 = 0x2041, 0x0008, 0x0020, 0x0800
"""Flag bits, section 4.4.4. A streamed member has a data descriptor after its payload."""

ZIP64, UNICODE_PATH = 0x0001, 0x7075
ZIP64_VERSION, NEWEST_VERSION = 45, 63
MAX16, MAX32 = 0xFFFF, 0xFFFF_FFFF

LOCAL, LOCAL_SIGNATURE = struct.Struct("<4s5H3L2H"), b"PK\x03\x04"
CENTRAL, CENTRAL_SIGNATURE = struct.Struct("<4s6H3L5H2L"), b"PK\x01\x02"
END, END_SIGNATURE = struct.Struct("<4s4H2LH"), b"PK\x05\x06"
END64, END64_SIGNATURE = struct.Struct("<4sQ2H2L4Q"), b"PK\x06\x06"
LOCATOR, LOCATOR_SIGNATURE = struct.Struct("<4sLQL"), b"PK\x06\x07"
DESCRIPTOR_SIGNATURE = b"PK\x07\x08"


class Local(NamedTuple):
    """Local file header, section 4.3.7."""

    signature: bytes
    needed: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    compressed: int
    size: int
    name_length: int
    extra_length: int


class Central(NamedTuple):
    """Central directory record, section 4.3.12."""

    signature: bytes
    made: int
    needed: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    compressed: int
    size: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    internal: int
    external: int
    offset: int


class End(NamedTuple):
    """End of central directory record, section 4.3.16."""

    signature: bytes
    disk: int
    central_disk: int
    disk_entries: int
    entries: int
    size: int
    offset: int
    comment_length: int


class End64(NamedTuple):
    """Zip64 end of central directory record, section 4.3.14."""

    signature: bytes
    record_size: int
    made: int
    needed: int
    disk: int
    central_disk: int
    disk_entries: int
    entries: int
    size: int
    offset: int


class Locator(NamedTuple):
    """Zip64 end of central directory locator, section 4.3.15."""

    signature: bytes
    disk: int
    offset: int
    disks: int


def central_length(record: Central) -> int:
    """The length in bytes of the whole record, with name, extra fields and comment."""
    return CENTRAL.size + record.name_length + record.extra_length + record.comment_length


def descriptor(crc: int, compressed: int, size: int, *, signed: bool, wide: bool) -> bytes:
    """The data descriptor (sections 4.3.9 and 4.3.9.3); empty if the sizes do not fit into 32 bits and not `wide`."""
    if not wide and max(compressed, size) > MAX32:
        return b""
    data = struct.pack("<LQQ" if wide else "<LLL", crc, compressed, size)
    return DESCRIPTOR_SIGNATURE + data if signed else data


def extra_blocks(extra: bytes, where: str) -> Iterator[tuple[int, int, int]]:
    """Kind, and start and end of the data, of every extra field (section 4.5.1); less than 4 bytes more is padding."""
    at = 0
    while len(extra) - at >= 4:
        kind, size = struct.unpack_from("<HH", extra, at)
        start, at = at + 4, at + 4 + size
        if at > len(extra):
            raise FormatError(f"{where} has an extra field of {size} bytes where {len(extra) - start} are left")
        yield kind, start, at


def zip64_span(extra: bytes, where: str) -> tuple[int, int] | None:
    """Start and end of the data of the zip64 field, or None. Raises FormatError if there are several."""
    spans = [(start, end) for kind, start, end in extra_blocks(extra, where) if kind == ZIP64]
    if len(spans) > 1:
        raise FormatError(f"{where} has {len(spans)} zip64 fields; expected at most one")
    return spans[0] if spans else None


def zip64_data(extra: bytes, where: str) -> bytes:
    """The data of the zip64 field; empty if there is none."""
    start, end = zip64_span(extra, where) or (0, 0)
    return extra[start:end]


def widen(narrow: tuple[int, ...], extra: bytes, where: str) -> tuple[int, ...]:
    """The true values of 32-bit fields: for a field of all ones, the next one in the zip64 field (section 4.5.3)."""
    data = zip64_data(extra, where)
    values: list[int] = []
    at = 0
    for value in narrow:
        if value == MAX32:
            if at + 8 > len(data):
                raise FormatError(f"{where} lacks a 64-bit size or offset that its header refers to")
            (value,) = struct.unpack_from("<Q", data, at)
            at += 8
        values.append(value)
    return tuple(values)


def with_zip64(extra: bytes, data: bytes, where: str) -> bytes:
    """The extra fields with a zip64 field that holds `data`; all other fields keep their bytes and their order."""
    field = struct.pack("<HH", ZIP64, len(data)) + data
    start, end = zip64_span(extra, where) or (4, 0)
    extra = extra[: start - 4] + field + extra[end:]
    if len(extra) > MAX16:
        raise FormatError(f"{where} has no room left for 64-bit sizes in its extra fields")
    return extra
