"""The columns of a comparison, declared once for the terminal table and the CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from renorm_cli.model.difference import DiffReport, DiffRow
from renorm_cli.model.variable import Variable
from renorm_cli.render.columns import Cell
from renorm_cli.text import count_text, number_text, shape_text, show


@dataclass(frozen=True, slots=True)
class DiffColumn:
    """A column: `text(row, ascii)` is safe to print; `value(row)` is the exact value, which may be foreign text.

    A column without `value` is only in the terminal table, and combines two columns of the CSV. `rank` and `shown` are
    as in `columns.Column`.
    """

    key: str
    title: str
    text: Callable[[DiffRow, bool], str]
    value: Callable[[DiffRow], Cell] | None
    right: bool = False
    rank: int | None = None
    shown: Callable[[DiffReport], bool] = lambda report: True


def _foreign(key: str, title: str, of: Callable[[DiffRow], str | None], rank: int | None = None) -> DiffColumn:
    return DiffColumn(key, title, lambda row, ascii: show(of(row) or "-", ascii=ascii), of, rank=rank)


def _count(
    key: str,
    title: str,
    of: Callable[[DiffRow], int | None],
    rank: int | None = None,
    shown: Callable[[DiffReport], bool] = lambda report: True,
) -> DiffColumn:
    def text(row: DiffRow, ascii: bool) -> str:
        count = of(row)
        return "-" if count is None else count_text(count)

    return DiffColumn(key, title, text, of, right=True, rank=rank, shown=shown)


def _share(
    key: str,
    title: str,
    of: Callable[[DiffRow], int | None],
    among: Callable[[DiffRow], int | None],
    rank: int,
) -> DiffColumn:
    """A column with a count; the table also shows the total."""

    def text(row: DiffRow, ascii: bool) -> str:
        count, whole = of(row), among(row)
        return "-" if count is None else f"{count_text(count)} of {count_text(whole or 0)}"

    return DiffColumn(key, title, text, of, right=True, rank=rank)


def _number(key: str, title: str, of: Callable[[DiffRow], float | None], rank: int | None = None) -> DiffColumn:
    return DiffColumn(key, title, lambda row, ascii: number_text(of(row)), of, right=True, rank=rank)


def _arrow(
    key: str,
    title: str,
    before: Callable[[DiffRow], float | None],
    after: Callable[[DiffRow], float | None],
    rank: int,
) -> DiffColumn:
    def text(row: DiffRow, ascii: bool) -> str:
        if before(row) is None and after(row) is None:
            return "-"
        return f"{number_text(before(row))}{_becomes(ascii)}{number_text(after(row))}"

    return DiffColumn(key, title, text, value=None, rank=rank)


def _becomes(ascii: bool) -> str:
    return " -> " if ascii else " → "


def _fact(key: str, of: Callable[[Variable, bool], str], rank: int) -> DiffColumn:
    """A column with a fact about the variable, or with the fact before and after if they differ."""

    def text(row: DiffRow, ascii: bool) -> str:
        found = [of(variable, ascii) for variable in (row.before, row.after) if variable is not None]
        return _becomes(ascii).join(dict.fromkeys(found))

    return DiffColumn(key, key, text, value=None, rank=rank)


def _pair(key: str, of: Callable[[Variable], Cell]) -> tuple[DiffColumn, DiffColumn]:
    """Two columns of the CSV, for a fact before and after."""

    def before(row: DiffRow) -> Cell:
        return None if row.before is None else of(row.before)

    def after(row: DiffRow) -> Cell:
        return None if row.after is None else of(row.after)

    return (
        DiffColumn(f"{key}_before", f"{key} before", lambda row, ascii: show(str(before(row)), ascii=ascii), before),
        DiffColumn(f"{key}_after", f"{key} after", lambda row, ascii: show(str(after(row)), ascii=ascii), after),
    )


def _axes(row: DiffRow) -> str | None:
    return None if row.step is None else " ".join(map(str, row.step.unit_axes))


def _elements(row: DiffRow) -> int | None:
    return None if row.before is None else row.before.elements


def _is_bounded(report: DiffReport) -> bool:
    return report.constraint.limit is not None


DIFF_COLUMNS: tuple[DiffColumn, ...] = (
    _foreign("name", "name", lambda row: row.name, rank=0),
    _foreign("verdict", "verdict", lambda row: row.verdict, rank=1),
    _foreign("reason", "reason", lambda row: row.reason),
    *_pair("key", lambda variable: variable.key),
    *_pair("shape", lambda variable: shape_text(variable.shape)),
    *_pair("dtype", lambda variable: variable.stored_dtype),
    _fact("shape", lambda variable, ascii: shape_text(variable.shape, ascii=ascii), rank=9),
    _fact("dtype", lambda variable, ascii: show(variable.stored_dtype, ascii=ascii), rank=10),
    _foreign("unit_axes", "unit axes", _axes),
    _foreign("axis_source", "axes from", lambda row: None if row.step is None else row.step.axis_source),
    _share("changed", "changed", lambda row: row.changed, _elements, rank=2),
    _count("units", "units", lambda row: row.units),
    _share("changed_units", "units changed", lambda row: row.changed_units, lambda row: row.units, rank=5),
    _count("foreign_units", "not multiples", lambda row: row.foreign_units),
    _number("largest_change", "largest change", lambda row: row.largest_change, rank=3),
    _arrow("norm", "norm", lambda row: row.norm_before, lambda row: row.norm_after, rank=6),
    _number("norm_before", "norm before", lambda row: row.norm_before),
    _number("norm_after", "norm after", lambda row: row.norm_after),
    _arrow("unit_norm", "largest unit", lambda row: row.unit_norm_before, lambda row: row.unit_norm_after, rank=4),
    _number("unit_norm_before", "largest unit before", lambda row: row.unit_norm_before),
    _number("unit_norm_after", "largest unit after", lambda row: row.unit_norm_after),
    _count("over", "over", lambda row: row.over, rank=2, shown=_is_bounded),
    _count("nonfinite", "NaN/Inf", lambda row: row.nonfinite, rank=7, shown=lambda r: any(x.nonfinite for x in r.rows)),
)
"""All columns in their order."""
