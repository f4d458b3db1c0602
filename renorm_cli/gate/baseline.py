"""Hold a checkpoint against an earlier report: what grew, what appeared, what vanished."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from renorm_cli.errors import SelectionError, UsageError, Way
from renorm_cli.gate.stored_report import Earlier, Stored
from renorm_cli.model.plan import REQUESTED, Skip
from renorm_cli.model.report import Baseline, Growth, Report, Row
from renorm_cli.model.variable import Variable
from renorm_cli.text import share_of

USUAL_GROWTH = 0.05
"""How much a norm may grow where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An earlier report to hold checkpoints against, and what is allowed.

    If the report is on several checkpoints, each checkpoint is held against the part of the same path, otherwise all
    are held against the only one.
    """

    stored: Stored
    max_growth: float = USUAL_GROWTH
    allow_new: bool = False
    allow_gone: bool = False


def growth_of(given: float | str | None) -> float:
    """The growth that `5%` or `0.05` allows: 0.05, also for None.

    Raises UsageError for what is no share, and for `5`, which is likely to be meant as 5 %.
    """
    if given is None:
        return USUAL_GROWTH
    text = str(given)
    growth, way = share_of(text), Way("max_growth", "give one")
    if not 0 <= growth < math.inf:
        raise UsageError(f"the growth that is allowed is a share such as 5% or 0.05, got {text!r}", way)
    if growth >= 1 and not text.strip().endswith("%"):
        raise UsageError(f"a growth of {text} is more than the whole; write {text}% or {growth * 100:g}%", way)
    return growth


def held_against(report: Report, reference: Reference) -> Report:
    """The report with its `baseline` filled in: every measured variable against the one of the same name.

    A variable that this run was asked to leave out is not compared; one that has gone for any other reason has
    vanished. Where names are not unique, keys are compared. Raises SelectionError where the reference has no report of
    the checkpoint, and where the two were not measured alike (p, what a norm runs over, unit axes).
    """
    growths = tuple(_growths(report, _of(reference.stored, report.path), reference))
    return replace(report, baseline=Baseline(reference.stored.path, reference.max_growth, growths))


def _of(stored: Stored, path: str) -> tuple[Earlier, ...]:
    if not stored.several:
        (only,) = stored.reports.values()
        return only
    found = stored.reports.get(os.path.normpath(path))
    if found is None:
        raise SelectionError(
            f"the baseline {stored.path!r} has no report of {path!r} among its {len(stored.reports)};"
            " give the checkpoints by the paths they had"
        )
    return found


def _growths(report: Report, earlier: tuple[Earlier, ...], reference: Reference) -> Iterator[Growth]:
    rows, earlier = report.rows, _once(earlier)
    by_name = _unique([one.name for one in earlier]) and _unique([row.step.variable.name for row in rows])

    def label(one: Earlier | Row | Skip) -> str:
        found = one if isinstance(one, Earlier) else one.step.variable if isinstance(one, Row) else one.variable
        return found.name if by_name else found.key

    before = {label(one): one for one in earlier}
    if by_name:
        _take_aliases(before, [row.step.variable for row in rows])
    left_out = {label(skip) for skip in report.skips if skip.code in REQUESTED}
    for row in rows:
        old, after = before.pop(label(row), None), None if row.norm is None else row.norm.max
        if old is None:
            if not reference.allow_new:
                yield Growth(row.step.variable.name, "appeared", None, after)
            continue
        _check_alike(row, old, reference.stored.path)
        if _grew(old.largest, after, reference.max_growth):
            yield Growth(row.step.variable.name, "grew", old.largest, after)
    if not reference.allow_gone:
        for name, old in before.items():
            if name not in left_out:
                yield Growth(old.name, "vanished", old.largest, None)


def _once(earlier: tuple[Earlier, ...]) -> tuple[Earlier, ...]:
    """Of stored copies of one weight, which reports listed one by one, the first."""
    seen: set[str] = set()
    first: list[Earlier] = []
    for one in earlier:
        if seen.isdisjoint(one.copies):
            first.append(one)
        seen.add(one.key)
    return tuple(first)


def _take_aliases(before: dict[str, Earlier], variables: Sequence[Variable]) -> None:
    """Put the earlier variables that go by other names now under those names, where no more than one can be meant."""
    new = [variable for variable in variables if variable.name not in before]
    present = {variable.name for variable in variables}
    gone = {name: one for name, one in before.items() if name not in present}
    by_label: dict[str, set[str]] = {}
    for name, one in gone.items():
        for label in (name, *one.aliases):
            by_label.setdefault(label, set()).add(name)
    meant: dict[str, set[str]] = {}
    for variable in new:
        for label in (variable.name, *variable.aliases):
            names = by_label.get(label, set())
            for name in names if len(names) == 1 else ():
                meant.setdefault(name, set()).add(variable.name)
    for name, found in meant.items():
        if len(found) == 1:
            before[found.pop()] = before.pop(name)


def _grew(before: float | None, after: float | None, most: float) -> bool:
    if before is None:
        return False  # nothing finite then: whatever it is now is no growth, and what is not finite now is found anyway
    return after is None or after > before * (1 + most)


def _check_alike(row: Row, old: Earlier, path: str) -> None:
    constraint = row.step.constraint
    pairs: list[tuple[str, object, object]] = [
        ("norm", old.norm_kind, constraint.norm.kind),
        ("conv", _conv(old.operator), _conv(row.spectral is not None and row.spectral.operator is not None)),
        ("p", old.p, constraint.norm.record),
        ("per", old.per, constraint.per),
        ("unit axes", list(old.unit_axes), list(row.step.unit_axes)),
    ]
    for what, then, now in pairs:
        if then != now:
            raise SelectionError(
                f"the baseline {path!r} has {row.step.variable.name!r} measured with {what} {then},"
                f" this run with {now}; measure both alike"
            )


def _conv(operator: bool) -> str:
    return "operator" if operator else "matrix"


def _unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)
