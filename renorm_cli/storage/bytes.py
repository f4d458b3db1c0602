"""Copy and compare ranges of open files."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from renorm_cli.storage.files import Readable

Span = tuple[int, int]
"""A range of bytes: start and end, the end excluded."""

_COPY_BYTES = 8 << 20
_COMPARE_BYTES = 1 << 20
_WORTH_A_CALL = 1 << 20
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE of Linux
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def copy_range(
    source: int, start: int, target: int, at: int, count: int, advance: Callable[[int], None] = lambda nbytes: None
) -> None:
    """Copy `count` bytes between open files, inside the kernel (or as shared blocks) where the system supports it.

    Raises OSError, also if the source ends too soon.
    """
    done = 0
    in_kernel = hasattr(os, "copy_file_range")
    while done < count:
        want = min(_COPY_BYTES, count - done)
        if in_kernel:
            try:
                got = os.copy_file_range(source, target, want, start + done, at + done)
            except OSError:
                in_kernel = False  # unsupported here; a real fault shows again in the loop below
                continue
            if got == 0:
                in_kernel = False  # some file systems return 0 for what they do not support
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
    """Let the system begin to write a large range to disk, so that the flush at the end has little left to do.

    Only a hint: it does not wait, and the flush reports any failure.
    """
    if count < _WORTH_A_CALL:
        return
    hint = _linux_call("sync_file_range", "c_int", "c_int64", "c_int64", "c_uint")
    if hint is not None:
        hint(fd, offset, count, _START_WRITING)


def reserve(fd: int, offset: int, count: int) -> bool:
    """Allocate a large range of a file before it is written; False if it is small, or the file system cannot do it.

    A full disk is then noticed before the work, and threads that write wait less for each other. Raises OSError if
    there is no room.
    """
    if count < _WORTH_A_CALL:
        return False
    allocate = _linux_call("fallocate", "c_int", "c_int", "c_int64", "c_int64")
    if allocate is None:
        return False
    if allocate(fd, 0, offset, count) == 0:
        return True
    failed = _failure()
    if failed.errno in _NO_ROOM:
        raise failed
    return False


def same_bytes(
    one: Readable, other: Readable, span: Span, advance: Callable[[int], None] = lambda nbytes: None
) -> bool:
    """Whether two files hold the same bytes in a range; `advance` counts them.

    Raises FormatError where one ends in it, or cannot be read.
    """
    start, end = span
    left, right = (bytearray(min(_COMPARE_BYTES, end - start)) for _ in range(2))
    while start < end:
        if end - start < len(left):
            del left[end - start :], right[end - start :]
        one.read_into(start, memoryview(left))
        other.read_into(start, memoryview(right))
        if left != right:
            return False
        start += len(left)
        advance(len(left))
    return True


def without(spans: Iterable[Span], taken: Iterable[Span]) -> Iterator[Span]:
    """The parts of the spans (ordered, disjoint) that no `taken` span covers."""
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
    """A C library function of Linux that Python does not offer; None if it is missing. `arguments` are ctypes names."""
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
    """The error of the last call through `_linux_call`."""
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
