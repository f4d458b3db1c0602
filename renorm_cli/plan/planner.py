"""From headers and options to a plan: every variable becomes a step or a skip with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from renorm_cli.conventions.units import role_of, unit_axes, why_skipped
from renorm_cli.errors import FormatError, SelectionError, UsageError, some_names
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import AxisSource, Note, Plan, Skip, Step
from renorm_cli.model.variable import Role, Variable
from renorm_cli.plan.declared import Use, declared_step, nothing_declared, remarks, why_not
from renorm_cli.plan.rules import Rule, Rules, decide, idle
from renorm_cli.plan.selection import chosen, named

_NO_RULE = "no rule matches it"


@dataclass(frozen=True, slots=True)
class Request:
    """What the options ask for. `units` are the axes of --units, None for auto."""

    constraint: Constraint
    selection: Selection = field(default_factory=Selection)
    units: tuple[int, ...] | None = None
    strict: bool = False
    must_act: bool = True
    """Whether finding nothing to constrain is an error: a gate that looked at nothing must not pass."""
    declared: Use | None = None
    """What constraints the file's own config declares are used for; then they are the only ones."""
    rules: Rules | None = None
    measures: bool = False
    """Whether the norms of what has no bound are wanted as well, so that variables that no rule matches stay in."""

    def __post_init__(self) -> None:
        self._check_rules()
        if self.declared is not None and (self.constraint != Constraint() or self.units is not None):
            raise UsageError(
                "--declared takes limit and axes from the file, for norms of units with p = 2;"
                " leave out --max-norm, --p, --units and --per, or --declared"
            )
        if self.units is not None and self.constraint.per != "unit":
            raise UsageError(f"--per {self.constraint.per} has no units; leave out --units, or --per")

    @property
    def takes_rest(self) -> bool:
        """Whether what no rule matches is selected as without rules."""
        return self.rules is None or self.measures or self.constraint.limit is not None

    def _check_rules(self) -> None:
        if self.rules is None:
            return
        if self.declared is not None:
            raise UsageError("--rules and --declared both say which bound a variable has; leave out one of them")
        if self.constraint.per == "global":
            raise UsageError("--per global has one bound for all variables together; leave it out, or --rules")
        whole = next((rule for rule in self.rules.rules if rule.per == "tensor"), None)
        if whole is not None and self.units is not None:
            where = self.rules.where(whole)
            raise UsageError(f'{where} has per = "tensor", which has no units; leave out --units, or per')


def parse_units(text: str) -> tuple[int, ...] | None:
    """The axes of `--units`: None for "auto", else integers. Raises UsageError for anything else."""
    if text == "auto":
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--units takes auto or axes such as -1 or 0,1, got {text!r}") from None


def make_plan(variables: Sequence[Variable], notes: Sequence[Note], request: Request) -> Plan:
    """Decide for every variable, from headers alone, in the order of the file.

    Raises SelectionError for patterns or axes that fit nothing and, with `strict`, for guesses; FormatError for a
    selected variable whose bytes cannot be changed, and for a checkpoint without any floating variable.
    """
    if not any(variable.dtype in FLOATS for variable in variables):
        raise FormatError(
            f"the checkpoint holds no floating variable among its {len(variables)}: there is nothing to measure"
        )
    roles = {variable.key: role_of(variable) for variable in variables}
    ruled = {} if request.rules is None else decide(variables, request.rules)
    by_default = {key for key, role in roles.items() if role in ("kernel", "embedding") or request.declared}
    wished = ruled.keys() | (by_default if request.takes_rest else set())
    selected = chosen(variables, request.selection, lambda variable: variable.key in wished)
    steps: list[Step] = []
    skips: list[Skip] = []
    for variable in variables:
        role, rule = roles[variable.key], ruled.get(variable.key)
        reason = _unfit(variable) or _unwanted(variable, role, rule, selected, request)
        if reason is not None:
            skips.append(Skip(variable, role, reason))
        elif variable.locked is None:
            steps.append(_step(variable, role, rule, request))
        elif request.must_act:
            raise FormatError(
                f"{variable.name!r} is selected but is not readable: {variable.locked}; leave it out with -x"
            )
        else:
            skips.append(Skip(variable, role, variable.locked))
    if request.declared is not None and not steps:
        raise SelectionError(nothing_declared(variables, request.declared))
    if request.must_act and not steps:
        how = "name some with -i ('*' is all)" if request.rules is None else "a rule with max_norm has to match some"
        raise SelectionError(f"none of the {len(variables)} variables is selected; {how}, see `inspect`")
    doubts = _doubts(steps, skips, ruled, request)
    return Plan(tuple(steps), tuple(skips), (*notes, *doubts, *_together(steps, ruled, request.selection)))


def _unfit(variable: Variable) -> str | None:
    if variable.dtype not in FLOATS:
        return f"{variable.dtype}: not a floating type we bound"
    if variable.elements == 0:
        return "empty: it has no elements"
    return None


def _unwanted(
    variable: Variable, role: Role, rule: Rule | None, selected: frozenset[str], request: Request
) -> str | None:
    selection = request.selection
    if variable.key in selected:
        if request.declared is not None:
            return why_skipped(role, variable) if variable.state is not None else why_not(variable, request.declared)
        if rule is not None:
            return rule.why_not
        return None if request.takes_rest else _NO_RULE
    if selection.include:
        return "not named by --include" if not named(variable, selection.include) else "named by --exclude"
    if rule is None and not request.takes_rest:
        return _NO_RULE
    if rule is not None or role in ("kernel", "embedding") or request.declared is not None:
        return "named by --exclude"
    return why_skipped(role, variable)


def _step(variable: Variable, role: Role, rule: Rule | None, request: Request) -> Step:
    if request.declared is not None:
        return declared_step(variable, role, request.declared)
    constraint = request.constraint if rule is None else rule.constraint(request.constraint)
    axes, source = _units_of(variable, rule, constraint, request)
    return Step(variable, role, axes, source, constraint)


def _units_of(
    variable: Variable, rule: Rule | None, constraint: Constraint, request: Request
) -> tuple[tuple[int, ...], AxisSource]:
    """The axes that name units, and who says so: the option, else the rule, else what the variable is."""
    if constraint.per != "unit":
        return (), "option" if rule is None or rule.per is None else "rule"
    if request.units is not None:
        return _axes(variable, request.units, "--units"), "option"
    if rule is not None and rule.units is not None and request.rules is not None:
        return _axes(variable, rule.units, f"{request.rules.where(rule)}: units"), "rule"
    return unit_axes(variable)


def _axes(variable: Variable, units: tuple[int, ...], who: str) -> tuple[int, ...]:
    rank = len(variable.shape)
    for axis in units:
        if not -rank <= axis < rank:
            raise SelectionError(
                f"{who} {axis} is out of range for {variable.name!r} of shape {list(variable.shape)}:"
                f" axes go from {-rank} to {rank - 1}; choose others with -i or leave it out with -x"
            )
    axes = sorted({axis % rank for axis in units})
    if len(axes) < len(units):
        raise SelectionError(
            f"{who} {','.join(map(str, units))} names one axis twice for {variable.name!r} of rank {rank}"
        )
    return tuple(axes)


def _doubts(steps: Sequence[Step], skips: Sequence[Skip], ruled: Mapping[str, Rule], request: Request) -> list[Note]:
    """What was guessed, left out because nothing tells what it is, or said by a rule in vain; an error if `strict`."""
    if request.declared is not None:
        return remarks(steps, skips, request.declared, strict=request.strict)
    guesses = [step.variable.name for step in steps if step.axis_source == "guess"]
    unasked = [] if request.selection.include else [skip for skip in skips if skip.variable.key not in ruled]
    unknown = [skip.variable.name for skip in unasked if _could_be_weight(skip)] if request.takes_rest else []
    doubts = [] if request.rules is None else idle(request.rules, ruled)
    if guesses:
        text = "the unit axes are a guess from the shape; say them with --units"
        doubts.append(Note(f"{some_names(guesses)}: {text}", warning=True))
    if unknown:
        text = "skipped, nothing in the file tells what it is; select it with -i"
        doubts.append(Note(f"{some_names(unknown)}: {text}", warning=True))
    if request.strict and doubts:
        raise SelectionError(f"--strict: {doubts[0].text}")
    return doubts


def _could_be_weight(skip: Skip) -> bool:
    return skip.role == "unknown" and len(skip.variable.shape) >= 2 and skip.variable.dtype in FLOATS


def _together(steps: Sequence[Step], ruled: Mapping[str, Rule], selection: Selection) -> list[Note]:
    """Say which stored copies of one weight are changed with it."""
    asked = {key: selection.include or rule.match for key, rule in ruled.items()}
    return [
        Note(f"{step.variable.key!r} is a stored copy of {step.variable.name!r} and is changed with it")
        for step in steps
        if step.variable.copies
        and (patterns := asked.get(step.variable.key, selection.include))
        and not named(step.variable, patterns)
    ]
