"""The columns of a report, declared once for the terminal table, the CSV, Markdown and the HTML page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from renorm_cli.model.coverage import coverage
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Skip
from renorm_cli.model.report import NormStats, Report, Row
from renorm_cli.model.spectral import MOST_CONDITION, Span, Spectral, Spectrum
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


BEYOND = f">{MOST_CONDITION:.0e}".replace("+0", "")
"""A condition number that is not known, but above this."""


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


def counts_over(report: Report) -> bool:
    """Whether units of the rows are over their limit, each by its norm: not so with a joint norm."""
    return is_bounded(report) and report.joint is None


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
    return {norm.p for row in report.rows if isinstance(norm := row.step.constraint.norm, PNorm)}


def has_units(report: Report) -> bool:
    """Whether any row has units that are no matrices."""
    return not has_matrices(report) or any(not row.step.constraint.is_spectral for row in report.rows)


def has_spectra(report: Report) -> bool:
    """Whether any row has figures of all singular values."""
    return any(row.spectral is not None and row.spectral.spectrum is not None for row in report.rows)


def has_operators(report: Report) -> bool:
    """Whether any row has the operator norm of a convolution."""
    return any(row.spectral is not None and row.spectral.operator is not None for row in report.rows)


def noun(report: Report) -> str:
    """What the norms of all rows are called: operator norms if some are, else spectral norms, or just norms."""
    found = {row.noun for row in report.rows}
    return "norm" if not found or "norm" in found else min(found)


def has_matrices(report: Report) -> bool:
    """Whether any row has spectral norms."""
    return any(row.step.constraint.is_spectral for row in report.rows)


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
    return {row.step.variable.stored_dtype for row in report.rows}


def axis_sources(report: Report) -> set[str]:
    """The distinct sources of the unit axes of the rows."""
    return {row.step.axis_source for row in report.rows if row.step.unit_axes or row.step.constraint.is_spectral}


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
        shown=_is_changed if after else has_units,
    )


def _figure(
    key: str, title: str, of: Callable[[Spectral], float | None], rank: int | None, shown: Callable[[Report], bool]
) -> Column:
    def value(row: Row) -> float | None:
        return None if row.spectral is None else of(row.spectral)

    return Column(key, title, lambda row, ascii: number_text(value(row)), value, right=True, rank=rank, shown=shown)


def _operator(key: str, title: str, of: Callable[[Span], float], rank: int | None) -> Column:
    def value(found: Spectral) -> float | None:
        return None if found.operator is None else of(found.operator)

    return _figure(key, title, value, rank, has_operators)


def _spectrum(key: str, title: str, of: Callable[[Spectrum], float | None], rank: int | None) -> Column:
    def value(found: Spectral) -> float | None:
        return None if found.spectrum is None else of(found.spectrum)

    return _figure(key, title, value, rank, has_spectra)


def _condition() -> Column:
    def value(row: Row) -> float | str | None:
        if row.spectral is None or row.spectral.spectrum is None:
            return None
        return row.spectral.spectrum.condition or BEYOND

    def text(row: Row, ascii: bool) -> str:
        found = value(row)
        return found if isinstance(found, str) else number_text(found)

    return Column("condition", "condition", text, value, right=True, rank=7, shown=has_spectra)


def _matrix_text(row: Row, ascii: bool = False) -> str:
    found = row.spectral
    if found is None:
        return "-"
    blocks = "" if found.matrices == 1 else f" ({count_text(found.matrices)})"
    return shape_text((found.rows, found.columns), ascii=ascii) + blocks


def _exact(key: str, title: str, of: Callable[[Row], float | None], shown: Callable[[Report], bool]) -> Column:
    return Column(key, title, lambda row, ascii: exact_text(of(row)), of, right=True, rank=4, shown=shown)


def _order(row: Row) -> float | None:
    norm = row.step.constraint.norm
    return norm.p if isinstance(norm, PNorm) else None


def axes_text(row: Row) -> str:
    """The unit axes for people: `2,3`, or `none` where the whole array is one unit."""
    return ",".join(map(str, row.step.unit_axes)) or "none"


def own_limit(row: Row) -> float | None:
    """The limit of each norm of a row; None where there is none, or it is that of a joint norm."""
    return None if row.step.constraint.is_joint else row.step.constraint.limit


def bars_over(row: Row, bars: int) -> int:
    """How many of the last of so many bars of a histogram are over the limit: the bar it is in counts by its middle."""
    limit, norm = own_limit(row), row.norm
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

MATRIX_COLUMNS: tuple[Column, ...] = (
    Column(
        "matrix",
        "matrix",
        text=_matrix_text,
        value=lambda row: None if row.spectral is None else _matrix_text(row),
        rank=9,
        shown=has_matrices,
    ),
    _figure("spectral", "spectral", lambda found: found.norm, 1, has_matrices),
    _figure("spectral_lower", "at least", lambda found: found.lower, None, has_matrices),
    _figure("spectral_upper", "at most", lambda found: found.upper, None, has_matrices),
    _operator("operator_lower", "at least", lambda found: found.lower, None),
    _operator("operator", "operator", lambda found: found.upper, 1),
    _figure("frobenius", "Frobenius", lambda found: found.frobenius, 6, has_matrices),
    _figure("stable_rank", "stable rank", lambda found: found.stable_rank, 5, has_matrices),
    _figure("rms_norm", "RMS norm", lambda found: found.rms_norm, 8, has_matrices),
)
"""The columns of matrices."""

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
    Column("unit_axes", "axes", text=lambda row, ascii: axes_text(row), value=_axes, rank=6, shown=has_units),
    Column(
        "axis_source",
        "from",
        text=lambda row, ascii: row.step.axis_source,
        value=lambda row: row.step.axis_source,
        rank=7,
        shown=lambda report: len(axis_sources(report)) > 1,
    ),
    _foreign(
        "dtype", "dtype", lambda variable: variable.stored_dtype, rank=12, shown=lambda report: len(dtypes(report)) > 1
    ),
    _count("units", "units", lambda row: row.units, rank=5, shown=has_units),
    _norm("min", "norm min", lambda stats: stats.min, rank=9),
    _norm("median", "median", lambda stats: stats.median, rank=7),
    _norm("mean", "mean", lambda stats: stats.mean),
    _norm("p95", "p95", lambda stats: stats.p95),
    _norm("max", "norm max", lambda stats: stats.max, rank=1),
    *MATRIX_COLUMNS,
    _spectrum("effective_rank", "effective rank", lambda found: found.effective_rank, 7),
    _condition(),
    _spectrum("alpha", "alpha", lambda found: None if found.power_law is None else found.power_law.alpha, 7),
    _spectrum("alpha_xmin", "from", lambda found: None if found.power_law is None else found.power_law.xmin, None),
    _spectrum(
        "alpha_distance", "distance", lambda found: None if found.power_law is None else found.power_law.distance, 7
    ),
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
        shown=has_units,
    ),
    _exact("limit", "limit", lambda row: row.step.constraint.limit, shown=lambda report: len(limits(report)) > 1),
    Column(
        "norm_kind",
        "norm",
        text=lambda row, ascii: row.step.constraint.norm.kind,
        value=lambda row: row.step.constraint.norm.kind,
        rank=4,
        shown=lambda report: has_matrices(report) and has_units(report),
    ),
    _exact("p", "p", _order, shown=lambda report: len(orders(report)) > 1),
    _exact("low", "low", lambda row: row.step.constraint.low, shown=has_lower),
    _count("over", "over", lambda row: row.over, rank=2, shown=counts_over),
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
