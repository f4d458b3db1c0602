"""Checksums of ranges against zlib and the crc32c package, with some of the pieces known beforehand."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.checkpoint import CRC32C
from renorm_cli.parallel.threads import threads
from renorm_cli.storage.checksum import CRC32, Crc, Range, Tally, checksums
from renorm_cli.storage.files import LocalFile

PART = 4 << 20
LENGTH = 3 * PART + 17
SMALL = 1 << 17
"""Below what is worth keeping."""

KINDS = {"zip": (CRC32, zlib.crc32), "TensorFlow": (CRC32C, crc32c.crc32c)}
PLACES = st.one_of(st.integers(0, LENGTH), st.sampled_from([0, 1, PART - 1, PART, PART + 1, 2 * PART, LENGTH]))


@pytest.fixture(scope="module")
def content() -> bytes:
    return np.random.default_rng(0).bytes(LENGTH)


@pytest.fixture(scope="module")
def fd(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    path = tmp_path_factory.mktemp("checksum") / "data"
    path.write_bytes(content)
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


def span(fd: int, start: int, end: int, tally: Tally | None = None) -> Range:
    return Range(LocalFile.of(Path("data"), fd), start, end - start, tally)


@pytest.mark.parametrize("kind", KINDS)
@given(places=st.lists(st.tuples(PLACES, PLACES), max_size=3), pieces=st.lists(st.tuples(PLACES, PLACES), max_size=6))
def test_checksums_are_those_of_the_whole_ranges_whatever_pieces_are_known(
    kind: str, content: bytes, fd: int, places: list[tuple[int, int]], pieces: list[tuple[int, int]]
) -> None:
    """Also where the pieces lie across each other and the ends of the ranges."""
    crc, original = KINDS[kind]
    tally = Tally(crc)
    for start, end in map(sorted, pieces):
        tally.add(start, memoryview(content)[start:end])
    ranges = [span(fd, *sorted(one), tally) for one in places]
    expected = [original(content[one.offset : one.offset + one.size]) for one in ranges]
    assert list(checksums(ranges, crc)) == expected
    with threads(2) as imap:
        assert list(checksums(ranges, crc, imap)) == expected


@pytest.fixture
def changing(tmp_path: Path, content: bytes) -> Iterator[int]:
    """A file that held `content` when pieces of it were read, and holds zeros by now."""
    path = tmp_path / "data"
    path.write_bytes(bytes(len(content)))
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_a_known_piece_is_not_read_again_until_it_is_forgotten(content: bytes, changing: int) -> None:
    tally = Tally(CRC32)
    tally.add(PART, memoryview(content)[PART : 2 * PART])
    tally.add(PART, memoryview(bytes(PART)))  # known already: not looked at
    whole = span(changing, 0, LENGTH, tally)
    known = bytes(PART) + content[PART : 2 * PART] + bytes(LENGTH - 2 * PART)
    assert list(checksums([whole], CRC32)) == [zlib.crc32(known)]
    tally.forget(0)
    assert list(checksums([whole], CRC32)) == [zlib.crc32(known)]
    tally.forget(PART)
    assert list(checksums([whole], CRC32)) == [zlib.crc32(bytes(LENGTH))]
    tally.add(PART, memoryview(content)[:PART])
    known = bytes(PART) + content[:PART] + bytes(LENGTH - 2 * PART)
    assert list(checksums([whole], CRC32)) == [zlib.crc32(known)]


def test_small_pieces_are_read_again_as_joining_them_would_take_longer(content: bytes, changing: int) -> None:
    tally = Tally(CRC32)
    tally.add(0, memoryview(content)[:SMALL])
    assert list(checksums([span(changing, 0, SMALL, tally)], CRC32)) == [zlib.crc32(bytes(SMALL))]


def test_a_range_behind_the_end_of_its_file_is_an_error(fd: int) -> None:
    with pytest.raises(
        FormatError, match="'data': 4194304 bytes were expected at byte 12582912, the file ends after 17"
    ):
        list(checksums([span(fd, 0, 4 * PART)], CRC32))


@pytest.mark.parametrize("installed", [True, False])
@given(data=st.binary(max_size=300), crc=st.integers(0, 2**32 - 1))
def test_the_crc_of_zip_archives_is_that_of_zlib_with_and_without_isal(installed: bool, data: bytes, crc: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if installed:
            pytest.importorskip("isal")
        else:
            patch.setitem(sys.modules, "isal.isal_zlib", None)  # an import of it fails
        assert CRC32.extend(memoryview(data), crc) == zlib.crc32(data, crc)


@pytest.mark.parametrize("kind", KINDS)
@given(first=st.binary(max_size=50), second=st.binary(max_size=50))
def test_joined_checksums_are_those_of_the_joined_bytes(kind: str, first: bytes, second: bytes) -> None:
    crc: Crc
    crc, original = KINDS[kind]
    assert crc.join(original(first), original(second), len(second)) == original(first + second)
