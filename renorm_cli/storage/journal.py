"""Replace several files at once: a journal on disk lists the renames, so that a later run can finish a killed one.

The last file is the index, without which the others are no checkpoint. It is removed first and renamed last, so no
reader ever sees old and new files under one index. The publishing run holds the folder (`folders.held`), so a journal
found while holding the folder belongs to a killed run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from renorm_cli.errors import FormatError, OutputError, some_names
from renorm_cli.storage.bytes import write_all
from renorm_cli.storage.exchange import restore
from renorm_cli.storage.files import reason
from renorm_cli.storage.folders import flush_folder, held
from renorm_cli.storage.temporaries import JOURNAL, is_temporary, make_file, remove, short
from renorm_cli.untrusted import is_file_name

_MOST_BYTES = 16 << 20

Move = tuple[Path, Path]


def journal_of(index: Path) -> Path:
    """The path of the journal that exists while the checkpoint with this index file is being replaced."""
    return index.with_name(JOURNAL + short(index.name))


def journaled(name: str) -> str:
    """The name of the index whose journal has this name; any other name unchanged."""
    return name.removeprefix(JOURNAL)


def is_journaled(index: Path) -> bool:
    """Whether a checkpoint with this index file is half replaced, or being replaced."""
    try:
        return journal_of(index).exists()
    except (OSError, ValueError):  # no file can have that name, or its folder may not be looked at
        return False


def begin(moves: Sequence[Move]) -> None:
    """Write the journal: these temporary files are complete and will get their targets' names, the index last.

    All are in one folder, which the caller holds. From here on, this run or a later one finishes the renames.
    Raises OSError, and then leaves no journal.
    """
    index = moves[-1][1]
    lines = json.dumps([[temporary.name, target.name] for temporary, target in moves])
    drafts: list[Path] = []
    try:
        fd, draft = make_file(index, drafts.append)
        try:
            write_all(fd, 0, memoryview(lines.encode("ascii")))
            os.fsync(fd)
            drafts.append(journal_of(index))
            draft.replace(journal_of(index))
        finally:
            os.close(fd)  # until it has its name, another run would take it for a leftover
        flush_folder(index.parent)
    except BaseException:
        for path in drafts:
            remove(path)
        raise


def finish(moves: Sequence[Move]) -> None:
    """Do the renames of the journal and remove it. May be repeated. Raises OSError."""
    index = moves[-1][1]
    if moves[-1][0].exists():
        with suppress(FileNotFoundError):
            index.unlink()
            flush_folder(index.parent)
    for temporary, target in moves:
        if temporary.exists():  # an earlier try may have renamed it
            temporary.replace(target)
    flush_folder(index.parent)
    journal_of(index).unlink()


def undo(moves: Sequence[Move]) -> None:
    """Remove the journal and the new files, for renames that replaced nothing. Never raises."""
    remove(journal_of(moves[-1][1]))
    for temporary, target in reversed(moves):
        if not temporary.exists():
            remove(target)


def recover(index: Path) -> bool:
    """Finish the output that a killed run began to publish at `index`; False if there is none.

    Raises OutputError, also where new files were removed since: old ones would be left beside new ones.
    """
    try:
        if not index.parent.is_dir():
            return False
        restore(index)
        if not is_journaled(index):
            return False
        with held([index.parent]):
            moves = _read(journal_of(index))
            if moves is None:
                return False  # it belonged to a living run, which has finished
            _refuse_gone(moves)
            finish(moves)
    except OSError as error:
        raise OutputError(f"{str(index)!r} is half replaced and cannot be finished: {reason(error)}") from None
    return True


def _refuse_gone(moves: Sequence[Move]) -> None:
    """Raise OutputError where a new file is not there, and was not renamed either.

    `finish` first removes the index, and then renames in order: no file is renamed before an earlier one, nor while the
    index is the old one. What is renamed is there.
    """
    left = [os.path.lexists(temporary) for temporary, _ in moves]
    begun = not (left[-1] and os.path.lexists(moves[-1][1]))
    gone = [
        target
        for at, (_, target) in enumerate(moves)
        if not left[at] and (not begun or any(left[:at]) or not os.path.lexists(target))
    ]
    if gone:
        index = moves[-1][1]
        raise OutputError(
            f"{str(index)!r} is half replaced and cannot be finished: the new {some_names([one.name for one in gone])}"
            f" {'was' if len(gone) == 1 else 'were'} removed before it had its name; remove the journal"
            f" {journal_of(index).name!r}, and write or copy all files of the checkpoint again"
        )


def refuse_half_replaced(index: Path) -> None:
    """Raise FormatError if a killed run left the checkpoint half replaced; waits for a run that is replacing it."""
    if not is_journaled(index):
        return
    try:
        with held([index.parent]):
            replaced = not is_journaled(index)
    except OSError:  # the folder cannot be opened
        replaced = False
    if not replaced:
        raise FormatError(
            f"{str(index)!r} is half replaced: a run was killed while it published; repeat that `apply` to finish it"
        )


def _read(journal: Path) -> list[Move] | None:
    """The renames in the journal; None if there is no journal. Raises OutputError for a journal that is not ours."""
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
        if not (isinstance(pair, list) and len(pair) == 2 and all(is_file_name(name) for name in pair)):
            raise OutputError(wrong)
        moves.append((journal.with_name(pair[0]), journal.with_name(pair[1])))
    if not moves or journal_of(moves[-1][1]) != journal or not all(is_temporary(move[0].name) for move in moves):
        raise OutputError(wrong)
    return moves
