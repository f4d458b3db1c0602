"""Limits and unit axes from what the file's own config declares, and how far Keras itself misses them.

Keras applies a constraint after each step of training, in the dtype of the weight: w * desired / (norm + 1e-7). The
result has the rounding errors of a norm, a quotient and a product. `check` allows for them (`tolerances`); `apply` need
not, because what it writes is within the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.errors import SelectionError, Way, some_names
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.coverage import is_matrix
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import BOUNDED, AxisSource, Role
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Left, Note, Skip, Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Declared, Variable
from renorm_cli.plan.bounds import Bounded, Bounds, why_skipped

Use = Literal["apply", "check"]

KERAS_EPSILON = 1e-7
"""keras.config.epsilon(), which the constraints add to a norm before they divide by it."""

_LIFTED = 10


def tolerances(dtype: str, terms: int, low: float | None = None) -> tuple[float, float]:
    """How far, relatively, units of `terms` weights may be above a limit and below `low` after Keras' own constraint.

    Above: 4 u + sqrt(n) v. Four roundoffs u of the dtype for square root, sum with epsilon, quotient and product (all
    at most 1 each, in one direction for all weights of a unit at worst). The norm of n squares, summed in a row, is off
    by some sqrt(n) roundoffs v where roundings are independent; v is u, but float32's for bfloat16, which is summed in
    float32. Float16 is summed in float16: beyond some ten thousand terms its sums stop growing and Keras misses the
    limit by more, which is a violation.

    Below: the same, and epsilon: a unit of norm b is made low * b / (b + 1e-7), which is at most 1e-6 (not relative)
    under `low` where b was a tenth of `low` or more. A unit of zeros stays one and is under.
    """
    summed = "float32" if dtype == "bfloat16" else dtype
    above = 4 * FLOATS[dtype].roundoff + math.sqrt(terms) * FLOATS[summed].roundoff
    return above, above + _LIFTED * KERAS_EPSILON / low if low else above


@dataclass(frozen=True, slots=True)
class DeclaredBounds:
    """Bounds by the constraints that the file's own config declares, for `apply` or for `check`.

    All variables are selected by default. `check` looks at all constraints and allows for Keras' rounding, `apply`
    enforces the upper bounds.
    """

    use: Use

    def of(self, variables: Sequence[Variable]) -> Bounds:
        return self

    @property
    def roles(self) -> None:
        return None

    def role(self, variable: Variable) -> Role:
        return role_of(variable)

    def aside(self, variable: Variable) -> Left | None:
        return None

    def names(self, variable: Variable) -> bool:
        return False

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        declared = variable.declared
        if variable.state is not None or (declared is None and is_matrix(variable, role) and role not in BOUNDED):
            return why_skipped(role, variable)  # of what nothing identifies, nothing tells what is declared for it
        if declared is None:
            return Left("undeclared", "declares no constraint")
        if declared.kind == "unknown":
            return Left("unknown_constraint", f"declares {declared.text}")
        if declared.kind == "NonNeg":
            if self.use == "apply":
                return Left("not_enforced", "declares NonNeg, which bounds no norm: not enforced")
            return Bounded(Constraint(nonnegative=True), (), "declared")
        if declared.kind == "RenormConstraint":  # what it bounds is within the limit, as what `apply` writes
            return Bounded(Constraint(declared.limit, PNorm(declared.p)), *_kept_axes(variable, declared))
        axes = _unit_axes(variable, declared)
        if self.use == "apply":
            return Bounded(Constraint(declared.limit), axes, "declared")
        low = declared.low or None
        terms = variable.elements // math.prod(variable.shape[axis] for axis in axes)
        above, below = tolerances(variable.dtype, terms, low)
        constraint = Constraint(declared.limit, low=low, tolerance=above, low_tolerance=below if low else 0.0)
        return Bounded(constraint, axes, "declared")

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        return ()

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        notes = [*_unknown(skips), *_axis_remarks(steps)]
        slow = [step.variable.name for step in steps if step.variable.declared and step.variable.declared.rate < 1]
        if slow:
            text = "the declared rate is below 1, so that training itself only moves the norms toward their bounds"
            notes.append(Note(f"{some_names(slow)}: {text}"))
        return notes + (_not_enforced(steps, skips) if self.use == "apply" else [])

    def nothing(self, variables: Sequence[Variable]) -> SelectionError:
        found = [variable for variable in variables if variable.declared is not None]
        kinds = {variable.declared.kind for variable in found if variable.declared is not None}
        if kinds - {"unknown"} - ({"NonNeg"} if self.use == "apply" else set()):
            return SelectionError(
                "none of the variables that declare a constraint is selected",
                Way("include", "name some"),
                Way("exclude", "name fewer"),
            )
        if "NonNeg" in kinds:
            text = "the file declares no bound but NonNeg, which `check` looks at"
        elif found:
            names, first = some_names([variable.name for variable in found]), found[0].declared
            text = f"all that is declared is unknown: {names}, {first.text if first else ''}"
        elif any(variable.layer is not None and variable.hint.source == "layer" for variable in variables):
            text = "the config in the file declares no constraint for any of its weights"
        else:
            text = "the file has no Keras config (a .keras or a full .h5 has one), so none is declared"
        return SelectionError(text, Way("max_norm", "give a bound"))


def excess_notes(rows: Sequence[Row]) -> tuple[Note, ...]:
    """How far the largest norm is above its limit, where Keras' rounding is allowed; nothing if none is above."""
    worst = max((row for row in rows if row.excess), key=lambda row: row.excess or 0.0, default=None)
    if worst is None:
        return ()
    name, allowed = worst.step.variable.name, worst.step.constraint.tolerance
    found = f"largest relative excess over a declared limit: {worst.excess:.2g}, in {name!r}"
    return (Note(f"{found}; up to {allowed:.2g} there counts as the rounding of Keras' own constraint"),)


def _kept_axes(variable: Variable, declared: Declared) -> tuple[tuple[int, ...], AxisSource]:
    """The axes that a RenormConstraint keeps. Raises SelectionError for axes that are not the variable's."""
    if declared.units == "auto":
        return unit_axes(variable)
    return tuple(sorted(_positive(variable, declared, declared.units or ()))), "declared"


def _unit_axes(variable: Variable, declared: Declared) -> tuple[int, ...]:
    """The axes that a declared norm does not reduce. Raises SelectionError for axes that are not the variable's."""
    if declared.axis is None:
        return ()
    reduced = _positive(variable, declared, declared.axis)
    return tuple(axis for axis in range(len(variable.shape)) if axis not in reduced)


def _positive(variable: Variable, declared: Declared, axes: tuple[int, ...]) -> set[int]:
    """Declared axes as numbers from 0 on."""
    rank = len(variable.shape)
    where = f"{variable.name!r} of shape {list(variable.shape)} declares {declared.text}"
    for axis in axes:
        if not -rank <= axis < rank:
            raise SelectionError(
                f"{where}: axis {axis} is out of range for rank {rank}", Way("exclude", "leave it out")
            )
    found = {axis % rank for axis in axes}
    if len(found) < len(axes):
        raise SelectionError(f"{where}: it names one axis twice", Way("exclude", "leave it out"))
    return found


def _unknown(skips: Sequence[Skip]) -> list[Note]:
    """A warning of constraints that are not known."""
    unknown = [skip.variable for skip in skips if skip.code == "unknown_constraint"]
    text = next((variable.declared.text for variable in unknown if variable.declared is not None), "")
    names = some_names([variable.name for variable in unknown])
    return [Note(f"{names}: not looked at, the config declares {text}", warning=True)] if unknown else []


def _axis_remarks(steps: Sequence[Step]) -> list[Note]:
    """Where the declared axes leave other units than the layer has; Keras' default, axis 0, often does."""
    odd: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for step in steps:
        own, source = unit_axes(step.variable)
        declared = step.variable.declared
        if declared is None or not declared.bounds_norm or source == "guess" or own == step.unit_axes:
            continue
        odd.setdefault((declared.text, step.unit_axes, own), []).append(step.variable.name)
    return [
        Note(
            f"{some_names(names)}: {text} is taken as it is, with units along {_axes(axes)};"
            f" the layer's units are along {_axes(own)}",
            warning=True,
        )
        for (text, axes, own), names in odd.items()
    ]


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {' '.join(map(str, axes))}" if axes else "no axis"


def _not_enforced(steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
    low = [step.variable.name for step in steps if step.variable.declared and step.variable.declared.low]
    negative = [
        skip.variable.name for skip in skips if skip.variable.declared and skip.variable.declared.kind == "NonNeg"
    ]
    tail = "which `apply` does not enforce; `check` tells whether it holds"
    notes = [Note(f"{some_names(low)}: declared with a lower bound, {tail}", warning=True)] if low else []
    return notes + ([Note(f"{some_names(negative)}: declared NonNeg, {tail}", warning=True)] if negative else [])
