"""Rules: what bound, order of the norm and units the variables have whose names match, one rule for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from renorm_cli.errors import SelectionError, UsageError, Way
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.identity import Role
from renorm_cli.model.norm import SPECTRAL, Norm, SpectralNorm
from renorm_cli.model.plan import Left, Note, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import Bounded, Bounds, OneBound, as_kernel, fitting, matrix_of
from renorm_cli.plan.selection import Labels
from renorm_cli.text import counted

_NO_RULE = Left("no_rule", "no rule matches it")


class Rule(NamedTuple):
    """What is to be done with the variables that one of the patterns in `match` matches.

    Without a `limit` they are left alone. Where `norm`, `units` or `per` is None, the rule does not say it. Under the
    spectral norm `units` are the columns, and `blocks` the axes of which each index is a matrix, of one column where
    there are no `units`. `number` is the rule's place in its file, from 1.
    """

    number: int
    match: tuple[str, ...]
    limit: float | None = None
    norm: Norm | None = None
    units: tuple[int, ...] | None = None
    per: Literal["unit", "tensor"] | None = None
    blocks: tuple[int, ...] | None = None

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The unit axes, or those of columns, that the rule says, if it does."""
        return self.units if self.units is not None or not self.blocks else ()

    def constraint(self, otherwise: Constraint) -> Constraint:
        """The constraint for its variables; what it does not say is as `otherwise` has it."""
        norm = otherwise.norm if self.norm == SPECTRAL and otherwise.is_spectral else self.norm or otherwise.norm
        rest = "unit" if otherwise.is_spectral else otherwise.per
        return replace(
            otherwise, limit=self.limit, norm=norm, per="tensor" if norm.kind == "spectral" else self.per or rest
        )


class Rules(NamedTuple):
    """The rules of one file, in their order: the first that matches a variable decides."""

    path: str
    rules: tuple[Rule, ...]

    def of_operators(self) -> Rules:
        """The same rules, whose spectral norms are operator norms where they are of convolutions."""
        return self._replace(
            rules=tuple(
                rule._replace(norm=SpectralNorm(operator=True)) if rule.norm == SPECTRAL else rule
                for rule in self.rules
            )
        )

    def where(self, rule: Rule) -> str:
        """How messages name a rule."""
        return f"rules {self.path!r}: rule {rule.number}"


@dataclass(frozen=True, slots=True)
class RuleBounds:
    """Bounds by rules; what a rule does not say is as in `rest`.

    With `takes_rest`, variables that no rule matches have the bound and the default selection of `rest`, else none.
    Raises UsageError where the rules and `rest` do not go together.
    """

    rules: Rules
    rest: OneBound
    takes_rest: bool

    def __post_init__(self) -> None:
        if self.rest.constraint.per == "global":
            raise UsageError(
                "a joint norm has one bound for all variables together, and rules have several",
                Way("per", "leave out {}"),
                Way("rules", "leave out {}"),
            )
        for rule in self.rules.rules:
            if rule.per is not None and rule.constraint(self.rest.constraint).is_spectral:
                where = self.rules.where(rule)
                raise UsageError(
                    f"{where} has per, and a spectral norm is that of a matrix", Way("norm", "leave out {}")
                )
        whole = next((rule for rule in self.rules.rules if rule.per == "tensor"), None)
        if whole is not None and self.rest.units:
            where = self.rules.where(whole)
            raise UsageError(f'{where} has per = "tensor", which has no units', Way("units", "leave out {}"))

    def of(self, variables: Sequence[Variable]) -> Bounds:
        return _Ruled(self, self.rest.of(variables), decide(variables, self.rules))


class Decided(NamedTuple):
    """The rule of a variable, and whether one of its patterns has no wildcards and names this variable alone."""

    rule: Rule
    alone: bool


class _Ruled(NamedTuple):
    """The bounds of a checkpoint by rules, with what decides for each variable that any rule matches, by key."""

    source: RuleBounds
    rest: OneBound
    decided: Mapping[str, Decided]

    @property
    def roles(self) -> frozenset[Role]:
        return self.rest.roles

    def role(self, variable: Variable) -> Role:
        rule = self._rule(variable)
        return as_kernel(variable, self.rest.told.get(variable.key) or (rule.axes if rule is not None else None))

    def aside(self, variable: Variable) -> Left | None:
        rule = self._rule(variable)
        if rule is None:
            return None if self.source.takes_rest else _NO_RULE
        return Left("rule_leaves", f"left alone by rule {rule.number}") if rule.limit is None else None

    def names(self, variable: Variable) -> bool:
        return variable.key in self.decided and self.decided[variable.key].alone

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        rule, rest = self._rule(variable), self.rest
        if rule is None:
            return rest.bound(variable, role)
        constraint = rule.constraint(rest.constraint)
        told = rule.axes if rest.axes(variable) is None else None
        axes = None if told is None else fitting(told, variable, f"{self.source.rules.where(rule)}: units")
        if constraint.is_spectral and axes is not None:
            found = matrix_of(constraint, variable, role, axes, "rule")
            return found._replace(unit_axes=self._blocks(rule, variable, axes))
        if rule.per == "tensor":
            return Bounded(constraint, (), "rule")
        if axes is not None and constraint.per == "unit":
            return Bounded(constraint, axes, "rule")
        return replace(rest, constraint=constraint).bound(variable, role)

    def _blocks(self, rule: Rule, variable: Variable, columns: tuple[int, ...]) -> tuple[int, ...]:
        where = self.source.rules.where(rule)
        blocks = fitting(rule.blocks or (), variable, f"{where}: blocks")
        if both := sorted({*blocks} & {*columns}):
            raise SelectionError(f"{where} has axis {both[0]} of {variable.name!r} both in units and in blocks")
        return blocks

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        rule = self._rule(variable)
        return () if rule is None else rule.match

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        return idle(self.source.rules, self.decided)

    def nothing(self, variables: Sequence[Variable]) -> SelectionError:
        return SelectionError(
            f"none of the {counted(len(variables), 'variable')} is selected: a rule with max_norm has to match some,"
            " see `inspect`"
        )

    def _rule(self, variable: Variable) -> Rule | None:
        found = self.decided.get(variable.key)
        return None if found is None else found.rule


def decide(variables: Sequence[Variable], rules: Rules) -> dict[str, Decided]:
    """What decides for each variable that any rule matches, by key; the same for all stored copies of a weight.

    Raises SelectionError for a pattern that matches nothing, naming the closest names.
    """
    labels = Labels(variables)
    decided: dict[str, Decided] = {}
    for rule in rules.rules:
        matched = labels.matched(rule.match, f"{rules.where(rule)}: match")
        for key in matched.keys:
            decided.setdefault(key, Decided(rule, key in matched.alone))
    return decided


def idle(rules: Rules, decided: Mapping[str, Decided]) -> list[Note]:
    """Warnings of rules that decide nothing, because earlier ones match all that they match."""
    active = {found.rule.number for found in decided.values()}
    return [
        Note(
            f"{rules.where(rule)} decides nothing: earlier rules match all that it matches; put it first", warning=True
        )
        for rule in rules.rules
        if rule.number not in active
    ]
