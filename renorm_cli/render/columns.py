"""The columns of a report, declared once for the terminal table, the CSV, Markdown and the HTML page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from renorm_cli.model.coverage import coverage
from renorm_cli.model.plan import Skip
from renorm_cli.model.report import NormStats, Report, Row
from renorm_cli.model.variable import Variable
from renorm_cli.text import count_text, exact_text, number_text, shape_text, show, sparkline

Cell = str | int | float | None

COPIED, GUESSED, FOREIGN = "\N{MULTIPLICATION SIGN}", "†", "§"
ASCII_MARKS = {COPIED: "x", GUESSED: "?", FOREIGN: "!"}
MARKS = {
    COPIED: "stored so many times in this checkpoint, and counted once",
    GUESSED: "the unit axes are a guess",
    FOREIGN: "a name with characters outside ASCII",
}
"""The footnote marks of tables, and their meanings."""


class Column(NamedTuple):
    """A column: `text(row, ascii)` is safe to print; `value(row)` is the exact value, which may be foreign text.

    `skipped` gives the value for a skipped variable, or is None if such a variable has none. A narrow terminal drops
    columns by `rank`, the highest first; a column with rank None is never in the terminal table. `shown` tells whether
    a report needs the column in its table. `right` columns are aligned at the decimal point.
    """

    key: str
    title: str
    text: Callable[[Row, bool], str]
    value: Callable[[Row], Cell]
    right: bool = False
    skipped: Callable[[Skip], Cell] | None = None
    rank: int | None = None
    shown: Callable[[Report], bool] = lambda report: True


def marks(row: Row) -> str:
    """The footnote marks of a row, such as `x2 †`; see `MARKS`."""
    step = row.step
    copied = f"{COPIED}{len(step.stored)}" if step.copies else ""
    guessed = GUESSED if step.axis_source == "guess" else ""
    return " ".join(filter(None, (copied, guessed + ("" if step.variable.name.isascii() else FOREIGN))))


def is_bounded(report: Report) -> bool:
    """Whether any row has a limit, so that units can be over it."""
    return any(row.step.constraint.limit is not None for row in report.rows)


def has_lower(report: Report) -> bool:
    """Whether any row has a lower bound."""
    return any(row.step.constraint.low is not None for row in report.rows)


def has_signs(report: Report) -> bool:
    """Whether any row must not have weights below zero."""
    return any(row.step.constraint.nonnegative for row in report.rows)


def limits(report: Report) -> set[float | None]:
    """The distinct limits of the rows."""
    return {row.step.constraint.limit for row in report.rows}


def orders(report: Report) -> set[float]:
    """The distinct p of the rows."""
    return {row.step.constraint.norm.p for row in report.rows}


def folded(counts: Sequence[int], bins: int) -> tuple[int, ...]:
    """The counts of equal bins merged into `bins` equal bins; unchanged if their number is no multiple of that."""
    width, rest = divmod(len(counts), bins)
    return (
        tuple(counts)
        if rest or not width
        else tuple(sum(counts[at : at + width]) for at in range(0, len(counts), width))
    )


def dtypes(report: Report) -> set[str]:
    """The distinct dtypes of the rows."""
    return {row.step.variable.dtype for row in report.rows}


def axis_sources(report: Report) -> set[str]:
    """The distinct sources of the unit axes of the rows."""
    return {row.step.axis_source for row in report.rows}


def _foreign(
    key: str,
    title: str,
    of: Callable[[Variable], str | None],
    rank: int | None,
    shown: Callable[[Report], bool] = lambda report: True,
) -> Column:
    return Column(
        key,
        title,
        text=lambda row, ascii: show(of(row.step.variable) or "-", ascii=ascii),
        value=lambda row: of(row.step.variable),
        skipped=lambda skip: of(skip.variable),
        rank=rank,
        shown=shown,
    )


def _count(key: str, title: str, of: Callable[[Row], int], rank: int, shown: Callable[[Report], bool]) -> Column:
    return Column(key, title, lambda row, ascii: count_text(of(row)), of, right=True, rank=rank, shown=shown)


def _norm(
    key: str, title: str, of: Callable[[NormStats], float], *, after: bool = False, rank: int | None = None
) -> Column:
    def value(row: Row) -> float | None:
        stats = row.norm_after if after else row.norm
        return None if stats is None else of(stats)

    return Column(
        f"norm_after_{key}" if after else f"norm_{key}",
        title,
        text=lambda row, ascii: number_text(value(row)),
        value=value,
        right=True,
        rank=rank,
        shown=_is_changed if after else lambda report: True,
    )


def _exact(key: str, title: str, of: Callable[[Row], float | None], shown: Callable[[Report], bool]) -> Column:
    return Column(key, title, lambda row, ascii: exact_text(of(row)), of, right=True, rank=4, shown=shown)


def axes_text(row: Row) -> str:
    """The unit axes for people: `2,3`, or `none` where the whole array is one unit."""
    return ",".join(map(str, row.step.unit_axes)) or "none"


def bars_over(row: Row, bars: int) -> int:
    """How many of the last of so many bars of a histogram are over the limit: the bar it is in counts by its middle."""
    limit, norm = row.step.constraint.limit, row.norm
    if limit is None or norm is None or not row.over:
        return 0
    place = (limit - norm.min) / (norm.max - norm.min) if norm.max > norm.min else -1.0
    return bars - max(0, math.ceil(place * bars - 0.5))


def _axes(row: Row) -> str:
    return " ".join(map(str, row.step.unit_axes))


def _is_changed(report: Report) -> bool:
    return any(row.norm_after is not None for row in report.rows)


_SPARKS = 16
"""Characters of a histogram in a table."""

COLUMNS: tuple[Column, ...] = (
    _foreign("name", "name", lambda variable: variable.name, rank=0),
    _foreign("key", "key", lambda variable: variable.key, rank=None),
    _foreign("layer", "layer", lambda variable: variable.layer, rank=11),
    Column(
        "copies",
        "copies",
        text=lambda row, ascii: count_text(len(row.step.copies)),
        value=lambda row: len(row.step.copies),
        right=True,
        skipped=lambda skip: len(skip.copies),
    ),
    Column(
        "role",
        "role",
        text=lambda row, ascii: row.step.role,
        value=lambda row: row.step.role,
        skipped=lambda skip: skip.role,
    ),
    Column(
        "shape",
        "shape",
        text=lambda row, ascii: shape_text(row.step.variable.shape, ascii=ascii),
        value=lambda row: shape_text(row.step.variable.shape),
        skipped=lambda skip: shape_text(skip.variable.shape),
        rank=8,
    ),
    Column("unit_axes", "axes", text=lambda row, ascii: axes_text(row), value=_axes, rank=6),
    Column(
        "axis_source",
        "from",
        text=lambda row, ascii: row.step.axis_source,
        value=lambda row: row.step.axis_source,
        rank=7,
        shown=lambda report: len(axis_sources(report)) > 1,
    ),
    _foreign("dtype", "dtype", lambda variable: variable.dtype, rank=12, shown=lambda report: len(dtypes(report)) > 1),
    _count("units", "units", lambda row: row.units, rank=5, shown=lambda report: True),
    _norm("min", "norm min", lambda stats: stats.min, rank=9),
    _norm("median", "median", lambda stats: stats.median, rank=7),
    _norm("mean", "mean", lambda stats: stats.mean),
    _norm("p95", "p95", lambda stats: stats.p95),
    _norm("max", "norm max", lambda stats: stats.max, rank=1),
    _norm("min", "min after", lambda stats: stats.min, after=True),
    _norm("median", "median after", lambda stats: stats.median, after=True),
    _norm("mean", "mean after", lambda stats: stats.mean, after=True),
    _norm("p95", "p95 after", lambda stats: stats.p95, after=True),
    _norm("max", "after", lambda stats: stats.max, after=True, rank=3),
    Column(
        "histogram",
        "unit norms",
        text=lambda row, ascii: sparkline(folded(row.histogram, _SPARKS), ascii),
        value=lambda row: " ".join(map(str, row.histogram)),
        rank=10,
    ),
    _exact("limit", "limit", lambda row: row.step.constraint.limit, shown=lambda report: len(limits(report)) > 1),
    _exact("p", "p", lambda row: row.step.constraint.norm.p, shown=lambda report: len(orders(report)) > 1),
    _exact("low", "low", lambda row: row.step.constraint.low, shown=has_lower),
    _count("over", "over", lambda row: row.over, rank=2, shown=is_bounded),
    _count("under", "under", lambda row: row.under, rank=2, shown=has_lower),
    _count("negative", "below 0", lambda row: row.negative, rank=2, shown=has_signs),
    _count("nonfinite", "NaN/Inf", lambda row: row.nonfinite, rank=2, shown=lambda r: r.totals.nonfinite > 0),
    Column(
        "coverage",
        "coverage",
        text=lambda row, ascii: coverage(row.step) or "-",
        value=lambda row: coverage(row.step),
        skipped=lambda skip: coverage(skip),
    ),
    _foreign("declared", "declared", lambda variable: variable.declared.text if variable.declared else None, rank=None),
)
"""All columns in their order."""
