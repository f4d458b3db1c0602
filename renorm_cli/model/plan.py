"""What will be done with every variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from renorm_cli.errors import Way, as_keyword, worded
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.identity import AxisSource, Role
from renorm_cli.model.norm import SpectralNorm
from renorm_cli.model.variable import Variable

SkipCode = Literal[
    "dtype",
    "empty",
    "unreadable",
    "not_included",
    "excluded",
    "no_rule",
    "rule_leaves",
    "undeclared",
    "unknown_constraint",
    "not_enforced",
    "role",
    "unidentified",
    "unused",
]
"""Why a variable is skipped, for programs:

- `dtype`: norms of its dtype are not bounded; `empty`: it has no elements; `unreadable`: its bytes cannot be read.
- `not_included`, `excluded`: by the patterns. `no_rule`: no rule matches it; `rule_leaves`: its rule leaves it alone.
- `undeclared`: the file declares no constraint for it; `unknown_constraint`: it declares one that is not known;
  `not_enforced`: it declares one that bounds no norm.
- `role`: its role is not among those asked for; `unidentified`: nothing in the file tells its role; `unused`:
  neither its name nor the graph tells its role, because no op of the graph uses it.
"""

REQUESTED: frozenset[SkipCode] = frozenset({"not_included", "excluded", "no_rule", "rule_leaves"})
"""The codes of variables that are skipped because the user asked for it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One variable, fully decided: `unit_axes` are the axes that name units, the norm runs over all others.

    `copies` are further stored copies of the weight: the same bytes, measured once and written alike.
    Under the spectral norm a unit is a matrix, whose columns `columns` name and whose rows all other axes; `spatial`
    are those along which a convolution moves.
    """

    variable: Variable
    role: Role
    unit_axes: tuple[int, ...]
    axis_source: AxisSource
    constraint: Constraint
    copies: tuple[Variable, ...] = ()
    columns: tuple[int, ...] = ()
    spatial: tuple[int, ...] = ()

    @property
    def stored(self) -> tuple[Variable, ...]:
        """The variable and its stored copies: all arrays that are written."""
        return self.variable, *self.copies

    @property
    def is_guess(self) -> bool:
        """Whether nothing tells the unit axes, or two that know disagree; one element has them all."""
        return self.axis_source == "guess" and self.variable.elements > 1

    @property
    def may_convolve(self) -> bool:
        """Whether its norm is to be that of an operator, and nothing tells whether it is a convolution."""
        norm, variable = self.constraint.norm, self.variable
        if not (isinstance(norm, SpectralNorm) and norm.operator) or self.spatial or self.role == "embedding":
            return False
        layer = variable.layer
        told = variable.hint.equation is not None or (layer is not None and not layer.startswith("LocallyConnected"))
        return sum(size > 1 for size in variable.shape) > 2 and not told


@dataclass(frozen=True, slots=True)
class Skip:
    """A variable that is left alone with its stored `copies`, and why: `code` for decisions, `reason` for people."""

    variable: Variable
    role: Role
    code: SkipCode
    reason: str
    copies: tuple[Variable, ...] = ()


class Left(NamedTuple):
    """Why a variable is left alone: the `code` and the `reason` of its Skip."""

    code: SkipCode
    reason: str


class Note(NamedTuple):
    """Something the user should know; `warning` notes are said on stderr, all are in the report.

    `ways` are what can be done about it, as in an error. A `doubt` is why a verdict cannot be given, or why less was
    bounded than may be: it is said also where a run is to be quiet.
    """

    text: str
    warning: bool = False
    ways: tuple[Way, ...] = ()
    doubt: bool = False

    def __str__(self) -> str:
        return worded(self.text, self.ways, as_keyword)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, in the order of the model; stored copies of one weight are in one step or skip."""

    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]
    notes: tuple[Note, ...] = ()
