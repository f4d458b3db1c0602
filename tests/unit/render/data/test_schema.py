"""The JSON reports, the schema and docs/json.md agree with each other."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import numpy as np
import pytest
from support import builders
from support.cli import renorm_here
from support.places import ROOT, SAMPLES
from support.report_maker import HOSTILE, a_report, a_row, a_skip, hostile_report

import renorm_cli
from renorm_cli.model.constraint import Constraint, Per
from renorm_cli.model.difference import VERDICTS, DiffReport, DiffRow, DiffSide
from renorm_cli.model.identity import AxisSource, Role
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note, SkipCode
from renorm_cli.model.report import Baseline, Growth, NormStats, Report, UnitNorm
from renorm_cli.model.suggestion import SHARES, SuggestedBound, Suggestion
from renorm_cli.model.variable import NO_HINT, ConstraintKind, Declared
from renorm_cli.render.data.diff_record import render_diff_json
from renorm_cli.render.data.json_report import render_json
from renorm_cli.render.data.suggest_record import render_suggest_json

SCHEMA: dict[str, Any] = json.loads((Path(renorm_cli.__file__).parent / "report.schema.json").read_text("utf-8"))
OBJECTS = {name: part for name, part in SCHEMA["$defs"].items() if part.get("type") == "object"}


@cache
def validator(name: str | None = None) -> jsonschema.Draft202012Validator:
    """The validator of a whole document, or of one of the objects in it."""
    whole = SCHEMA if name is None else {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    return jsonschema.Draft202012Validator(whole)


def _json(reports: Sequence[Report]) -> str:
    return "".join(render_json(reports))


def checked(text: str, name: str) -> Any:
    """The document in a text, once it is valid by the schema, as a whole and as that object."""
    found = json.loads(text)
    for one in found if isinstance(found, list) else [found]:
        validator(name).validate(one)
    validator().validate(found)
    return found


def write_with_nans(path: Path) -> None:
    weights = builders.two_dense()
    weights["hidden"]["kernel"][0, :2] = np.nan, np.inf
    weights["digit"]["kernel"][:] = np.nan
    builders.write_v3(path, builders.v3_layers(weights))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a test, with a checkpoint of each kind that makes a report different."""
    for name in ("dense.h5", "dense.keras", "declared.keras", "generic.hdf5", "embedding.keras"):
        shutil.copy(SAMPLES / name, tmp_path)
    write_with_nans(tmp_path / "nan.weights.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect dense.h5",
        "inspect dense.h5 dense.keras",
        "inspect generic.hdf5 -i *",
        "inspect nan.weights.h5",
        "inspect dense.h5 --max-norm 1 --per global",
        "inspect dense.h5 --per tensor --p inf",
        "inspect embedding.keras --p 0.5",
        "inspect nan.weights.h5 --spectral",
        "inspect dense.h5 --spectrum --max-norm 1",
        "apply dense.h5 --norm spectral --max-norm 1 -o out.h5",
        "check dense.h5 --max-norm 1",
        "check declared.keras --declared",
        "check nan.weights.h5 --max-norm 2",
        "check dense.h5 --max-norm 2 --baseline baseline.json --max-growth 5%",
        "check dense.keras -i hidden/kernel --baseline baseline.json",
        "apply dense.h5 --max-norm 1 --dry-run",
        "apply dense.h5 --max-norm 1 --per global -o out.h5",
        "apply dense.keras --max-norm 1 -x digit/* -o out.keras",
        "apply nan.weights.h5 --max-norm 1 --nonfinite skip -o out.weights.h5",
        "apply declared.keras --declared -o kept.keras",
    ],
)
def test_what_a_command_reports_is_valid(arguments: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    renorm_here(capfd, "inspect", "dense.h5", "--report", "baseline.json", "-q")
    done = renorm_here(capfd, *arguments.split(), "--format", "json")
    assert done.returncode in (0, 1), done
    found = checked(done.stdout, "report")
    assert isinstance(found, list) == (arguments.count("dense.") > 1 and "inspect" in arguments)


def test_what_diff_reports_is_valid(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    renorm_here(capfd, "apply", "dense.h5", "--max-norm", "1", "-o", "out.h5", "-q")
    for arguments in (
        "diff dense.h5 dense.h5",
        "diff dense.h5 out.h5 --expect-renorm --max-norm 1",
        "diff dense.h5 dense.keras",
        "diff dense.h5 nan.weights.h5 --per tensor --p inf",
        "diff dense.h5 declared.keras --norm spectral",
        "diff declared.keras dense.keras -x digit/*",
    ):
        done = renorm_here(capfd, *arguments.split(), "--format", "json")
        assert done.returncode in (0, 1), done
        checked(done.stdout, "comparison")


def test_what_suggest_reports_is_valid(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        "suggest dense.h5",
        "suggest dense.h5 --clip 5% -o rules.toml",
        "suggest dense.h5 nan.weights.h5",
        "suggest dense.h5 --per tensor --p inf",
        "suggest dense.h5 --norm spectral",
    ):
        done = renorm_here(capfd, *arguments.split(), "--format", "json")
        assert done.returncode == 0, done
        checked(done.stdout, "suggestion")


HUGE = NormStats(0.0, 1e308, 1.7e308, 1.7e308, 1.7e308)


def extreme_report(name: str) -> Report:
    """Every value at an end of its range, and `name` wherever a file or a path can have its own text."""
    report = hostile_report(name)
    bare = a_row("bare", limit=None)
    declared = Declared("unknown", name, problem=name)
    measured = dataclasses.replace(
        bare,
        step=dataclasses.replace(
            bare.step,
            variable=dataclasses.replace(bare.step.variable, shape=(), hint=NO_HINT, declared=declared),
            constraint=Constraint(None, PNorm(math.inf), per="global"),
            unit_axes=(),
        ),
        norm=HUGE,
        norm_after=HUGE,
        worst=(UnitNorm((), math.inf), UnitNorm((), math.nan)),
    )
    skip = a_skip(name, name)
    skip = dataclasses.replace(skip, variable=dataclasses.replace(skip.variable, declared=declared))
    return dataclasses.replace(
        report,
        rows=(*report.rows, measured, dataclasses.replace(bare, norm=None, histogram=(), worst=())),
        skips=(*report.skips, skip),
        notes=(*report.notes, Note(name, warning=True)),
        baseline=Baseline(name, 0.0, (Growth(name, "grew", 1.0, None), Growth(name, "vanished", 1.0, None))),
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_reports_with_hostile_text_and_values_at_the_ends_of_their_ranges_are_valid(name: str) -> None:
    report = extreme_report(name)
    checked(_json([report]), "report")
    assert len(checked(_json([report, report]), "report")) == 2
    row = report.rows[0]
    side = DiffSide(name, name, 1)
    one = row.step.variable
    numbers: dict[str, Any] = {field.name: 0 for field in dataclasses.fields(DiffRow)[6:-1]}
    rows = (
        DiffRow(name, one, None, "missing", name),
        DiffRow(name, one, one, "other", None, row.step, **numbers, copies=(name,)),
    )
    diff = DiffReport("0.1.0", side, side, "name", Constraint(1.0), rows, notes=report.notes)
    checked(render_diff_json(diff), "comparison")
    bounds = tuple(SuggestedBound(share, None if share else 1.0, 0, 0) for share in SHARES)
    suggestion = Suggestion(report, (bounds,) * len(report.rows), bounds, rules=name)
    checked(render_suggest_json([suggestion]), "suggestion")
    checked(render_suggest_json([suggestion, suggestion]), "suggestion")


def test_there_may_be_no_report_at_all() -> None:
    assert checked(_json([]), "report") == []


def _objects(found: Any, schema: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Every object in a valid document, with the name of its definition."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return [(found, name)] if name not in OBJECTS else [(found, name), *_parts(found, OBJECTS[name])]
    if isinstance(found, list):
        return [one for item in found for one in _objects(item, schema["items"])]
    options = [one for one in schema.get("oneOf", ()) if one.get("type") != "null"]
    return _objects(found, options[0]) if found is not None and "$ref" in (options or [{}])[0] else []


def _parts(found: dict[str, Any], schema: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    return [one for key, part in schema["properties"].items() if key in found for one in _objects(found[key], part)]


def test_a_key_that_the_schema_does_not_have_or_that_is_not_there_is_an_error() -> None:
    report = a_report([a_row("dense/kernel")], [a_skip("dense/bias")], notes=(Note("x"),))
    report = dataclasses.replace(report, baseline=Baseline("b", 0.05, (Growth("g", "appeared", None, 1.0),)))
    places = len(_objects(json.loads(_json([report])), {"$ref": "#/$defs/report"}))
    assert places == 10
    for number in range(places):
        whole = json.loads(_json([report]))
        found, name = _objects(whole, {"$ref": "#/$defs/report"})[number]
        found["new"] = 1
        assert not validator("report").is_valid(whole), name
        del found["new"]
        assert validator("report").is_valid(whole), name
        removed = next(key for key in OBJECTS[name]["required"])
        del found[removed]
        assert not validator("report").is_valid(whole), (name, removed)


@pytest.mark.parametrize(
    ("name", "key", "literal"),
    [
        ("variable", "role", Role),
        ("skipped", "role", Role),
        ("skipped", "code", SkipCode),
        ("measured", "role", Role),
        ("variable", "axis_source", AxisSource),
        ("measured", "axis_source", AxisSource),
        ("variable", "per", Per),
        ("comparison", "per", Per),
        ("declared", "kind", ConstraintKind),
    ],
)
def test_the_values_of_the_schema_are_those_of_the_model(name: str, key: str, literal: Any) -> None:
    assert OBJECTS[name]["properties"][key]["enum"] == list(get_args(literal))


def test_the_verdicts_of_the_schema_are_those_of_the_model() -> None:
    assert OBJECTS["compared"]["properties"]["verdict"]["enum"] == list(VERDICTS)
    totals = ["variables", *(verdict.replace(" ", "_") for verdict in VERDICTS)]
    assert list(OBJECTS["comparison_totals"]["properties"]) == totals


def type_text(part: dict[str, Any]) -> str:
    """The type of a value as docs/json.md has it: "integer", "list of string", "[`norm`](#norm) or null"."""
    if "$ref" in part:
        name = part["$ref"].removeprefix("#/$defs/")
        return f"[`{name}`](#{name})"
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    if "enum" in part:
        return _either([f"`{json.dumps(value)}`" for value in part["enum"]])
    if "oneOf" in part:
        return _either([type_text(one) for one in part["oneOf"]])
    names = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return _either([f"list of {type_text(part['items'])}" if name == "array" else name for name in names])


def _either(names: list[str]) -> str:
    names = ["null" if name == "`null`" else name for name in names]
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


DOCUMENTED = re.findall(
    r"^## `(\w+)`\n(.*?)(?=^## |\Z)", (ROOT / "docs/json.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_page_has_every_object_of_the_schema_and_no_other() -> None:
    assert [name for name, _ in DOCUMENTED] == list(OBJECTS)


@pytest.mark.parametrize(("name", "section"), DOCUMENTED)
def test_the_page_has_every_key_of_an_object_with_its_type(name: str, section: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", section, re.MULTILINE)
    assert rows == [(key, type_text(part)) for key, part in OBJECTS[name]["properties"].items()]


def test_the_page_has_every_code_of_a_skip() -> None:
    codes = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", dict(DOCUMENTED)["skipped"], re.MULTILINE)
    assert codes == OBJECTS["skipped"]["properties"]["code"]["enum"]
