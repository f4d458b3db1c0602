"""Where bounds come from: one bound for all, a file of rules, or the constraints that the checkpoint declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from renorm_cli.conventions.identify import unit_axes
from renorm_cli.errors import SelectionError, UsageError, Way, some_names
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.identity import AxisSource, Role
from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.model.plan import Left, Note, Skip, Step
from renorm_cli.model.variable import Variable

if TYPE_CHECKING:
    from renorm_cli.plan.declared import Use
    from renorm_cli.plan.rules import Rules

_REASONS: dict[Role, str] = {
    "bias": "not constrained by default",
    "scale": "not constrained by default",
    "statistic": "not constrained by default",
    "optimizer": "not a weight of the model",
    "quantized": "its norm is not that of the weight it stands for",
    "lora": "part of an update of another weight",
    "state": "not trained",
}


class Bounded(NamedTuple):
    """What bounds a variable: a constraint on the norms of its units, the axes that name them, and who named these."""

    constraint: Constraint
    unit_axes: tuple[int, ...]
    axis_source: AxisSource


class Bounds(Protocol):
    """What a source of bounds says of the variables of one checkpoint."""

    def aside(self, variable: Variable, role: Role) -> Left | None:
        """Why the default selection leaves a variable out; None where it takes the variable."""
        ...

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        """What bounds a selected variable, or why nothing does. Raises SelectionError for axes that do not fit it."""
        ...

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        """The patterns by which the source found the variable; empty where it needs none."""
        ...

    def doubts(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        """Warnings that are errors in a strict plan."""
        ...

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        """Other notes on the plan."""
        ...

    def nothing(self, variables: Sequence[Variable]) -> SelectionError:
        """The error for a plan that bounds none of the variables."""
        ...


class BoundSource(Protocol):
    """A source of bounds, not yet held against a checkpoint."""

    def of(self, variables: Sequence[Variable]) -> Bounds:
        """The bounds of the variables of a checkpoint. Raises SelectionError where the source does not fit them."""
        ...


@dataclass(frozen=True, slots=True)
class OneBound:
    """One constraint for all selected variables, by default kernels and embeddings.

    `units` are the axes that name units, None for those of each variable's convention. Raises UsageError for `units`
    where norms run over more than a unit.
    """

    constraint: Constraint = field(default_factory=Constraint)
    units: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.units is not None and self.constraint.per != "unit":
            raise UsageError(
                f"a norm per {self.constraint.per} has no unit axes",
                Way("units", "leave out {}"),
                Way("per", "leave out {}"),
            )

    def of(self, variables: Sequence[Variable]) -> Bounds:
        return self

    def aside(self, variable: Variable, role: Role) -> Left | None:
        return None if role in ("kernel", "embedding") else why_skipped(role, variable)

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        if self.constraint.per != "unit":
            return Bounded(self.constraint, (), "option")
        if self.units is not None:
            return Bounded(self.constraint, fitting(self.units, variable, "units"), "option")
        return Bounded(self.constraint, *unit_axes(variable))

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        return ()

    def doubts(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        guessed = [step.variable.name for step in steps if step.axis_source == "guess"]
        unidentified, unused = (
            [skip.variable.name for skip in skips if skip.code == code and len(skip.variable.shape) >= 2]
            for code in ("unidentified", "unused")
        )
        told = [
            (guessed, "the unit axes are a guess from the shape", Way("units", "say them")),
            (unidentified, "skipped, nothing in the file tells what it is", Way("include", "select it")),
            (unused, "skipped, not used in the graph", Way("include", "select it")),
        ]
        return [Note(f"{some_names(names)}: {text}", True, (way,)) for names, text, way in told if names]

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        return []

    def nothing(self, variables: Sequence[Variable]) -> SelectionError:
        return SelectionError(
            f"none of the {len(variables)} variables is selected, see `inspect`",
            Way("include", "name some ('*' is all)"),
        )


def bound_source(
    constraint: Constraint,
    units: tuple[int, ...] | None = None,
    *,
    rules: Rules | None = None,
    declared: Use | None = None,
    measures: bool = False,
) -> BoundSource:
    """The source that options ask for.

    Rules leave out what no rule matches, unless there is a limit for it or it is to be measured (`measures`). Raises
    UsageError for options that do not go together.
    """
    if rules is not None:
        if declared is not None:
            raise UsageError(
                "rules and declared constraints both say which bound a variable has",
                Way("rules", "leave out {}"),
                Way("declared", "leave out {}", True),
            )
        from renorm_cli.plan.rules import RuleBounds

        return RuleBounds(rules, OneBound(constraint, units), measures or constraint.limit is not None)
    if declared is not None:
        others = (
            (constraint.limit is not None, Way("max_norm", "leave out {}")),
            (constraint.norm != EUCLIDEAN, Way("p", "leave out {}")),
            (constraint.per != "unit", Way("per", "leave out {}")),
            (units is not None, Way("units", "leave out {}")),
        )
        for given, way in others:
            if given:
                raise UsageError(
                    "declared constraints have their limits and axes from the file, for norms of units with p = 2:"
                    " no other bound, p, units or scope can be given",
                    Way("declared", "leave out {}", True),
                    way,
                )
        from renorm_cli.plan.declared import DeclaredBounds

        return DeclaredBounds(declared)
    return OneBound(constraint, units)


def why_skipped(role: Role, variable: Variable) -> Left:
    """Why a variable of a role that is not constrained by default is left alone."""
    if role in _REASONS:
        return Left("role", _REASONS[role])
    if variable.use is not None and not variable.use.ops:
        return Left("unused", "not used in the graph")
    if len(variable.shape) >= 2:
        return Left("unidentified", "nothing in the file tells what it is")
    return Left("unidentified", "nothing in the file tells what it is, and it is no matrix")


def fitting(axes: tuple[int, ...], variable: Variable, who: str) -> tuple[int, ...]:
    """The axes of the variable, non-negative and sorted. Raises SelectionError, naming `who` asks, for no such axes."""
    rank = len(variable.shape)
    for axis in axes:
        if not -rank <= axis < rank:
            raise SelectionError(
                f"{who} {axis} is out of range for {variable.name!r} of shape {list(variable.shape)}:"
                f" axes go from {-rank} to {rank - 1}",
                Way("include", "choose others"),
                Way("exclude", "leave it out"),
            )
    found = sorted({axis % rank for axis in axes})
    if len(found) < len(axes):
        raise SelectionError(
            f"{who} {','.join(map(str, axes))} names one axis twice for {variable.name!r} of rank {rank}"
        )
    return tuple(found)
