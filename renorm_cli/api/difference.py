"""A comparison as Python users have it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from renorm_cli.model import difference
from renorm_cli.text import count_text, show


@dataclass(frozen=True, slots=True, repr=False)
class DiffReport(difference.DiffReport):
    """What `diff` found between two checkpoints: a row with a verdict for every variable of either.

    `same` tells whether all that was compared is identical, `renorm_only` whether all that differs is a pure renorm,
    and `proven`, where a renorm was expected, whether that and nothing else happened.
    """

    __module__ = "renorm_cli"

    @classmethod
    def of(cls, found: difference.DiffReport) -> DiffReport:
        """The public report of a comparison."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain dicts, lists, strings, numbers and None: the object of the JSON report."""
        from renorm_cli.render.data.diff_record import diff_dict

        return diff_dict(self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count_text(count)} {verdict}" for verdict, count in self.totals.items() if count)
        return f"<DiffReport {show(self.before.path)!r} to {show(self.after.path)!r}: {counts or 'no variables'}>"
