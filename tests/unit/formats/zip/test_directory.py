"""Which archives are read and which are refused: judged by Python's zipfile; archives come from zip_maker."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.zip_maker import (
    BODY,
    CONFIG,
    WEIGHTS,
    Entry,
    archives,
    content_of,
    contents,
    inflated,
    infos,
    make_zip,
    read,
    two,
)

from renorm_cli.errors import FormatError


@given(archives())
def test_members_and_contents_are_those_that_zipfile_reads(data: bytes) -> None:
    archive = read(data)
    assert [(m.name, m.method, m.flags, m.crc, m.compressed, m.size, m.header_offset) for m in archive.members] == [
        (i.filename, i.compress_type, i.flag_bits, i.CRC, i.compress_size, i.file_size, i.header_offset)
        for i in infos(data)
    ]
    expected = contents(data)
    assert {member.name: content_of(data, member) for member in archive.members} == expected
    assert {member.name: inflated(data, member) for member in archive.members} == expected


@given(archives(), st.integers(0, 2**64))
def test_a_file_cut_short_is_refused(data: bytes, at: int) -> None:
    with pytest.raises(FormatError):
        read(data[: at % len(data)])


@settings(max_examples=examples(300))
@given(archives(), st.lists(st.tuples(st.integers(0, 2**32), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_damaged_file_is_refused_or_read_as_zipfile_reads_it(data: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, bits in flips:
        damaged[at % len(data)] ^= bits
    try:
        archive = read(bytes(damaged))
    except FormatError:
        return
    seen = infos(bytes(damaged))
    assert [(m.name, m.size, m.header_offset) for m in archive.members] == [
        (i.filename, i.file_size, i.header_offset) for i in seen
    ]
    for member in archive.members:
        try:
            content = content_of(bytes(damaged), member)
        except FormatError:
            continue
        with zipfile.ZipFile(io.BytesIO(damaged)) as judge:
            assert judge.read(member.name) == content


@given(st.binary(max_size=200))
@example(b"")
def test_bytes_that_are_no_zip_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read(data)


# Hostile archives, one by one


def overlapping() -> bytes:
    """The second record lies inside the payload of the first."""
    inner = Entry("inner", b"x")
    outer = Entry("outer", inner.record())
    record = outer.record()
    directory = outer.directory_record(0) + inner.directory_record(len(record) - len(inner.record()))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(record), 0)
    return record + directory + end


def overlapping_by_one() -> bytes:
    """The last byte of the first payload is the first of the second record."""
    first, second = Entry("first", b"xP"), Entry("second", b"x")
    body = first.record()[:-1] + second.record()
    directory = first.directory_record(0) + second.directory_record(len(first.record()) - 1)
    return body + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(body), 0)


def unicode_path(name: str) -> bytes:
    data = struct.pack("<BL", 1, zlib.crc32(WEIGHTS.encode())) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


ZIP64_TWICE = struct.pack("<HHQ", 1, 8, 200) * 2

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "no end record"),
    "no zip": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(600), "no end record"),
    "bytes behind the comment": (lambda: two() + b"x", "comment of 0 bytes"),
    "comment cut short": (lambda: make_zip([BODY], comment=b"hello")[:-2], "comment of 5 bytes"),
    "encrypted": (lambda: two(local={"flags": 1}, central={"flags": 1}), "is encrypted"),
    "strongly encrypted": (lambda: two(local={"flags": 0x41}, central={"flags": 0x41}), "is encrypted"),
    "headers masked": (lambda: two(local={"flags": 0x2000}, central={"flags": 0x2000}), "is encrypted"),
    "patch data": (lambda: two(local={"flags": 0x20}, central={"flags": 0x20}), "holds a patch"),
    "bzip2": (lambda: two(method=12), "method 12"),
    "deflate64": (lambda: two(method=9), "method 9"),
    "newer version": (lambda: two(central={"needed": 64}), "version 64"),
    "method differs": (lambda: two(local={"method": 8}), "method 8 and flags 0x0000 in its local header, 0 and"),
    "flags differ": (lambda: two(local={"flags": 8}), "flags 0x0008 in its local header, 0 and 0x0000"),
    "crc differs": (lambda: two(local={"crc": 7}), "crc 7 in its local header"),
    "crc missing": (lambda: two(local={"crc": 0}), "crc 0 in its local header"),
    "size differs": (lambda: two(method=8, local={"size": 199}), "size 199 in its local header, 200 in"),
    "compressed size differs": (lambda: two(local={"compressed": 7}), "compressed size 7 in its local header"),
    "zip64 size differs": (lambda: two(method=8, local_zip64=True, central={"size": 201}), "size 200 in its local"),
    "name differs": (lambda: two(local_name=b"model.weights.h6"), "is called b'model.weights.h6'"),
    "second name": (lambda: two(central_extra=unicode_path("config.json")), "second name, 'config.json'"),
    "second name in ASCII": (
        lambda: two(name="é.h5", central_extra=unicode_path("config.json")),
        "second name, 'config.json'",
    ),
    "second name beside ASCII": (lambda: two(central_extra=unicode_path("é.h5")), "has a second name, "),
    "bad second name": (
        lambda: two(central_extra=struct.pack("<HHBLB", 0x7075, 6, 1, 0, 0xFF)),
        "unicode path that is not UTF-8",
    ),
    "twice": (lambda: make_zip([BODY, CONFIG, BODY]), "'model.weights.h5' is there twice"),
    "overlap": (overlapping, "'outer' and 'inner' overlap"),
    "overlap of a byte": (overlapping_by_one, "'first' and 'second' overlap"),
    "one record for two": (
        lambda: make_zip([Entry("a", b"1"), Entry("b", b"1", central={"offset": 0})]),
        "is called b'a' in its local header",
    ),
    "stored size": (lambda: two(central={"size": 201}), "stored in 200 bytes but claims a size of 201"),
    "ratio": (
        lambda: two(method=8, payload=bytes(200), local={"size": 206401}, central={"size": 206401}),
        "claims to inflate from 200 to 206401",
    ),
    "size": (
        lambda: two(method=8, payload=bytes(70 << 20), central_zip64=True, central={"size": (64 << 30) + 1}),
        "claims to inflate to 68719476737 bytes; expected at most",
    ),
    "payload outside": (
        lambda: two(local={"size": 999, "compressed": 999}, central={"size": 999, "compressed": 999}),
        "behind the start of the central directory",
    ),
    "header outside": (lambda: two(central={"offset": 100_000}), "where no record fits"),
    "header elsewhere": (lambda: two(central={"offset": 3}), "no local header at byte 3"),
    "local extra too long": (lambda: two(local={"extra_length": 60_000}), "runs into the central directory"),
    "zip64 field too short": (
        lambda: two(central={"size": 2**32 - 1}, central_extra=struct.pack("<HHL", 1, 4, 200)),
        "lacks a 64-bit size",
    ),
    "zip64 field missing": (lambda: two(central={"offset": 2**32 - 1}), "lacks a 64-bit size or offset"),
    "local zip64 field missing": (lambda: two(local={"size": 2**32 - 1}), "lacks a 64-bit size"),
    "zip64 field twice": (lambda: two(central={"size": 2**32 - 1}, central_extra=ZIP64_TWICE), "has 2 zip64 fields"),
    "extra field too long": (lambda: two(central_extra=struct.pack("<HH", 0xCAFE, 9)), "extra field of 9 bytes"),
    "descriptor missing": (lambda: two(local={"flags": 8}, central={"flags": 8}), "no data descriptor"),
    "descriptor differs": (
        lambda: two(descriptor=(True, False), central={"crc": 7}),
        "no data descriptor",
    ),
    "other disk": (lambda: two(central={"disk": 1}), "on another disk"),
    "disk in no zip64 field": (lambda: two(central={"disk": 0xFFFF}), "on another disk"),
    "other disk in the zip64 field": (
        lambda: two(central_zip64=True, disk_zip64=True, central={"disk": 1}),
        "on another disk",
    ),
    "several disks": (lambda: make_zip([BODY], end={"disk": 1}), "one part of several"),
    "several zip64 disks": (lambda: make_zip([BODY], zip64_end=True, locator={"disks": 2}), "one part of several"),
    "name not UTF-8": (
        lambda: two(name="é", local={"flags": 0x800}, central={"flags": 0x800}).replace("é".encode(), b"\xff\xfe"),
        "not the UTF-8 it claims",
    ),
    "more records than told": (lambda: make_zip([CONFIG, BODY], end={"entries": 1}), "bytes after its 1 records"),
    "fewer records than told": (lambda: make_zip([CONFIG, BODY], end={"entries": 3}), "expected a record"),
    "record over the end": (lambda: two(central={"name_length": 5000}), "runs over its end"),
    "signature behind": (lambda: make_zip([BODY], after_directory=b"PK\x05\x05\0\0"), "6 bytes after its 1 records"),
    "directory before the file": (lambda: make_zip([BODY], end={"size": 5000}), "cut short"),
    "directory behind itself": (lambda: make_zip([BODY], end={"offset": 5000}), "cut short"),
    "too many members": (lambda: make_zip([BODY], end={"entries": 10_001}), "10001 members"),
    "large directory": (lambda: make_zip([BODY], end={"size": 1 << 30}), "central directory has 1073741824 bytes"),
    "zip64 end missing": (lambda: make_zip([BODY], end={"offset": 2**32 - 1}), "found none"),
    "zip64 end elsewhere": (lambda: make_zip([BODY], zip64_end=True, locator={"offset": 3}), "points to byte 3"),
    "zip64 end extended": (lambda: make_zip([BODY], zip64_end=True, end64={"record_size": 50}), "has 50 bytes"),
    "two ends differ": (lambda: make_zip([BODY], zip64_end=True, end={"entries": 2}), "says 2 where"),
    "locator alone": (lambda: two()[:-22] + b"PK\x06\x07" + bytes(16) + two()[-22:], "before the zip64 locator"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_by_a_line_that_names_what_is_wrong(case: str) -> None:
    make, words = HOSTILE[case]
    with pytest.raises(FormatError, match=words) as refused:
        read(make())
    assert str(refused.value).startswith("model.keras")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["../x", "a/../x", "a/..", "..", "/etc/x", "a\\b", "C:x", "a/b:c", "a\0b", ""], ids=ascii
)
def test_a_name_that_leads_out_of_a_directory_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match="unsafe name"):
        read(two(name=name))


def test_a_name_full_of_control_characters_makes_one_short_line() -> None:
    with pytest.raises(FormatError) as refused:
        read(two(name="../\n\x1b[31m\u202e" + "x" * 5000))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_dots_inside_a_name_and_folders_are_fine() -> None:
    data = make_zip([Entry("assets/", b""), Entry("a..b", b"1"), Entry("assets/v.txt", b"2")])
    assert [member.name for member in read(data).members] == ["assets/", "a..b", "assets/v.txt"]


@pytest.mark.parametrize("wide", [True, False])
def test_a_descriptor_that_fits_in_two_widths_has_that_of_the_local_header(wide: bool) -> None:
    """Of an empty member, beside zeros."""
    empty = Entry("empty", b"", descriptor=(True, wide), local_zip64=wide)
    first, _ = read(make_zip([empty, Entry("next", b"x", gap=bytes(8))])).members
    assert first.record_end == len(empty.record())


@pytest.mark.parametrize("place", range(3))
def test_each_number_may_be_the_only_one_of_64_bits_and_the_disk_is_behind_it(place: int) -> None:
    numbers = {"size": 200, "compressed": 200, "offset": len(CONFIG.record())}
    alone = list(numbers)[place]
    extra = struct.pack("<HHQL", 1, 12, numbers[alone], 0)
    data = two(central={alone: 2**32 - 1, "disk": 0xFFFF}, central_extra=extra)
    assert content_of(data, read(data).members[1]) == contents(data)[WEIGHTS]


def test_more_members_than_the_limit_are_refused_and_as_many_are_read() -> None:
    many = [Entry(str(number), b"") for number in range(10_000)]
    assert len(read(make_zip(many)).members) == 10_000
    with pytest.raises(FormatError, match="10001 members"):
        read(make_zip([*many, BODY], zip64_end=True))
