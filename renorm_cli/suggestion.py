"""Bounds from measured norms: for each variable, and for all units together; and the rules that say them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from renorm_cli.errors import OutputError, UsageError, Way
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.registry import is_one_of
from renorm_cli.model.blocks import grid_shape
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Report
from renorm_cli.model.suggestion import SHARES, USUAL_SHARE, SuggestedBound, Suggestion
from renorm_cli.model.variable import Variable
from renorm_cli.norms.distribution import Distribution
from renorm_cli.plan.rules import Rule
from renorm_cli.plan.selection import patterns_of
from renorm_cli.text import counted, share_of

Units = tuple[tuple[int, ...] | None, tuple[int, ...] | None]
"""The axes that name units, and those that name blocks; None for those of the variable's role."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is looked for: bounds for `shares`; rules are for the share `clip`, one bound for all with `one_bound`."""

    shares: tuple[float, ...] = SHARES
    clip: float = USUAL_SHARE
    one_bound: bool = False


def aim_of(clip: float | str | None, *, one_bound: bool = False) -> Aim:
    """The aim at a share of the units to clip, `5%` or `0.05`, from 0 to below 1; at the usual shares for None.

    Raises UsageError for what is no such share.
    """
    if clip is None:
        return Aim(one_bound=one_bound)
    share = share_of(str(clip))
    if not 0 <= share < 1:
        raise UsageError(
            f"what is clipped is a share of the units from 0 to below the whole, such as 5% or 0.05, got {str(clip)!r}",
            Way("clip", "give one"),
        )
    return Aim((share,), share, one_bound)


def refuse_taken(path: Path, source: Checkpoint, *, force: bool = False) -> None:
    """Raise OutputError where rules would replace a file of the checkpoint, or any other file without `force`."""
    another = Way("output", "give the rules another name")
    if is_one_of(path, [source.path]):
        raise OutputError(f"{str(path)!r} is the checkpoint", another)
    if os.path.lexists(path) and not force:
        raise OutputError(f"{str(path)!r} exists", another, Way("force", "replace it", True))


def bounds_of(norms: Distribution, shares: Sequence[float]) -> tuple[SuggestedBound, ...]:
    """A bound for each share; without a limit where there are no norms, or where the norm at that share is 0."""
    if not norms.count:
        return tuple(SuggestedBound(share, None, 0, 0) for share in shares)
    return tuple(
        SuggestedBound(share, limit if limit > 0 else None, over if limit > 0 else 0, norms.count)
        for share, (limit, over) in zip(shares, norms.limits(shares), strict=True)
    )


class Collector:
    """Takes the norms of one variable after the other, in any order and from any thread; forgets them."""

    def __init__(self, steps: Sequence[Step], aim: Aim) -> None:
        units = sum(math.prod(grid_shape(step.variable.shape, step.unit_axes)) for step in steps)
        self._shares = aim.shares
        self._together = Distribution(units)
        self._found: dict[str, tuple[SuggestedBound, ...]] = {}
        self._lock = Lock()

    def take(self, step: Step, norms: Distribution) -> None:
        """Take in the norms of all units of a variable."""
        bounds = bounds_of(norms, self._shares)
        with self._lock:
            self._found[step.variable.key] = bounds
            self._together.merge(norms)

    def suggestion(self, measured: Report) -> Suggestion:
        """What was found, with the report of the same run."""
        bounds = tuple(self._found[row.step.variable.key] for row in measured.rows)
        return Suggestion(measured, bounds, bounds_of(self._together, self._shares))


def rules_for(found: Suggestion, aim: Aim, among: Sequence[Variable]) -> list[Rule]:
    """One rule for each variable of a suggestion; with `one_bound` one for all that have units along the same axes.

    None matches any other variable `among` all. They say what the measuring had to be told (units, p, what a norm
    runs over), so that they hold without those options. A variable without a bound is left alone. Raises
    SelectionError where a variable has no pattern of its own.
    """
    rows = found.measured.rows
    patterns = patterns_of([row.step.variable for row in rows], among)
    place, constraint = found.shares.index(aim.clip), rows[0].step.constraint
    own: dict[str, tuple[Units, SuggestedBound]] = {}
    for pattern, row, bounds in zip(patterns, rows, found.bounds, strict=True):
        own[pattern] = (_told(row.step), bounds[place])
    if aim.one_bound:
        alike: dict[Units, list[str]] = {}
        for pattern, (units, _) in own.items():
            alike.setdefault(units, []).append(pattern)
        return [
            _rule(number, tuple(match), found.together[place], constraint, units)
            for number, (units, match) in enumerate(alike.items(), 1)
        ]
    return [
        _rule(number, (pattern,), bound, constraint, units)
        for number, (pattern, (units, bound)) in enumerate(own.items(), 1)
    ]


def _told(step: Step) -> Units:
    """The axes, if they are not what the file tells by itself."""
    if step.axis_source not in ("option", "like"):
        return None, None
    if step.constraint.is_spectral:
        return step.columns or None, step.unit_axes or None
    return (step.unit_axes if step.constraint.per == "unit" else None), None


def remarks(found: Suggestion, rules: Sequence[Rule], aim: Aim) -> list[str]:
    """What to say on top of a file of rules."""
    place, measured = found.shares.index(aim.clip), found.measured
    bounds = [found.together[place]] if aim.one_bound else [own[place] for own in found.bounds]
    over, units = sum(bound.over for bound in bounds), sum(bound.units for bound in bounds)
    what = "one bound for all units" if aim.one_bound else "a bound for the units of each variable"
    return [
        f"renorm-ckpt {measured.version} suggested, to clip {aim.clip * 100:.6g}%: {what} of {measured.path}",
        f"Would clip {over} of {counted(units, 'unit')}. The first rule that matches a variable decides.",
    ]


def _rule(number: int, match: tuple[str, ...], bound: SuggestedBound, constraint: Constraint, units: Units) -> Rule:
    if bound.limit is None:
        return Rule(number, match)
    return Rule(
        number,
        match,
        bound.limit,
        norm=None if constraint.norm == EUCLIDEAN else constraint.norm,
        units=units[0],
        blocks=units[1],
        per="tensor" if constraint.per == "tensor" and not constraint.is_spectral else None,
    )
