"""From headers and options to a plan: every variable becomes a step or a skip with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from renorm_cli.conventions.identify import identify, spatial_axes
from renorm_cli.errors import FormatError, SelectionError, Way, some_names
from renorm_cli.model.constraint import Selection
from renorm_cli.model.coverage import coverage, matrices
from renorm_cli.model.dtypes import FLOATS, is_floating
from renorm_cli.model.identity import Role
from renorm_cli.model.plan import Left, Note, Plan, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import Bounded, Bounds, BoundSource, why_skipped
from renorm_cli.plan.selection import Named, named, names
from renorm_cli.text import counted

_Decided = TypeVar("_Decided", Step, Skip)


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is asked for: where bounds come from, and which variables they are for.

    With `must_act` it is an error to bound nothing (a gate that looked at nothing must not pass) and to select what
    cannot be read; if what is bounded `changes`, also to select what can only be read.
    """

    source: BoundSource
    selection: Selection = field(default_factory=Selection)
    must_act: bool = True
    changes: bool = False


def make_plan(variables: Sequence[Variable], notes: Sequence[Note], request: Request) -> Plan:
    """Decide for every variable, from headers alone, in the order of the model.

    A variable is taken if its role is, and the patterns that include and exclude do not leave it out. A pattern without
    wildcards that names it alone takes it whatever its role; optimizer state, statistics and counters are taken for
    their role alone.

    Raises SelectionError for patterns or axes that fit nothing; FormatError for a selected variable whose bytes cannot
    be read.
    """
    if any(variable.identity is None for variable in variables):
        variables = identify(variables)
    bounds, named = request.source.of(variables), names(variables, request.selection)
    steps: list[Step] = []
    skips: list[Skip] = []
    for variable in variables:
        role = bounds.role(variable)
        decided = (
            _unfit(variable)
            or named.leaves(variable.key)
            or bounds.aside(variable)
            or _unmeasured(variable)
            or _other_role(variable, role, bounds, named, request.selection.roles)
            or _bound(variable, role, bounds, request)
        )
        if isinstance(decided, Left):
            skips.append(Skip(variable, role, *decided))
        else:
            steps.append(_step(variable, role, decided))
    steps = _once(steps, lambda step: (step.role, step.unit_axes, step.columns, step.constraint))
    skips = _once(skips, lambda skip: (skip.role, skip.code))
    left = _left_by_role(skips, bounds, request.selection)
    if request.changes:
        _refuse_fixed(steps)
    if request.must_act and not steps:
        raise _nothing(variables, skips, left, bounds, _unfit_though_asked(skips, named, request.selection))
    together = _together(steps, bounds, request.selection)
    remarks = [*left, *bounds.remarks(steps, skips), *together, *_changed_by_the_model(steps)]
    if any(step.constraint.is_spectral for step in steps):
        from renorm_cli.plan.matrices import matrix_notes

        remarks += matrix_notes(steps)
    return Plan(tuple(steps), tuple(skips), (*notes, *remarks))


def _step(variable: Variable, role: Role, found: Bounded) -> Step:
    spatial = spatial_axes(variable) if found.constraint.is_spectral else ()
    named = {*found.unit_axes, *found.columns}
    return Step(
        variable,
        role,
        found.unit_axes,
        found.axis_source,
        found.constraint,
        columns=found.columns,
        spatial=tuple(axis for axis in spatial if axis not in named and variable.shape[axis] > 1),
    )


def _once(found: Sequence[_Decided], decision: Callable[[_Decided], object]) -> list[_Decided]:
    """Stored copies of one weight about which one decision was made as one, in the place of the first of them."""
    first: dict[str, _Decided] = {}
    copies: dict[str, list[Variable]] = {}
    for one in found:
        known = (first[key] for key in one.variable.copies if key in first)
        same = next((other for other in known if decision(other) == decision(one)), None)
        if same is None:
            first[one.variable.key] = one
        else:
            copies.setdefault(same.variable.key, []).append(one.variable)
    return [replace(one, copies=tuple(copies[key])) if key in copies else one for key, one in first.items()]


def _unfit(variable: Variable) -> Left | None:
    if not is_floating(variable.dtype):
        return _unmeasured(variable)
    if variable.elements == 0:
        return Left("empty", "empty: it has no elements")
    return None


def _unmeasured(variable: Variable) -> Left | None:
    return None if variable.dtype in FLOATS else Left("dtype", f"{variable.dtype}: not a floating type we bound")


def _other_role(
    variable: Variable, role: Role, bounds: Bounds, named: Named, asked: frozenset[Role] | None
) -> Left | None:
    """Why a variable is left out for its role, if it is."""
    roles = bounds.roles if asked is None else asked
    if roles is None or named.takes(variable.key, role, roles, alone=bounds.names(variable)):
        return None
    return why_skipped(role, variable, roles)


def _left_by_role(skips: Sequence[Skip], bounds: Bounds, selection: Selection) -> list[Note]:
    """A note on what patterns match and the role leaves out."""
    if not (selection.include or any(bounds.patterns(skip.variable) for skip in skips)):
        return []
    counts = Counter(
        skip.role
        for skip in skips
        if skip.code in ("role", "unidentified", "unused") and (selection.include or bounds.patterns(skip.variable))
    )
    if not counts:
        return []
    what = ", ".join(f"{count} {role}" for role, count in counts.most_common())
    text = f"the patterns match variables that the role leaves out: {what}"
    return [Note(text, ways=(Way("role", "take roles"), Way("include", "take one by its name")))]


def _unfit_though_asked(skips: Sequence[Skip], named: Named, selection: Selection) -> str | None:
    """Why what a pattern names, or a role that is asked for has, cannot be selected."""
    roles = selection.roles or frozenset()
    unfit = [
        skip
        for skip in skips
        if skip.code in ("dtype", "empty")
        and (selection.include or skip.role in roles)
        and named.leaves(skip.variable.key) is None
    ]
    if not unfit:
        return None
    first, *others = unfit
    quantized = "quantized, " if first.role == "quantized" else ""
    why = (
        "it has no elements" if first.code == "empty" else f"it is {quantized}{first.variable.dtype}, no floating type"
    )
    more = f"; nor can {len(others)} more" if others else ""
    return f"{first.variable.name!r} cannot be measured: {why}{more}"


def _nothing(
    variables: Sequence[Variable], skips: Sequence[Skip], left: Sequence[Note], bounds: Bounds, unfit: str | None
) -> SelectionError:
    """The error for a plan that bounds nothing: what could be bounded, and how to say so."""
    if bounds.roles is None:
        return bounds.nothing(variables)
    none = f"none of the {counted(len(variables), 'variable')} is selected"
    unseen = [skip for skip in skips if coverage(skip) == "unidentified"]
    if unseen:
        from renorm_cli.plan.doubts import unidentified_note

        note = unidentified_note(unseen, matrices(skips).number, variables)
        ways = (way for way in note.ways if way.parameter not in ("exclude", "allow_unidentified"))
        return SelectionError(f"{none}: {note.text}", *ways)
    if left:
        return SelectionError(f"{none}: {left[0].text}", *left[0].ways)
    if unfit is not None:
        return SelectionError(f"{none}: {unfit}")
    quantized = sum(skip.role == "quantized" for skip in skips)
    if quantized:
        found = f"{quantized} {'is' if quantized == 1 else 'are'} quantized"
        return SelectionError(
            f"{none}, and {found}, see `inspect`",
            Way("include", "name one"),
            Way("role", "take others"),
        )
    return bounds.nothing(variables)


def _bound(variable: Variable, role: Role, bounds: Bounds, request: Request) -> Bounded | Left:
    found = bounds.bound(variable, role)
    if isinstance(found, Left) or variable.locked is None:
        return found
    if request.must_act:
        raise FormatError(
            f"{variable.name!r} is selected but is not readable: {variable.locked}", Way("exclude", "leave it out")
        )
    return Left("unreadable", variable.locked)


def _refuse_fixed(steps: Sequence[Step]) -> None:
    """Raise FormatError for what is to be changed and can only be read."""
    fixed = [variable for step in steps for variable in step.stored if variable.fixed is not None]
    if fixed:
        first, *others = fixed
        more, them = (f"; nor can {len(others)} more", "them") if others else ("", "it")
        raise FormatError(
            f"{first.name!r} is selected but cannot be changed: {first.fixed}{more}",
            Way("exclude", f"leave {them} out"),
        )


def _together(steps: Sequence[Step], bounds: Bounds, selection: Selection) -> list[Note]:
    """Notes on stored copies of one weight that are changed with it, though no pattern names them."""
    return [
        Note(f"{variable.key!r} is a stored copy of {step.variable.name!r} and is changed with it")
        for step in steps
        if step.copies and (patterns := selection.include or bounds.patterns(step.variable))
        for variable in step.stored
        if not named(variable, patterns)
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
