"""Which variables the patterns name."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from fnmatch import translate
from typing import NamedTuple

from renorm_cli.errors import SelectionError, Way
from renorm_cli.missing import closest
from renorm_cli.model.constraint import Selection
from renorm_cli.model.identity import NEVER_BY_NAME, Role
from renorm_cli.model.plan import Left
from renorm_cli.model.variable import Variable
from renorm_cli.text import counted

LONGEST_NAME = 1024
"""Longer names never match: no pattern can be made to work on a megabyte of name."""

_ALIKE = 0.4
"""How close a label is to a pattern, as `closest` has it, so that an error names it."""

_ESCAPED = re.compile(r"\[([*?\[])\]")
_WILD = re.compile(r"[*?\[]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Labels:
    """The labels of variables that patterns can match: names, keys and aliases, also those of stored copies.

    Patterns are shell-style, match the whole of a label, `*` crosses `/`, and case counts. Stored copies of one weight
    have all their labels in common, so that a pattern matches them together.
    """

    def __init__(self, variables: Iterable[Variable]) -> None:
        own = {variable.key: variable for variable in variables}
        self._of = {key: _labels(variable) for key, variable in own.items()}
        self._weights = {key: {key, *variable.copies} for key, variable in own.items()}
        for key, variable in own.items():
            for copy in variable.copies:
                self._of[key] |= self._of.get(copy, frozenset())
        self._with: dict[str, list[str]] = {}
        for key, labels in self._of.items():
            for label in labels:
                if len(label) <= LONGEST_NAME:
                    self._with.setdefault(label, []).append(key)

    def matching(self, pattern: str) -> set[str]:
        """Keys of the variables that a pattern matches; one without wildcards is only looked up."""
        text = literal(pattern)
        if text is not None:
            return set(self._with.get(text, ()))
        compiled = _compile(pattern)
        return {key for label, keys in self._with.items() if compiled.match(label) for key in keys}

    def found(self, pattern: str, who: str) -> set[str]:
        """Keys that a pattern matches. Raises SelectionError, which names the closest labels, where there is none."""
        hits = self.matching(pattern)
        if not hits:
            raise SelectionError(self._nothing(who, pattern))
        return hits

    def matched(self, patterns: Iterable[str], who: str) -> Matched:
        """What some patterns match. Raises SelectionError where one of them matches nothing."""
        keys: set[str] = set()
        alone: set[str] = set()
        for pattern in patterns:
            hits = self.found(pattern, who)
            keys |= hits
            if self.is_one(pattern, hits):
                alone |= hits
        return Matched(frozenset(keys), frozenset(alone))

    def is_one(self, pattern: str, hits: set[str]) -> bool:
        """Whether a pattern that matches `hits` has no wildcards and names one weight, with its stored copies."""
        return literal(pattern) is not None and (len(hits) == 1 or hits <= self._weights[min(hits)])

    def _nothing(self, who: str, pattern: str) -> str:
        wider = self._wider(pattern)
        if wider is not None:
            hint = f"{wider!r} matches {len(self.matching(wider))} of them"
        else:
            close = closest(pattern, sorted(self._with), _ALIKE)
            hint = f"closest: {', '.join(map(repr, close))}" if close else "`inspect` lists the names"
        said = literal(pattern) or pattern
        return f"{who} {said!r} matches none of the {counted(len(self._of), 'variable')}; {hint}"

    def _wider(self, pattern: str) -> str | None:
        """A pattern that matches, with `*` for what a part of a name lacks; None where there is none."""
        if literal(pattern) is None or not pattern:
            return None
        bare = pattern.strip("/")
        wider = (f"{bare}/*", f"*/{bare}", f"*/{bare}/*", f"*{bare}*")
        return next((one for one in wider if self.matching(one)), None)


class Matched(NamedTuple):
    """Keys of the variables that some patterns match, and of those that a pattern without wildcards names alone."""

    keys: frozenset[str]
    alone: frozenset[str]


class Named(NamedTuple):
    """What the patterns of a selection name; `included` is None where there are none that include."""

    included: Matched | None
    excluded: frozenset[str]

    def leaves(self, key: str) -> Left | None:
        """Why the patterns leave a variable out, if they do."""
        if key in self.excluded:
            return Left("excluded", "named by exclude")
        if self.included is not None and key not in self.included.keys:
            return Left("not_included", "not named by include")
        return None

    def takes(self, key: str, role: Role, roles: Container[Role], *, alone: bool = False) -> bool:
        """Whether a variable that is not left out is taken: for its role, or because it is named alone."""
        alone = alone or (self.included is not None and key in self.included.alone)
        return role in roles or (alone and role not in NEVER_BY_NAME)


def names(variables: Sequence[Variable], selection: Selection) -> Named:
    """What the patterns of a selection name among the variables of a checkpoint.

    Raises SelectionError for a pattern that matches nothing, naming the closest names.
    """
    if not selection.include and not selection.exclude:
        return Named(None, frozenset())
    labels = Labels(variables)
    included = labels.matched(selection.include, selection.called) if selection.include else None
    return Named(included, labels.matched(selection.exclude, "exclude").keys)


def named(variable: Variable, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names this variable itself."""
    return any(
        len(label) <= LONGEST_NAME and compiled.match(label)
        for compiled in map(_compile, patterns)
        for label in _labels(variable)
    )


def patterns_of(variables: Sequence[Variable], among: Sequence[Variable]) -> list[str]:
    """For each of `variables` a pattern that matches it, and its stored copies, and nothing else `among` all.

    It is the name with its wildcards escaped, or where others have that name, too, the storage key. A character that is
    not Unicode (a byte of a name that is not UTF-8) is matched by `?`. Raises SelectionError where no label will do.
    """
    labels = Labels(among)
    return [pattern_of(variable, labels) for variable in variables]


def pattern_of(variable: Variable, labels: Labels) -> str:
    own = {variable.key, *variable.copies}
    for label in (variable.name, variable.key, *variable.aliases):
        pattern = _SURROGATE.sub("?", as_literal(label))
        if 0 < len(label) <= LONGEST_NAME and variable.key in (found := labels.matching(pattern)) and found <= own:
            return pattern
    raise SelectionError(
        f"no pattern matches {variable.name!r} alone, so that it can have no rule", Way("exclude", "leave it out")
    )


def as_literal(name: str) -> str:
    """The pattern that matches this text alone."""
    return _WILD.sub(r"[\g<0>]", name)


def literal(pattern: str) -> str | None:
    """The one text that a pattern matches; None if it has wildcards, or may have."""
    bare = _ESCAPED.sub("", pattern)
    return None if _WILD.search(bare) else _ESCAPED.sub(r"\1", pattern)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _labels(variable: Variable) -> frozenset[str]:
    return frozenset((variable.name, variable.key, *variable.aliases))
