"""Findings in the form that CI services need: grouped by variable or over all reports, with a level and an identity."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.findings import Fault, Finding, Rank, findings, rank
from renorm_cli.model.report import Allowed, Report, Row
from renorm_cli.text import LINE_LIMIT, show

DOUBTS: dict[Fault, Allowed] = {"unidentified": "unidentified", "guessed": "guess"}
"""Findings that leave a verdict undecided, and what accepts them."""

Level = Literal["error", "warning", "note"]

NAMED_IN_FULL = 1000
"""Characters of a name that identifies an entry."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A variable and its findings, the worst first; `row` is None for one that was not measured, or is gone.

    `key` is None for a variable that the checkpoint lacks.
    """

    name: str
    key: str | None
    row: Row | None
    findings: tuple[Finding, ...]

    @property
    def text(self) -> str:
        return "; ".join(finding.text for finding in self.findings)


class Problem(NamedTuple):
    """A finding, the path of the checkpoint that it is in, and its level."""

    path: str
    finding: Finding
    level: Level

    @property
    def sentence(self) -> str:
        """The quoted name of the variable, and the finding, or why a checkpoint failed; safe to print."""
        return (
            f"'{show(self.finding.name)}': {self.finding.text}" if self.finding.fault != "failed" else self.finding.text
        )


def subjects(report: Report) -> tuple[Subject, ...]:
    """The findings of a report by variable: a subject for each row, in order, then those without a row."""
    by_key = {row.step.variable.key: number for number, row in enumerate(report.rows)}
    by_name = {row.step.variable.name: number for number, row in reversed(list(enumerate(report.rows)))}
    of_rows: dict[int, list[Finding]] = {}
    strays: dict[tuple[str, str | None], list[Finding]] = {}
    for finding in findings(report):
        number = by_name.get(finding.name) if finding.key is None else by_key.get(finding.key)
        if number is None:
            strays.setdefault((finding.name, finding.key), []).append(finding)
        else:
            of_rows.setdefault(number, []).append(finding)
    return (
        *(
            Subject(row.step.variable.name, row.step.variable.key, row, tuple(of_rows.get(at, ())))
            for at, row in enumerate(report.rows)
        ),
        *(Subject(name, key, None, tuple(found)) for (name, key), found in strays.items()),
    )


def ranks(found: Sequence[Outcome]) -> Sequence[Rank]:
    """The places of checkpoints among each other; those that are known are not worked out again."""
    known: Sequence[Rank] | None = getattr(found, "ranks", None)
    return list(map(rank, found)) if known is None else known


def worst(found: Sequence[Outcome], most: int) -> list[int]:
    """Where the worst are, at most so many, in the order of all."""
    if len(found) <= most:
        return list(range(len(found)))
    order = ranks(found)
    return sorted(heapq.nsmallest(most, range(len(order)), key=lambda at: (order[at], at)))


def problems(found: Iterable[Outcome], most: int | None = None) -> tuple[list[Problem], int]:
    """The findings of all reports and the failures, the worst first and at most so many, and how many there are."""
    count = 0

    def each() -> Iterator[Problem]:
        nonlocal count
        for one in found:
            for problem in _of(one):
                count += 1
                yield problem

    def severity(problem: Problem) -> float:
        return problem.finding.severity

    worst = sorted(each(), key=severity, reverse=True) if most is None else heapq.nlargest(most, each(), key=severity)
    return worst, count


def _of(found: Outcome) -> Iterator[Problem]:
    if isinstance(found, Failure):
        yield Problem(found.path, Finding("failed", "", None, show(found.text, LINE_LIMIT), math.inf), "error")
    else:
        yield from (Problem(found.path, finding, level(found, finding)) for finding in findings(found))


def level(report: Report, finding: Finding) -> Level:
    """The level of a finding: an error if it makes the command fail, as only `check` does; clipping is only a note."""
    doubt = DOUBTS.get(finding.fault)
    if report.command == "check" and doubt not in report.allowed:
        return "error"
    return "warning" if finding.fault == "nonfinite" or doubt else "note"


def rule_id(rule: Fault) -> str:
    """The name of a rule, prefixed to differ from the rules of other tools."""
    return f"renorm-{rule}"


def fingerprints(found: Sequence[Problem]) -> Iterator[str]:
    """An identity for each problem: unique among them, and the same in the next run whatever the norms are."""
    seen: dict[str, int] = {}
    for problem in found:
        finding = problem.finding
        variable = finding.name if finding.key is None else finding.key
        identity = "\0".join((finding.fault, problem.path, variable))
        count = seen[identity] = seen.get(identity, 0) + 1
        again = f"\0{count}" if count > 1 else ""  # the same checkpoint occurs twice
        yield hashlib.sha256((identity + again).encode("utf-8", "surrogatepass")).hexdigest()[:32]
