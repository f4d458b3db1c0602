"""Unit axes as the user says them: for all variables, or for those that a pattern names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from renorm_cli.errors import UsageError
from renorm_cli.model.variable import Variable
from renorm_cli.plan.selection import Labels

Axes = tuple[int, ...] | None
"""Axes that name units, negative ones possible; None for those that the file tells."""


class Units(NamedTuple):
    """The axes that name units: `axes` for all variables but those that a pattern in `named` matches.

    Of several patterns that match a variable the last decides.
    """

    axes: Axes = None
    named: tuple[tuple[str, Axes], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return self.axes is not None or bool(self.named)

    def of(self, variables: Sequence[Variable]) -> Mapping[str, Axes]:
        """The axes of the variables that patterns name, by key.

        Raises SelectionError for a pattern that names nothing, with the closest names.
        """
        if not self.named:
            return {}
        labels = Labels(variables)
        return {key: axes for pattern, axes in self.named for key in labels.found(pattern, "units")}


NO_UNITS = Units()


def units_of(said: Iterable[tuple[str | None, str]]) -> Units:
    """Pairs of a pattern, None for all variables, and axes as text. Raises UsageError for what is no axes."""
    axes: Axes = None
    named: list[tuple[str, Axes]] = []
    for pattern, text in said:
        if pattern is None:
            axes = parse_axes(text)
        else:
            named.append((pattern, parse_axes(text)))
    return Units(axes, tuple(named))


def parse_units(text: str) -> tuple[str | None, str]:
    """Take apart `GLOB=AXES` or `AXES`; names may have `=`, axes have none."""
    pattern, equals, axes = text.rpartition("=")
    return (pattern if equals else None), axes


def parse_axes(text: str) -> Axes:
    """The axes as text: None for "auto", else integers. Raises UsageError for anything else."""
    if text == "auto":
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"the units are auto or axes such as -1 or 0,1, for all variables or as GLOB=AXES, got {text!r}"
        ) from None
