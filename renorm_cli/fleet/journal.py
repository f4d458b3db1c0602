"""The outcomes of a run on disk, a line of JSON for each, so that memory does not grow with them and a run can go on.

The first line is the head, which says what was asked. Lines are only appended, and a last line that a killed run left
half written is cut off. A line at the end says that the run was complete. Without a name it is a temporary file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import stat
import struct
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from renorm_cli.errors import FormatError, OutputError, RenormError, UsageError
from renorm_cli.fleet.records import outcome_of, path_of, record_of
from renorm_cli.model.failure import PASSING, Outcome
from renorm_cli.model.findings import Rank
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.storage.files import reason
from renorm_cli.storage.temporaries import UNLOCKABLE
from renorm_cli.untrusted import UnexpectedError, field, items, number, optional, text

Head = Mapping[str, Any]
"""What was asked: JSON values."""

_MARK = {"tool": "renorm-ckpt", "journal": 1}
_LONGEST = 1 << 30
"""Bytes of a line, at most."""


class Kept(NamedTuple):
    """Where the line of a checkpoint is, and what is asked of it without reading it again."""

    start: int
    size: int
    rank: Rank
    readers: Readers = EVERYONE
    digest: int = 0
    """Of the identity of its files."""
    final: bool = True
    """Whether another try would say the same, as long as the files are the same."""

    def answers(self, identity: str) -> bool:
        """Whether what is kept is what a checkpoint of that identity would be told now."""
        return self.final and self.digest == digest_of(identity)


def digest_of(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class Known:
    """What is kept of each path, in some 80 bytes of memory beside the path."""

    _PACKED = struct.Struct("<qqbdbqQb")
    _NO_GROUP = -1

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def put(self, path: str, kept: Kept) -> None:
        everyone, group = kept.readers
        who = everyone, self._NO_GROUP if group is None else group
        self._packed[path] = self._PACKED.pack(kept.start, kept.size, *kept.rank, *who, kept.digest, kept.final)

    def pop(self, path: str) -> Kept | None:
        """What is kept of a path, which is forgotten."""
        packed = self._packed.pop(path, None)
        return None if packed is None else self._unpacked(packed)

    def items(self) -> Iterator[tuple[str, Kept]]:
        return ((path, self._unpacked(packed)) for path, packed in self._packed.items())

    def clear(self) -> None:
        self._packed.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def _unpacked(self, packed: bytes) -> Kept:
        start, size, kind, order, everyone, group, digest, final = self._PACKED.unpack(packed)
        readers = Readers(bool(everyone), None if group == self._NO_GROUP else group)
        return Kept(start, size, Rank(kind, order), EVERYONE if readers == EVERYONE else readers, digest, bool(final))


class Journal:
    """A journal, open to be read, and written to by one run alone.

    `known` has what is in it by path; where several lines have one path, the last counts.
    """

    def __init__(self, file: BinaryIO, shown: str, head: Head) -> None:
        self.shown, self.head, self.known, self.complete = shown, head, Known(), False
        self._file = file
        self._end = 0

    @classmethod
    def temporary(cls, head: Head) -> Journal:
        """A new one that nobody else sees. Raises OutputError."""
        try:
            journal = cls(tempfile.TemporaryFile(buffering=0), "", head)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"there is no room for temporary files: {reason(error)}") from None
        journal._begin()
        return journal

    @classmethod
    def continued(cls, path: Path, head: Head) -> Journal:
        """The journal at `path`, new or with what a run before has found.

        Raises UsageError for a file that is no journal, or one of another question, and OutputError where it is in use
        or cannot be opened.
        """
        file = _opened(path, os.O_RDWR | os.O_CREAT, OutputError)
        journal = cls(file, str(path), head)
        try:
            _hold(file, str(path))
            found = journal._scan()
            if found is None:
                journal._begin()
            elif found != head:
                raise UsageError(
                    f"the journal {str(path)!r} is of another question, or another version of this program;"
                    " ask the same, or give another name"
                )
            else:
                os.ftruncate(file.fileno(), journal._end)
        except BaseException:
            file.close()
            raise
        return journal

    @classmethod
    def read(cls, path: Path) -> Journal:
        """The journal at `path`, as it is. Raises FormatError where it is none, or damaged."""
        file = _opened(path, os.O_RDONLY, FormatError)
        journal = cls(file, str(path), {})
        try:
            found = journal._scan()
            if found is None:
                raise FormatError(f"{str(path)!r} is no journal: it is empty")
        except UsageError as error:
            file.close()
            raise FormatError(error.text) from None
        journal.head = found
        return journal

    def outcome(self, start: int, size: int) -> Outcome:
        """The outcome in the line there. Raises FormatError where it cannot be read."""
        try:
            return outcome_of(record_of(os.pread(self._file.fileno(), size, start)))
        except (OSError, UnexpectedError) as problem:
            raise FormatError(f"the journal {self.shown!r} is damaged at byte {start}: {problem}") from None

    def add(self, line: bytes, rank: Rank, readers: Readers, identity: str) -> Kept:
        """Append the line of one checkpoint. Raises OutputError."""
        order = rank.order if math.isfinite(rank.order) else None
        more = json.dumps({"rank": [rank.kind, order], "readers": readers, "identity": identity})
        whole = line[:-1] + f",{more[1:]}\n".encode("ascii")
        start, self.complete = self._end, False
        self._append(whole)
        return Kept(start, len(whole) - 1, rank, readers)

    def finish(self, gone: Collection[str], count: int) -> None:
        """Say that the run was complete, and which of the known checkpoints are gone. Raises OutputError."""
        if gone or not self.complete:
            lines = [{"gone": path} for path in gone] + [{"complete": count}]
            self._append("".join(json.dumps(line) + "\n" for line in lines).encode("ascii"))

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> None:
        self._append(json.dumps({**_MARK, **self.head}).encode("ascii") + b"\n")

    def _append(self, data: bytes) -> None:
        """Write at the end, all of it or nothing."""
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._file.fileno(), data[done:], self._end + done)
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._end)
            where = f"the journal {self.shown!r}" if self.shown else "a temporary file"
            hint = "; what is in it stays, make room and give the same command again" if self.shown else ""
            raise OutputError(f"{where} cannot be written: {reason(error)}{hint}") from None
        self._end += len(data)

    def _scan(self) -> Head | None:
        """Take over what is there: its head, None in an empty file, or one of a head that is half written."""
        head: Head | None = None
        for line_number, line in enumerate(_lines(self._file), 1):
            try:
                record = record_of(line)
            except UnexpectedError as problem:
                raise self._foreign() if head is None else self._damaged(line_number, problem) from None
            if head is None:
                if {name: record.get(name) for name in _MARK} != _MARK:
                    raise self._foreign()
                head = {name: value for name, value in record.items() if name not in _MARK}
            else:
                try:
                    self._take(record, len(line))
                except UnexpectedError as problem:
                    raise self._damaged(line_number, problem) from None
            self._end += len(line)
        begun = json.dumps({**_MARK, **self.head}).encode("ascii")
        if head is None and not begun.startswith(os.pread(self._file.fileno(), len(begun) + 1, 0)):
            raise self._foreign()
        return head

    def _take(self, record: Mapping[str, Any], size: int) -> None:
        self.complete = record.get("complete") == len(self.known)
        if "gone" in record:
            self.known.pop(field(record, "gone", text))
        elif "complete" not in record:
            place = field(record, "rank", _rank)
            error = record.get("error")
            final = not (isinstance(error, dict) and error.get("kind") in PASSING)
            readers, identity = field(record, "readers", _readers), field(record, "identity", text)
            kept = Kept(self._end, size - 1, place, readers, digest_of(identity), final)
            self.known.put(path_of(record), kept)

    def _foreign(self) -> UsageError:
        return UsageError(f"{self.shown!r} is no journal, and stays as it is; give another name")

    def _damaged(self, line: int, problem: UnexpectedError) -> UsageError:
        return UsageError(f"the journal {self.shown!r} is damaged in line {line}: {problem}; give another name")


def _rank(found: object) -> Rank:
    match items(found, optional(number)):
        case (0 | 1 | 2 | 3 as kind, order):
            return Rank(cast("Literal[0, 1, 2, 3]", int(kind)), -math.inf if order is None else order)
    raise UnexpectedError("a kind from 0 to 3, and a number", found)


def _readers(found: object) -> Readers:
    match found:
        case [bool() as everyone, int() | None as group] if group is None or 0 <= group < 1 << 32:
            found = Readers(everyone, group)
            return EVERYONE if found == EVERYONE else found  # one for all
    raise UnexpectedError("whether everyone may read it, and a group", found)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The whole lines of a file."""
    with open(file.fileno(), "rb", closefd=False) as lines:
        lines.seek(0)
        while (line := lines.readline(_LONGEST)).endswith(b"\n"):
            yield line


def _opened(path: Path, flags: int, error: type[RenormError]) -> BinaryIO:
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)  # it tells of every checkpoint
    except (OSError, ValueError) as failed:
        raise error(f"the journal {str(path)!r} cannot be opened: {reason(failed)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise error(f"the journal {str(path)!r} is not a regular file; give another name")
    return os.fdopen(fd, "rb" if flags == os.O_RDONLY else "r+b", buffering=0)


def _hold(file: BinaryIO, shown: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"another run writes to the journal {shown!r}; wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise OutputError(f"the journal {shown!r} cannot be locked: {reason(error)}") from None
