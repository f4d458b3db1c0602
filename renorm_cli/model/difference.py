"""What a comparison of two checkpoints found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Note, Step
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.model.variable import Variable

Verdict = Literal[
    "identical",
    "pure renorm",
    "other",
    "shape changed",
    "dtype changed",
    "renamed",
    "missing",
    "added",
    "not compared",
    "left out",
]
"""What became of a variable: "left out" by the selection, "not compared" because its bytes cannot be read."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""All verdicts in their order."""


class ContextRow(NamedTuple):
    """Something besides the variables that is not the same in both checkpoints: an attribute, a config, an asset."""

    name: str
    verdict: Literal["changed", "missing", "added", "not compared"]


class DiffSide(NamedTuple):
    """One of the two checkpoints of a comparison."""

    path: str
    format: str
    bytes: int


@dataclass(frozen=True, slots=True)
class DiffRow:
    """What became of one variable; `before` or `after` is None where that checkpoint does not have it.

    `copies` are the keys of further stored copies that the same became of, those of `before` where it has them. `step`
    is how it is constrained, None where it is not. `changed` counts elements, `units` to `nonfinite` are of constrained
    variables alone: `foreign_units` are those that changed and are no multiple of the old, `over` and `nonfinite` are
    of the second checkpoint. Norms are the 2-norm of the whole tensor and the largest unit norm, None where they are
    not finite. All numbers are None where they were not asked or have no meaning.
    """

    name: str
    before: Variable | None
    after: Variable | None
    verdict: Verdict
    reason: str | None = None
    step: Step | None = None
    changed: int | None = None
    largest_change: float | None = None
    norm_before: float | None = None
    norm_after: float | None = None
    units: int | None = None
    changed_units: int | None = None
    foreign_units: int | None = None
    unit_norm_before: float | None = None
    unit_norm_after: float | None = None
    over: int | None = None
    nonfinite: int | None = None
    copies: tuple[str, ...] = ()

    def is_renorm_within(self, constraint: Constraint) -> bool:
        """Whether the variable is a pure renorm and all its units are within the bound now."""
        if self.verdict != "pure renorm" or self.step is None or constraint.limit is None:
            return False
        return self.step.constraint == constraint and self.over == 0 and self.nonfinite == 0


@dataclass(frozen=True, slots=True)
class DiffReport:
    """The outcome of a comparison; every variable of both checkpoints is in a row, stored copies of a weight in one.

    `matched_by` says what made two variables a pair. With `expected`, a renorm by `constraint` was expected; `context`
    then has what differs besides the variables, and is None where the formats are not the same.
    """

    version: str
    before: DiffSide
    after: DiffSide
    matched_by: Literal["key", "name"]
    constraint: Constraint
    rows: tuple[DiffRow, ...]
    expected: bool = False
    context: tuple[ContextRow, ...] | None = ()
    notes: tuple[Note, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    readers: Readers = field(default=EVERYONE, compare=False)
    """Who may read both checkpoints, and so files that are made of this report."""

    @property
    def totals(self) -> dict[Verdict, int]:
        """How many variables have each verdict; together they are all rows."""
        counts = Counter(row.verdict for row in self.rows)
        return {verdict: counts[verdict] for verdict in VERDICTS}

    @property
    def same(self) -> bool:
        """Whether all compared variables are identical."""
        return all(row.verdict in ("identical", "left out") for row in self.rows)

    @property
    def renorm_only(self) -> bool | None:
        """Whether every difference is a pure renorm, within the bound or not; None without a difference."""
        return None if self.same else all(row.verdict in ("identical", "left out", "pure renorm") for row in self.rows)

    def is_renorm_within(self, constraint: Constraint) -> bool:
        """Whether every changed variable is a pure renorm within the bound, and every other one is identical."""
        return all(row.verdict == "identical" or row.is_renorm_within(constraint) for row in self.rows)

    @property
    def guessed(self) -> tuple[DiffRow, ...]:
        """The variables that are a renorm only if a guess of their unit axes is right."""
        return tuple(row for row in self.rows if row.verdict == "pure renorm" and row.step and row.step.is_guess)

    @property
    def proven(self) -> bool | None:
        """Whether the expected renorm, and nothing else, happened; None where none was expected."""
        if not self.expected:
            return None
        return self.is_renorm_within(self.constraint) and self.context == () and not self.guessed

    @property
    def exit_code(self) -> int:
        """0 the same or the expected renorm, 1 different or not proven, 2 nothing differs but not all was compared."""
        if self.proven if self.expected else self.same:
            return 0
        if self.expected and self.is_renorm_within(self.constraint):
            return 2 if all(row.verdict == "not compared" for row in self.context or ()) else 1
        known = all(row.verdict in ("identical", "left out", "not compared") for row in self.rows)
        return 2 if known and not self.expected else 1
