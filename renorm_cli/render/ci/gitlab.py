"""Findings as a GitLab code quality report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from renorm_cli.model.failure import Outcome
from renorm_cli.render.problems import Problem, fingerprints, problems, rule_id
from renorm_cli.text import PATH_LIMIT, show


def render_gitlab(found: Iterable[Outcome]) -> str:
    """Write a JSON array of the findings of all reports, and of failures, the worst first, a line for each."""
    worst, _ = problems(found)
    entries = (_entry(problem, identity) for problem, identity in zip(worst, fingerprints(worst), strict=True))
    lines = [json.dumps(entry, allow_nan=False) for entry in entries]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def _entry(problem: Problem, identity: str) -> dict[str, Any]:
    return {
        "description": problem.sentence,
        "check_name": rule_id(problem.finding.fault),
        "fingerprint": identity,
        "severity": _severity(problem),
        "location": {"path": show(problem.path.removeprefix("./"), PATH_LIMIT), "lines": {"begin": 1}},
    }


def _severity(problem: Problem) -> str:
    if problem.level == "error":
        return "critical" if problem.finding.fault in ("nonfinite", "failed") else "major"
    return "minor" if problem.level == "warning" else "info"
