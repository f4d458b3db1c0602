"""A comparison as one HTML page, which works offline and loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from renorm_cli.model.difference import DiffReport, DiffRow
from renorm_cli.render.diff_columns import DIFF_COLUMNS, DiffColumn
from renorm_cli.render.diff_sentences import is_fine, listed, reason, scope, verdict
from renorm_cli.render.page.page import document
from renorm_cli.render.page.table import NAME_LIMIT, TEXT_LIMIT, named, sortable
from renorm_cli.render.page.view import NOTES, PATH_LIMIT, noted
from renorm_cli.text import bytes_text, count_text, exact_text, number_text, show

LISTED = 3000
"""Variables that get a line, the worst first."""

CONTEXT = 200
"""Things besides the variables that are listed."""

_KEYS = (
    *("verdict", "shape", "dtype", "changed", "changed_units", "largest_change"),
    *("norm", "unit_norm", "over", "nonfinite"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A variable that differs; a cell is its text, the exact number behind it or "", and whether it is a number."""

    name: str
    key: str
    why: str
    bad: bool
    cells: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class DiffPage:
    """The whole page as texts and numbers, which the template arranges."""

    title: str
    version: str
    paths: tuple[str, str]
    state: str
    verdict: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    more_notes: int
    scope: str
    context: tuple[tuple[str, str], ...]
    more_context: int
    heads: tuple[tuple[str, bool], ...]
    lines: tuple[Line, ...]
    total: int


def render_diff_html(report: DiffReport) -> str:
    """Write one HTML page for a comparison: the verdict, and a line for each variable that differs, the worst first.

    It holds its style and its script, as `page.render_html` has it. Text from files is escaped.
    """
    return document("diff.html.j2", _page_of(report))


def _page_of(report: DiffReport) -> DiffPage:
    rows, context = listed(report), report.context or ()
    columns = [column for column in DIFF_COLUMNS if column.key in _KEYS and column.rank is not None]
    columns = [column for column in columns if column.shown(report)]
    names = [named(side.path.rstrip("/").rpartition("/")[2] or side.path) for side in (report.before, report.after)]
    said = verdict(report)
    return DiffPage(
        title=" → ".join(names),
        version=show(report.version),
        paths=(named(report.before.path, PATH_LIMIT), named(report.after.path, PATH_LIMIT)),
        state="good" if report.exit_code == 0 else "bad",
        verdict=said[:1].upper() + said[1:],
        facts=tuple(_facts(report)),
        notes=noted(report.notes),
        more_notes=max(0, len(report.notes) - NOTES),
        scope=scope(report),
        context=tuple((show(one.name, TEXT_LIMIT), one.verdict) for one in context[:CONTEXT]),
        more_context=max(0, len(context) - CONTEXT),
        heads=tuple((column.title, column.right) for column in columns),
        lines=tuple(_line(report, row, columns) for row in rows[:LISTED]),
        total=len(rows),
    )


def _facts(report: DiffReport) -> list[tuple[str, str]]:
    constraint = report.constraint
    sides = [(what, side) for what, side in (("Before", report.before), ("After", report.after))]
    return [
        *((what, f"{show(side.format)}, {bytes_text(side.bytes)}") for what, side in sides),
        ("Matched by", report.matched_by),
        ("Bound", exact_text(constraint.limit) if constraint.limit is not None else "none"),
        ("Norm", f"{constraint.norm.text}, per {constraint.per}"),
        *((what.capitalize(), count_text(count)) for what, count in report.totals.items() if count),
        ("Time", f"{number_text(report.seconds)} s"),
    ]


def _line(report: DiffReport, row: DiffRow, columns: Sequence[DiffColumn]) -> Line:
    variable, why = row.before or row.after, reason(row, report)
    return Line(
        name=named(row.name),
        key="" if variable is None else show(variable.key, NAME_LIMIT),
        why="" if why is None else show(why, TEXT_LIMIT),
        bad=not is_fine(row, report),
        cells=tuple((column.text(row, False), _exact(column, row), column.right) for column in columns),
    )


def _exact(column: DiffColumn, row: DiffRow) -> str:
    value = None if column.value is None else column.value(row)
    return sortable(float(value)) if isinstance(value, int | float) else ""
