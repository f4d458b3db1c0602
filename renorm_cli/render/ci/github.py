"""Findings as annotations of a GitHub workflow: lines on stdout that the runner reads as commands."""

from __future__ import annotations

from collections.abc import Iterable

from renorm_cli.model.failure import Outcome
from renorm_cli.model.findings import FAULTS
from renorm_cli.render.problems import Level, Problem, problems
from renorm_cli.text import PATH_LIMIT, count_text, show

MOST = 10
"""Annotations of one level that GitHub keeps per step; it drops the others."""

_COMMANDS: dict[Level, str] = {"error": "error", "warning": "warning", "note": "notice"}


def render_github(found: Iterable[Outcome]) -> str:
    """Write a line for each finding of all reports, and for each failure, the worst first; beyond 10 of them, the first
    9 and a count.

    Empty without findings.
    """
    worst, count = problems(found, MOST)
    shown = worst if count <= MOST else worst[: MOST - 1]
    lines = [_annotation(problem) for problem in shown]
    if count > len(shown):
        command = _COMMANDS["error" if any(problem.level == "error" for problem in worst) else worst[0].level]
        more = f"and {count_text(count - len(shown))} more findings; a report of any other format has them"
        lines.append(f"::{command} title=renorm-ckpt::{_data(more)}")
    return "".join(f"{line}\n" for line in lines)


def _annotation(problem: Problem) -> str:
    path = show(problem.path.removeprefix("./"), PATH_LIMIT)
    title = f"renorm-ckpt: {FAULTS[problem.finding.fault]}"
    properties = f"title={_property(title)},file={_property(path)},line=1"
    return f"::{_COMMANDS[problem.level]} {properties}::{_data(problem.sentence)}"


def _data(text: str) -> str:
    """Escape a message for the runner, which unescapes it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property for the runner, which unescapes it."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
