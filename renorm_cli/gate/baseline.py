"""Hold a checkpoint against an earlier report: what grew, what appeared, what vanished."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renorm_cli.errors import SelectionError, UsageError
from renorm_cli.gate.stored_report import Earlier, read_earlier
from renorm_cli.model.plan import REQUESTED, Skip
from renorm_cli.model.report import Baseline, Growth, Report, Row

DEFAULT_GROWTH = "5%"


@dataclass(frozen=True, slots=True)
class Reference:
    """An earlier report to hold checkpoints against, and what is allowed.

    `several` tells that `reports`, by the path of their checkpoint, were written by one run over several checkpoints:
    then each checkpoint is held against the report of the same path, otherwise all against the only one.
    """

    path: str
    reports: dict[str, tuple[Earlier, ...]]
    several: bool
    max_growth: float
    allow_new: bool = False
    allow_gone: bool = False


def parse_growth(text: str) -> float:
    """Turn `5%` or `0.05` into 0.05. Raises UsageError for anything else, also for `5`, which is likely to be 5 %."""
    wrong = UsageError(f"--max-growth takes a share such as 5% or 0.05, got {text!r}")
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        growth = float(number) / (100 if percent else 1)
    except ValueError:
        raise wrong from None
    if not 0 <= growth < math.inf:
        raise wrong
    if growth >= 1 and not percent:
        raise UsageError(f"--max-growth {text} is more than the whole; write {text}% or {growth * 100:g}%")
    return growth


def read_baseline(path: Path, max_growth: float, *, allow_new: bool = False, allow_gone: bool = False) -> Reference:
    """Read a JSON report of `inspect`, `check` or `apply`, of one checkpoint or of several; see `read_earlier`."""
    reports, several = read_earlier(path)
    return Reference(str(path), reports, several, max_growth, allow_new, allow_gone)


def held_against(report: Report, reference: Reference) -> Report:
    """The report with its `baseline` filled in: every measured variable against the one of the same name.

    A variable that this run was asked to leave out is not compared; one that has gone for any other reason has
    vanished. Where names are not unique, keys are compared. Raises SelectionError where the reference has no report of
    the checkpoint, and where the two were not measured alike (p, what a norm runs over, unit axes).
    """
    earlier = _of(reference, report.path)
    growths = tuple(_growths(report, earlier, reference))
    return replace(report, baseline=Baseline(reference.path, reference.max_growth, growths))


def _of(reference: Reference, path: str) -> tuple[Earlier, ...]:
    if not reference.several:
        (only,) = reference.reports.values()
        return only
    found = reference.reports.get(os.path.normpath(path))
    if found is None:
        raise SelectionError(
            f"--baseline {reference.path!r} has no report of {path!r} among its {len(reference.reports)};"
            " give the checkpoints by the paths they had"
        )
    return found


def _growths(report: Report, earlier: tuple[Earlier, ...], reference: Reference) -> Iterator[Growth]:
    by_name = _unique([one.name for one in earlier]) and _unique([row.step.variable.name for row in report.rows])

    def label(one: Earlier | Row | Skip) -> str:
        found = one if isinstance(one, Earlier) else one.step.variable if isinstance(one, Row) else one.variable
        return found.name if by_name else found.key

    before = {label(one): one for one in earlier}
    left_out = {label(skip) for skip in report.skips if skip.code in REQUESTED}
    for row in report.rows:
        old, after = before.pop(label(row), None), None if row.norm is None else row.norm.max
        if old is None:
            if not reference.allow_new:
                yield Growth(row.step.variable.name, "appeared", None, after)
            continue
        _check_alike(row, old, reference.path)
        if _grew(old.largest, after, reference.max_growth):
            yield Growth(row.step.variable.name, "grew", old.largest, after)
    if not reference.allow_gone:
        for name, old in before.items():
            if name not in left_out:
                yield Growth(old.name, "vanished", old.largest, None)


def _grew(before: float | None, after: float | None, most: float) -> bool:
    if before is None:
        return False  # nothing finite then: whatever it is now is no growth, and what is not finite now is found anyway
    return after is None or after > before * (1 + most)


def _check_alike(row: Row, old: Earlier, path: str) -> None:
    constraint = row.step.constraint
    pairs: list[tuple[str, object, object]] = [
        ("p", old.p, constraint.norm.p),
        ("per", old.per, constraint.per),
        ("unit axes", list(old.unit_axes), list(row.step.unit_axes)),
    ]
    for what, then, now in pairs:
        if then != now:
            raise SelectionError(
                f"--baseline {path!r} has {row.step.variable.name!r} measured with {what} {then}, this run with {now};"
                " measure both alike"
            )


def _unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)
