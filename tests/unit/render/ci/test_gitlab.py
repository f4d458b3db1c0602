"""GitLab code quality reports: the fields it asks for, and an identity for each finding that stays."""

from __future__ import annotations

import dataclasses
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.report_maker import ANY, HOSTILE, a_report, a_row, has_only_printable_lines, hostile_report

from renorm_cli.model.report import Baseline, Growth
from renorm_cli.render.ci.gitlab import render_gitlab

TEXT = {"type": "string", "minLength": 1}
ENTRY = {
    "type": "object",
    "required": ["description", "check_name", "fingerprint", "severity", "location"],
    "additionalProperties": False,
    "properties": {
        "description": TEXT,
        "check_name": TEXT,
        "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
        "location": {
            "type": "object",
            "required": ["path", "lines"],
            "properties": {
                "path": {"type": "string", "not": {"pattern": r"^\./"}},
                "lines": {
                    "type": "object",
                    "required": ["begin"],
                    "properties": {"begin": {"type": "integer", "minimum": 1}},
                },
            },
        },
    },
}
"""What GitLab's documentation of the format asks of an entry."""
VALIDATOR = Draft202012Validator({"type": "array", "items": ENTRY})


def read(text: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(text)
    assert [error.message for error in VALIDATOR.iter_errors(entries)] == []
    return entries


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_a_code_quality_report_is_only_text(name: str) -> None:
    text = render_gitlab([hostile_report(name)])
    entries = read(text)
    assert text.isascii()
    assert len(entries) == 3
    for entry in entries:
        assert has_only_printable_lines(entry["description"])
        assert has_only_printable_lines(entry["location"]["path"])
        assert entry["description"].startswith("'")


@given(ANY)
def test_any_name_leaves_a_code_quality_report_valid(name: str) -> None:
    assert len({entry["fingerprint"] for entry in read(render_gitlab([hostile_report(name)]))}) == 3


def test_the_check_of_the_fields_can_fail() -> None:
    entries = read(render_gitlab([a_report([a_row("v")])]))
    entries[0]["severity"], entries[0]["location"]["path"] = "error", "./x"
    assert len(list(VALIDATOR.iter_errors(entries))) == 2


NAMES = st.lists(st.text(string.ascii_letters + "/", max_size=3), unique=True, max_size=6)


@given(NAMES, st.integers(1, 3))
def test_every_finding_has_a_fingerprint_of_its_own(names: list[str], files: int) -> None:
    growths = tuple(Growth(name, "grew", 1.0, 3.0) for name in names)
    rows = [a_row(name, nonfinite=1) for name in names]
    report = a_report(rows, baseline=Baseline("old.json", 0.05, growths))
    entries = read(render_gitlab([*[report] * files, dataclasses.replace(report, path="other.h5")]))
    assert len(entries) == 3 * len(names) * (files + 1)
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)


def test_a_fingerprint_stays_when_the_norms_and_the_other_variables_change() -> None:
    def found(*rows: Any) -> dict[str, str]:
        return {
            entry["description"].split(":")[0]: entry["fingerprint"] for entry in read(render_gitlab([a_report(rows)]))
        }

    before = found(a_row("v", 2.0), a_row("w", 3.0))
    after = found(a_row("x", 9.0), a_row("w", 1.5), a_row("v", 7.0, 2.0))
    assert {name: after[name] for name in before} == before


def test_an_entry_names_the_variable_the_rule_and_the_file() -> None:
    first, second = read(render_gitlab([a_report([a_row("v", nonfinite=1)], path="./runs/model.h5")]))
    assert first["description"] == "'v': 1 of 8 units has NaN or Inf"
    assert (first["check_name"], first["severity"]) == ("renorm-nonfinite", "critical")
    assert second["description"] == "'v': 1 of 8 units has a norm over 1; the largest is 2 (unit 3)"
    assert (second["check_name"], second["severity"]) == ("renorm-over", "major")
    assert second["location"] == {"path": "runs/model.h5", "lines": {"begin": 1}}
    severities = [
        entry["severity"] for entry in read(render_gitlab([a_report([a_row("v", nonfinite=1)], command="apply")]))
    ]
    assert severities == ["minor", "info"]


def test_no_findings_are_an_empty_array() -> None:
    assert read(render_gitlab([a_report([a_row("v", 0.5)])])) == []
    assert read(render_gitlab([])) == []
