"""Limits and unit axes from what the file's own config declares, and how far Keras itself misses them.

A Keras constraint is applied after each step of training, in the dtype of the weight: w * desired / (norm + 1e-7). So
what it leaves is off by the rounding of a norm, a quotient and a product, and is never told to be exact by anyone.
`check` allows for that, by the rule of `slack`; `apply` does not need to: what it writes is within the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from renorm_cli.conventions.units import unit_axes
from renorm_cli.errors import SelectionError, some_names
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Note, Skip, Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Role, Variable

Use = Literal["apply", "check"]

KERAS_EPSILON = 1e-7
"""keras.config.epsilon(), which the constraints add to a norm before they divide by it."""

_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
_SUMMED = _ROUNDOFF | {"bfloat16": 2.0**-24}
_LIFTED = 10


def slack(dtype: str, terms: int, low: float | None = None) -> tuple[float, float]:
    """How far, relatively, units of `terms` weights may be above a limit and below `low` after Keras' own constraint.

    Above: 4 u + sqrt(n) v. Four roundoffs u of the dtype for square root, sum with epsilon, quotient and product (all
    at most 1 each, in one direction for all weights of a unit at worst). The norm of n squares, summed in a row, is off
    by some sqrt(n) roundoffs v where roundings are independent; v is u, but float32's for bfloat16, which is summed in
    float32. With TensorFlow 2.21 on a CPU and random weights the worst was 0.6 sqrt(n) v for n up to a million in
    float32. Float16 is summed in float16, so beyond some ten thousand terms its sums stand still and Keras misses by
    more: that is found as a violation, which it is.

    Below: the same, and epsilon: a unit of norm b is made low * b / (b + 1e-7), which is at most 1e-6 (not relative)
    under `low` where b was a tenth of `low` or more. A unit of zeros stays one and is under.
    """
    above = 4 * _ROUNDOFF[dtype] + math.sqrt(terms) * _SUMMED[dtype]
    return above, above + _LIFTED * KERAS_EPSILON / low if low else above


def declared_step(variable: Variable, role: Role, use: Use) -> Step:
    """The step for a variable with a usable declaration (`why_not` is None).

    Raises SelectionError where a declared axis is not one of the variable's.
    """
    declared = variable.declared
    if declared is None or why_not(variable, use) is not None:
        raise AssertionError("only a variable that declares a constraint is constrained by it")
    if declared.kind == "NonNeg":
        return Step(variable, role, (), "declared", Constraint(nonnegative=True))
    axes = _unit_axes(variable)
    if use == "apply":
        return Step(variable, role, axes, "declared", Constraint(declared.limit))
    low = declared.low or None
    terms = variable.elements // math.prod(variable.shape[axis] for axis in axes)
    above, below = slack(variable.dtype, terms, low)
    constraint = Constraint(declared.limit, low=low, slack_above=above, slack_below=below if low else 0.0)
    return Step(variable, role, axes, "declared", constraint)


def why_not(variable: Variable, use: Use) -> str | None:
    """Why the variable is not constrained by what it declares; None if it is."""
    declared = variable.declared
    if declared is None:
        return "declares no constraint"
    if declared.kind == "unknown":
        return f"declares {declared.text}"
    if declared.kind == "NonNeg" and use == "apply":
        return "declares NonNeg, which bounds no norm: not enforced"
    return None


def nothing_declared(variables: Sequence[Variable], use: Use) -> str:
    """Why no variable is constrained: one line for the user."""
    instead = "give a bound with --max-norm"
    found = [variable for variable in variables if variable.declared is not None]
    if any(why_not(variable, use) is None for variable in found):
        return "--declared: none of the variables that declare a constraint is selected; see -i and -x"
    if any(variable.declared is not None and variable.declared.kind == "NonNeg" for variable in found):
        return f"--declared: the file declares no bound but NonNeg, which `check` looks at; {instead}"
    if found:
        names, first = some_names([variable.name for variable in found]), found[0].declared
        return f"--declared: all that is declared is unknown: {names}, {first.text if first else ''}; {instead}"
    if any(variable.layer is not None and variable.layer_source == "layer" for variable in variables):
        return f"--declared: the config in the file declares no constraint for any of its weights; {instead}"
    return f"--declared: the file has no Keras config (a .keras or a full .h5 has one), so none is declared; {instead}"


def remarks(steps: Sequence[Step], skips: Sequence[Skip], use: Use, *, strict: bool) -> list[Note]:
    """What the user should know of declarations that were not taken, or taken though they look odd.

    Raises SelectionError, if `strict`, where one is unknown.
    """
    unknown = [skip.variable for skip in skips if skip.variable.declared is not None and _is_unknown(skip)]
    notes: list[Note] = []
    if unknown:
        names, first = some_names([variable.name for variable in unknown]), unknown[0].declared
        text = f"{names}: not looked at, the config declares {first.text if first else ''}"
        if strict:
            raise SelectionError(f"--strict: {text}")
        notes.append(Note(text, warning=True))
    notes += _axis_remarks(steps)
    slow = [step.variable.name for step in steps if step.variable.declared and step.variable.declared.rate < 1]
    if slow:
        text = "the declared rate is below 1, so that training itself only moves the norms toward their bounds"
        notes.append(Note(f"{some_names(slow)}: {text}"))
    if use == "apply":
        notes += _not_enforced(steps, skips)
    return notes


def excess_notes(rows: Sequence[Row]) -> tuple[Note, ...]:
    """How far the largest norm is above its limit, where Keras' rounding is allowed; nothing if none is above."""
    worst = max((row for row in rows if row.excess), key=lambda row: row.excess or 0.0, default=None)
    if worst is None:
        return ()
    name, allowed = worst.step.variable.name, worst.step.constraint.slack_above
    found = f"largest relative excess over a declared limit: {worst.excess:.2g}, in {name!r}"
    return (Note(f"{found}; up to {allowed:.2g} there counts as the rounding of Keras' own constraint"),)


def _is_unknown(skip: Skip) -> bool:
    """Whether an unknown declaration is why it is skipped, and not a pattern of the user's."""
    declared = skip.variable.declared
    return declared is not None and declared.kind == "unknown" and skip.reason == why_not(skip.variable, "check")


def _unit_axes(variable: Variable) -> tuple[int, ...]:
    """The axes that a declared norm does not reduce."""
    declared, rank = variable.declared, len(variable.shape)
    if declared is None or declared.axis is None:
        return ()
    where = f"{variable.name!r} of shape {list(variable.shape)} declares {declared.text}"
    for axis in declared.axis:
        if not -rank <= axis < rank:
            raise SelectionError(f"{where}: axis {axis} is out of range for rank {rank}; leave it out with -x")
    reduced = {axis % rank for axis in declared.axis}
    if len(reduced) < len(declared.axis):
        raise SelectionError(f"{where}: it names one axis twice; leave it out with -x")
    return tuple(axis for axis in range(rank) if axis not in reduced)


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
    tail = "which `apply` does not enforce; `check --declared` tells whether it holds"
    notes = [Note(f"{some_names(low)}: declared with a lower bound, {tail}", warning=True)] if low else []
    return notes + ([Note(f"{some_names(negative)}: declared NonNeg, {tail}", warning=True)] if negative else [])
