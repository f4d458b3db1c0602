"""Opening the files of a checkpoint: once each, regular files only, and noticed if they change while we read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from renorm_cli.errors import FormatError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An open input file: what is judged and what is read go through the one descriptor `fd`."""

    path: Path
    shown: str
    fd: int
    opened: os.stat_result
    """What the system told of it when it was opened."""

    @property
    def size(self) -> int:
        return self.opened.st_size

    def read(self, most: int) -> bytes:
        """The content; the first `most` bytes of a larger file. Raises FormatError where it cannot be read."""
        content = bytearray(min(self.size, most))
        read_exactly(self.fd, 0, memoryview(content), self.shown)
        return bytes(content)

    def check_unchanged(self) -> None:
        """Raise FormatError if the file was written to since it was opened, or another one has its name now."""
        now, before = os.fstat(self.fd), self.opened
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or not self._has_its_name():
            raise FormatError(f"{self.shown!r} changed while it was read; run again when nothing writes to it")

    def _has_its_name(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), self.opened)
        except OSError:
            return False

    def close(self) -> None:
        os.close(self.fd)


def open_source(path: Path, *, follow: bool = True) -> SourceFile:
    """Open a regular file for reading; without `follow`, a symbolic link is refused.

    Raises FormatError if there is no such file, it may not be read, or it is a pipe, a device or a directory.
    """
    shown = str(path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise FormatError(f"{shown!r}: no such file") from None
    except (OSError, ValueError) as error:
        raise FormatError(f"{shown!r} cannot be opened: {reason(error)}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise FormatError(f"{shown!r} is {kind}; a checkpoint file was expected")
    return SourceFile(path, shown, fd, found)


Opener = Callable[[Path], SourceFile]
"""Opens a file beside another of the same checkpoint."""


def open_beside(path: Path) -> SourceFile:
    """Open a regular file that another one named; a symbolic link is refused. Raises FormatError."""
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
