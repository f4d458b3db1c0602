"""Bytes of open files, moved by the system: judged by what it says of the files."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from renorm_cli.storage.bytes import reserve, start_writing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls are Linux'")

MIB = 1 << 20


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def taken(fd: int) -> int:
    """Bytes that a file has on the disk."""
    return os.fstat(fd).st_blocks * 512


def test_a_reserved_range_has_its_place_on_the_disk_and_reads_as_zeros(empty: int) -> None:
    os.ftruncate(empty, 8 * MIB)
    assert taken(empty) == 0
    reserve(empty, 2 * MIB, 4 * MIB)
    if not taken(empty):
        pytest.skip("this file system does not reserve")
    assert 4 * MIB <= taken(empty) < 5 * MIB
    assert os.fstat(empty).st_size == 8 * MIB
    assert not any(os.pread(empty, 8 * MIB, 0))


def test_a_range_that_no_disk_has_room_for_is_an_error_at_once(empty: int) -> None:
    os.ftruncate(empty, MIB)
    with pytest.raises(OSError, match=r"large|space") as caught:
        reserve(empty, 0, 1 << 60)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert os.fstat(empty).st_size == MIB


def test_small_ranges_and_files_that_cannot_be_reserved_are_left_as_they_are(empty: int) -> None:
    reserve(empty, 0, MIB - 1)
    assert (os.fstat(empty).st_size, taken(empty)) == (0, 0)
    read, write = os.pipe()
    try:
        reserve(write, 0, MIB)  # a pipe has no extents
        start_writing(write, 0, MIB)
    finally:
        os.close(read)
        os.close(write)
