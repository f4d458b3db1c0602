"""Temporary files and folders beside a target: locked when made, removed by a later run if their own run was killed.

A held lock proves that the owner is alive. A process id would not: it can be reused, or belong to another machine
that shares the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PREFIX = ".renorm-"
"""The first characters of the names of all our temporary files."""

JOURNAL = f"{PREFIX}journal-"
"""The first characters of the names of journals; see `journal`."""

UNLOCKABLE = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF})
"""Errors of `flock` on a file system without locks."""

_LONGEST_NAME = 200
_TRIES = 20

Remember = Callable[[Path], None]
"""Called with a name before the file is made, because a signal may come at any line."""


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is a temporary of ours, or a journal: part of no checkpoint, whatever it
    ends in."""
    return name.startswith(PREFIX)


def temporary_of(target: Path) -> Path:
    """A new name beside the target, with our process id in it: `.renorm-PID-TOKEN-NAME`."""
    return target.with_name(f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}-{short(target.name)}")


def short(name: str) -> str:
    """The name, cut to leave room for a prefix within the longest name that file systems allow."""
    return os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])


def make_file(target: Path, remember: Remember) -> tuple[int, Path]:
    """Make an empty, locked temporary file beside the target; returns its read-write descriptor and its name.

    Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return _make(target, remember, lambda path: os.open(path, flags, 0o600))


def make_folder(target: Path, remember: Remember) -> tuple[int, Path]:
    """Make an empty, locked temporary folder beside the target, for its owner alone; returns its descriptor and its
    name. Raises OSError."""

    def make(path: Path) -> int | None:
        path.mkdir(mode=0o700)
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None

    return _make(target, remember, make)


def _make(target: Path, remember: Remember, make: Callable[[Path], int | None]) -> tuple[int, Path]:
    """A new temporary; `make` returns None for one that another run removed at once, as `_own` tells of later ones."""
    for _ in range(_TRIES):
        path = temporary_of(target)
        remember(path)
        fd = make(path)
        if fd is None:
            continue
        try:
            if _own(fd, path):
                return fd, path
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _own(fd: int, path: Path) -> bool:
    """Lock a new temporary; False if another run found it before it was locked and took it for a leftover."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in UNLOCKABLE:
            return True  # no other run can lock it either
        raise


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """The temporaries in a folder, by the (cut) name of their target; none if the folder cannot be listed."""
    found: dict[str, list[Path]] = {}
    for name in _names(folder):
        pid, _, rest = name.removeprefix(PREFIX).partition("-")
        token, _, target = rest.partition("-")
        if pid.isdecimal() and token and target:
            found.setdefault(target, []).append(folder / name)
    return found


def sweep(temporaries: Iterable[Path]) -> None:
    """Remove the temporaries that no run holds, unless a journal beside them can still finish a killed run."""
    for stale in temporaries:
        try:
            fd = os.open(stale, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not any(name.startswith(JOURNAL) for name in _names(stale.parent)):
                remove(stale)
        except OSError:
            continue  # held by a living run, or not ours to remove
        finally:
            os.close(fd)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if is_temporary(entry.name)]
    except OSError:
        return []


def remove(path: Path) -> None:
    """Remove a temporary file, or a temporary folder with its content; follows no link and never raises."""
    with suppress(OSError):  # the next run removes it, and the error that led here matters more
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():  # it may hold a folder without write permission
            for folder, _, _ in os.walk(path):
                Path(folder).chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
