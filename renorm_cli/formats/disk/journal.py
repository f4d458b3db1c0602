"""Replacing several files at once: a list of renames on disk, so that a killed run can be finished, never half trusted.

The last file is the index without which the others are no checkpoint. It is taken away first and comes back last, so
no reader ever sees old and new files under one index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.disk.files import reason

PREFIX = ".renorm-"
"""What the names of all our temporary files begin with."""

_JOURNAL = f"{PREFIX}journal-"
_MOST_BYTES = 16 << 20
_LONGEST_NAME = 200

Move = tuple[Path, Path]


def temporary_of(target: Path) -> Path:
    """A new name beside the target, which tells whose it is: `.renorm-PID-TOKEN-NAME`."""
    return target.with_name(f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}-{short(target.name)}")


def short(name: str) -> str:
    """The name, cut so that a prefix still fits into what file systems allow."""
    return os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])


def journal_of(index: Path) -> Path:
    """Where the journal of a checkpoint with this index file lies while it is being replaced."""
    return index.with_name(_JOURNAL + index.name)


def is_journaled(index: Path) -> bool:
    """Whether a checkpoint with this index file is half replaced."""
    try:
        return journal_of(index).exists()
    except OSError:  # the name of the journal would be too long, so there never was one
        return False


def journaled(name: str) -> str:
    """The name of the index whose journal has this name; any other name as it is."""
    return name.removeprefix(_JOURNAL)


def begin(moves: Sequence[Move]) -> None:
    """Put it on record that these temporary files are complete and will get their targets' names, the index last.

    All lie in one folder. From here on the renames are finished, by this run or a later one. Raises OSError.
    """
    index = moves[-1][1]
    lines = json.dumps([[temporary.name, target.name] for temporary, target in moves])
    draft = temporary_of(index)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, lines.encode("ascii"))
        os.fsync(fd)
        draft.replace(journal_of(index))
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    sync_directory(index.parent)


def finish(moves: Sequence[Move]) -> None:
    """Do the renames on record and strike the record. May be repeated. Raises OSError."""
    index = moves[-1][1]
    if moves[-1][0].exists():
        index.unlink(missing_ok=True)
    for temporary, target in moves:
        if temporary.exists():  # gone where an earlier try got this far
            temporary.replace(target)
    sync_directory(index.parent)
    journal_of(index).unlink()


def recover(index: Path) -> bool:
    """Finish what a killed run began to publish at `index`; whether there was anything. Raises OutputError."""
    if not is_journaled(index):
        return False
    try:
        moves = _read(journal_of(index))
        if moves is None:
            return False
        finish(moves)
    except OSError as error:
        raise OutputError(f"{str(index)!r} is half replaced and cannot be finished: {reason(error)}") from None
    return True


def refuse_half_replaced(index: Path) -> None:
    """Raise FormatError where a killed run left a checkpoint half replaced."""
    if is_journaled(index):
        raise FormatError(
            f"{str(index)!r} is half replaced: a run was killed while it published; repeat that `apply` to finish it"
        )


def sync_directory(path: Path) -> None:
    """Flush the names in a folder to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(journal: Path) -> list[Move] | None:
    """The renames still to be done; None if there is no journal. A journal not of our making is an OutputError."""
    try:
        fd = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        raw = os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)
    wrong = f"{str(journal)!r} is not a journal of ours; look at it, and remove it if you did not expect it"
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise OutputError(wrong) from None
    moves = []
    for pair in found if isinstance(found, list) else [None]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(_is_plain(name) for name in pair)):
            raise OutputError(wrong)
        moves.append((journal.with_name(pair[0]), journal.with_name(pair[1])))
    if not moves or journal_of(moves[-1][1]) != journal or not all(m[0].name.startswith(PREFIX) for m in moves):
        raise OutputError(wrong)
    return moves


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name
