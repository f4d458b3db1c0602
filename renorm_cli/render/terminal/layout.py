"""The layout of tables for people: aligned columns that fit a terminal, and styles.

rich is not used for them: its tables are slow for many rows, are folded and cut even without a terminal, and cannot
shorten a name in the middle.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from renorm_cli.model.plan import Note
from renorm_cli.render.columns import ASCII_MARKS
from renorm_cli.text import LINE_LIMIT, NAME_LIMIT, cells, distinct, shorten, show

GAP = "  "
SHORTEST_NAME, ENOUGH_NAME = 12, 40
KEPT = (1, 2)
"""The ranks of columns that are never dropped, because a check is about them."""

_SGR = {"bold": "1", "dim": "2", "bad": "1;31", "good": "1;32"}


class Look(NamedTuple):
    """The look of lines: `width` in cells, or None without a terminal, where nothing is folded or cut."""

    width: int | None
    colour: bool
    ascii: bool

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if self.colour and style and text.strip() else text

    def show(self, text: str, limit: int = LINE_LIMIT) -> str:
        return show(text, limit, ascii=self.ascii)

    def quoted(self, name: str, limit: int = NAME_LIMIT) -> str:
        return f"'{self.show(name, limit)}'"

    def joined(self, *parts: str) -> str:
        return (" | " if self.ascii else " · ").join(part for part in parts if part)

    def mark(self, mark: str) -> str:
        return ASCII_MARKS.get(mark, mark) if self.ascii else mark

    def folded(self, text: str, indent: int = 0) -> list[str]:
        if self.width is None:
            return [text]
        return textwrap.wrap(
            text,
            max(self.width, 20),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )


def note_lines(notes: Iterable[Note], look: Look, before: str = "", indent: int = 6) -> Iterator[str]:
    """The notes, but no warnings: those go to stderr. `indent` is that of the lines after the first of a note."""
    for note in notes:
        if not note.warning:
            yield from look.folded(f"{before}note: {look.show(str(note))}", indent)


class Filled:
    """A column with the texts of all rows, aligned; `marks` are footnote marks that stay when a text is shortened.

    `rank` is that of a `columns.Column`. `bad` says for each text how many of its last characters get the style "bad".
    A text that is `folded` goes on in the lines below its own.
    """

    def __init__(
        self,
        title: str,
        texts: Sequence[str],
        *,
        right: bool = False,
        rank: int | None = 0,
        marks: Sequence[str] | None = None,
        bad: Sequence[int] | None = None,
    ) -> None:
        self.title = title
        self.right = right
        self.rank = rank
        self.texts = _aligned(list(texts)) if right else list(texts)
        self.marks = list(marks or ("" for _ in texts))
        self.bad = list(bad or (0 for _ in texts))
        self.folded: list[list[str]] = [[] for _ in texts]
        filled = (cells(text + mark) for text, mark in zip(self.texts, self.marks, strict=True))
        self.width = max(cells(title), *filled)

    def shorten(self, width: int, look: Look) -> None:
        """Make the column at most `width` cells wide; different texts stay different."""
        self.width = min(self.width, width)
        self.title = shorten(self.title, self.width, ascii=look.ascii)
        rooms = [self.width - cells(mark) for mark in self.marks]
        fitted = distinct(self.texts, rooms, ascii=look.ascii)
        self.texts = [lines[0] for lines in fitted]
        self.folded = [lines[1:] for lines in fitted]

    def padded(self, text: str) -> str:
        blanks = " " * (self.width - cells(text))
        return blanks + text if self.right else text + blanks

    def painted(self, index: int, look: Look) -> str:
        text, bad = self.texts[index], self.bad[index]
        if bad:
            end = len(text.rstrip())
            start = max(0, end - bad)
            padded = self.padded(text)
            before = padded.index(text)
            return padded[: before + start] + look.paint(text[start:end], "bad") + padded[before + end :]
        empty = self.right and text.strip() in ("0", "-")
        return look.paint(self.padded(text + self.marks[index]), "dim" if empty else "")


def table_lines(table: Sequence[Filled], look: Look) -> Iterator[str]:
    """The lines of a table with at least one row; the first column holds the names."""
    if look.width is not None:
        table = _fitting(table, look, look.width)
    heads = [filled.padded(filled.title) for filled in table]
    yield look.paint(GAP.join(heads).rstrip(), "bold")
    yield look.paint(("-" if look.ascii else "─") * cells(GAP.join(heads)), "dim")
    for index in range(len(table[0].texts)):
        yield GAP.join(filled.painted(index, look) for filled in table).rstrip()
        yield from table[0].folded[index]


def fits(table: Sequence[Filled], look: Look) -> bool:
    """Whether a table needs no cut."""
    return look.width is None or _room(table, look.width) >= -len(GAP)


def title_lines(path: str, facts: str, look: Look) -> Iterator[str]:
    """A path and facts about it, on one line if they fit."""
    if look.width is None or cells(path) + len(GAP) + cells(facts) <= look.width:
        yield look.paint(path, "bold") + GAP + look.paint(facts, "dim")
        return
    yield look.paint(shorten(path, look.width, ascii=look.ascii), "bold")
    yield from (look.paint(line, "dim") for line in look.folded(facts))


def _aligned(texts: list[str]) -> list[str]:
    """Pad numbers on the right so that their decimal points are aligned."""
    fractions = [len(text) - text.index(".") if "." in text else 0 for text in texts]
    longest = max(fractions)
    return [text + " " * (longest - fraction) for text, fraction in zip(texts, fractions, strict=True)]


def _fitting(table: Sequence[Filled], look: Look, width: int) -> list[Filled]:
    """Drop the least important columns until the names get a third of the terminal, or all the room they need."""
    name, kept = table[0], list(table[1:])
    wanted = min(name.width, min(max(SHORTEST_NAME, width // 3), ENOUGH_NAME))
    for filled in sorted(kept, key=lambda filled: filled.rank or 0, reverse=True):
        if _room(kept, width) >= wanted or filled.rank in KEPT:
            break
        kept.remove(filled)
    name.shorten(max(SHORTEST_NAME, _room(kept, width)), look)
    return [name, *kept]


def _room(kept: Sequence[Filled], width: int) -> int:
    return width - sum(len(GAP) + filled.width for filled in kept)
