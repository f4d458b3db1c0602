"""The findings of a gate: one per variable and fault, the worst first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.plan import Skip, SkipCode
from renorm_cli.model.report import Growth, Joint, Report, Row, UnitNorm
from renorm_cli.text import an, shape_text

Fault = Literal[
    "over", "nonfinite", "under", "negative", "grew", "appeared", "vanished", "unidentified", "guessed", "failed"
]
"""What can be wrong with a variable; or, where it failed, with a whole checkpoint."""

FAULTS: dict[Fault, str] = {
    "over": "A norm is above the bound",
    "nonfinite": "A unit holds NaN or Inf",
    "under": "A unit's norm is below the lower bound",
    "negative": "A weight is negative that must not be",
    "grew": "A variable's largest unit norm grew more than allowed since the baseline",
    "appeared": "A variable is not in the baseline",
    "vanished": "A variable of the baseline is gone",
    "unidentified": "A matrix was not seen, because nothing identifies it",
    "guessed": "The unit axes of a variable are a guess, and the verdict depends on them",
    "failed": "Nothing could be told of a checkpoint",
}
"""Each fault as a sentence."""

_UNSEEN: dict[SkipCode, str] = {
    "unidentified": "is not identified",
    "unused": "is not identified, and not used in the graph",
    "dtype": "is of a dtype that is not measured",
    "unreadable": "cannot be read",
    "unknown_constraint": "declares a constraint that is not known",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a variable.

    `text` is one sentence without the variable's name, in ASCII and without text from the file. `severity` orders
    findings; it is infinite for what is not finite.
    """

    fault: Fault
    name: str
    key: str | None
    text: str
    severity: float = field(compare=False)


class Rank(NamedTuple):
    """The place of a checkpoint among many, the worst first: what it is, then how bad that is, as `-severity`."""

    kind: Literal[0, 1, 2, 3]
    """0 it failed, 1 its verdict is undecided, 2 something is wrong with it, 3 nothing is."""
    order: float


def rank(found: Outcome) -> Rank:
    """The place of one checkpoint; those with which nothing is wrong are in the order of their largest norms."""
    if isinstance(found, Failure):
        return Rank(0, 0.0)
    faults = findings(found)
    if found.command == "check" and found.verdict == "undecided":
        return Rank(1, -faults[0].severity if faults else 0.0)
    if faults and not (found.command == "check" and found.verdict == "holds"):
        return Rank(2, -faults[0].severity)
    return Rank(3, -max((row.norm.max for row in found.rows if row.norm is not None), default=0.0))


def findings(report: Report) -> tuple[Finding, ...]:
    """All findings of a report, the worst first; without any, the report holds."""
    joint = report.joint
    rows = report.rows if joint is None else sorted(report.rows, key=_own, reverse=True)
    found = [finding for row in rows for finding in _of_row(row, joint)]
    if report.baseline is not None:
        nouns = {row.step.variable.name: row.noun for row in report.rows}
        most = report.baseline.max_growth
        found += [_of_growth(growth, most, nouns.get(growth.name, "norm")) for growth in report.baseline.growths]
    found += [_of_unidentified(skip) for skip in report.unidentified]
    found += [_of_guess(row) for row in report.guessed]
    return tuple(sorted(found, key=lambda finding: -finding.severity))


def _own(row: Row) -> float:
    return 0.0 if row.norm is None else row.norm.max


def _of_row(row: Row, joint: Joint | None) -> Iterator[Finding]:
    variable, constraint = row.step.variable, row.step.constraint
    noun = an(row.noun)

    def finding(fault: Fault, text: str, severity: float) -> Finding:
        return Finding(fault, variable.name, variable.key, text, severity)

    if row.nonfinite:
        unit = _unit(row, lambda unit: not math.isfinite(unit.norm))
        yield finding("nonfinite", f"{_share(row.nonfinite, row.units)} NaN or Inf{unit}", math.inf)
    if row.over and row.norm is not None and joint is not None:
        text = f"{joint.text()}; the norm of this one alone is {_norm(row.norm.max)}"
        yield finding("over", text, joint.excess)
    elif row.over and row.norm is not None:
        unit = _unit(row, lambda unit: math.isfinite(unit.norm))
        largest = f"the largest is {_norm(row.norm.max)}{unit}"
        text = f"{_share(row.over, row.units)} {noun} over {_exact(constraint.limit)}; {largest}"
        yield finding("over", text, row.excess or 0.0)
    if row.under and row.norm is not None:
        text = (
            f"{_share(row.under, row.units)} {noun} under {_exact(constraint.low)}; the least is {_norm(row.norm.min)}"
        )
        yield finding("under", text, 0.0)
    if row.negative:
        yield finding("negative", f"{row.negative:,} weights are below 0", 0.0)


def _of_growth(growth: Growth, most: float, noun: str) -> Finding:
    before, after = growth.before, growth.after
    if growth.kind == "grew":
        sizes = f"from {_norm(before)} to {_norm(after)}"
        text = f"the largest {noun} grew {sizes}, more than the {most * 100:.6g} % allowed"
        severity = after / before - 1 if before and after is not None else math.inf
        return Finding("grew", growth.name, None, text, severity)
    text = "is not in the baseline" if growth.kind == "appeared" else "is in the baseline and not in the checkpoint"
    return Finding(growth.kind, growth.name, None, text, 0.0)


def _of_unidentified(skip: Skip) -> Finding:
    shape = shape_text(skip.variable.shape)
    text = f"{_UNSEEN.get(skip.code, 'was not seen')}: a matrix of {shape} weights that was not measured"
    return Finding("unidentified", skip.variable.name, skip.variable.key, text, 0.0)


def _of_guess(row: Row) -> Finding:
    if row.step.axis_source != "guess":
        text = "it is not known whether it is a convolution: its norm is that of a matrix"
        return Finding("guessed", row.step.variable.name, row.step.variable.key, text, 0.0)
    axes = " ".join(map(str, row.step.unit_axes)) or "none"
    identity = row.step.variable.identity
    why = "sources disagree about them" if identity is not None and identity.conflict else "nothing tells them"
    text = f"the unit axes ({axes} of {shape_text(row.step.variable.shape)}) are a guess: {why}"
    return Finding("guessed", row.step.variable.name, row.step.variable.key, text, 0.0)


def _share(count: int, units: int) -> str:
    return f"{count:,} of {units:,} unit{'' if units == 1 else 's'} {'has' if count == 1 else 'have'}"


def _unit(row: Row, wanted: Callable[[UnitNorm], bool]) -> str:
    unit = next((unit for unit in row.worst if wanted(unit)), None)
    return "" if unit is None or not unit.index else f" (unit {', '.join(map(str, unit.index))})"


def _exact(number: float | None) -> str:
    return "-" if number is None else repr(float(number)).removesuffix(".0")


def _norm(number: float | None) -> str:
    return "a norm that is not finite" if number is None else f"{number:.9g}"
