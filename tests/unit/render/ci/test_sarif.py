"""SARIF reports, judged by the official schema of SARIF 2.1.0."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from jsonschema import Draft4Validator
from support.places import DATA
from support.report_maker import ANY, HOSTILE, PLAIN, a_report, a_row, a_skip, has_only_printable_lines, hostile_report

from renorm_cli.model.findings import FAULTS
from renorm_cli.model.report import Baseline, Growth
from renorm_cli.render.ci.sarif import render_sarif

SCHEMA = json.loads((DATA / "sarif-2.1.0.json").read_text("utf-8"))
VALIDATOR = Draft4Validator(SCHEMA)


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def errors(log: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(log)]


def read(text: str) -> Any:
    """The only run of a valid log."""
    log = strict(text)
    assert errors(log) == []
    (run,) = log["runs"]
    return run


def plain_message(text: str) -> tuple[str, int]:
    """What a viewer makes of a message (SARIF 2.1.0, 3.11.5 and 3.11.6), and how many links and placeholders it has."""
    out, special, at = "", 0, 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair in ("\\\\", "\\[", "\\]", "{{", "}}"):
            out, at = out + pair[1], at + 2
        else:
            special += text[at] in "[]{}"
            out, at = out + text[at], at + 1
    return out, special


def test_the_schema_is_a_schema() -> None:
    Draft4Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_sarif_is_only_text(name: str) -> None:
    text = render_sarif([hostile_report(name)])
    run = read(text)
    assert text.isascii()
    assert len(run["results"]) == 3
    for result in run["results"]:
        message, special = plain_message(result["message"]["text"])
        assert special == 0
        assert message.startswith("'")
        (place,) = result["locations"]
        for shown in (message, place["logicalLocations"][0]["fullyQualifiedName"]):
            assert has_only_printable_lines(shown)
        if len(name) <= 100 and name.isprintable() and not name.startswith((" ", ":", "#")):
            assert f"'{name}'" in message or f"'{name}+'" in message


@given(ANY)
def test_any_name_in_sarif_leaves_it_valid(name: str) -> None:
    run = read(render_sarif([hostile_report(name)]))
    assert all(plain_message(result["message"]["text"])[1] == 0 for result in run["results"])


@pytest.mark.parametrize(
    "path",
    [
        "runs/model.h5",
        "a b/100%.h5",
        "größe/核.h5",
        "a#b?c:d.h5",
        "/abs/model.h5",
        os.fsdecode(b"caf\xe9.h5"),
        "./m.h5",
    ],
)
def test_a_location_is_a_uri_reference_that_gives_back_the_exact_path(path: str) -> None:
    (result,) = read(render_sarif([a_report([a_row("v")], path=path)]))["results"]
    place = result["locations"][0]["physicalLocation"]
    parts = urlsplit(place["artifactLocation"]["uri"])
    assert unquote_to_bytes(parts.path) == os.fsencode(path.removeprefix("./"))
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("file" * path.startswith("/"), "", "", "")
    assert place["region"] == {"startLine": 1}


def test_results_point_at_their_rules_and_the_worst_comes_first() -> None:
    growths = (Growth("x", "vanished", 1.0), Growth("v", "grew", 1.0, 9.0))
    first = a_report([a_row("v", 1.5), a_row("n", nonfinite=1)], [a_skip("b")], baseline=Baseline("o", 0.05, growths))
    second = a_report([a_row("w", 4.0)], path="other.h5")
    run = read(render_sarif([first, second]))
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("renorm-ckpt", "0.1.0")
    assert [rule["id"] for rule in driver["rules"]] == [f"renorm-{rule}" for rule in FAULTS]
    for rule in driver["rules"]:
        assert all(rule[part]["text"].endswith(".") for part in ("shortDescription", "fullDescription", "help"))
    found = [
        (result["ruleId"], result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"])
        for result in run["results"]
    ]
    assert found == [
        ("renorm-nonfinite", "n"),
        ("renorm-grew", "v"),
        ("renorm-over", "w"),
        ("renorm-over", "n"),
        ("renorm-over", "v"),
        ("renorm-vanished", "x"),
    ]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"


@pytest.mark.parametrize("command", ["inspect", "apply"])
def test_what_does_not_fail_a_command_is_no_error(command: str) -> None:
    run = read(render_sarif([a_report([a_row("v", nonfinite=1)], command=command)]))
    assert [result["level"] for result in run["results"]] == ["warning", "note"]


@pytest.mark.slow
def test_of_more_than_25000_results_the_worst_are_kept_and_the_rest_is_counted() -> None:
    rows = [a_row(f"v{number}", 2.0 + number) for number in range(25_100)]
    log = strict(render_sarif([a_report(rows)]))
    (run,) = log["runs"]
    assert len(run["results"]) == 25_000
    kept = {result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for result in run["results"]}
    assert kept == {f"v{number}" for number in range(100, 25_100)}
    (notice,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"].startswith("100 more findings")
    run["results"] = run["results"][:50]
    assert errors(log) == []


def test_a_log_without_findings_is_valid() -> None:
    assert read(render_sarif([]))["results"] == []
    assert read(render_sarif([a_report([a_row("v", 0.5)])]))["results"] == []


def test_the_schema_finds_what_is_broken() -> None:
    log = strict(render_sarif([a_report([a_row(PLAIN)])]))
    (run,) = log["runs"]
    run["results"][0]["level"] = "fatal"
    run["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    del run["tool"]["driver"]["name"]
    assert len(errors(log)) == 3
