"""Which variables of two checkpoints belong together, from their headers alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from renorm_cli.conventions.identify import unit_axes
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.variable import Variable

_NUMBERED = re.compile(r"/vars/[0-9]+\Z")
"""What Keras 3 stores instead of a weight's name, where its layer's class is not known."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One variable in two checkpoints; None where one does not have it. `doubt` says why it has no sure partner."""

    before: Variable | None
    after: Variable | None
    doubt: str | None = None

    @property
    def name(self) -> str:
        return self._one.name

    @property
    def _one(self) -> Variable:
        one = self.before or self.after
        if one is None:
            raise AssertionError("a pair of nothing")
        return one

    @property
    def is_renamed(self) -> bool:
        """Whether the same key goes by other names now."""
        return (
            self.before is not None
            and self.after is not None
            and self.before.key == self.after.key
            and _stored_names(self.before) != _stored_names(self.after)
        )

    def subject(self, *, proof: bool) -> Variable:
        """The pair as one variable for the plan, found under the names it has on either side.

        What tells its unit axes is taken from the first checkpoint, and from the second only where the first leaves
        them to a guess; not even then for a `proof`: a changed file must not talk its own changes into being allowed.
        """
        one, other = self._one, self.after
        if other is None or other is one:
            return one
        if not proof and unit_axes(one)[1] == "guess" and unit_axes(other)[1] != "guess":
            told = replace(other, name=one.name, key=one.key, state=one.state, copies=one.copies, locked=one.locked)
        else:
            told = one
        labels = dict.fromkeys((*one.aliases, other.name, other.key, *other.aliases))
        return replace(told, aliases=tuple(labels))


def _stored_names(variable: Variable) -> set[str]:
    """Its names but for one that a file beside the checkpoint tells: such a file may be beside one of two alone."""
    return {variable.name, *(alias for alias in variable.aliases if alias != variable.tied)}


def have_common_keys(before: Sequence[Variable], after: Sequence[Variable]) -> bool:
    """Whether some floating variable of each has the same key: what formats store beside the weights tells nothing."""
    return not _keys(before).isdisjoint(_keys(after))


def _keys(variables: Sequence[Variable]) -> set[str]:
    return {variable.key for variable in variables if variable.dtype in FLOATS}


def by_key(before: Sequence[Variable], after: Sequence[Variable]) -> tuple[Pair, ...]:
    """Pairs of equal keys, in the order of `before`; what only `after` has comes last."""
    there = {variable.key: variable for variable in after}
    known = {variable.key for variable in before}
    pairs = [Pair(variable, there.get(variable.key)) for variable in before]
    return (*pairs, *(Pair(None, variable) for variable in after if variable.key not in known))


def by_name(before: Sequence[Variable], after: Sequence[Variable]) -> tuple[Pair, ...]:
    """Pairs of equal friendly names, in the order of `before`; what only `after` has comes last.

    Stored copies of one weight share its name and are each compared, with one another or with the only one there is.
    Other variables that share a name are no sure partners. A name that only one side has is looked for among the
    aliases, and then by its place (`_by_place`); both count where they lead to one variable of the same shape.
    """
    olds, news = _by_name(before), _by_name(after)
    left = ({name: found for name, found in olds.items() if name not in news}, _without(news, olds))
    for match in (_by_alias, _by_place):
        for old, new in match(*left):
            news[old] = news.pop(new)
            left[0].pop(old)
            left[1].pop(new)
    pairs: list[Pair] = []
    for name, one in olds.items():
        other = news.get(name, [])
        if other and not (_is_one_weight(one) and _is_one_weight(other)):
            doubt = "its name is not unique, so its partner is not known"
            pairs += [Pair(each, None, doubt) for each in one] + [Pair(None, each, doubt) for each in other]
            continue
        for number in range(max(len(one), len(other))):
            pairs.append(Pair(one[min(number, len(one) - 1)], other[min(number, len(other) - 1)] if other else None))
    paired = {pair.after.key for pair in pairs if pair.after is not None}
    return (*pairs, *(Pair(None, variable) for variable in after if variable.key not in paired))


_Named = dict[str, list[Variable]]


def _without(named: _Named, others: Collection[str]) -> _Named:
    return {name: found for name, found in named.items() if name not in others}


def _by_alias(olds: _Named, news: _Named) -> list[tuple[str, str]]:
    """Names of one weight: one of its labels on one side is one of its labels on the other."""
    return _only_pairs(_labels(olds), _labels(news), olds, news)


def _labels(named: _Named) -> dict[str, set[str]]:
    """Label -> the names that it is a name of; a label of several tells nothing."""
    labels: dict[str, set[str]] = {}
    for name, found in named.items():
        for label in {name, *(alias for each in found for alias in each.aliases)}:
            labels.setdefault(label, set()).add(name)
    return labels


def _by_place(olds: _Named, news: _Named) -> list[tuple[str, str]]:
    """Names of weights in one layer: a weight of a custom class has a name in some formats and a number in others."""
    pairs = _only_pairs(_places(olds), _places(news), olds, news)
    return [(old, new) for old, new in pairs if _NUMBERED.search(old) or _NUMBERED.search(new)]


def _places(named: _Named) -> dict[str, set[str]]:
    """Layer and shape -> the names of what is there."""
    places: dict[str, set[str]] = {}
    for name, found in named.items():
        layer = _NUMBERED.sub("", name) if _NUMBERED.search(name) else name.rpartition("/")[0]
        places.setdefault(f"{layer} {found[0].shape}", set()).add(name)
    return places


def _only_pairs(
    one: Mapping[str, Collection[str]], other: Mapping[str, Collection[str]], olds: _Named, news: _Named
) -> list[tuple[str, str]]:
    """Pairs of names that some label leads to on each side, each name in one pair, with one shape."""
    found: dict[str, set[str]] = {}
    back: dict[str, set[str]] = {}
    for label, old in one.items():
        new = other.get(label, ())
        if len(old) == 1 and len(new) == 1:
            (first,), (second,) = old, new
            if olds[first][0].shape == news[second][0].shape:
                found.setdefault(first, set()).add(second)
                back.setdefault(second, set()).add(first)
    return [(old, new) for old, names in found.items() if len(names) == 1 for new in names if len(back[new]) == 1]


def _by_name(variables: Sequence[Variable]) -> dict[str, list[Variable]]:
    found: dict[str, list[Variable]] = {}
    for variable in variables:
        found.setdefault(variable.name, []).append(variable)
    return found


def _is_one_weight(variables: Sequence[Variable]) -> bool:
    keys = {variable.key for variable in variables}
    return all({variable.key, *variable.copies} >= keys for variable in variables)
