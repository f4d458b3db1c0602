"""Reading a small file that the user named: whole, or an error of one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from renorm_cli.errors import RenormError


def read_small(path: Path, most: int, where: str, what: str, error: type[RenormError], hint: str = "") -> bytes:
    """The content of a regular file of at most `most` bytes; `where` begins a message, `what` was expected.

    Raises `error` for a file that is not there, not regular, too large or not readable; `hint` ends what says so.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO without a writer does not block so
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{where} is not a regular file; {what} was expected")
            if found.st_size > most:
                raise error(f"{where} has {found.st_size} bytes; at most {most} are read")
            return file.read(most)
    except OSError as failed:
        raise error(f"{where} cannot be read: {os.strerror(failed.errno or 0)}{hint}") from None
    except ValueError:
        raise error(f"{where} is no name of a file{hint}") from None
