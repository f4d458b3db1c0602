"""Read a small file that the user named, whole or with an error of one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from renorm_cli.errors import RenormError


def read_small(path: Path, most: int, where: str, what: str, error: type[RenormError], hint: str = "") -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises `error` for a missing, irregular, unreadable or larger file. In its message `where` names the file, `what`
    the expected content, and `hint` ends the sentence.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # does not wait for a FIFO's writer
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
