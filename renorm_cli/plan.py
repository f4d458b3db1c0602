"""From headers and options to a plan: every variable becomes a step or a skip with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from renorm_cli.declared import Use, declared_step, nothing_declared, remarks, why_not
from renorm_cli.errors import FormatError, SelectionError, UsageError, some_names
from renorm_cli.model import FLOATS, AxisSource, MaxNorm, Note, Plan, Role, Selection, Skip, Step, Variable
from renorm_cli.selection import chosen, named
from renorm_cli.units import role_of, unit_axes, why_skipped

_WHOLE: tuple[tuple[int, ...], AxisSource] = ((), "option")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for. `units` are the axes of --units, None for auto."""

    constraint: MaxNorm
    selection: Selection = field(default_factory=Selection)
    units: tuple[int, ...] | None = None
    strict: bool = False
    must_act: bool = True
    """Whether finding nothing to constrain is an error: a gate that looked at nothing must not pass."""
    declared: Use | None = None
    """What constraints the file's own config declares are used for; then they are the only ones."""

    def __post_init__(self) -> None:
        if self.declared is not None and (self.constraint != MaxNorm() or self.units is not None):
            raise UsageError(
                "--declared takes limit and axes from the file, for norms of units with p = 2;"
                " leave out --max-norm, --p, --units and --per, or --declared"
            )
        if self.units is not None and self.constraint.per != "unit":
            raise UsageError(f"--per {self.constraint.per} has no units; leave out --units, or --per")


def parse_units(text: str) -> tuple[int, ...] | None:
    """The axes of `--units`: None for "auto", else integers. Raises UsageError for anything else."""
    if text == "auto":
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--units takes auto or axes such as -1 or 0,1, got {text!r}") from None


def make_plan(variables: Sequence[Variable], notes: Sequence[Note], wanted: Wanted) -> Plan:
    """Decide for every variable, from headers alone, in the order of the file.

    Raises SelectionError for patterns or axes that fit nothing and, with `strict`, for guesses; FormatError for a
    selected variable whose bytes cannot be changed, and for a checkpoint without any floating variable.
    """
    if not any(variable.dtype in FLOATS for variable in variables):
        raise FormatError(
            f"the checkpoint holds no floating variable among its {len(variables)}: there is nothing to measure"
        )
    roles = {variable.key: role_of(variable) for variable in variables}
    by_default = {key for key, role in roles.items() if role in ("kernel", "embedding") or wanted.declared}
    selected = chosen(variables, wanted.selection, lambda variable: variable.key in by_default)
    steps: list[Step] = []
    skips: list[Skip] = []
    for variable in variables:
        role = roles[variable.key]
        reason = _unfit(variable) or _unwanted(variable, role, selected, wanted)
        if reason is not None:
            skips.append(Skip(variable, role, reason))
        elif variable.locked is None:
            steps.append(_step(variable, role, wanted))
        elif wanted.must_act:
            raise FormatError(
                f"{variable.name!r} is selected but is not readable: {variable.locked}; leave it out with -x"
            )
        else:
            skips.append(Skip(variable, role, variable.locked))
    if wanted.declared is not None and not steps:
        raise SelectionError(nothing_declared(variables, wanted.declared))
    if wanted.must_act and not steps:
        raise SelectionError(
            f"none of the {len(variables)} variables is selected; name some with -i ('*' is all), see `inspect`"
        )
    doubts = _doubts(steps, skips, wanted)
    return Plan(tuple(steps), tuple(skips), (*notes, *doubts, *_together(steps, wanted.selection)))


def _unfit(variable: Variable) -> str | None:
    if variable.dtype not in FLOATS:
        return f"{variable.dtype}: not a floating type we bound"
    if variable.elements == 0:
        return "empty: it has no elements"
    return None


def _unwanted(variable: Variable, role: Role, selected: frozenset[str], wanted: Wanted) -> str | None:
    selection = wanted.selection
    if variable.key in selected:
        if wanted.declared is None:
            return None
        return why_skipped(role, variable) if variable.state is not None else why_not(variable, wanted.declared)
    if selection.include:
        return "not named by --include" if not named(variable, selection) else "named by --exclude"
    if role in ("kernel", "embedding") or wanted.declared is not None:
        return "named by --exclude"
    return why_skipped(role, variable)


def _step(variable: Variable, role: Role, wanted: Wanted) -> Step:
    if wanted.declared is not None:
        return declared_step(variable, role, wanted.declared)
    axes, source = _axes(variable, wanted.units) if wanted.constraint.per == "unit" else _WHOLE
    return Step(variable, role, axes, source, wanted.constraint)


def _axes(variable: Variable, units: tuple[int, ...] | None) -> tuple[tuple[int, ...], AxisSource]:
    if units is None:
        return unit_axes(variable)
    rank = len(variable.shape)
    for axis in units:
        if not -rank <= axis < rank:
            raise SelectionError(
                f"--units {axis} is out of range for {variable.name!r} of shape {list(variable.shape)}:"
                f" axes go from {-rank} to {rank - 1}; choose others with -i or leave it out with -x"
            )
    axes = sorted({axis % rank for axis in units})
    if len(axes) < len(units):
        raise SelectionError(
            f"--units {','.join(map(str, units))} names one axis twice for {variable.name!r} of rank {rank}"
        )
    return tuple(axes), "option"


def _doubts(steps: Sequence[Step], skips: Sequence[Skip], wanted: Wanted) -> list[Note]:
    """What was guessed, or left out because nothing tells what it is; an error if `strict`."""
    if wanted.declared is not None:
        return remarks(steps, skips, wanted.declared, strict=wanted.strict)
    guesses = [step.variable.name for step in steps if step.axis_source == "guess"]
    unknown = [] if wanted.selection.include else [skip.variable.name for skip in skips if _could_be_weight(skip)]
    doubts: list[Note] = []
    if guesses:
        text = "the unit axes are a guess from the shape; say them with --units"
        doubts.append(Note(f"{some_names(guesses)}: {text}", warning=True))
    if unknown:
        text = "skipped, nothing in the file tells what it is; select it with -i"
        doubts.append(Note(f"{some_names(unknown)}: {text}", warning=True))
    if wanted.strict and doubts:
        raise SelectionError(f"--strict: {doubts[0].text}")
    return doubts


def _could_be_weight(skip: Skip) -> bool:
    return skip.role == "unknown" and len(skip.variable.shape) >= 2 and skip.variable.dtype in FLOATS


def _together(steps: Sequence[Step], selection: Selection) -> list[Note]:
    """Say which stored copies of one weight are changed with it."""
    return [
        Note(f"{step.variable.key!r} is a stored copy of {step.variable.name!r} and is changed with it")
        for step in steps
        if step.variable.copies and selection.include and not named(step.variable, selection)
    ]
