"""Rules: what bound, order of the norm and units the variables have whose names match, one rule for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from renorm_cli.errors import SelectionError, UsageError, Way
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.identity import Role
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Left, Note, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import Bounded, Bounds, OneBound, fitting
from renorm_cli.plan.selection import LONGEST_NAME, Labels

_NO_RULE = Left("no_rule", "no rule matches it")
_SPECIAL = re.compile(r"[*?\[]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Rule(NamedTuple):
    """What is to be done with the variables that one of the patterns in `match` matches.

    Without a `limit` they are left alone. Where `norm`, `units` or `per` is None, the rule does not say it. `number` is
    the rule's place in its file, from 1.
    """

    number: int
    match: tuple[str, ...]
    limit: float | None = None
    norm: PNorm | None = None
    units: tuple[int, ...] | None = None
    per: Literal["unit", "tensor"] | None = None

    def constraint(self, otherwise: Constraint) -> Constraint:
        """The constraint for its variables; what it does not say is as `otherwise` has it."""
        return replace(otherwise, limit=self.limit, norm=self.norm or otherwise.norm, per=self.per or otherwise.per)


class Rules(NamedTuple):
    """The rules of one file, in their order: the first that matches a variable decides."""

    path: str
    rules: tuple[Rule, ...]

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
        whole = next((rule for rule in self.rules.rules if rule.per == "tensor"), None)
        if whole is not None and self.rest.units is not None:
            where = self.rules.where(whole)
            raise UsageError(f'{where} has per = "tensor", which has no units', Way("units", "leave out {}"))

    def of(self, variables: Sequence[Variable]) -> Bounds:
        return _Ruled(self, decide(variables, self.rules))


class _Ruled(NamedTuple):
    """The bounds of a checkpoint by rules, with the rule of each variable that any matches, by key."""

    source: RuleBounds
    decided: Mapping[str, Rule]

    def aside(self, variable: Variable, role: Role) -> Left | None:
        if variable.key in self.decided:
            return None
        return self.source.rest.aside(variable, role) if self.source.takes_rest else _NO_RULE

    def bound(self, variable: Variable, role: Role) -> Bounded | Left:
        rule, rest = self.decided.get(variable.key), self.source.rest
        if rule is None:
            return rest.bound(variable, role) if self.source.takes_rest else _NO_RULE
        if rule.limit is None:
            return Left("rule_leaves", f"left alone by rule {rule.number}")
        constraint = rule.constraint(rest.constraint)
        if rule.per == "tensor":
            return Bounded(constraint, (), "rule")
        if rule.units is not None and rest.units is None and constraint.per == "unit":
            return Bounded(constraint, fitting(rule.units, variable, f"{self.source.rules.where(rule)}: units"), "rule")
        return OneBound(constraint, rest.units).bound(variable, role)

    def patterns(self, variable: Variable) -> tuple[str, ...]:
        rule = self.decided.get(variable.key)
        return () if rule is None else rule.match

    def doubts(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        return [*idle(self.source.rules, self.decided), *self.source.rest.doubts(steps, skips)]

    def remarks(self, steps: Sequence[Step], skips: Sequence[Skip]) -> list[Note]:
        return []

    def nothing(self, variables: Sequence[Variable]) -> SelectionError:
        return SelectionError(
            f"none of the {len(variables)} variables is selected: a rule with max_norm has to match some, see `inspect`"
        )


def decide(variables: Sequence[Variable], rules: Rules) -> dict[str, Rule]:
    """The rule that decides for each variable that any matches, by key; the same for all stored copies of a weight.

    Raises SelectionError for a pattern that matches nothing, naming the closest names.
    """
    labels = Labels(variables)
    decided: dict[str, Rule] = {}
    for rule in rules.rules:
        for pattern in rule.match:
            for key in labels.found(pattern, f"{rules.where(rule)}: match"):
                decided.setdefault(key, rule)
    return decided


def idle(rules: Rules, decided: Mapping[str, Rule]) -> list[Note]:
    """Warnings of rules that decide nothing, because earlier ones match all that they match."""
    active = {rule.number for rule in decided.values()}
    return [
        Note(
            f"{rules.where(rule)} decides nothing: earlier rules match all that it matches; put it first", warning=True
        )
        for rule in rules.rules
        if rule.number not in active
    ]


def patterns_of(variables: Sequence[Variable], among: Sequence[Variable]) -> list[str]:
    """For each of `variables` a pattern that matches it, and its stored copies, and nothing else `among` all.

    It is the name with its wildcards escaped, or where others have that name, too, the storage key. A character that is
    not Unicode (a byte of a name that is not UTF-8) is matched by `?`. Raises SelectionError where no label will do.
    """
    labels = Labels(among)
    return [_pattern_of(variable, labels) for variable in variables]


def _pattern_of(variable: Variable, labels: Labels) -> str:
    own = {variable.key, *variable.copies}
    for label in (variable.name, variable.key, *variable.aliases):
        pattern = _SURROGATE.sub("?", _SPECIAL.sub(r"[\g<0>]", label))
        if 0 < len(label) <= LONGEST_NAME and variable.key in (found := labels.matching(pattern)) and found <= own:
            return pattern
    raise SelectionError(
        f"no pattern matches {variable.name!r} alone, so that it can have no rule", Way("exclude", "leave it out")
    )
