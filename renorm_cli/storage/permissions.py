"""An output gets the mode and the owner of what it replaces; a new one is for those alone who may read the input."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from renorm_cli.model.readers import EVERYONE, Readers

_OF_GROUP = stat.S_IRWXG


class Permissions(NamedTuple):
    """Mode and owner of a file or folder."""

    mode: int
    user: int
    group: int

    def give(self, fd: int) -> None:
        """Apply them to an open file or folder as far as the system permits.

        If the group cannot be kept, the group's permissions are dropped. Raises OSError.
        """
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) != (self.user, self.group) and not _change(fd, self.user, self.group):
            _change(fd, -1, self.group)
        kept = os.fstat(fd).st_gid == self.group
        os.fchmod(fd, self.mode if kept else self.mode & ~_OF_GROUP)


def permissions_of(path: Path) -> Permissions | None:
    """The permissions of a regular file or a folder; None for anything else and for a missing path."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return None
    return Permissions(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def readers_of(paths: Iterable[Path]) -> Readers:
    """Who may read all these files, and reach what is in these folders; of what is not there, nothing is known."""
    found = EVERYONE
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found = found.of_both(_readers(status))
    return found


def _readers(status: os.stat_result) -> Readers:
    folder = stat.S_ISDIR(status.st_mode)
    if status.st_mode & (stat.S_IXOTH if folder else stat.S_IROTH):
        return EVERYONE
    return Readers(False, status.st_gid if status.st_mode & (stat.S_IXGRP if folder else stat.S_IRGRP) else None)


def give_new(fd: int, readers: Readers) -> None:
    """Give a new file or folder its mode under the process's umask, for these readers at most. Raises OSError."""
    mask = os.umask(0)
    os.umask(mask)
    made = os.fstat(fd)
    most = 0o777 if stat.S_ISDIR(made.st_mode) else 0o666
    os.fchmod(fd, readers.narrowed(most & ~mask, made.st_gid))


def _change(fd: int, user: int, group: int) -> bool:
    try:
        os.fchown(fd, user, group)
    except PermissionError:
        return False
    return True
