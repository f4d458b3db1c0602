"""The input files of a checkpoint: opened once, regular files only, and noticed if they change while they are read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from renorm_cli.errors import FormatError
from renorm_cli.storage.hub_cache import blob_of

_LINK = "it is a link, which could lead out of the checkpoint; put what it leads to in its place"


class Readable(Protocol):
    """Bytes that any thread may read by their offset."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset`. Raises FormatError where there are fewer, or a read fails."""


class Sized(Readable, Protocol):
    """Bytes whose number is known."""

    @property
    def size(self) -> int: ...


class SourceFile(Sized, Protocol):
    """An open input file, wherever its bytes lie; nobody opens it again by its name."""

    @property
    def path(self) -> Path: ...

    @property
    def shown(self) -> str:
        """Its name in messages."""

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""

    @property
    def opened(self) -> Hashable:
        """What `identity` was when it was opened."""

    def identity(self) -> Hashable:
        """A value that changes if the file is written to, or another one gets its name; None if its name is gone."""

    def descriptor(self) -> int:
        """A descriptor of the system, for what can read nothing else. Raises FormatError if there is none."""

    def close(self) -> None: ...


@dataclass(slots=True)
class LocalFile:
    """A file of this machine, reached through one descriptor; once closed, reads raise FormatError."""

    path: Path
    shown: str
    fd: int
    size: int
    opened: Hashable

    @classmethod
    def of(cls, path: Path, fd: int) -> LocalFile:
        """The file that is open as `fd` and has, or will have, the name `path`. Raises OSError."""
        found = os.fstat(fd)
        return cls(path, str(path), fd, found.st_size, _identity(found))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        read_exactly(self.descriptor(), offset, buffer, self.shown)

    def identity(self) -> Hashable:
        try:
            return _identity(self.path.stat())
        except OSError:
            return None

    def descriptor(self) -> int:
        if self.fd < 0:
            raise FormatError(f"{self.shown!r} was closed; open it again")
        return self.fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1  # the system gives the number to another file
        if fd >= 0:
            os.close(fd)


def _identity(found: os.stat_result) -> Hashable:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_start(file: SourceFile, most: int) -> bytes:
    """The content of a file; the first `most` bytes of a larger one. Raises FormatError where it cannot be read."""
    return read_range(file, 0, min(file.size, most))


def read_range(file: Readable, offset: int, size: int) -> bytes:
    """`size` bytes from `offset`. Raises FormatError where the file ends before, or cannot be read."""
    content = bytearray(size)
    file.read_into(offset, memoryview(content))
    return bytes(content)


def read_parts(file: Readable, offset: int, size: int, part_bytes: int = 1 << 20) -> Iterator[bytes]:
    """`size` bytes from `offset`, in parts of at most `part_bytes`. Raises FormatError as `read_range` does."""
    for start in range(offset, offset + size, part_bytes):
        yield read_range(file, start, min(part_bytes, offset + size - start))


def check_unchanged(file: SourceFile) -> None:
    """Raise FormatError if the file was written to since it was opened, or another one has its name now."""
    if file.identity() != file.opened:
        raise FormatError(f"{file.shown!r} changed while it was read; run again when nothing writes to it")


def open_source(path: Path, *, follow: bool = True) -> LocalFile:
    """Open a regular file that the user named; without `follow`, one that a file named: a symbolic link is refused
    then, but for one in the cache of Hugging Face that stands for a file there.

    Raises FormatError if there is no such file, it may not be read, or it is a pipe, a device or a directory.
    """
    shown = str(path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path if follow else blob_of(path) or path, flags)
    except FileNotFoundError:
        raise FormatError(_missing(path) if follow else f"{shown!r}: no such file") from None
    except (OSError, ValueError) as error:
        is_link = not follow and isinstance(error, OSError) and error.errno == errno.ELOOP
        raise FormatError(f"{shown!r} cannot be opened: {_LINK if is_link else reason(error)}") from None
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            return LocalFile.of(path, fd)
    except OSError as error:
        os.close(fd)
        raise FormatError(f"{shown!r} cannot be read: {reason(error)}") from None
    os.close(fd)
    kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise FormatError(f"{shown!r} is {kind}; a checkpoint file was expected")


def _missing(path: Path) -> str:
    from renorm_cli.missing import no_such_file, url_of  # looks for what is named almost so

    return f"{(url_of(path) or str(path))!r}: {no_such_file(path)}"


Opener = Callable[[Path], SourceFile]
"""Opens a file beside another of the same checkpoint."""


def open_beside(path: Path) -> LocalFile:
    """Open a regular file that another one named; see `open_source` for links. Raises FormatError."""
    return open_source(path, follow=False)


def reason(error: OSError | ValueError) -> str:
    """What the system says of a failed call, without the paths it may repeat."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "no file can have that name"


def read_exactly(fd: int, offset: int, buffer: memoryview, shown: str) -> None:
    """Fill `buffer` from `offset`; FormatError if the file ends before, or cannot be read."""
    done = 0
    while done < len(buffer):
        try:
            count = os.preadv(fd, [buffer[done:]], offset + done)
        except OSError as error:
            raise FormatError(f"{shown!r} cannot be read at byte {offset + done}: {reason(error)}") from None
        if count == 0:
            raise FormatError(
                f"{shown!r}: {len(buffer)} bytes were expected at byte {offset}, the file ends after {done} of them"
            )
        done += count
