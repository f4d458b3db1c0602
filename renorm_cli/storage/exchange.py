"""Replace one folder by another in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from renorm_cli.errors import OutputError, Way
from renorm_cli.storage.folders import held
from renorm_cli.storage.temporaries import PREFIX, remove, short

_HERE = -100  # AT_FDCWD of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS


def exchange(new: Path, target: Path) -> None:
    """Exchange the names of the folder `new` and of `target`, if `target` exists; else rename `new`.

    Linux (renameat2) and macOS (renamex_np) do this in one step. Elsewhere the old folder is first moved aside, and
    for a moment `target` is missing; if the run is killed then, `restore` brings the old folder back. Raises OSError,
    and OutputError where a file system in layers cannot rename `target`.
    """
    try:
        _exchange(new, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        text = f"{str(target)!r} cannot be replaced: its file system renames no folder of a lower layer, as of an image"
        raise OutputError(text, Way("output", "give another")) from None


def _exchange(new: Path, target: Path) -> None:
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
    """Bring back the folder that a killed run moved aside, or remove it if the new one is in place.

    Waits for a run that is publishing, which moves it aside for a moment. Raises OSError.
    """
    aside = _aside(target)
    if not os.path.lexists(aside):
        return
    with held([target.parent]):
        if os.path.lexists(target):
            remove(aside)
        elif os.path.lexists(aside):
            aside.rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f"{PREFIX}old-{short(target.name)}")


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names; False if the system or the file system does not support it."""
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
