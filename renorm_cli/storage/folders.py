"""Folders in which outputs are published: held by one run at a time, and flushed to disk."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from renorm_cli.storage.temporaries import UNLOCKABLE

_UNFLUSHABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of `fsync` on a file system that does not flush folders separately."""

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def held(folders: Iterable[Path]) -> Iterator[Callable[[], None]]:
    """Keep other runs from publishing in these folders; yields a function that flushes the names in them to disk.

    Waits for a run that is publishing. On file systems without locks, does not wait. Raises OSError.
    """
    with ExitStack() as stack:
        fds: dict[tuple[int, int], int] = {}
        for folder in sorted(set(folders)):
            fd = os.open(folder, _FLAGS)
            stack.callback(os.close, fd)
            found = os.fstat(fd)
            if fds.setdefault((found.st_dev, found.st_ino), fd) == fd:  # locking one folder twice would wait for itself
                _lock(fd)

        def flush() -> None:
            for fd in fds.values():
                _flush(fd)

        yield flush


def flush_folder(path: Path) -> None:
    """Flush the names in a folder to disk. Raises OSError."""
    fd = os.open(path, _FLAGS)
    try:
        _flush(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise


def _flush(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _UNFLUSHABLE:
            raise
