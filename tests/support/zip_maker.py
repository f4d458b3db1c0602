"""Makes zip archives of every shape that other tools write, and damaged ones; reads them by our code and by zipfile."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from renorm_cli.formats.zip import archive as zip_archive
from renorm_cli.formats.zip.archive import Archive, Member
from renorm_cli.storage.files import LocalFile

WEIGHTS = "model.weights.h5"
MAX16, MAX32 = 0xFFFF, 0xFFFF_FFFF


def deflated(content: bytes) -> bytes:
    stream = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


@dataclass(frozen=True)
class Entry:
    """One member. `local` and `central` overwrite header fields in one place only; `payload` what is stored."""

    name: str
    content: bytes
    method: int = 0
    descriptor: tuple[bool, bool] | None = None
    """With signature, with 64-bit sizes."""
    tells: bool = False
    """A streamed member that has crc and sizes in its local header all the same."""
    local_zip64: bool = False
    central_zip64: bool = False
    disk_zip64: bool = False
    """With `central_zip64`, the disk number stands in the zip64 field as well."""
    local_extra: bytes = b""
    central_extra: bytes = b""
    comment: bytes = b""
    gap: bytes = b""
    date: int = 0x5A21
    external: int = 0o600 << 16
    local: dict[str, int] = field(default_factory=dict)
    central: dict[str, int] = field(default_factory=dict)
    payload: bytes | None = None
    local_name: bytes | None = None

    @property
    def stored(self) -> bytes:
        if self.payload is not None:
            return self.payload
        return deflated(self.content) if self.method == 8 else self.content

    @property
    def raw_name(self) -> bytes:
        return self.name.encode()

    @property
    def flags(self) -> int:
        return (0 if self.name.isascii() else 0x0800) | (0 if self.descriptor is None else 0x0008)

    def record(self) -> bytes:
        """Local header, payload, data descriptor."""
        crc, size, compressed = zlib.crc32(self.content), len(self.content), len(self.stored)
        values = {"crc": crc, "size": size, "compressed": compressed}
        if self.descriptor is not None and not self.tells:
            values = dict.fromkeys(values, 0)
        extra = self.local_extra
        if self.local_zip64:
            extra = struct.pack("<HHQQ", 1, 16, values["size"], values["compressed"]) + extra
            values |= {"size": MAX32, "compressed": MAX32}
        name = self.raw_name if self.local_name is None else self.local_name
        told = {"needed": 20, "flags": self.flags, "method": self.method, "date": self.date} | values | self.local
        head = struct.pack(
            "<4s5H3L2H",
            b"PK\x03\x04",
            *(told[key] for key in ("needed", "flags", "method")),
            0,
            *(told[key] for key in ("date", "crc", "compressed", "size")),
            told.get("name_length", len(name)),
            told.get("extra_length", len(extra)),
        )
        tail = b""
        if self.descriptor is not None:
            signed, wide = self.descriptor
            tail = b"PK\x07\x08" * signed + struct.pack("<LQQ" if wide else "<LLL", crc, compressed, size)
        return head + name + extra + self.stored + tail

    def directory_record(self, offset: int) -> bytes:
        told = {
            "needed": 45 if self.central_zip64 else 20,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.content),
            "compressed": len(self.stored),
            "size": len(self.content),
            "offset": offset,
            "disk": 0,
        } | self.central
        extra = self.central_extra
        if self.central_zip64:
            data = struct.pack("<QQQ", told["size"], told["compressed"], told["offset"])
            if self.disk_zip64:
                data += struct.pack("<L", told["disk"])
                told["disk"] = MAX16
            extra += struct.pack("<HH", 1, len(data)) + data
            told |= {"size": MAX32, "compressed": MAX32, "offset": MAX32}
        return (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\x01\x02",
                0x0314,
                *(told[key] for key in ("needed", "flags", "method")),
                0,
                self.date,
                *(told[key] for key in ("crc", "compressed", "size")),
                told.get("name_length", len(self.raw_name)),
                len(extra),
                len(self.comment),
                told["disk"],
                1,
                self.external,
                told["offset"],
            )
            + self.raw_name
            + extra
            + self.comment
        )


def make_zip(
    entries: list[Entry],
    *,
    prefix: bytes = b"",
    absolute: bool = False,
    comment: bytes = b"",
    zip64_end: bool = False,
    saturated: bool = True,
    after_directory: bytes = b"",
    end: dict[str, int] | None = None,
    end64: dict[str, int] | None = None,
    locator: dict[str, int] | None = None,
) -> bytes:
    """The archive; offsets count from the end of the prefix, or from the start of the file (`absolute`).

    With `zip64_end` the plain end record is `saturated`, or repeats the values. `end`, `end64` and `locator` overwrite
    fields of these records.
    """
    body, directory = b"", b""
    base = len(prefix) if absolute else 0
    for entry in entries:
        body += entry.gap
        directory += entry.directory_record(base + len(body))
        body += entry.record()
    directory += after_directory
    start = base + len(body)
    told = {"disk": 0, "entries": len(entries), "size": len(directory), "offset": start, "comment": len(comment)}
    tail = b""
    if zip64_end:
        wide = {"record_size": 44, "disk": 0} | told | (end64 or {})
        keys = ("disk", "disk", "entries", "entries", "size", "offset")
        tail = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", wide["record_size"], 45, 45, *(wide[key] for key in keys))
        found = {"disk": 0, "offset": start + len(directory), "disks": 1} | (locator or {})
        tail += struct.pack("<4sLQL", b"PK\x06\x07", found["disk"], found["offset"], found["disks"])
        if saturated:
            told |= {"entries": MAX16, "size": MAX32, "offset": MAX32}
    told |= end or {}
    keys = ("disk", "disk", "entries", "entries", "size", "offset", "comment")
    tail += struct.pack("<4s4H2LH", b"PK\x05\x06", *(told[key] for key in keys))
    return prefix + body + directory + tail + comment


CONFIG, BODY = Entry("config.json", b"{}"), Entry(WEIGHTS, bytes(range(200)))


def two(**fields: Any) -> bytes:
    return make_zip([CONFIG, Entry(**{"name": WEIGHTS, "content": bytes(range(200))} | fields)])


# Archives of all shapes

EXTRAS = st.sampled_from([b"", struct.pack("<HHL", 0x5455, 4, 7), struct.pack("<HH", 0xCAFE, 0), b"\0\0"])
LETTERS = st.sampled_from("abcXYZ019._- /äß✓")
NAMES = st.text(LETTERS, min_size=1, max_size=12).filter(lambda name: name[0] != "/" and ".." not in name)


@st.composite
def entries(draw: st.DrawFn, name: str | None = None, content: bytes | None = None) -> Entry:
    return Entry(
        name=draw(NAMES) if name is None else name,
        content=draw(st.binary(max_size=200)) if content is None else content,
        method=draw(st.sampled_from([0, 8])),
        descriptor=draw(st.none() | st.tuples(st.booleans(), st.booleans())),
        tells=draw(st.booleans()),
        local_zip64=draw(st.booleans()),
        central_zip64=draw(st.booleans()),
        disk_zip64=draw(st.booleans()),
        local_extra=draw(EXTRAS),
        central_extra=draw(EXTRAS.filter(lambda extra: len(extra) != 2)),
        comment=draw(st.binary(max_size=5)),
        gap=draw(st.binary(max_size=5)),
        external=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An archive with the member WEIGHTS somewhere among others."""
    others = draw(st.lists(entries(), max_size=4, unique_by=lambda entry: entry.name))
    assume(all(entry.name != WEIGHTS for entry in others))
    others.insert(draw(st.integers(0, len(others))), draw(entries(WEIGHTS)))
    return make_zip(
        others,
        prefix=draw(st.binary(max_size=20)),
        absolute=draw(st.booleans()),
        comment=draw(st.binary(max_size=20).filter(lambda comment: b"PK" not in comment)),
        zip64_end=draw(st.booleans()),
        saturated=draw(st.booleans()),
    )


# What our reader and zipfile say


@contextmanager
def in_memory(data: bytes = b"") -> Iterator[int]:
    fd = os.memfd_create("zip")
    try:
        os.write(fd, data) if data else None
        yield fd
    finally:
        os.close(fd)


def whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def opened(fd: int) -> LocalFile:
    return LocalFile.of(Path("model.keras"), fd)


def read(data: bytes) -> Archive:
    with in_memory(data) as fd:
        return zip_archive.read_archive(opened(fd))


def content_of(data: bytes, member: Member) -> bytes:
    with in_memory(data) as fd:
        return zip_archive.read_member(opened(fd), member, 1 << 30)


def inflated(data: bytes, member: Member) -> bytes:
    with in_memory(data) as fd, in_memory() as out:
        zip_archive.inflate(opened(fd), member, out)
        return whole(out)


def find(archive: Archive, name: str) -> Member:
    return next(member for member in archive.members if member.name == name)


def contents(data: bytes) -> dict[str, bytes]:
    """What zipfile reads, after it has checked every crc."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def infos(data: bytes) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.infolist()
