"""Many checkpoints together, by the class of the layer: how many units there are, and where the largest norm is."""

from __future__ import annotations

from dataclasses import dataclass

from renorm_cli.model.report import Report
from renorm_cli.render.page.parts import LayerClass
from renorm_cli.text import count_text, number_text, show

CLASSES = 40
"""Classes that are listed, those of the most units first."""

_NAME_LIMIT = 100


@dataclass(slots=True)
class _Sum:
    checkpoints: int = 0
    last: int = -1
    variables: int = 0
    units: int = 0
    over: int | None = None
    largest: float = -1.0
    where: tuple[str, int | None] = "", None


class Layers:
    """Takes the reports of a page, one after the other."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}
        self._count = 0

    def add(self, report: Report, path: str, section: int | None) -> None:
        """Count in a report; `path` is as the page shows it, `section` the number of its section, if it has one."""
        self._count += 1
        for row in report.rows:
            found = self._sums.setdefault(row.variable.layer or row.step.role, _Sum())
            found.checkpoints += found.last != self._count
            found.last = self._count
            found.variables += 1
            found.units += row.units
            if not row.step.constraint.is_joint:
                found.over = (found.over or 0) + row.over
            if row.norm is not None and row.norm.max > found.largest:
                found.largest, found.where = row.norm.max, (path, section)

    def lines(self) -> tuple[LayerClass, ...]:
        """The classes, those of the most units first; none of a single report."""
        if self._count < 2:
            return ()
        order = sorted(self._sums.items(), key=lambda one: (-one[1].units, one[0]))
        return tuple(
            LayerClass(
                show(name, _NAME_LIMIT),
                count_text(one.checkpoints),
                count_text(one.variables),
                count_text(one.units),
                "-" if one.over is None else count_text(one.over),
                number_text(None if one.largest < 0 else one.largest),
                *one.where,
            )
            for name, one in order[:CLASSES]
        )
