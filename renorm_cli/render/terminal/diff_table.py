"""A comparison as a table for people: differing variables first, identical ones only counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renorm_cli.model.difference import DiffReport, DiffRow
from renorm_cli.render.columns import COPIED
from renorm_cli.render.diff_columns import DIFF_COLUMNS, DiffColumn
from renorm_cli.render.diff_sentences import account, is_fine, listed, reason, scope, verdict
from renorm_cli.render.terminal.layout import Filled, Look, note_lines, table_lines, title_lines
from renorm_cli.text import bytes_text, count_text

REASONS_ON_A_TERMINAL = 20


def render_diff(report: DiffReport, *, width: int | None, colour: bool, ascii: bool) -> str:
    """Write a comparison for people: the two checkpoints, a line per differing variable, and totals.

    `width`, `colour` and `ascii` are as in `render_table`. Ends with a newline.
    """
    look = Look(width, colour, ascii)
    rows = listed(report)
    parts = [
        list(_title(report, look)),
        list(_rows(report, rows, look)),
        list(_reasons(report, rows, look)),
        list(_context(report, look)),
        list(_closing(report, look)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(report: DiffReport, look: Look) -> Iterator[str]:
    for side in (report.before, report.after):
        facts = look.joined(look.show(side.format), bytes_text(side.bytes))
        yield from title_lines(look.show(side.path), facts, look)


def _rows(report: DiffReport, rows: Sequence[DiffRow], look: Look) -> Iterator[str]:
    if rows:
        wanted = [column for column in DIFF_COLUMNS if column.rank is not None and column.shown(report)]
        yield from table_lines([_filled(column, report, rows, look) for column in wanted], look)


def _filled(column: DiffColumn, report: DiffReport, rows: Sequence[DiffRow], look: Look) -> Filled:
    texts = [column.text(row, look.ascii) for row in rows]
    faulty = [
        (column.key == "over" and row.over) or (column.key == "verdict" and not is_fine(row, report)) for row in rows
    ]
    bad = [len(text) if fault else 0 for text, fault in zip(texts, faulty, strict=True)]
    marks = [f" {look.mark(COPIED)}{len(row.copies) + 1}" if row.copies else "" for row in rows]
    return Filled(
        column.title,
        texts,
        right=column.right,
        rank=column.rank,
        marks=marks if column.key == "name" else None,
        bad=bad,
    )


def _reasons(report: DiffReport, rows: Sequence[DiffRow], look: Look) -> Iterator[str]:
    """The reasons of the verdicts that need one."""
    explained = [(row, why) for row in rows if (why := reason(row, report))]
    shown = explained if look.width is None else explained[:REASONS_ON_A_TERMINAL]
    for row, why in shown:
        line = f"{look.show(row.name, 120)}: {look.show(why)}"
        yield from (look.paint(part, "dim") for part in look.folded(line, 2))
    if len(explained) > len(shown):
        yield look.paint(f"and {count_text(len(explained) - len(shown))} more, all in the JSON", "dim")


def _context(report: DiffReport, look: Look) -> Iterator[str]:
    """What differs besides the variables."""
    found = report.context or ()
    shown = found if look.width is None else found[:REASONS_ON_A_TERMINAL]
    for row in shown:
        yield from look.folded(f"{row.verdict}: {look.show(row.name, 200)}", 2)
    if len(found) > len(shown):
        yield look.paint(f"and {count_text(len(found) - len(shown))} more, all in the JSON", "dim")


def _closing(report: DiffReport, look: Look) -> Iterator[str]:
    yield from note_lines(report.notes, look)
    yield from look.folded(account(report))
    yield from (look.paint(line, "dim") for line in look.folded(scope(report)))
    style = "good" if report.exit_code == 0 else "bad"
    yield from (look.paint(line, style) for line in look.folded(verdict(report)))
