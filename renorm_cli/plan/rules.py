"""Rules: what bound, order of the norm and units the variables have whose names match, one rule for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from renorm_cli.errors import SelectionError
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.plan.selection import LONGEST_NAME, Labels

LEFT_ALONE = "left alone by rule "
"""How the reason begins of a variable whose rule says `leave`; the rule's number follows."""

_SPECIAL = re.compile(r"[*?\[]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Rule(NamedTuple):
    """What is to be done with the variables that one of the patterns in `match` matches.

    Without a `limit` they are left alone. Where `p`, `units` or `per` is None, the rule does not say it. `number` is
    the rule's place in its file, from 1.
    """

    number: int
    match: tuple[str, ...]
    limit: float | None = None
    p: float | None = None
    units: tuple[int, ...] | None = None
    per: Literal["unit", "tensor"] | None = None

    @property
    def why_not(self) -> str | None:
        """Why its variables are not constrained; None if they are."""
        return f"{LEFT_ALONE}{self.number}" if self.limit is None else None

    def constraint(self, otherwise: Constraint) -> Constraint:
        """The constraint for its variables; what it does not say is as `otherwise` has it."""
        p = otherwise.p if self.p is None else self.p
        return replace(otherwise, limit=self.limit, p=p, per=self.per or otherwise.per)


class Rules(NamedTuple):
    """The rules of one file, in their order: the first that matches a variable decides."""

    path: str
    rules: tuple[Rule, ...]

    def where(self, rule: Rule) -> str:
        """How messages name a rule."""
        return f"--rules {self.path!r}: rule {rule.number}"


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
        f"no pattern matches {variable.name!r} alone, so that it can have no rule; leave it out with -x"
    )
