"""The headers of a zip, read strictly: end record, central directory, local headers, data descriptors.

An archive that two readers could understand differently (two names, two sizes, overlapping records) is refused: every
reader must see what we see. Section numbers refer to PKWARE's APPNOTE.TXT 6.3. Passes OSError of reads through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from renorm_cli.errors import FormatError
from renorm_cli.formats.zip.records import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    DEFLATED,
    ENCRYPTED,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    MAX16,
    MAX32,
    NEWEST_VERSION,
    PATCHED,
    STORED,
    STREAMED,
    UNICODE_PATH,
    UTF8,
    Central,
    End,
    End64,
    Local,
    Locator,
    central_length,
    descriptor,
    extra_blocks,
    widen,
    zip64_data,
    zip64_span,
)
from renorm_cli.storage.files import Readable, SourceFile, read_range
from renorm_cli.untrusted import quoted

MAX_MEMBERS = 10_000
MAX_DIRECTORY = 32 << 20
MAX_INFLATED = 64 << 30
MAX_RATIO = 1032
"""The highest ratio of deflate: 258 bytes from 2 bits."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member, whose central and local records agree.

    `compressed` and `size` are in bytes; `record_end` is the end of the payload, or of the data descriptor after it.
    """

    name: str
    method: int
    flags: int
    crc: int
    compressed: int
    size: int
    header_offset: int
    payload_offset: int
    record_end: int
    central_offset: int


@dataclass(frozen=True, slots=True)
class Archive:
    """The positions of an archive's records, and its members in the order of the central directory.

    Add `shift` to an offset written in the file: it counts the bytes that were put before a finished archive. The
    zip64 end record and its locator fill `central_end` to `end_start`; without them the two are equal.
    """

    members: tuple[Member, ...]
    central_start: int
    central_end: int
    end_start: int
    length: int
    shift: int
    shown: str


def read_archive(file: SourceFile, most: int = MAX_MEMBERS, *, colons: bool = False) -> Archive:
    """Read and check all headers of a zip of at most so many members, in whose names there may be `colons`.

    Raises FormatError for damage, and for anything that two readers could understand differently.
    """
    shown = file.shown
    frame, entries = _read_frame(file, most)
    directory = read_range(file, frame.central_start, frame.central_end - frame.central_start)
    members: dict[str, Member] = {}
    at = 0
    for _ in range(entries):
        record, name, extra = _parse_central(directory, at, shown)
        where = f"{shown}: member {quoted(name)}"
        if name in members:
            raise FormatError(f"{where} is there twice; expected every name once")
        _check_name(name, extra, where, colons)
        members[name] = _member(file, frame, record, name, extra, frame.central_start + at, where)
        at += central_length(record)
    if at != len(directory):
        raise FormatError(f"{shown}: the central directory has {len(directory) - at} bytes after its {entries} records")
    _refuse_overlap(members.values(), frame)
    return replace(frame, members=tuple(members.values()))


def _read_frame(file: SourceFile, most: int) -> tuple[Archive, int]:
    """The archive without its members, and their number."""
    shown = file.shown
    end_start, end = _find_end(file)
    end64 = _read_end64(file, end_start, end)
    central_end = end_start if end64 is None else end_start - LOCATOR.size - END64.size
    last: End | End64 = end64 or end
    if last.disk or last.central_disk or last.disk_entries != last.entries:
        raise FormatError(f"{shown}: the zip is one part of several; expected an archive in one file")
    if last.entries > most:
        raise FormatError(f"{shown}: the zip has {last.entries} members; expected at most {most}")
    if last.size > MAX_DIRECTORY:
        raise FormatError(f"{shown}: the central directory has {last.size} bytes; expected at most {MAX_DIRECTORY}")
    central_start = central_end - last.size
    shift = central_start - last.offset
    if central_start < 0 or shift < 0:
        raise FormatError(
            f"{shown}: the end record puts a central directory of {last.size} bytes at byte {last.offset}, "
            f"it must end at byte {central_end}; the zip is damaged or cut short"
        )
    if end64 is not None:
        locator = Locator._make(LOCATOR.unpack(read_range(file, end_start - LOCATOR.size, LOCATOR.size)))
        if locator.disk or locator.disks > 1:
            raise FormatError(f"{shown}: the zip is one part of several; expected an archive in one file")
        if locator.offset + shift != central_end:
            raise FormatError(f"{shown}: the zip64 locator points to byte {locator.offset + shift}, not {central_end}")
    return Archive((), central_start, central_end, end_start, file.size, shift, shown), last.entries


def _find_end(file: SourceFile) -> tuple[int, End]:
    """The end record that Python's zipfile would choose: at the very end without a comment, else the last signature."""
    shown, tail_start = file.shown, max(0, file.size - END.size - MAX16)
    tail = read_range(file, tail_start, file.size - tail_start)
    bare = len(tail) - END.size
    at = bare if bare >= 0 and tail.startswith(END_SIGNATURE, bare) and tail.endswith(b"\0\0") else -1
    at = tail.rfind(END_SIGNATURE) if at < 0 else at
    if not 0 <= at <= bare:
        raise FormatError(
            f"{shown}: expected a zip, found no end record in its last {len(tail)} bytes; is it cut short?"
        )
    end = End._make(END.unpack_from(tail, at))
    if end.comment_length != bare - at:
        raise FormatError(
            f"{shown}: the end record at byte {tail_start + at} tells of a comment of {end.comment_length} bytes, "
            f"found {bare - at} bytes to the end of the file"
        )
    return tail_start + at, end


def _read_end64(file: SourceFile, end_start: int, end: End) -> End64 | None:
    """The zip64 end record, or None; raises FormatError if the plain end record contradicts it."""
    shown, locator_start = file.shown, end_start - LOCATOR.size
    if locator_start < 0 or read_range(file, locator_start, 4) != LOCATOR_SIGNATURE:
        if MAX32 in (end.size, end.offset):
            raise FormatError(f"{shown}: the end record refers to a zip64 end record, found none; the zip is damaged")
        return None
    start = locator_start - END64.size
    data = read_range(file, start, END64.size) if start >= 0 else b""
    if not data.startswith(END64_SIGNATURE):
        raise FormatError(f"{shown}: no zip64 end record before the zip64 locator at byte {locator_start}")
    end64 = End64._make(END64.unpack(data))
    if end64.record_size != END64.size - 12:
        raise FormatError(f"{shown}: the zip64 end record at byte {start} has {end64.record_size} bytes; expected 44")
    narrow = (end.disk, end.central_disk, end.disk_entries, end.entries, end.size, end.offset)
    limits = (MAX16, MAX16, MAX16, MAX16, MAX32, MAX32)
    for value, wide, limit in zip(narrow, end64[4:], limits, strict=True):
        if value not in (limit, wide):
            raise FormatError(f"{shown}: the end record says {value} where the zip64 end record says {wide}")
    return end64


def _parse_central(directory: bytes, at: int, shown: str) -> tuple[Central, str, bytes]:
    """The record at `at`, its name and its extra fields."""
    if at + CENTRAL.size > len(directory) or not directory.startswith(CENTRAL_SIGNATURE, at):
        raise FormatError(f"{shown}: expected a record at byte {at} of the central directory; the zip is damaged")
    record = Central._make(CENTRAL.unpack_from(directory, at))
    if at + central_length(record) > len(directory):
        raise FormatError(f"{shown}: the record at byte {at} of the central directory runs over its end")
    extra_start = at + CENTRAL.size + record.name_length
    raw = directory[at + CENTRAL.size : extra_start]
    try:
        name = raw.decode("utf-8" if record.flags & UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise FormatError(f"{shown}: the member name {quoted(raw)} is not the UTF-8 it claims to be") from error
    return record, name, directory[extra_start : extra_start + record.extra_length]


def _member(
    file: Readable, frame: Archive, record: Central, name: str, extra: bytes, central_offset: int, where: str
) -> Member:
    """Check a central record by itself, then against its local record."""
    _check_readable(record, where)
    narrow = (record.size, record.compressed, record.offset)
    size, compressed, offset = widen(narrow, extra, where)
    disk = zip64_data(extra, where)[8 * narrow.count(MAX32) :][:4]
    if record.disk and (record.disk, disk) != (MAX16, bytes(4)):
        raise FormatError(f"{where} is on another disk; expected an archive in one file")
    _check_sizes(record.method, compressed, size, where)
    header_offset = offset + frame.shift
    local, local_name, local_extra = _read_local(file, header_offset, frame.central_start, where)
    payload_offset = header_offset + LOCAL.size + local.name_length + local.extra_length
    end = payload_offset + compressed
    if end > frame.central_start:
        raise FormatError(f"{where} ends at byte {end}, behind the start of the central directory; the zip is damaged")
    member = Member(
        name=name,
        method=record.method,
        flags=record.flags,
        crc=record.crc,
        compressed=compressed,
        size=size,
        header_offset=header_offset,
        payload_offset=payload_offset,
        record_end=end,
        central_offset=central_offset,
    )
    _check_local(local, local_name, local_extra, member, where)
    if not member.flags & STREAMED:
        return member
    wide = zip64_span(local_extra, where) is not None
    return replace(member, record_end=end + _descriptor_length(file, member, wide, frame.central_start, where))


def _check_readable(record: Central, where: str) -> None:
    if record.flags & ENCRYPTED:
        raise FormatError(f"{where} is encrypted; expected a plain archive")
    if record.flags & PATCHED:
        raise FormatError(f"{where} holds a patch, not content; expected a plain archive")
    if record.method not in (STORED, DEFLATED):
        raise FormatError(f"{where} is compressed by method {record.method}; expected stored (0) or deflated (8)")
    if record.needed & 0xFF > NEWEST_VERSION:
        raise FormatError(f"{where} needs zip version {record.needed & 0xFF}; expected at most {NEWEST_VERSION}")


def _check_sizes(method: int, compressed: int, size: int, where: str) -> None:
    if method == STORED and size != compressed:
        raise FormatError(f"{where} is stored in {compressed} bytes but claims a size of {size}")
    if method == DEFLATED and size > MAX_RATIO * compressed:
        raise FormatError(
            f"{where} claims to inflate from {compressed} to {size} bytes; deflate makes at most {MAX_RATIO} of one"
        )
    if method == DEFLATED and size > MAX_INFLATED:
        raise FormatError(f"{where} claims to inflate to {size} bytes; expected at most {MAX_INFLATED}")


def _check_name(name: str, extra: bytes, where: str, colons: bool) -> None:
    """Refuse names that lead out of a directory, and a second name (APPNOTE 4.6.9), which only some readers see."""
    names, signs = [name], "\\\0" if colons else "\\:\0"
    for kind, start, end in extra_blocks(extra, where):
        if kind == UNICODE_PATH:
            try:
                names.append(extra[start + 5 : end].decode("utf-8"))
            except UnicodeDecodeError as error:
                raise FormatError(f"{where} has a unicode path that is not UTF-8") from error
            if names[-1] != name and (name.isascii() or names[-1].isascii()):
                raise FormatError(f"{where} has a second name, {quoted(names[-1])}; expected one")
    for each in names:
        if not each or each.startswith("/") or ".." in each.split("/") or any(sign in each for sign in signs):
            raise FormatError(f"{where} has an unsafe name; expected a relative path without '..', '\\\\', ':' and NUL")


def _read_local(file: Readable, offset: int, limit: int, where: str) -> tuple[Local, bytes, bytes]:
    """The local header at `offset`, its name and its extra fields; all must end before `limit`."""
    if offset + LOCAL.size > limit:
        raise FormatError(f"{where} starts at byte {offset}, where no record fits; the zip is damaged")
    local = Local._make(LOCAL.unpack(read_range(file, offset, LOCAL.size)))
    if local.signature != LOCAL_SIGNATURE:
        raise FormatError(f"{where} has no local header at byte {offset}; the zip is damaged")
    rest = local.name_length + local.extra_length
    if offset + LOCAL.size + rest > limit:
        raise FormatError(f"{where} has a local header that runs into the central directory")
    data = read_range(file, offset + LOCAL.size, rest)
    return local, data[: local.name_length], data[local.name_length :]


def _check_local(local: Local, name: bytes, extra: bytes, member: Member, where: str) -> None:
    """Refuse a local header that differs from the central record; a streamed one may leave crc and sizes 0."""
    if name != member.name.encode("utf-8" if member.flags & UTF8 else "cp437"):
        raise FormatError(f"{where} is called {quoted(name)} in its local header")
    decisive = ENCRYPTED | STREAMED | PATCHED | UTF8
    if local.method != member.method or (local.flags ^ member.flags) & decisive:
        raise FormatError(
            f"{where} has method {local.method} and flags {local.flags:#06x} in its local header, "
            f"{member.method} and {member.flags:#06x} in the central directory"
        )
    size, compressed = widen((local.size, local.compressed), extra, where)
    for title, value, expected in (
        ("crc", local.crc, member.crc),
        ("size", size, member.size),
        ("compressed size", compressed, member.compressed),
    ):
        if value != expected and not (member.flags & STREAMED and value == 0):
            raise FormatError(f"{where} has {title} {value} in its local header, {expected} in the central directory")


def _descriptor_length(file: Readable, member: Member, wide: bool, limit: int, where: str) -> int:
    """The length in bytes of the data descriptor: with or without signature, sizes of 32 or 64 bits (section 4.3.9)."""
    found = read_range(file, member.record_end, min(24, limit - member.record_end))
    for signed in (True, False):
        for width in (wide, not wide):
            expected = descriptor(member.crc, member.compressed, member.size, signed=signed, wide=width)
            if expected and found.startswith(expected):
                return len(expected)
    raise FormatError(
        f"{where} has no data descriptor at byte {member.record_end} that agrees with the central directory"
    )


def _refuse_overlap(members: Iterable[Member], frame: Archive) -> None:
    last, end = "", 0
    for member in sorted(members, key=lambda each: each.header_offset):
        if member.header_offset < end:
            raise FormatError(f"{frame.shown}: members {quoted(last)} and {quoted(member.name)} overlap in the file")
        last, end = member.name, member.record_end
