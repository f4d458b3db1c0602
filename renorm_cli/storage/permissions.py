"""An output gets the mode and the owner of the file or folder that it replaces."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

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


def default_mode() -> int:
    """The mode of a new file under the process's umask."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _change(fd: int, user: int, group: int) -> bool:
    try:
        os.fchown(fd, user, group)
    except PermissionError:
        return False
    return True
