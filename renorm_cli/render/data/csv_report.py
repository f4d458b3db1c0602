"""Reports as CSV: one line per variable, constrained or skipped."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from renorm_cli.model.report import Report
from renorm_cli.render.columns import COLUMNS, Cell
from renorm_cli.text import show

CELL_LIMIT = 32_000
"""Characters per cell: spreadsheets cut a cell at 32,767."""

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")  # noqa: RUF001


HEADER = ("path", "status", "reason", *(column.key for column in COLUMNS))


def render_csv(reports: Sequence[Report]) -> str:
    """Write a header, then a line for each constrained and each skipped variable of each report; lines end with LF.

    Numbers are exact; a missing value is an empty cell. Text is escaped as `show` does, and a text cell that a
    spreadsheet would read as a formula starts with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for report in reports:
        writer.writerows(map(safe_line, lines(report)))
    return out.getvalue()


def lines(report: Report) -> Iterator[list[Cell]]:
    """The exact values of each variable under `HEADER`, constrained ones first; text is as the file has it."""
    for row in report.rows:
        yield [report.path, "constrained", None, *(column.value(row) for column in COLUMNS)]
    for skip in report.skips:
        facts = [None if column.skipped is None else column.skipped(skip) for column in COLUMNS]
        yield [report.path, "skipped", skip.reason, *facts]


def safe_line(line: list[Cell]) -> list[Cell]:
    """The cells of a line, with text escaped so that no spreadsheet reads it as a formula."""
    return [_guarded(cell) if isinstance(cell, str) else cell for cell in line]


def _guarded(text: str) -> str:
    shown = show(text, CELL_LIMIT)
    return f"'{shown}" if text.startswith(_FORMULA) or shown.lstrip(" ").startswith(_FORMULA) else shown
