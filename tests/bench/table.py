"""The table: one row for each thing that is measured, with what is promised of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measure import Cost

Quantity = Literal["time", "memory", "times", "grows"]
"""What a promise is about: seconds, bytes, or the ratio of ours to the peer's seconds (times) or bytes (grows)."""

HEADERS = ("what", "ours", "peer", "ratio", "CPU ratio", "aim", "met", "GB/s", "CPU s", "peak MiB")


@dataclass(frozen=True, slots=True)
class Promise:
    """At most so many seconds, bytes, or times the peer's."""

    quantity: Quantity
    most: float

    def __str__(self) -> str:
        if self.quantity == "time":
            return f"{self.most:g} s"
        if self.quantity == "memory":
            return f"{self.most / 1e6:g} MB"
        return f"{self.most:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: our runs and the peer's, in the order they were made in; `nbytes` of weights in each of ours.

    Without a `promise` the row only tells. Without runs of a peer `remark` stands in their place.
    """

    what: str
    ours: Sequence[Cost]
    peer: Sequence[Cost] = ()
    promise: Promise | None = None
    nbytes: int = 0
    remark: str = ""
    memory: bool = False
    """Whether the row is about memory rather than time."""

    @property
    def ratios(self) -> list[float]:
        """Ours to the peer's, run by run; of memory, our worst run to the peer's worst."""
        if not self.peer:
            return []
        if self.memory:
            return [max(map(_held, self.ours)) / max(map(_held, self.peer))]
        return [mine.wall / theirs.wall for mine, theirs in zip(self.ours, self.peer, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same of processor time, which moves less than the clock where others use the machine."""
        if self.memory:
            return []
        pairs = zip(self.ours, self.peer, strict=bool(self.peer))
        return [mine.cpu / theirs.cpu for mine, theirs in pairs if theirs.cpu]

    @property
    def measured(self) -> float | None:
        """What the promise is held against: a median of times, or of ratios of runs in turn; the most memory."""
        if self.promise is None:
            return None
        if self.promise.quantity == "time":
            return statistics.median(map(_wall, self.ours))
        if self.promise.quantity == "memory":
            return float(max(map(_held, self.ours)))
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def holds(self) -> bool:
        """Whether the promise is kept, as far as it could be measured."""
        return self.promise is None or self.measured is None or self.measured <= self.promise.most

    @property
    def verdict(self) -> str:
        if self.promise is None or self.measured is None:
            return ""
        return "yes" if self.holds else "**no**"


def render(rows: Sequence[Row]) -> str:
    """The table in Markdown: medians (least to most) in seconds, the most memory in MiB; below a ratio of 1 we win."""
    cells = [HEADERS, ("---",) * len(HEADERS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    told = _memory if row.memory else _times
    typical = statistics.median(map(_wall, row.ours))
    return (
        row.what,
        told(row.ours),
        told(row.peer) if row.peer else row.remark,
        _spread(row.ratios),
        _spread(row.cpu_ratios),
        "" if row.promise is None else str(row.promise),
        row.verdict,
        f"{row.nbytes / typical / 1e9:.2f}" if row.nbytes else "",
        f"{statistics.median(cost.cpu for cost in row.ours):.2f}",
        f"{max(map(_held, row.ours)) / 2**20:.0f}",
    )


def _times(costs: Sequence[Cost]) -> str:
    return _spread([cost.wall for cost in costs])


def _spread(numbers: Sequence[float]) -> str:
    """The median, and what it lies between; nothing of none."""
    if not numbers:
        return ""
    middle = f"{statistics.median(numbers):.2f}"
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):.2f} to {max(numbers):.2f})"


def _memory(costs: Sequence[Cost]) -> str:
    return f"{max(map(_held, costs)) / 2**20:.0f} MiB"


def _wall(cost: Cost) -> float:
    return cost.wall


def _held(cost: Cost) -> int:
    """Bytes of all processes together where they were watched, else of the largest."""
    return max(cost.peak, cost.tree)
