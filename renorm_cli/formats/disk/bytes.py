"""Moving and comparing bytes of open files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

Span = tuple[int, int]
"""A range of bytes: first, and the one behind the last."""

_COPY_BYTES = 8 << 20
_COMPARE_BYTES = 1 << 20
_WRITEBACK_BYTES = 1 << 20
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE of Linux


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
    if count >= _WRITEBACK_BYTES and (hint := _sync_file_range()) is not None:
        hint(fd, offset, count, _START_WRITING)


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
def _sync_file_range() -> Any:
    """The system call of that name, which Python does not offer; None where there is none."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        found = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return found
