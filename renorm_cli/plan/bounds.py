"""Where bounds come from: one bound for all, a file of rules, or the constraints that the checkpoint declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from renorm_cli.conventions.identify import identity_of, role_of, unit_axes
from renorm_cli.errors import SelectionError, UsageError, Way
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.coverage import is_matrix
from renorm_cli.model.identity import BOUNDED, AxisSource, Role
from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.model.plan import Left, Note, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.units import NO_UNITS, Axes, Units
from renorm_cli.text import counted

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
    """What bounds a variable: a constraint on the norms of its units, the axes that name them, and who named these.

    `columns` are the axes that name the columns of a matrix, under the spectral norm.
    """

    constraint: Constraint
    unit_axes: tuple[int, ...]
    axis_source: AxisSource
    columns: tuple[int, ...] = ()


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
        if self.units and self.constraint.per != "unit" and not self.constraint.is_spectral:
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
        axes = self.axes(variable)
        if self.constraint.is_spectral:
            told = None if axes is None else fitting(axes, variable, "units")
            return matrix_of(self.constraint, variable, role, told, "option")
        if self.constraint.per != "unit":
            return Bounded(self.constraint, (), "option")
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
            f"none of the {counted(len(variables), 'variable')} is selected, see `inspect`",
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
            (constraint.is_spectral, Way("norm", "leave out {}")),
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


def matrix_of(
    constraint: Constraint, variable: Variable, role: Role, told: tuple[int, ...] | None, teller: AxisSource
) -> Bounded:
    """What bounds the matrices of a variable; `told` are the axes of the columns, as the `teller` has them, if any.

    Otherwise the columns are the outputs, of an embedding the numbers of a vector. Where an axis names inputs and
    outputs at once, each of its indices is a matrix. Two axes are a matrix or its transpose, of the same norm.
    """
    if told is not None:
        return Bounded(constraint, (), teller, told)
    identity = identity_of(variable)
    outputs = tuple(axis for axis in identity.unit_axes if axis not in identity.shared)
    rest = tuple(axis for axis in range(len(variable.shape)) if axis not in identity.unit_axes)
    plain = sum(size > 1 for size in variable.shape) <= 2 and not identity.shared
    source = "shape" if plain and identity.axis_source == "guess" else identity.axis_source
    return Bounded(constraint, identity.shared, source, rest if role == "embedding" else outputs)


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
