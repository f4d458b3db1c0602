"""Reading and editing content: judged by Python's zipfile, by Keras and byte by byte; archives come from zip_maker."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.zip_maker import (
    BODY,
    CONFIG,
    WEIGHTS,
    Entry,
    archives,
    content_of,
    contents,
    deflated,
    find,
    in_memory,
    inflated,
    infos,
    make_zip,
    opened,
    read,
    two,
    whole,
)

from renorm_cli.errors import FormatError
from renorm_cli.formats.zip import archive as zip_archive
from renorm_cli.formats.zip.records import with_zip64

BLOCK = 1 << 20


def patched(data: bytes, name: str, content: bytes) -> bytes:
    """The archive with the payload of a stored member overwritten and its crc mended."""
    archive = read(data)
    member = find(archive, name)
    with in_memory(data) as fd:
        os.pwrite(fd, content, member.payload_offset)
        for place in zip_archive.crc_places(opened(fd), member):
            os.pwrite(fd, zlib.crc32(content).to_bytes(4, "little"), place)
        return whole(fd)


def repacked(data: bytes, name: str, content: bytes, method: int | None = None) -> bytes:
    archive = read(data)
    member = find(archive, name)
    with in_memory(data) as fd, in_memory(content) as new, in_memory() as out:
        zip_archive.repack(
            opened(fd), archive, member, opened(new), len(content), out, member.method if method is None else method
        )
        return whole(out)


def facts(info: zipfile.ZipInfo, *without: str) -> dict[str, Any]:
    names = [name for name in info.__slots__ if name not in {"_raw_time", "_compresslevel", "_end_offset", *without}]
    return {name: getattr(info, name, None) for name in names}


@given(archives(), st.data())
def test_a_stored_member_changed_in_place_is_whole_and_all_else_keeps_its_bytes(
    data: bytes, new: st.DataObject
) -> None:
    member = find(read(data), WEIGHTS)
    assume(member.method == 0)
    content = new.draw(st.binary(min_size=member.size, max_size=member.size))
    after = patched(data, WEIGHTS, content)
    assert contents(after) == contents(data) | {WEIGHTS: content}
    read(after)
    crcs = {16 + member.central_offset}
    crcs |= {member.payload_offset + member.size + skip for skip in (0, 4) if member.flags & 8}
    if not member.flags & 8 or any(data[member.header_offset + 14 :][:4]):
        crcs.add(member.header_offset + 14)
    free = {at + byte for at in crcs for byte in range(4)}
    free |= set(range(member.payload_offset, member.payload_offset + member.size))
    assert len(after) == len(data)
    assert [at for at in range(len(data)) if data[at] != after[at] and at not in free] == []


@given(archives(), st.binary(max_size=300), st.sampled_from([None, 0, 8]))
def test_a_repacked_archive_has_the_new_content_and_all_else_keeps_its_bytes(
    data: bytes, content: bytes, method: int | None
) -> None:
    after = repacked(data, WEIGHTS, content, method)
    assert contents(after) == contents(data) | {WEIGHTS: content}
    old, new = read(data), read(after)
    for before, now, info, was in zip(old.members, new.members, infos(after), infos(data), strict=True):
        changed = ("CRC", "compress_size", "file_size", "compress_type") if was.filename == WEIGHTS else ()
        # The zip64 field is part of `extra` and holds the sizes and offsets that changed.
        assert facts(info, "header_offset", "extra", *changed) == facts(was, "header_offset", "extra", *changed)
        assert len(info.extra) == len(was.extra)
        if was.filename != WEIGHTS:
            assert data[before.header_offset : before.record_end] == after[now.header_offset : now.record_end]
    weights = find(old, WEIGHTS)
    assert data[: weights.header_offset] == after[: weights.header_offset]
    assert after[: new.central_start].endswith(data[weights.record_end : old.central_start])
    assert data[old.end_start + 20 :] == after[new.end_start + 20 :]


@given(archives())
def test_repacking_a_member_with_its_own_content_gives_the_same_file(data: bytes) -> None:
    assert repacked(data, WEIGHTS, contents(data)[WEIGHTS]) == data


# Archives written by zipfile itself


class Unseekable(io.RawIOBase):
    """A pipe: zipfile writes data descriptors into it."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self.data += block
        return len(block)


def by_zipfile(sink: io.BytesIO | Unseekable, method: int, force_zip64: bool, comment: bytes) -> None:
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, content in (("config.json", b"{}"), (WEIGHTS, bytes(range(256)) * 40), ("assets/v.txt", b"one two")):
            with archive.open(name, "w", force_zip64=force_zip64) as member:
                member.write(content)
        archive.mkdir("assets") if hasattr(archive, "mkdir") else None
        archive.comment = comment


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("force_zip64", [False, True])
@pytest.mark.parametrize("comment", [b"", b"made by hand"])
@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\n"])
def test_what_zipfile_writes_is_read_and_edited(
    method: int, streamed: bool, force_zip64: bool, comment: bytes, prefix: bytes
) -> None:
    sink = Unseekable() if streamed else io.BytesIO()
    by_zipfile(sink, method, force_zip64, comment)
    data = prefix + bytes(sink.data if isinstance(sink, Unseekable) else sink.getvalue())
    new = bytes(reversed(contents(data)[WEIGHTS]))
    expected = contents(data) | {WEIGHTS: new}
    assert contents(repacked(data, WEIGHTS, new)) == expected
    assert contents(repacked(data, WEIGHTS, new[:99])) == expected | {WEIGHTS: new[:99]}
    if method == zipfile.ZIP_STORED:
        assert contents(patched(data, WEIGHTS, new)) == expected


# Content


def test_a_member_above_the_limit_is_not_read() -> None:
    data = two()
    with in_memory(data) as fd, pytest.raises(FormatError, match="200 bytes; expected at most 199"):
        zip_archive.read_member(opened(fd), find(read(data), WEIGHTS), 199)


BOMB = deflated(bytes(50 * BLOCK))

DAMAGED = {
    "more than declared": (BOMB, 3 * BLOCK, "inflates to more than"),
    "less than declared": (deflated(b"abc"), 4, "has 3 bytes"),
    "bytes behind the stream": (deflated(b"abc") + b"x", 3, "bytes after the end of"),
    "a block behind the stream": (deflated(b"abc") + bytes(2 * BLOCK), 3, "bytes after the end of"),
    "stream cut short": (deflated(bytes(range(200)))[:-3], 200, "no end of"),
    "nothing": (b"", 0, "no end of"),
    "no stream": (b"\xff" * 9, 9, "no deflate stream"),
    "other content": (deflated(b"abd"), 3, "crc"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_deflate_stream_is_refused_and_never_written_beyond_its_size(case: str) -> None:
    payload, size, words = DAMAGED[case]
    content = bytes(size) if size > 9 else b"abcd"[:size]
    data = two(method=8, payload=payload, content=content, central={"size": size}, local={"size": size})
    member = find(read(data), WEIGHTS)
    with in_memory(data) as fd, in_memory() as out:
        with pytest.raises(FormatError, match=words):
            zip_archive.inflate(opened(fd), member, out)
        assert os.fstat(out).st_size <= size
        with pytest.raises(FormatError, match=words):
            zip_archive.read_member(opened(fd), member, size)


def test_a_stored_member_with_a_wrong_crc_is_refused() -> None:
    data = two(payload=bytes(200))
    with pytest.raises(FormatError, match="content is damaged"):
        content_of(data, find(read(data), WEIGHTS))


def test_a_file_that_shrinks_after_its_headers_were_read_is_refused() -> None:
    data = two()
    member = find(read(data), WEIGHTS)
    with pytest.raises(FormatError, match="the file ends after 9 of them"):
        content_of(data[: member.payload_offset + 9], member)


@pytest.mark.slow
@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 5, 3 * BLOCK])
@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("random", [False, True])
def test_members_around_and_above_the_block_size_are_read_and_edited(size: int, method: int, random: bool) -> None:
    content = os.urandom(size) if random else bytes(size)
    data = make_zip([CONFIG, Entry(WEIGHTS, content, method, (True, False)), Entry("last", b"z")], prefix=b"#!")
    assert inflated(data, find(read(data), WEIGHTS)) == content
    new = os.urandom(size)
    assert contents(repacked(data, WEIGHTS, new)) == {"config.json": b"{}", WEIGHTS: new, "last": b"z"}
    assert repacked(data, WEIGHTS, content) == data
    if method == 0:
        assert contents(patched(data, WEIGHTS, new))[WEIGHTS] == new


@pytest.mark.slow
def test_memory_does_not_grow_with_the_member() -> None:
    content = bytes(64 * BLOCK)
    data = two(content=content, method=8)
    archive = read(data)
    member = find(archive, WEIGHTS)
    with in_memory(data) as fd, in_memory() as out, in_memory() as new:
        tracemalloc.start()
        try:
            zip_archive.inflate(opened(fd), member, out)
            zip_archive.repack(opened(fd), archive, member, opened(out), member.size, new, 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert os.fstat(new).st_size > len(content)
    assert peak < 8 * BLOCK


def test_records_are_copied_between_files_and_between_file_systems(tmp_path: Path) -> None:
    data = make_zip([Entry("assets/big", os.urandom(3 * BLOCK)), BODY, Entry("last", b"z")])
    source, target = tmp_path / "a.keras", tmp_path / "b.keras"
    source.write_bytes(data)
    archive = read(data)
    member = find(archive, WEIGHTS)
    with source.open("rb") as old, target.open("w+b") as new, in_memory() as memory, in_memory(b"new") as content:
        for out in (new.fileno(), memory):
            zip_archive.repack(opened(old.fileno()), archive, member, opened(content), 3, out, 0)
        assert target.read_bytes() == whole(memory) == repacked(data, WEIGHTS, b"new")


def test_only_a_stored_member_can_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="stored"):
        patched(two(method=8), WEIGHTS, b"")


def test_a_member_is_written_stored_or_deflated_only() -> None:
    with pytest.raises(ValueError, match="method"):
        repacked(two(), WEIGHTS, b"", 12)


# Beyond 4 GiB


def test_a_header_without_room_for_64_bit_sizes_is_refused() -> None:
    full = struct.pack("<HH", 0xCAFE, 65_520) + bytes(65_520)
    with pytest.raises(FormatError, match="no room left"):
        with_zip64(full, bytes(16), "model.keras")
    assert with_zip64(b"", bytes(16), "model.keras") == struct.pack("<HH", 1, 16) + bytes(16)


def hole(path: Path, length: int) -> Path:
    with path.open("wb") as file:
        file.truncate(length)
    return path


def repack_file(source: Path, content: Path, target: Path) -> None:
    with source.open("rb") as old, content.open("rb") as new, target.open("w+b") as out:
        archive = zip_archive.read_archive(opened(old.fileno()))
        member = find(archive, WEIGHTS)
        zip_archive.repack(
            opened(old.fileno()),
            archive,
            member,
            opened(new.fileno()),
            content.stat().st_size,
            out.fileno(),
            member.method,
        )
        zip_archive.read_archive(opened(out.fileno()))


@pytest.mark.slow
def test_records_pushed_over_4_gib_get_64_bit_offsets(tmp_path: Path) -> None:
    source = hole(tmp_path / "a.keras", 2**32 - 2000)
    with zipfile.ZipFile(source, "a") as archive:
        for name in ("config.json", WEIGHTS, "last"):
            archive.writestr(name, b"old")
    (tmp_path / "content").write_bytes(bytes(4000))
    repack_file(source, tmp_path / "content", tmp_path / "b.keras")
    with zipfile.ZipFile(tmp_path / "b.keras") as archive:
        assert archive.testzip() is None
        assert archive.getinfo("last").header_offset > 2**32
        assert archive.read(WEIGHTS) == bytes(4000)
    (tmp_path / "b.keras").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_content_over_4_gib_gets_64_bit_sizes(tmp_path: Path, streamed: bool) -> None:
    source = tmp_path / "a.keras"
    entry = Entry(WEIGHTS, b"old", 8, (True, False) if streamed else None)
    source.write_bytes(make_zip([CONFIG, entry, Entry("last", b"z")]))
    repack_file(source, hole(tmp_path / "content", 2**32 + 5), tmp_path / "b.keras")
    with zipfile.ZipFile(tmp_path / "b.keras") as archive:
        assert archive.testzip() is None
        assert archive.getinfo(WEIGHTS).file_size == 2**32 + 5
        assert archive.read("last") == b"z"


# Keras


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_keras_loads_an_edited_model_and_finds_the_new_weights(tmp_path: Path, method: int) -> None:
    import h5py
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as old:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", method) as new:
            for info in old.infolist():
                new.writestr(info.filename, old.read(info), method)
    data = (tmp_path / "model.keras").read_bytes() if method == zipfile.ZIP_STORED else sink.getvalue()
    weights = io.BytesIO(contents(data)[WEIGHTS])
    with h5py.File(weights, "r+") as file:
        file["layers/dense/vars/0"][...] *= 0.5
    edited = [repacked(data, WEIGHTS, weights.getvalue())]
    if method == zipfile.ZIP_STORED:
        edited.append(patched(data, WEIGHTS, weights.getvalue()))
        assert edited[0] == edited[1]
    for number, result in enumerate(edited):
        path = tmp_path / f"edited{number}.keras"
        path.write_bytes(result)
        loaded = keras.saving.load_model(path)
        np.testing.assert_array_equal(loaded.layers[0].kernel, np.asarray(model.layers[0].kernel) * 0.5)
        np.testing.assert_array_equal(loaded.layers[1].kernel, model.layers[1].kernel)
