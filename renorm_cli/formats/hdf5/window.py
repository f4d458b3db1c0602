"""A file, or a range of one, as a Python file object for h5py."""

from __future__ import annotations

import errno
import io
import os
from typing import Any


class Window(io.RawIOBase):
    """`length` bytes from `base` of the open file `fd`; to its end if `length` is None.

    It never raises into HDF5, which may crash after a failed write. Instead it goes on with zeros and keeps the first
    `failure` (an errno, 0 for none), which the caller must check after every step.
    """

    def __init__(self, fd: int, base: int = 0, length: int | None = None, *, writable: bool = False) -> None:
        self._fd = fd
        self._base = base
        self._size = os.fstat(fd).st_size - base if length is None else length
        self._writable = writable
        self._at = 0
        self.failure = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return self._writable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (self._size if whence == os.SEEK_END else self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the whole buffer: HDF5 takes a short read for a full one, and would use uninitialized memory."""
        view = memoryview(buffer).cast("B")
        wanted = len(view)
        there = max(0, min(wanted, self._size - self._at))
        got = self._read(view[:there])
        if got < wanted:
            view[got:] = bytes(wanted - got)
            # While writing, HDF5 may read space that it has just allocated, which is zeros in any file.
            if not self._writable or got < there:
                self.failure = self.failure or errno.ENODATA
        self._at += wanted
        return wanted

    def _read(self, view: memoryview) -> int:
        got = 0
        while got < len(view):
            try:
                data = os.pread(self._fd, len(view) - got, self._base + self._at + got)
            except OSError as error:
                self.failure = self.failure or error.errno or errno.EIO
                return got
            if not data:
                return got
            view[got : got + len(data)] = data
            got += len(data)
        return got

    def write(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and not self.failure:
            try:
                done += os.pwrite(self._fd, view[done:], self._base + self._at + done)
            except OSError as error:
                self.failure = error.errno or errno.EIO
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        if self._writable and not self.failure:
            try:
                os.ftruncate(self._fd, self._base + size)
            except OSError as error:
                self.failure = error.errno or errno.EIO
        self._size = size
        return size
