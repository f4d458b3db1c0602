"""Which variables the patterns name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from renorm_cli.errors import SelectionError
from renorm_cli.model import Selection, Variable

_LONGEST_NAME = 1024
"""Longer names never match: no pattern can be made to work on a megabyte of name."""


def chosen(variables: Sequence[Variable], selection: Selection, default: Callable[[Variable], bool]) -> frozenset[str]:
    """Keys of the selected variables: those `include` names, or those of the default, less those `exclude` names.

    Patterns are shell-style, match the whole of a name, key or alias, `*` crosses `/`, and case counts. Stored
    copies of one weight are selected together.

    Raises SelectionError for a pattern that matches nothing, naming the closest names.
    """
    by_key = {variable.key: _labels(variable) for variable in variables}
    for variable in variables:
        for copy in variable.copies:
            by_key[variable.key] |= by_key.get(copy, frozenset())
    included = _matching(by_key, selection.include, "--include")
    excluded = _matching(by_key, selection.exclude, "--exclude")
    if not selection.include:
        included = {variable.key for variable in variables if default(variable)}
    return frozenset(included - excluded)


def named(variable: Variable, selection: Selection) -> bool:
    """Whether an include pattern names this variable itself."""
    return any(_matches(_compile(pattern), _labels(variable)) for pattern in selection.include)


def _matching(by_key: dict[str, frozenset[str]], patterns: Iterable[str], option: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        compiled = _compile(pattern)
        hits = {key for key, labels in by_key.items() if _matches(compiled, labels)}
        if not hits:
            raise SelectionError(_nothing_matches(option, pattern, by_key))
        found |= hits
    return found


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _matches(pattern: re.Pattern[str], labels: Iterable[str]) -> bool:
    return any(len(label) <= _LONGEST_NAME and pattern.match(label) for label in labels)


def _labels(variable: Variable) -> frozenset[str]:
    return frozenset((variable.name, variable.key, *variable.aliases))


def _nothing_matches(option: str, pattern: str, by_key: dict[str, frozenset[str]]) -> str:
    labels = sorted({label for found in by_key.values() for label in found if len(label) <= _LONGEST_NAME})
    close = difflib.get_close_matches(pattern, labels[:5000], n=3, cutoff=0.4)
    hint = f"closest: {', '.join(map(repr, close))}" if close else "`inspect` lists the names"
    return f"{option} {pattern!r} matches none of the {len(by_key)} variables; {hint}"
