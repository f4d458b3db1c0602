"""Findings as SARIF 2.1.0, the OASIS format of code scanning services."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from renorm_cli import __version__
from renorm_cli.model.failure import Outcome
from renorm_cli.model.findings import FAULTS, Fault
from renorm_cli.render.problems import NAMED_IN_FULL, Problem, fingerprints, problems, rule_id
from renorm_cli.text import count_text, show

MOST = 25_000
"""Results per run that GitHub accepts; it refuses a file with more."""

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

_HELP: dict[Fault, str] = {
    "over": "Write a copy that keeps the bound with `renorm-ckpt apply`, or choose a larger bound.",
    "nonfinite": "Go back to a checkpoint from before the training diverged; no renormalization mends NaN or Inf.",
    "under": "Look at the units of the smallest norms: they may be dead, or the lower bound too high.",
    "negative": "Load the file and let the constraint that it declares run once, or remove the constraint.",
    "grew": "Look at what changed in the training since the baseline; if it is meant, make a new baseline.",
    "appeared": "If the new variable is meant, make a new baseline.",
    "unidentified": "Say what it is: with another checkpoint of the same model, or by its unit axes; or leave it out.",
    "guessed": "Say the unit axes, or have another checkpoint of the same model tell them; or leave the variable out.",
    "failed": "Mend or replace the checkpoint, or leave it out.",
    "vanished": "If the variable is meant to be gone, make a new baseline.",
}
"""Advice for each rule."""


def render_sarif(found: Sequence[Outcome]) -> str:
    """Write one run with the findings of all reports, and failures, the worst first; beyond 25,000 they are counted.

    A location is the checkpoint's path as a URI reference, line 1 (a location needs a line), and the variable as
    logical location.
    """
    kept, count = problems(found, MOST)
    run: dict[str, Any] = {
        "tool": {"driver": _driver(found[0].version if found else __version__)},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(count - len(kept))],
        "results": [_result(one, identity) for one, identity in zip(kept, fingerprints(kept), strict=True)],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, allow_nan=False) + "\n"


def _driver(version: str) -> dict[str, Any]:
    return {"name": "renorm-ckpt", "semanticVersion": version, "rules": [_rule(rule) for rule in FAULTS]}


def _rule(rule: Fault) -> dict[str, Any]:
    return {
        "id": rule_id(rule),
        "shortDescription": {"text": f"{FAULTS[rule]}."},
        "fullDescription": {"text": f"{FAULTS[rule]}. {_HELP[rule]}"},
        "help": {"text": _HELP[rule]},
        "defaultConfiguration": {"level": "error"},
    }


def _invocation(left_out: int) -> dict[str, Any]:
    if not left_out:
        return {"executionSuccessful": True}
    text = f"{count_text(left_out)} more findings, none worse than these, are left out."
    return {
        "executionSuccessful": True,
        "toolExecutionNotifications": [{"level": "warning", "message": {"text": text}}],
    }


def _result(problem: Problem, identity: str) -> dict[str, Any]:
    finding = problem.finding
    named = (
        [{"fullyQualifiedName": show(finding.name, NAMED_IN_FULL), "kind": "variable"}]
        if finding.fault != "failed"
        else []
    )
    return {
        "ruleId": rule_id(finding.fault),
        "ruleIndex": _RULE_INDEX[finding.fault],
        "level": problem.level,
        "message": {"text": f"{_message(problem.sentence)}."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(problem.path)},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [] if finding.fault == "failed" else named,
            }
        ],
        # GitHub reads this name; its own fingerprint would be the same for all variables, because they share a line
        "partialFingerprints": {"primaryLocationLineHash": identity},
    }


_RULE_INDEX = {rule: index for index, rule in enumerate(FAULTS)}


def _message(text: str) -> str:
    """Escape the characters of links and placeholders in plain text messages (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    for char, escaped in (("\\", r"\\"), ("[", r"\["), ("]", r"\]"), ("{", "{{"), ("}", "}}")):
        text = text.replace(char, escaped)
    return text


def _uri(path: str) -> str:
    """A path as a URI reference: percent-encoded exact bytes, with `file://` if it is absolute."""
    path = path.removeprefix("./")
    try:
        encoded = quote(path, errors="surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        encoded = quote(path, errors="backslashreplace")
    return f"file://{encoded}" if path.startswith("/") else encoded
