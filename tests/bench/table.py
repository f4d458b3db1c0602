"""The table: one row for each thing that is measured, with what is promised of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measure import Cost

Quantity = Literal["time", "memory", "times", "grows"]
"""What a promise is about: seconds, bytes, or the ratio of ours to the peer's seconds (times) or bytes (grows)."""

HEADERS = ("what", "ours", "peer", "ratio", "promise", "GB/s", "CPU s", "peak MiB", "")


@dataclass(frozen=True, slots=True)
class Promise:
    """At most so many seconds, bytes, or times the peer's."""

    quantity: Quantity
    most: float

    def __str__(self) -> str:
        if self.quantity == "time":
            return f"<= {self.most:g} s"
        if self.quantity == "memory":
            return f"<= {self.most / 1e6:g} MB"
        return f"<= {self.most:.3g} x"


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
    def ratio(self) -> float | None:
        """Our best run against the peer's best; of memory, our worst against the peer's worst."""
        if not self.peer:
            return None
        if self.memory:
            return max(map(_held, self.ours)) / max(map(_held, self.peer))
        return min(map(_wall, self.ours)) / min(map(_wall, self.peer))

    @property
    def measured(self) -> float | None:
        """What the promise is held against."""
        if self.promise is None:
            return None
        if self.promise.quantity == "time":
            return min(map(_wall, self.ours))
        if self.promise.quantity == "memory":
            return float(max(map(_held, self.ours)))
        return self.ratio

    @property
    def holds(self) -> bool:
        """Whether the promise is kept, as far as it could be measured."""
        return self.promise is None or self.measured is None or self.measured <= self.promise.most

    @property
    def verdict(self) -> str:
        if self.promise is None or self.measured is None:
            return "-"
        return "ok" if self.holds else "MISS"


def render(rows: Sequence[Row]) -> str:
    """The table as text. Times are best (median) in seconds, memory is the worst in MiB; below a ratio of 1 we win."""
    cells = [HEADERS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADERS))]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    told = _memory if row.memory else _times
    best = min(map(_wall, row.ours))
    return (
        row.what,
        told(row.ours),
        told(row.peer) if row.peer else row.remark or "-",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        "-" if row.promise is None else str(row.promise),
        f"{row.nbytes / best / 1e9:.2f}" if row.nbytes else "-",
        f"{min(cost.cpu for cost in row.ours):.2f}",
        f"{max(map(_held, row.ours)) / 2**20:.0f}",
        row.verdict,
    )


def _times(costs: Sequence[Cost]) -> str:
    return f"{min(map(_wall, costs)):.3f} ({statistics.median(map(_wall, costs)):.3f})"


def _memory(costs: Sequence[Cost]) -> str:
    return f"{max(map(_held, costs)) / 2**20:.0f} MiB"


def _wall(cost: Cost) -> float:
    return cost.wall


def _held(cost: Cost) -> int:
    """Bytes of all processes together where they were watched, else of the largest."""
    return max(cost.peak, cost.tree)
