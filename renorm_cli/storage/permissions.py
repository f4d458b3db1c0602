"""Mode and owner of what is replaced, kept for what replaces it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

_OF_GROUP = stat.S_IRWXG


class Permissions(NamedTuple):
    """Who owns a file or folder, and who may do what with it."""

    mode: int
    user: int
    group: int

    def give(self, fd: int) -> None:
        """Make them those of an open file or folder, as far as we may: a group that cannot be kept loses its rights.

        Raises OSError.
        """
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) != (self.user, self.group) and not _change(fd, self.user, self.group):
            _change(fd, -1, self.group)
        kept = os.fstat(fd).st_gid == self.group
        os.fchmod(fd, self.mode if kept else self.mode & ~_OF_GROUP)


def permissions_of(path: Path) -> Permissions | None:
    """Those of a regular file or a folder; None of anything else, and where there is nothing."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return None
    return Permissions(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def default_mode() -> int:
    """What the process's umask leaves for a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _change(fd: int, user: int, group: int) -> bool:
    try:
        os.fchown(fd, user, group)
    except PermissionError:
        return False
    return True
