"""A report as a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from renorm_cli.errors import some_names
from renorm_cli.model.report import Report, Row
from renorm_cli.render.columns import COLUMNS, MARKS, Column, axis_sources, bars_over, dtypes, marks
from renorm_cli.render.sentences import account, verdict
from renorm_cli.render.terminal.layout import Filled, Look, note_lines, table_lines, title_lines
from renorm_cli.text import PATH_LIMIT, by_number, bytes_text, count_text, counted

REASONS_ON_A_TERMINAL = 20
DECLARATIONS = 20

Sort = Literal["norm", "over", "name", "size"]

ORDERS: dict[Sort, Callable[[Row], tuple[float, ...] | str]] = {
    "norm": lambda row: (-row.nonfinite, -row.norm.max if row.norm is not None else 0.0),
    "over": lambda row: (-row.over, -(row.excess or 0.0)),
    "name": lambda row: by_number(row.step.variable.name),
    "size": lambda row: (-row.step.variable.elements,),
}
"""The sort keys of rows: the largest first, names with numbers in their order."""


def render_table(
    report: Report,
    *,
    width: int | None,
    colour: bool,
    ascii: bool,
    sort: Sort | None = None,
    top: int | None = None,
) -> str:
    """Write a report for people: the checkpoint, a line per constrained variable, skipped variables and totals.

    The lines are in the order of the model, or as `sort` has it; with `top` only so many, by norm without a `sort`.
    `width` is the terminal's width in cells; None, without a terminal, folds, cuts and omits nothing. Writes escape
    sequences only with `colour`, and only ASCII with `ascii`. Ends with a newline.
    """
    look = Look(width, colour, ascii)
    parts = [
        list(_title(report, look)),
        list(_rows(report, look, sort, top)),
        list(_skipped(report, look)),
        list(_closing(report, look)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(report: Report, look: Look) -> Iterator[str]:
    shared = [look.show(dtype) for dtype in dtypes(report)] if len(dtypes(report)) == 1 else []
    shared += [f"axes from {source}" for source in axis_sources(report)] if len(axis_sources(report)) == 1 else []
    computed = f"{look.show(report.engine)} on {look.show(report.device)}"
    facts = look.joined(look.show(report.format), bytes_text(report.bytes), *shared, computed)
    yield from title_lines(look.show(report.path), facts, look)


def _rows(report: Report, look: Look, sort: Sort | None, top: int | None) -> Iterator[str]:
    if not report.rows:
        yield "No variable is selected." if report.totals.variables else "The checkpoint has no variables."
        return
    order = sort or ("norm" if top is not None else None)
    rows = report.rows if order is None else sorted(report.rows, key=ORDERS[order])
    rows = rows[:top]
    columns = [column for column in COLUMNS if column.rank is not None and column.shown(report)]
    yield from table_lines([_filled(column, rows, look) for column in columns], look)
    if len(rows) < len(report.rows):
        rest = counted(len(report.rows) - len(rows), "more variable")
        yield look.paint(f"and {rest}, by {order}", "dim")
    used = {mark for row in rows for mark in marks(row)}
    notes = [f"{look.mark(mark)} {text}" for mark, text in MARKS.items() if mark in used]
    yield from (look.paint(line, "dim") for note in notes for line in look.folded(note, 2))


def _filled(column: Column, rows: Sequence[Row], look: Look) -> Filled:
    texts = [column.text(row, look.ascii) for row in rows]
    if column.key == "histogram":
        bad = [bars_over(row, len(text)) for row, text in zip(rows, texts, strict=True)]
    else:
        faulty = column.key in ("over", "under", "negative", "nonfinite")
        bad = [len(text) if faulty and column.value(row) else 0 for row, text in zip(rows, texts, strict=True)]
    suffixes = [_suffix(row, look) for row in rows] if column.key == "name" else None
    return Filled(column.title, texts, right=column.right, rank=column.rank, marks=suffixes, bad=bad)


def _suffix(row: Row, look: Look) -> str:
    found = "".join(look.mark(mark) for mark in marks(row))
    return f" {found}" if found else ""


def _skipped(report: Report, look: Look) -> Iterator[str]:
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


def _closing(report: Report, look: Look) -> Iterator[str]:
    yield from note_lines(report.notes, look)
    if report.command == "inspect":
        yield from _declared(report, look)
    yield from look.folded(look.joined(*account(report, look.quoted)))
    if report.command == "check":
        style = "good" if report.holds else "bad"
        yield from (look.paint(line, style) for line in look.folded(verdict(report, look.quoted)))
    if report.dry_run:
        yield "dry run: nothing written"
    elif report.output is not None:
        yield f"wrote {look.show(report.output, PATH_LIMIT)}"


def _declared(report: Report, look: Look) -> Iterator[str]:
    """A line for each constraint that the file's config declares."""
    named: dict[str, list[str]] = {}
    for variable in (*(row.step.variable for row in report.rows), *(skip.variable for skip in report.skips)):
        if variable.declared is not None:
            named.setdefault(variable.declared.text, []).append(variable.name)
    for text, names in list(named.items())[:DECLARATIONS]:
        line = f"declared: {text} on {counted(len(names), 'variable')}: {some_names(names)}"
        yield from look.folded(look.show(line), 10)
    if len(named) > DECLARATIONS:
        yield f"declared: {count_text(len(named) - DECLARATIONS)} other constraints, all in the JSON"
