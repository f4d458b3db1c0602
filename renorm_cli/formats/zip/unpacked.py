"""Members of a zip, unpacked to a temporary file without a name, that no one else sees and no crash leaves behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import IO

from renorm_cli.errors import OutputError
from renorm_cli.formats.zip.archive import Member, inflate
from renorm_cli.storage.files import SourceFile, reason


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


def _no_room(file: SourceFile, error: OSError) -> OutputError:
    return OutputError(
        f"{file.shown!r} cannot be unpacked to a temporary file: {reason(error)}; name a folder with room in TMPDIR"
    )
