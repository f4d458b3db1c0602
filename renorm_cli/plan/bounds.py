"""Where bounds come from: one bound for all, a file of rules, or the constraints that the checkpoint declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.errors import SelectionError, UsageError, Way
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.coverage import is_matrix
from renorm_cli.model.identity import BOUNDED, AxisSource, Role
from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.model.plan import Left, Note, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.units import NO_UNITS, Axes, Units

if TYPE_CHECKING:
    from renorm_cli.plan.declared import Use
    from renorm_cli.plan.rules import Rules

_REASONS: dict[Role, str] = {
    "bias": "not constrained by default",
    "scale": "not constrained by default",
    "parameter": "not constrained by default",
    "statistic": "not constrained by default",
    "optimizer": "not a weight of the model",
    "quantized": "its norm is not that of the weight it stands for",
    "lora": "part of an update of another weight",
    "state": "not trained",
}


_TAKEN_BY_UNITS = BOUNDED | {"unknown"}


class Bounded(NamedTuple):
    """What bounds a variable: a constraint on the norms of its units, the axes that name them, and who named these."""

    constraint: Constraint
    unit_axes: tuple[int, ...]
    axis_source: AxisSource


class Bounds(Protocol):
    """What a source of bounds says of the variables of one checkpoint."""

    @property
    def roles(self) -> frozenset[Role] | None:
        """The roles whose variables are taken where the user names none; None where all are."""
        ...

    def role(self, variable: Variable) -> Role:
        """What the variable is, also from what the user says of its units."""
        ...

    def aside(self, variable: Variable) -> Left | None:
        """Why the source leaves a variable out, whatever its role; None where it does not."""
        ...

    def names(self, variable: Variable) -> bool:
        """Whether the source names this variable alone, so that it is taken whatever its role."""
        ...

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        """What bounds a selected variable, or why nothing does. Raises SelectionError for axes that do not fit it."""
        ...

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        """The patterns by which the source found the variable; empty where it needs none."""
        ...

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        """Notes on the plan."""
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

    `units` are the axes that name units, as the user says them; what a pattern there names and nothing identifies is a
    kernel. `told` has these axes by key. Raises UsageError for `units` where norms run over more than a unit.
    """

    constraint: Constraint = field(default_factory=Constraint)
    units: Units = NO_UNITS
    told: Mapping[str, Axes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.units and self.constraint.per != "unit":
            raise UsageError(
                f"a norm per {self.constraint.per} has no unit axes",
                Way("units", "leave out {}"),
                Way("per", "leave out {}"),
            )

    @property
    def roles(self) -> frozenset[Role]:
        return BOUNDED

    def of(self, variables: Sequence[Variable]) -> OneBound:
        return replace(self, told=self.units.of(variables)) if self.units.named else self

    def axes(self, variable: Variable) -> Axes:
        """The axes that the user says for a variable, if any."""
        return self.told.get(variable.key, self.units.axes)

    def role(self, variable: Variable) -> Role:
        return as_kernel(variable, self.told.get(variable.key))

    def aside(self, variable: Variable) -> Left | None:
        return None

    def names(self, variable: Variable) -> bool:
        return False

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        if self.constraint.per != "unit":
            return Bounded(self.constraint, (), "option")
        axes = self.axes(variable)
        if axes is not None:
            return Bounded(self.constraint, fitting(axes, variable, "units"), "option")
        axes, source = unit_axes(variable)
        if len(variable.shape) < 2 and role not in _TAKEN_BY_UNITS:
            source = "shape"  # a bias or a scale has no other unit than itself
        return Bounded(self.constraint, axes, source)

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        return ()

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        return []

    def nothing(self, variables: Sequence[Variable]) -> SelectionError:
        return SelectionError(
            f"none of the {len(variables)} variables is selected, see `inspect`",
            Way("include", "name one"),
            Way("role", "take others"),
        )


def bound_source(
    constraint: Constraint,
    units: Units = NO_UNITS,
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
            (bool(units), Way("units", "leave out {}")),
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


def as_kernel(variable: Variable, axes: Axes) -> Role:
    """What a variable is: a kernel also where nothing identifies it and the user says the axes of its units."""
    role = role_of(variable)
    return "kernel" if axes is not None and role == "unknown" and is_matrix(variable, role) else role


def why_skipped(role: Role, variable: Variable, roles: frozenset[Role] = BOUNDED) -> Left:
    """Why a variable of a role that is not among those asked for is left alone."""
    if role in BOUNDED or (role == "unknown" and roles.isdisjoint(BOUNDED)):
        return Left("role", "not of a role that is asked for")
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
