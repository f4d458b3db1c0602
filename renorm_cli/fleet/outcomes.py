"""The outcomes of many checkpoints as a sequence that renderers take, read from journals when they are asked for."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, cast, overload

from renorm_cli.errors import FormatError
from renorm_cli.fleet.journal import Journal, Kept
from renorm_cli.model.failure import Outcome
from renorm_cli.model.findings import Rank
from renorm_cli.model.readers import EVERYONE

_MOST_SHARDS = 1_000_000
_NAMED = 3
"""Missing parts that are named."""


class Outcomes(Sequence[Outcome]):
    """Outcomes in the order of the checkpoints, in some 30 bytes of memory each."""

    def __init__(self, count: int, journals: Sequence[Journal]) -> None:
        self._journals = journals
        self._starts, self._sizes = array("q", bytes(8 * count)), array("q", bytes(8 * count))
        self._orders, self._kinds = array("d", bytes(8 * count)), array("b", bytes(count))
        self._owners = array("I", bytes(4 * count))
        self.readers = EVERYONE
        """Who may read every checkpoint."""

    def put(self, at: int, kept: Kept, journal: int = 0) -> None:
        """Say where the outcome of the checkpoint with that number is."""
        self._starts[at], self._sizes[at], self._owners[at] = kept.start, kept.size, journal
        self._kinds[at], self._orders[at] = kept.rank
        self.readers = self.readers.of_both(kept.readers)

    @property
    def ranks(self) -> Sequence[Rank]:
        """The places of the checkpoints, without reading them."""
        kinds = cast("Sequence[Literal[0, 1, 2, 3]]", self._kinds)
        return list(map(Rank, kinds, self._orders))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> Outcome: ...
    @overload
    def __getitem__(self, at: slice) -> list[Outcome]: ...
    def __getitem__(self, at: int | slice) -> Outcome | list[Outcome]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        return self._journals[self._owners[at]].outcome(self._starts[at], self._sizes[at])

    def __iter__(self) -> Iterator[Outcome]:
        return (self[at] for at in range(len(self)))


def merged(journals: Sequence[Journal]) -> Outcomes:
    """What is in all these journals, in the order of the bytes of the paths.

    Raises FormatError where they are of different questions, or not complete, or where one, a part of them or a
    checkpoint is there twice, or a part is missing.
    """
    first, parts, names = journals[0], dict[int, str](), set[str]()
    for journal in journals:
        if _asked(journal) != _asked(first) or _shard(journal)[1] != _shard(first)[1]:
            raise FormatError(f"the journals {first.shown!r} and {journal.shown!r} are of different questions")
        if not journal.complete:
            raise FormatError(f"the run of the journal {journal.shown!r} is not complete; run it again")
        real = os.path.realpath(journal.shown)
        if real in names:
            raise FormatError(f"the journal {journal.shown!r} is given twice; give it once")
        names.add(real)
        part, of = _shard(journal)
        if of > 1 and part in parts:
            raise FormatError(
                f"part {part} of {of} is given twice, as {parts[part]!r} and {journal.shown!r}; give one of them"
            )
        parts[part] = journal.shown
    missing = [part for part in range(1, _shard(first)[1] + 1) if part not in parts]
    if missing:
        raise FormatError(f"{_told(missing, _shard(first)[1])} missing; give all journals")
    where = sorted(
        (os.fsencode(path), owner, kept)
        for owner, journal in enumerate(journals)
        for path, kept in journal.known.items()
    )
    for (path, one, _), (following, other, _) in pairwise(where):
        if path == following:
            both = f"{journals[one].shown!r} and {journals[other].shown!r}"
            raise FormatError(f"the journals {both} both have {os.fsdecode(path)!r}; give one, or ask all in one run")
    found = Outcomes(len(where), journals)
    for at, (_, owner, kept) in enumerate(where):
        found.put(at, kept, owner)
    return found


def _told(parts: Sequence[int], of: int) -> str:
    """Name parts: `part 2 of 2 is`, `parts 2 and 4 of 4 are`."""
    *first, last = [*map(str, parts[:_NAMED]), *([f"{len(parts) - _NAMED} more"] if len(parts) > _NAMED else [])]
    return f"parts {', '.join(first)} and {last} of {of} are" if first else f"part {last} of {of} is"


def _asked(journal: Journal) -> dict[str, Any]:
    return {name: value for name, value in journal.head.items() if name != "shard"}


def _shard(journal: Journal) -> tuple[int, int]:
    """The part that a journal is of, and of how many. Raises FormatError."""
    match journal.head.get("shard"):
        case None:
            return 1, 1
        case [int() as number, int() as count] if 1 <= number <= count <= _MOST_SHARDS:
            return number, count
    raise FormatError(f"the journal {journal.shown!r} is damaged in line 1: it names no part of so many")
