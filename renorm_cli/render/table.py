"""A report as a table for people.

The lines are laid out here and not by rich, whose tables take most of a second for a thousand rows, fold and cut where
there is no terminal, and know no way to shorten a name in the middle.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from renorm_cli.model import Report, Row
from renorm_cli.render.columns import ASCII_MARKS, COLUMNS, MARKS, Column, is_bounded, limits, marks, orders
from renorm_cli.render.text import LINE_LIMIT, bytes_text, cells, count_text, exact_text, shorten, show

GAP = "  "
SHORTEST_NAME, ENOUGH_NAME = 12, 40
KEPT = (1, 2)
"""The ranks of the columns that are never dropped: what a check is about."""

REASONS_ON_A_TERMINAL = 20
PATH_LIMIT = 4096

_SGR = {"bold": "1", "dim": "2", "bad": "1;31", "good": "1;32"}


@dataclass(frozen=True, slots=True)
class _Look:
    """How lines look: `width` in cells, None where there is no terminal and nothing is folded or cut."""

    width: int | None
    colour: bool
    ascii: bool

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if self.colour and style and text.strip() else text

    def show(self, text: str, limit: int = LINE_LIMIT) -> str:
        return show(text, limit, ascii=self.ascii)

    def joined(self, *parts: str) -> str:
        return (" | " if self.ascii else " · ").join(part for part in parts if part)

    def mark(self, mark: str) -> str:
        return ASCII_MARKS[mark] if self.ascii else mark

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


def render_table(report: Report, *, width: int | None, colour: bool, ascii: bool) -> str:
    """Write a report for people: what was read, a line per constrained variable, and an account of all others.

    `width` is that of the terminal in cells, None where there is none: then nothing is folded, cut or left out. No
    escape sequence is written without `colour`, no other character than ASCII with `ascii`. Ends with a newline.
    """
    look = _Look(width, colour, ascii)
    parts = [
        list(_title(report, look)),
        list(_rows(report, look)),
        list(_skipped(report, look)),
        list(_closing(report, look)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(report: Report, look: _Look) -> Iterator[str]:
    path = look.show(report.path)
    facts = look.joined(
        look.show(report.format), bytes_text(report.bytes), f"{look.show(report.engine)} on {look.show(report.device)}"
    )
    if look.width is None or cells(path) + len(GAP) + cells(facts) <= look.width:
        yield look.paint(path, "bold") + GAP + look.paint(facts, "dim")
        return
    yield look.paint(shorten(path, look.width, ascii=look.ascii), "bold")
    yield from (look.paint(line, "dim") for line in look.folded(facts))


def _rows(report: Report, look: _Look) -> Iterator[str]:
    if not report.rows:
        yield "No variable is selected." if report.totals.variables else "The checkpoint has no variables."
        return
    table = [_Filled(column, report, look) for column in COLUMNS if column.rank is not None and column.shown(report)]
    used = {mark for row in report.rows for mark in marks(row)}
    if look.width is not None:
        table = _fitting(table, look, look.width)
    heads = [filled.padded(filled.column.title) for filled in table]
    yield look.paint(GAP.join(heads).rstrip(), "bold")
    yield look.paint(("-" if look.ascii else "─") * cells(GAP.join(heads)), "dim")
    for index in range(len(report.rows)):
        yield GAP.join(filled.painted(index, look) for filled in table).rstrip()
    notes = [f"{look.mark(mark)} {text}" for mark, text in MARKS.items() if mark in used]
    yield from (look.paint(line, "dim") for note in notes for line in look.folded(note, 2))


class _Filled:
    """One column with the texts of all rows, aligned; `marks` are footnote marks that stay when a text is shortened."""

    def __init__(self, column: Column, report: Report, look: _Look) -> None:
        texts = [column.text(row, look.ascii) for row in report.rows]
        named = column.key == "name"
        self.column = column
        self.texts = _aligned(texts) if column.right else texts
        self.marks = [_suffix(row, look) if named else "" for row in report.rows]
        self.bad = [column.key in ("over", "nonfinite") and column.value(row) != 0 for row in report.rows]
        filled = (cells(text + mark) for text, mark in zip(self.texts, self.marks, strict=True))
        self.width = max(cells(column.title), *filled)

    def shorten(self, width: int, look: _Look) -> None:
        self.width = min(self.width, width)
        self.texts = [
            shorten(text, self.width - cells(mark), ascii=look.ascii)
            for text, mark in zip(self.texts, self.marks, strict=True)
        ]

    def padded(self, text: str) -> str:
        blanks = " " * (self.width - cells(text))
        return blanks + text if self.column.right else text + blanks

    def painted(self, index: int, look: _Look) -> str:
        text = self.texts[index]
        empty = self.column.right and text.strip() in ("0", "-")
        style = "bad" if self.bad[index] else "dim" if empty else ""
        return look.paint(self.padded(text + self.marks[index]), style)


def _aligned(texts: list[str]) -> list[str]:
    """Pad numbers on the right so that their decimal points stand in one line."""
    fractions = [len(text) - text.index(".") if "." in text else 0 for text in texts]
    longest = max(fractions)
    return [text + " " * (longest - fraction) for text, fraction in zip(texts, fractions, strict=True)]


def _suffix(row: Row, look: _Look) -> str:
    found = "".join(look.mark(mark) for mark in marks(row))
    return f" {found}" if found else ""


def _fitting(table: list[_Filled], look: _Look, width: int) -> list[_Filled]:
    """Drop the least important columns until the names have a third of the terminal, or all they need."""
    name, kept = table[0], table[1:]
    wanted = min(name.width, min(max(SHORTEST_NAME, width // 3), ENOUGH_NAME))
    for filled in sorted(kept, key=lambda filled: filled.column.rank or 0, reverse=True):
        if _room(kept, width) >= wanted or filled.column.rank in KEPT:
            break
        kept.remove(filled)
    name.shorten(max(SHORTEST_NAME, _room(kept, width)), look)
    return [name, *kept]


def _room(kept: Sequence[_Filled], width: int) -> int:
    return width - sum(len(GAP) + filled.width for filled in kept)


def _skipped(report: Report, look: _Look) -> Iterator[str]:
    groups = Counter((skip.role, skip.reason) for skip in report.skips).most_common()
    if not groups:
        return
    listed = groups if look.width is None else groups[:REASONS_ON_A_TERMINAL]
    digits = len(count_text(groups[0][1]))
    yield "Skipped:"
    for (role, reason), count in listed:
        line = look.joined(f"{count_text(count):>{digits}} {role}", look.show(reason))
        yield from (look.paint(part, "dim") for part in look.folded(f"  {line}", digits + 3))
    rest = groups[len(listed) :]
    if rest:
        count = sum(count for _, count in rest)
        yield look.paint(f"  and {count_text(count)} for {count_text(len(rest))} other reasons, all in the JSON", "dim")


def _closing(report: Report, look: _Look) -> Iterator[str]:
    for note in report.notes:
        if not note.warning:  # warnings are said on stderr
            yield from look.folded(f"note: {look.show(note.text)}", 6)
    yield from look.folded(_account(report, look))
    if report.command == "check":
        holds, verdict = report.holds, _verdict(report)
        yield from (look.paint(line, "good" if holds else "bad") for line in look.folded(verdict))
    if report.dry_run:
        yield "dry run: nothing written"
    elif report.output is not None:
        yield f"wrote {look.show(report.output, PATH_LIMIT)}"


def _account(report: Report, look: _Look) -> str:
    totals, order = report.totals, orders(report)
    done = "constrained" if is_bounded(report) or report.command != "inspect" else "measured"
    units = _counted(totals.units, "unit")
    if len(order) == 1 and order != {2.0}:
        units += f" (p = {exact_text(*order)})"
    over = f"{count_text(totals.over)} over {_bound(report)}, " if is_bounded(report) else ""
    return look.joined(
        f"{_counted(totals.variables, 'variable')}: {count_text(totals.constrained)} {done}, "
        f"{count_text(totals.skipped)} skipped",
        f"{units}, {over}{count_text(totals.nonfinite)} not finite",
    )


def _verdict(report: Report) -> str:
    totals = report.totals
    units, strange = _counted(totals.units, "unit"), f"{count_text(totals.nonfinite)} not finite"
    if report.holds:
        return f"holds: none of {units} over {_bound(report)}" if report.rows else "holds: nothing to check"
    if totals.over:
        found = f"{count_text(totals.over)} of {units} over {_bound(report)}"
        return f"violated: {found}, {strange}" if totals.nonfinite else f"violated: {found}"
    return f"violated: {count_text(totals.nonfinite)} of {units} not finite"


def _bound(report: Report) -> str:
    return exact_text(*limits(report)) if len(limits(report)) == 1 else "their limit"


def _counted(count: int, noun: str) -> str:
    return f"{count_text(count)} {noun}" if count == 1 else f"{count_text(count)} {noun}s"
