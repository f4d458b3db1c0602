"""The table of variables on the HTML page: chooses the variables that it lists, and their texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from renorm_cli.model.coverage import coverage
from renorm_cli.model.findings import Fault
from renorm_cli.model.identity import BOUNDED, Role
from renorm_cli.model.plan import Skip
from renorm_cli.model.report import Report, Row
from renorm_cli.render.columns import COLUMNS, Column, axes_text, own_limit
from renorm_cli.render.page.axis import Axis
from renorm_cli.render.page.charts import glyph, ticks
from renorm_cli.render.page.parts import Cell, Line, Table
from renorm_cli.render.page.spectra import spectrum_of
from renorm_cli.render.problems import Subject
from renorm_cli.text import count_text, exact_text, number_text, shape_text, show

NAME_LIMIT, TEXT_LIMIT = 160, 500

_COLUMNS = (
    *("shape", "units", "limit", "p", "low", "over", "under", "negative", "nonfinite"),
    *("norm_min", "norm_median", "norm_p95", "norm_max"),
    *("matrix", "spectral", "operator", "stable_rank", "norm_after_max"),
)
_OPENED = ("frobenius", "rms_norm", "effective_rank", "condition")
"""Of a matrix, told where its line is opened."""

_TITLES = {"norm_min": "min", "norm_max": "max", "norm_after_max": "max after", "nonfinite": "NaN/Inf"}
_BAD = ("over", "under", "negative", "nonfinite")
_TAGS: dict[Fault, str] = {"grew": "grew", "appeared": "new", "vanished": "gone"}


def table_of(
    report: Report, found: tuple[Subject, ...], axis: Axis | None, deep: Sequence[Row], drawn: int, listed: int
) -> Table:
    """Choose at most `listed` variables that get a line, and at most `drawn` of them that get a drawing.

    `axis` is None if there is no norm to draw; `deep` are the rows that are drawn by depth.
    """
    columns = [column for key in _COLUMNS for column in COLUMNS if column.key == key and column.shown(report)]
    of_rows = [subject for subject in found if subject.row is not None]
    order = _worst_first(of_rows)
    with_drawing = set(order[:drawn]) if axis is not None else set()
    chosen = sorted(order[:listed])
    places = {row.step.variable.key: place for place, row in enumerate(deep)}
    lines = [_line(of_rows[at], columns, axis if at in with_drawing else None, places) for at in chosen]
    lines += [_skip_line(skip) for skip in report.skips[: listed - len(lines)]]
    return Table(
        tuple((_TITLES.get(column.key, column.title), column.right) for column in columns),
        tuple(lines),
        len(of_rows) + len(report.skips),
        sum(line.glyph is not None for line in lines),
        len(of_rows) <= drawn,
        axis is not None,
        () if axis is None else ticks(axis),
        tuple(dict.fromkeys(line.role for line in lines if line.cells)),
        "" if axis is None else f"{axis.low!r} {axis.high!r} {int(axis.log)}",
    )


def listed_rows(found: tuple[Subject, ...], listed: int) -> list[Row]:
    """The rows that get a line, in the order of the report."""
    of_rows = [subject for subject in found if subject.row is not None]
    chosen = (of_rows[at].row for at in sorted(_worst_first(of_rows)[:listed]))
    return [row for row in chosen if row is not None]


def _worst_first(of_rows: Sequence[Subject]) -> list[int]:
    return sorted(range(len(of_rows)), key=lambda at: _rank(of_rows[at]))


def _rank(subject: Subject) -> tuple[float, float]:
    """The sort key that puts the worst first: by findings, then by the largest norm."""
    severity = max((1 + finding.severity for finding in subject.findings), default=0.0)
    largest = subject.row.norm.max if subject.row is not None and subject.row.norm is not None else 0.0
    return -severity, -largest


def _line(subject: Subject, columns: Sequence[Column], axis: Axis | None, places: Mapping[str, int]) -> Line:
    row = subject.row
    if row is None:
        raise AssertionError("a line is of a row")
    step, variable = row.step, row.step.variable
    copies = f"stored {len(step.stored)} times" if step.copies else ""
    axes = f"axes {axes_text(row)} from {step.axis_source}" if step.unit_axes else "the whole array"
    axes = "" if step.constraint.is_spectral else axes
    facts = (step.role, variable.layer, variable.stored_dtype, axes, copies)
    norm = row.norm
    more = (column for column in COLUMNS if column.key in _OPENED and column.value(row) is not None)
    drawing = None if axis is None or row.norm is None else glyph(row, row.norm, axis)
    return Line(
        name=named(variable.name),
        key=show(variable.key, NAME_LIMIT),
        facts=" · ".join(show(fact) for fact in facts if fact),
        shape=shape_text(variable.shape, ascii=False),
        found="; ".join(show(finding.text, TEXT_LIMIT) for finding in subject.findings),
        role=_colour(step.role),
        tags=tuple(_TAGS[finding.fault] for finding in subject.findings if finding.fault in _TAGS),
        doubts=("guess",) if step.is_guess else (),
        counts="" if norm is None else ",".join(str(count) if count else "" for count in row.histogram),
        reach="" if norm is None else f"{norm.min!r} {norm.max!r}",
        cells=tuple(_cell(column, row) for column in columns),
        glyph=drawing,
        summary="" if drawing is None else _summary(row),
        worst="; ".join(f"{','.join(map(str, unit.index)) or 'all'}: {_norm(unit.norm)}" for unit in row.worst),
        reason="",
        spectrum=spectrum_of(row),
        figures=", ".join(f"{column.title} {column.text(row, False)}" for column in more),
        depth=places.get(variable.key),
    )


def _skip_line(skip: Skip) -> Line:
    variable = skip.variable
    facts = (skip.role, variable.layer, variable.stored_dtype)
    return Line(
        name=named(variable.name),
        key=show(variable.key, NAME_LIMIT),
        facts=" · ".join(show(fact) for fact in facts if fact),
        shape=shape_text(variable.shape, ascii=False),
        found="",
        role=_colour(skip.role),
        tags=(),
        doubts=("not identified",) if coverage(skip) == "unidentified" else (),
        counts="",
        reach="",
        cells=(),
        glyph=None,
        summary="",
        worst="",
        reason=show(skip.reason, TEXT_LIMIT),
    )


def _colour(role: Role) -> str:
    """The role that a colour stands for."""
    return role if role in BOUNDED else "other"


def _cell(column: Column, row: Row) -> Cell:
    value, text = column.value(row), column.text(row, False)
    exact = sortable(value) if isinstance(value, float) else None
    return Cell(text, None if exact in (text, "") else exact, column.right, column.key in _BAD and bool(value))


def _summary(row: Row) -> str:
    """The text alternative of a drawing."""
    limit = own_limit(row)
    over = f", {count_text(row.over)} over {exact_text(limit)}" if row.over and limit is not None else ""
    after = "" if row.norm_after is None else f"; after: up to {number_text(row.norm_after.max)}"
    norm = row.norm
    return "" if norm is None else f"norms {number_text(norm.min)} to {number_text(norm.max)}{over}{after}"


def _norm(norm: float) -> str:
    return "NaN" if math.isnan(norm) else "Inf" if math.isinf(norm) else number_text(norm)


def named(name: str, limit: int = NAME_LIMIT) -> str:
    """A variable's name or a path for the page, never blank."""
    return show(name, limit).strip() or "(no name)"


def sortable(number: float | None) -> str:
    """The sort key of a number; empty, which sorts last, for None and for numbers that are not finite."""
    return f"{number:.9g}" if number is not None and math.isfinite(number) else ""
