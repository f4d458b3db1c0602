"""What will be done with every variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from renorm_cli.errors import Way, as_keyword, worded
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.variable import Role, Variable

AxisSource = Literal["option", "rule", "declared", "layer", "name", "guess"]


@dataclass(frozen=True, slots=True)
class Step:
    """One variable, fully decided: `unit_axes` are the axes that name units, the norm runs over all others."""

    variable: Variable
    role: Role
    unit_axes: tuple[int, ...]
    axis_source: AxisSource
    constraint: Constraint


@dataclass(frozen=True, slots=True)
class Skip:
    """A variable that is left alone, and why."""

    variable: Variable
    role: Role
    reason: str


class Note(NamedTuple):
    """Something the user should know; `warning` notes are said on stderr, all are in the report.

    `ways` are what can be done about it, as in an error.
    """

    text: str
    warning: bool = False
    ways: tuple[Way, ...] = ()

    def __str__(self) -> str:
        return worded(self.text, self.ways, as_keyword)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, in the order of the file."""

    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]
    notes: tuple[Note, ...] = ()
