"""From headers and options to a plan: every variable becomes a step or a skip with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from renorm_cli.conventions.identify import identify, role_of
from renorm_cli.errors import FormatError, SelectionError, UsageError, Way, some_names
from renorm_cli.model.constraint import Selection
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import Role
from renorm_cli.model.plan import Left, Note, Plan, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import Bounded, Bounds, BoundSource
from renorm_cli.plan.selection import chosen, named


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is asked for: where bounds come from, which variables they are for, and what is an error.

    With `strict` a guess is an error. With `must_act` it is one to bound nothing (a gate that looked at nothing must
    not pass) and to select what cannot be read.
    """

    source: BoundSource
    selection: Selection = field(default_factory=Selection)
    strict: bool = False
    must_act: bool = True


def parse_units(text: str) -> tuple[int, ...] | None:
    """The axes of units as text: None for "auto", else integers. Raises UsageError for anything else."""
    if text == "auto":
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"the units are auto or axes such as -1 or 0,1, got {text!r}") from None


def make_plan(variables: Sequence[Variable], notes: Sequence[Note], request: Request) -> Plan:
    """Decide for every variable, from headers alone, in the order of the file.

    Raises SelectionError for patterns or axes that fit nothing and, with `strict`, for guesses; FormatError for a
    selected variable whose bytes cannot be read.
    """
    if any(variable.identity is None for variable in variables):
        variables = identify(variables)
    bounds = request.source.of(variables)
    roles = {variable.key: role_of(variable) for variable in variables}
    asides = {variable.key: bounds.aside(variable, roles[variable.key]) for variable in variables}
    selected = chosen(variables, request.selection, lambda variable: asides[variable.key] is None)
    steps: list[Step] = []
    skips: list[Skip] = []
    for variable in variables:
        role = roles[variable.key]
        decided = (
            _unfit(variable)
            or (None if variable.key in selected else _unselected(variable, asides[variable.key], request.selection))
            or _bound(variable, role, bounds, request)
        )
        if isinstance(decided, Left):
            skips.append(Skip(variable, role, *decided))
        else:
            steps.append(Step(variable, role, decided.unit_axes, decided.axis_source, decided.constraint))
    if request.must_act and not steps:
        raise bounds.nothing(variables)
    doubts = bounds.doubts(steps, skips)
    if request.strict and doubts:
        raise SelectionError(doubts[0].text, *doubts[0].ways, Way("strict", "leave out {}", True))
    together = _together(steps, bounds, request.selection)
    remarks = [*bounds.remarks(steps, skips), *together, *_changed_by_the_model(steps)]
    return Plan(tuple(steps), tuple(skips), (*notes, *doubts, *remarks))


def _unfit(variable: Variable) -> Left | None:
    if variable.dtype not in FLOATS:
        return Left("dtype", f"{variable.dtype}: not a floating type we bound")
    if variable.elements == 0:
        return Left("empty", "empty: it has no elements")
    return None


def _unselected(variable: Variable, aside: Left | None, selection: Selection) -> Left:
    if selection.include and not named(variable, selection.include):
        return Left("not_included", "not named by include")
    if selection.include or aside is None:
        return Left("excluded", "named by exclude")
    return aside


def _bound(variable: Variable, role: Role, bounds: Bounds, request: Request) -> Bounded | Left:
    found = bounds.bound(variable, role)
    if isinstance(found, Left) or variable.locked is None:
        return found
    if request.must_act:
        raise FormatError(
            f"{variable.name!r} is selected but is not readable: {variable.locked}", Way("exclude", "leave it out")
        )
    return Left("unreadable", variable.locked)


def _together(steps: Sequence[Step], bounds: Bounds, selection: Selection) -> list[Note]:
    """Notes on stored copies of one weight that are changed with it, though no pattern names them."""
    return [
        Note(f"{step.variable.key!r} is a stored copy of {step.variable.name!r} and is changed with it")
        for step in steps
        if step.variable.copies
        and (patterns := selection.include or bounds.patterns(step.variable))
        and not named(step.variable, patterns)
    ]


def _changed_by_the_model(steps: Sequence[Step]) -> list[Note]:
    """A warning for weights that ops of the graph change before it takes them as a kernel or an embedding."""
    changed = [
        (step.variable.name, use.via)
        for step in steps
        if (use := step.variable.use) is not None and use.via and use.role in ("kernel", "embedding")
    ]
    if not changed:
        return []
    ops = ", ".join(sorted({op for _, via in changed for op in via}))
    text = f"the model changes it before use ({ops}): bounding it does not bound the weight in effect"
    return [Note(f"{some_names([name for name, _ in changed])}: {text}", warning=True)]
