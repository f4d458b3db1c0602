"""A comparison as GitHub flavoured Markdown: the verdict, the variables that differ, and what differs besides them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renorm_cli.model.difference import DiffReport, DiffRow
from renorm_cli.render.ci.fitting import Section, Table, fitted
from renorm_cli.render.ci.markdown import code, notes, table_head, table_line
from renorm_cli.render.diff_columns import DIFF_COLUMNS, DiffColumn
from renorm_cli.render.diff_sentences import account, listed, reason, scope, verdict
from renorm_cli.text import PATH_LIMIT, bytes_text, count_text

VISIBLE = 20
"""Rows that are not folded."""

_KEYS = ("verdict", "shape", "dtype", "changed", "changed_units", "largest_change", "unit_norm", "over", "nonfinite")


def render_diff_markdown(report: DiffReport) -> str:
    """Write the two checkpoints, the verdict, and a line for each variable that differs, the worst first.

    Names from files are in code spans, as `markdown.code` makes them.
    """
    sides = (report.before, report.after)
    facts = [f"{code(one.path, PATH_LIMIT)} ({code(one.format)}, {bytes_text(one.bytes)})" for one in sides]
    head = (
        f"## {code(report.before.path, PATH_LIMIT)} and {code(report.after.path, PATH_LIMIT)}",
        f"**{verdict(report)}**",
        account(report),
        f"{' became '.join(facts)}. {scope(report)}",
    )
    tables = (*_rows(report), *_context(report), *notes(2, report.notes))
    return fitted([Section(head, tables)], None)


def _rows(report: DiffReport) -> Iterator[Table]:
    columns = [column for column in DIFF_COLUMNS if column.key in _KEYS and column.rank is not None]
    columns = [column for column in columns if column.shown(report)]
    head = table_head(["variable", *(column.title for column in columns), "why"], _aligned(columns))
    rows = [_row(report, row, columns) for row in listed(report)]
    if rows:
        yield Table(0, None, head, rows[:VISIBLE])
    if rows[VISIBLE:]:
        yield Table(1, f"{count_text(len(rows) - VISIBLE)} more that differ", head, rows[VISIBLE:])


def _row(report: DiffReport, row: DiffRow, columns: Sequence[DiffColumn]) -> str:
    why = reason(row, report)
    return table_line(code(row.name), *(column.text(row, False) for column in columns), code(why) if why else "")


def _aligned(columns: Sequence[DiffColumn]) -> list[bool]:
    return [False, *(column.right for column in columns), False]


def _context(report: DiffReport) -> Iterator[Table]:
    if report.context:
        rows = [f"- {row.verdict}: {code(row.name)}" for row in report.context]
        yield Table(1, f"{count_text(len(rows))} besides the variables", (), rows)
