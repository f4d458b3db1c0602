"""Markdown with folded tables, cut to a size by omitting whole rows, the least important ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from renorm_cli.text import count_text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with a header, folded under `title` if there is one; tables of the highest `rank` are cut first."""

    rank: int
    title: str | None
    header: tuple[str, ...]
    rows: Sequence[str]
    unfolded: bool = False

    def lines(self) -> Iterator[str]:
        yield from self.opening()
        yield from self.rows
        yield from self.closing()

    def opening(self) -> Iterator[str]:
        if self.title is not None:
            yield f"<details{' open' if self.unfolded else ''}><summary>{self.title}</summary>"
            yield ""
        yield from self.header

    def closing(self) -> Iterator[str]:
        yield ""
        if self.title is not None:
            yield "</details>"
            yield ""


@dataclass(frozen=True, slots=True)
class Section:
    """Paragraphs, then tables, then more paragraphs."""

    head: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    foot: tuple[str, ...] = ()

    def frame(self) -> Iterator[str]:
        """All lines except the rows of tables."""
        yield from self._paragraphs(self.head)
        for table in self.tables:
            yield from table.opening()
            yield from table.closing()
        yield from self._paragraphs(self.foot)

    def lines(self) -> Iterator[str]:
        yield from self._paragraphs(self.head)
        for table in self.tables:
            yield from table.lines()
        yield from self._paragraphs(self.foot)

    @property
    def rows(self) -> int:
        return sum(len(table.rows) for table in self.tables)

    def cut(self, counts: Sequence[int]) -> Section:
        """The section with only the first rows of each table; `counts` says how many."""
        kept = (replace(table, rows=table.rows[:count]) for table, count in zip(self.tables, counts, strict=True))
        return replace(self, tables=tuple(kept))

    @staticmethod
    def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
        for text in texts:
            yield text
            yield ""


def fitted(sections: Sequence[Section], limit: int | None) -> str:
    """Write the sections in fewer than `limit` bytes of UTF-8; a last line, if it fits, counts what was omitted."""
    whole = _text(sections)
    if limit is None or len(whole.encode()) < limit:
        return whole.removesuffix("\n")
    room = limit - 1 - len(_left_out(sum(section.rows for section in sections), len(sections)).encode())
    if room < 0:
        return ""
    framed: list[Section] = []
    for section in sections:
        size = _size(section.frame())
        if size > room:
            break
        room -= size
        framed.append(section)
    kept = _cut(framed, room)
    rows = sum(section.rows for section in sections) - sum(section.rows for section in kept)
    return _text(kept) + _left_out(rows, len(sections) - len(kept))


def _cut(sections: Sequence[Section], room: int) -> list[Section]:
    """The sections with the rows for which there is room, taken by rank of their table, then in order."""
    counts = [[0] * len(section.tables) for section in sections]
    places = [
        (table.rank, at, number) for at, section in enumerate(sections) for number, table in enumerate(section.tables)
    ]
    for _, at, number in sorted(places):
        counts[at][number], room = _fill(sections[at].tables[number].rows, room)
    return [section.cut(kept) for section, kept in zip(sections, counts, strict=True)]


def _fill(rows: Sequence[str], room: int) -> tuple[int, int]:
    """The number of rows for which there is room, and the room left, which is 0 once a row did not fit."""
    for number, row in enumerate(rows):
        size = _size((row,))
        if size > room:
            return number, 0
        room -= size
    return len(rows), room


def _left_out(rows: int, sections: int) -> str:
    files = f", among them all of {count_text(sections)} checkpoints" if sections else ""
    return f"**{count_text(rows)} rows are left out{files}: there is no room for more here.**\n"


def _text(sections: Sequence[Section]) -> str:
    return "".join(f"{line}\n" for section in sections for line in section.lines())


def _size(lines: Iterator[str] | tuple[str, ...]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
