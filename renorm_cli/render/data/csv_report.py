"""Reports as CSV: one line per variable, constrained, measured or skipped."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.render.columns import COLUMNS, Cell
from renorm_cli.text import show

CELL_LIMIT = 32_000
"""Characters per cell: spreadsheets cut a cell at 32,767."""

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")  # noqa: RUF001


HEADER = ("path", "status", "reason", *(column.key for column in COLUMNS))


def render_csv(found: Iterable[Outcome]) -> Iterator[str]:
    """Write a header, then a line for each variable of each report, constrained, measured or skipped, and for each
    failure; lines end with LF. Comes in parts of one checkpoint each.

    Numbers are exact; a missing value is an empty cell. Text is escaped as `show` does, and a text cell that a
    spreadsheet would read as a formula starts with an apostrophe.
    """
    yield csv_text([HEADER])
    for one in found:
        yield csv_text(lines(one))


def csv_text(lines: Iterable[Sequence[Cell]]) -> str:
    """The lines as CSV, with text escaped so that no spreadsheet reads it as a formula."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [_guarded(cell) if isinstance(cell, str) else cell for cell in line] for line in lines
    )
    return out.getvalue()


def lines(report: Outcome) -> Iterator[list[Cell]]:
    """The exact values of each variable under `HEADER`, skipped ones last; text is as the file has it."""
    if isinstance(report, Failure):
        yield [report.path, "failed", report.text, *(None for _ in COLUMNS)]
        return
    for row in report.rows:
        yield [report.path, row.status, None, *(column.value(row) for column in COLUMNS)]
    for skip in report.skips:
        facts = [None if column.skipped is None else column.skipped(skip) for column in COLUMNS]
        yield [report.path, "skipped", skip.reason, *facts]


def _guarded(text: str) -> str:
    shown = show(text, CELL_LIMIT)
    return f"'{shown}" if text.startswith(_FORMULA) or shown.lstrip(" ").startswith(_FORMULA) else shown
