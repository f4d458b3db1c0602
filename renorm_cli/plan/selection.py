"""Which variables the patterns name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from renorm_cli.errors import SelectionError
from renorm_cli.model.constraint import Selection
from renorm_cli.model.variable import Variable

LONGEST_NAME = 1024
"""Longer names never match: no pattern can be made to work on a megabyte of name."""

_ESCAPED = re.compile(r"\[([*?\[])\]")
_WILD = re.compile(r"[*?\[]")


class Labels:
    """The labels of variables that patterns can match: names, keys and aliases, also those of stored copies.

    Patterns are shell-style, match the whole of a label, `*` crosses `/`, and case counts. Stored copies of one weight
    have all their labels in common, so that a pattern matches them together.
    """

    def __init__(self, variables: Iterable[Variable]) -> None:
        own = {variable.key: variable for variable in variables}
        self._of = {key: _labels(variable) for key, variable in own.items()}
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

    def _nothing(self, who: str, pattern: str) -> str:
        close = difflib.get_close_matches(pattern, sorted(self._with)[:5000], n=3, cutoff=0.4)
        hint = f"closest: {', '.join(map(repr, close))}" if close else "`inspect` lists the names"
        return f"{who} {pattern!r} matches none of the {len(self._of)} variables; {hint}"


def chosen(variables: Sequence[Variable], selection: Selection, default: Callable[[Variable], bool]) -> frozenset[str]:
    """Keys of the selected variables: those `include` names, or those of the default, less those `exclude` names.

    Raises SelectionError for a pattern that matches nothing, naming the closest names.
    """
    defaults = frozenset(variable.key for variable in variables if not selection.include and default(variable))
    if not selection.include and not selection.exclude:
        return defaults
    labels = Labels(variables)
    included = {key for pattern in selection.include for key in labels.found(pattern, "include")}
    excluded = {key for pattern in selection.exclude for key in labels.found(pattern, "exclude")}
    return (defaults | included) - excluded


def named(variable: Variable, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names this variable itself."""
    return any(
        len(label) <= LONGEST_NAME and compiled.match(label)
        for compiled in map(_compile, patterns)
        for label in _labels(variable)
    )


def literal(pattern: str) -> str | None:
    """The one text that a pattern matches; None if it has wildcards, or may have."""
    bare = _ESCAPED.sub("", pattern)
    return None if _WILD.search(bare) else _ESCAPED.sub(r"\1", pattern)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _labels(variable: Variable) -> frozenset[str]:
    return frozenset((variable.name, variable.key, *variable.aliases))
