"""Which variables of two checkpoints belong together, from their headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from renorm_cli.conventions.identify import unit_axes
from renorm_cli.model.variable import Variable


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
            and {self.before.name, *self.before.aliases} != {self.after.name, *self.after.aliases}
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


def have_common_keys(before: Sequence[Variable], after: Sequence[Variable]) -> bool:
    return not {variable.key for variable in before}.isdisjoint(variable.key for variable in after)


def by_key(before: Sequence[Variable], after: Sequence[Variable]) -> tuple[Pair, ...]:
    """Pairs of equal keys, in the order of `before`; what only `after` has comes last."""
    there = {variable.key: variable for variable in after}
    known = {variable.key for variable in before}
    pairs = [Pair(variable, there.get(variable.key)) for variable in before]
    return (*pairs, *(Pair(None, variable) for variable in after if variable.key not in known))


def by_name(before: Sequence[Variable], after: Sequence[Variable]) -> tuple[Pair, ...]:
    """Pairs of equal friendly names, in the order of `before`; what only `after` has comes last.

    Stored copies of one weight share its name and are each compared, with one another or with the only one there is.
    Other variables that share a name are no sure partners.
    """
    olds, news = _by_name(before), _by_name(after)
    pairs: list[Pair] = []
    for name, old in olds.items():
        new = news.get(name, [])
        if new and not (_is_one_weight(old) and _is_one_weight(new)):
            doubt = "its name is not unique, so its partner is not known"
            pairs += [Pair(one, None, doubt) for one in old] + [Pair(None, other, doubt) for other in new]
            continue
        for number in range(max(len(old), len(new))):
            pairs.append(Pair(old[min(number, len(old) - 1)], new[min(number, len(new) - 1)] if new else None))
    return (*pairs, *(Pair(None, variable) for variable in after if variable.name not in olds))


def _by_name(variables: Sequence[Variable]) -> dict[str, list[Variable]]:
    found: dict[str, list[Variable]] = {}
    for variable in variables:
        found.setdefault(variable.name, []).append(variable)
    return found


def _is_one_weight(variables: Sequence[Variable]) -> bool:
    keys = {variable.key for variable in variables}
    return all({variable.key, *variable.copies} >= keys for variable in variables)
