"""Moving and comparing bytes of open files."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

Span = tuple[int, int]
"""A range of bytes: first, and the one behind the last."""

_COPY_BYTES = 8 << 20
_COMPARE_BYTES = 1 << 20
_WORTH_A_CALL = 1 << 20
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE of Linux
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def copy_range(
    source: int, start: int, target: int, at: int, count: int, advance: Callable[[int], None] = lambda nbytes: None
) -> None:
    """Copy `count` bytes between open files, inside the kernel where it can (and shared, where the file system can).

    Raises OSError, also where the source ends too soon.
    """
    done = 0
    in_kernel = hasattr(os, "copy_file_range")
    while done < count:
        want = min(_COPY_BYTES, count - done)
        if in_kernel:
            try:
                got = os.copy_file_range(source, target, want, start + done, at + done)
            except OSError:
                in_kernel = False  # across file systems, or not supported: a real fault shows again below
                continue
            if got == 0:
                in_kernel = False  # some file systems answer so for what they cannot do
                continue
        else:
            block = os.pread(source, want, start + done)
            got = len(block)
            write_all(target, at + done, memoryview(block))
        if got == 0:
            raise OSError(0, "the input ended while it was copied")
        start_writing(target, at + done, got)
        done += got
        advance(got)


def write_all(fd: int, offset: int, data: memoryview) -> None:
    """Write all of `data` at `offset`; raises OSError."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
    start_writing(fd, offset, len(data))


def start_writing(fd: int, offset: int, count: int) -> None:
    """Have the system begin to write a large range to the disk, so that the flush at the end finds little to do.

    Only a hint: nothing waits, and what fails will fail again, and be heard, at the flush.
    """
    if count < _WORTH_A_CALL:
        return
    hint = _linux_call("sync_file_range", "c_int", "c_int64", "c_int64", "c_uint")
    if hint is not None:
        hint(fd, offset, count, _START_WRITING)


def reserve(fd: int, offset: int, count: int) -> None:
    """Have a large range that will be written get its place on the disk at once.

    A disk that is too full then says so before the work, and two threads wait less for each other (ext4: 1 GiB in
    blocks of 4 MiB took 0.75 s, so 0.57). Raises OSError where there is no room; where the file system does not know
    the call, nothing is done.
    """
    if count < _WORTH_A_CALL:
        return
    allocate = _linux_call("fallocate", "c_int", "c_int", "c_int64", "c_int64")
    if allocate is not None and allocate(fd, 0, offset, count) != 0:
        failed = _failure()
        if failed.errno in _NO_ROOM:
            raise failed


def same_bytes(one: int, other: int, span: Span) -> bool:
    """Whether two open files hold the same bytes in a range. Raises OSError; a file that ends in it is not the same."""
    start, end = span
    left, right = (bytearray(min(_COMPARE_BYTES, end - start)) for _ in range(2))
    while start < end:
        if end - start < len(left):
            del left[end - start :], right[end - start :]
        if os.preadv(one, [left], start) < len(left) or os.preadv(other, [right], start) < len(right):
            return False
        if left != right:
            return False
        start += len(left)
    return True


def without(spans: Iterable[Span], taken: Iterable[Span]) -> Iterator[Span]:
    """What is left of the spans (in order, apart) where the `taken` ones are cut out."""
    cuts = sorted(taken)
    first = 0
    for start, end in spans:
        while first < len(cuts) and cuts[first][1] <= start:
            first += 1
        at = start
        for cut in range(first, len(cuts)):
            if cuts[cut][0] >= end:
                break
            if cuts[cut][0] > at:
                yield at, cuts[cut][0]
            at = max(at, cuts[cut][1])
        if at < end:
            yield at, end


@cache
def _linux_call(name: str, *arguments: str) -> Any:
    """A function of Linux' C library that Python does not offer, by the ctypes of its arguments; None without one."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        found = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    found.argtypes = [getattr(ctypes, argument) for argument in arguments]
    return found


def _failure() -> OSError:
    """What the last call of `_linux_call` failed of."""
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
