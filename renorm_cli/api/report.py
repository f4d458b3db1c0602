"""A report as Python users and notebooks have it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from renorm_cli.errors import RenormError, SelectionError, UsageError, Way, some_names
from renorm_cli.model import report
from renorm_cli.model.report import Row
from renorm_cli.text import count_text, counted, show

if TYPE_CHECKING:
    import pandas as pd

    from renorm_cli.norms.error_free import Float64
    from renorm_cli.run.unit_norms import UnitNorms


@dataclass(frozen=True, slots=True, repr=False)
class Report(report.Report):
    """What `inspect`, `check` or `apply` found in one checkpoint.

    `rows` has a `Row` for each constrained variable and `skips` the others with the reason, both in the order of the
    file; `totals` counts them and `holds` tells whether the bound does. `norms` are the norms of all units, None where
    they were not kept.
    """

    __module__ = "renorm_cli"

    norms: UnitNorms | None = field(default=None, compare=False)

    @classmethod
    def of(cls, found: report.Report, norms: UnitNorms | None = None) -> Report:
        """The public report of what was found."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)}, norms=norms)

    def row(self, name: str) -> Row:
        """The row of a constrained variable, by its name or its key.

        Raises SelectionError where there is none, or where several variables have that name.
        """
        rows = [row for row in self.rows if any(one.key == name for one in row.step.stored)]
        rows = rows or [row for row in self.rows if row.step.variable.name == name]
        if len(rows) == 1:
            return rows[0]
        if rows:
            keys = some_names([row.step.variable.key for row in rows])
            raise SelectionError(f"{len(rows)} variables are called {name!r}; name one by its key: {keys}")
        for skip in self.skips:
            if name in (skip.variable.name, skip.variable.key, *(one.key for one in skip.copies)):
                raise SelectionError(f"{name!r} is skipped: {skip.reason}", Way("include", "select it"))
        raise SelectionError(f"{show(self.path)!r} has no variable {name!r}; its constrained ones are {self._names()}")

    def unit_norms(self, name: str) -> Float64:
        """The norms of all units of a constrained variable, by its name or its key, before anything was bounded.

        A new float64 array in the shape of the unit grid: that of the variable with length 1 for every axis that names
        no units, so that `weights / norms` broadcasts. It has NaN or Inf where a norm is not finite. Raises
        SelectionError as `row` does, and UsageError where the report was made without its norms.
        """
        row = self.row(name)
        if self.norms is None:
            raise UsageError("the report has no norms of single units", Way("keep_norms", "make it", True))
        return self.norms.grid(row.step)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings, numbers and None: the object of the JSON report.

        Numbers that are not finite are None, an infinite p is "inf".
        """
        from renorm_cli.render.data.json_report import report_dict

        return report_dict(self)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each variable, constrained or skipped, with the columns of the CSV report and exact values.

        Counts are of dtype Int64, as skipped variables have none. Raises RenormError where pandas is not installed.
        """
        from renorm_cli.render.data.csv_report import HEADER, lines

        try:
            import pandas as pd
        except ImportError:
            raise RenormError(
                "pandas is not installed; pip install 'renorm-ckpt[pandas]' to have a report as a table of it"
            ) from None
        columns = list(zip(*lines(self), strict=True)) or [()] * len(HEADER)
        return pd.DataFrame({key: _series(cells) for key, cells in zip(HEADER, columns, strict=True)})

    def __repr__(self) -> str:
        totals = self.totals
        bounded = any(row.step.constraint.limit is not None for row in self.rows)
        over = f", {count_text(totals.over)} over the bound" if bounded else ""
        over = over if self.joint is None else f", {self.joint.text()}"
        bad = f", {count_text(totals.nonfinite)} not finite" if totals.nonfinite else ""
        found = f"{counted(totals.units, 'unit')} in {counted(totals.constrained, 'variable')}{over}{bad}"
        return f"<Report of {self.command} {show(self.path)!r}: {found}, {count_text(totals.skipped)} skipped>"

    def _repr_html_(self) -> str:
        """The table and the charts of the HTML page, for a notebook."""
        from renorm_cli.render.page.page import render_cell

        return render_cell(self)

    def _names(self) -> str:
        return some_names([row.step.variable.name for row in self.rows])


def _series(cells: tuple[Any, ...]) -> pd.Series[Any]:
    import pandas as pd

    kinds = {type(cell) for cell in cells if cell is not None}
    dtype = "object" if not kinds <= {int, float} else "Int64" if float not in kinds else "float64"
    return pd.Series(cells, dtype=dtype)
