"""Members of a zip, unpacked to a temporary file without a name, that no one else sees and no crash leaves behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import IO

from renorm_cli.errors import OutputError
from renorm_cli.formats.zip.archive import Member, inflate
from renorm_cli.storage.bytes import copy_range
from renorm_cli.storage.files import SourceFile, reason
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging


def unpack(file: SourceFile, members: Iterable[Member]) -> IO[bytes]:
    """A file of the contents of the members, one behind the other.

    Raises FormatError for a member that is damaged, OutputError where there is no room.
    """
    try:
        unpacked = tempfile.TemporaryFile(prefix=".renorm-")  # noqa: SIM115  (lives as long as the checkpoint)
    except OSError as error:
        raise _no_room(file, error) from None
    try:
        at = 0
        for member in members:
            inflate(file, member, unpacked.fileno(), at)
            at += member.size
    except OSError as error:
        unpacked.close()
        raise _no_room(file, error) from None
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def unpacked_at(members: Iterable[Member]) -> list[int]:
    """Where `unpack` puts the content of each member."""
    *places, _ = accumulate((member.size for member in members), initial=0)
    return places


def staged_apart(
    staging: Staging, file: SourceFile, target: Path, fd: int, start: int, length: int
) -> tuple[Staged, Staged]:
    """A staged copy of an archive that will be written anew, and beside it one of `length` unpacked bytes of `fd`.

    Raises OutputError.
    """
    staged = staging.copy(file, target)
    staged.rewritten = True
    contents = staging.scratch(target)
    try:
        copy_range(fd, start, contents.fd, 0, length)
    except OSError as error:
        raise unwritten(error) from None
    return staged, contents


def _no_room(file: SourceFile, error: OSError) -> OutputError:
    return OutputError(
        f"{file.shown!r} cannot be unpacked to a temporary file: {reason(error)}; name a folder with room in TMPDIR"
    )
