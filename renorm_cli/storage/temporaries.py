"""Temporary files and folders beside a target: made locked, and removed by a later run if theirs was killed.

Whoever holds the lock of a temporary is alive, so neither a process id that is in use again nor another machine that
shares the disk can be mistaken for its owner.
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
"""What the names of all our temporary files begin with."""

JOURNAL = f"{PREFIX}journal-"
"""What the names of journals begin with; see `journal`."""

UNLOCKABLE = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF})
"""What the system says where a file system has no locks."""

_LONGEST_NAME = 200
_TRIES = 20

Remember = Callable[[Path], None]
"""Told of a name before anything has it: a signal may come at any line."""


def temporary_of(target: Path) -> Path:
    """A new name beside the target, which tells whose it is: `.renorm-PID-TOKEN-NAME`."""
    return target.with_name(f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}-{short(target.name)}")


def short(name: str) -> str:
    """The name, cut so that a prefix still fits into what file systems allow."""
    return os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])


def make_file(target: Path, remember: Remember) -> tuple[int, Path]:
    """A new, empty, locked temporary file beside the target: open for reading and writing, and its name.

    Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return _make(target, remember, lambda path: os.open(path, flags, 0o600))


def make_folder(target: Path, remember: Remember) -> tuple[int, Path]:
    """A new, empty, locked temporary folder beside the target: open, and its name. Raises OSError."""

    def make(path: Path) -> int:
        path.mkdir()
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)

    return _make(target, remember, make)


def _make(target: Path, remember: Remember, make: Callable[[Path], int]) -> tuple[int, Path]:
    for _ in range(_TRIES):
        path = temporary_of(target)
        remember(path)
        fd = make(path)
        try:
            if _own(fd, path):
                return fd, path
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _own(fd: int, path: Path) -> bool:
    """Lock what was just made; False where another run took it, still unlocked, for a leftover."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in UNLOCKABLE:
            return True  # then nobody else can take it either
        raise


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """The temporaries in a folder, by the (cut) name of their target; none where it cannot be listed."""
    found: dict[str, list[Path]] = {}
    for name in _names(folder):
        pid, _, rest = name.removeprefix(PREFIX).partition("-")
        token, _, target = rest.partition("-")
        if pid.isdecimal() and token and target:
            found.setdefault(target, []).append(folder / name)
    return found


def sweep(temporaries: Iterable[Path]) -> None:
    """Remove those that nobody holds, unless a journal, by which a killed run can be finished, lies beside them."""
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
            return [entry.name for entry in entries if entry.name.startswith(PREFIX)]
    except OSError:
        return []


def remove(path: Path) -> None:
    """Remove a temporary file, or a temporary folder with all in it; nothing that a link leads to. Never raises."""
    with suppress(OSError):  # the next run removes it; what went wrong before is what to tell
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():  # a folder in it may not be written to
            for folder, _, _ in os.walk(path):
                Path(folder).chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
