"""Putting one folder in the place of another in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from renorm_cli.storage.temporaries import PREFIX, remove, short

_HERE = -100  # AT_FDCWD of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS


def exchange(new: Path, target: Path) -> None:
    """Give the folder `new` the name `target`; what had that name has the name `new` then. Raises OSError.

    In one step where the system has one (renameat2 of Linux, renamex_np of macOS); elsewhere the old folder is first
    put aside, so that for a moment there is none; `restore` brings it back if the run is killed in that moment.
    """
    if not os.path.lexists(target):
        new.rename(target)
    elif not _swap(new, target):
        aside = _aside(target)
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        aside.rename(new)


def restore(target: Path) -> None:
    """Bring back what a killed run put aside, or remove it where the new folder is in its place. Raises OSError."""
    aside = _aside(target)
    if not os.path.lexists(aside):
        return
    if os.path.lexists(target):
        remove(aside)
    else:
        aside.rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f"{PREFIX}old-{short(target.name)}")


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names; False where the system or the file system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        result = library.renamex_np(*names, _EXCHANGE)
    elif hasattr(library, "renameat2"):
        result = library.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE)
    else:
        return False
    if result == 0:
        return True
    if ctypes.get_errno() in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
