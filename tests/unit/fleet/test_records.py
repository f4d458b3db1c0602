"""A record read again is what was written, for every renderer; anything else is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.places import SAMPLES
from support.report_maker import HOSTILE, a_report, a_row, hostile_report

import renorm_cli
from renorm_cli.fleet.records import outcome_of, path_of, record_of
from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.findings import findings, rank
from renorm_cli.model.plan import Note
from renorm_cli.model.report import Baseline, Growth, Report
from renorm_cli.render.data.json_report import failure_dict, line, report_dict
from renorm_cli.render.registry import FORMATS, parts
from renorm_cli.untrusted import UnexpectedError

FILES = sorted(path.name for path in SAMPLES.iterdir() if path.suffix in (".h5", ".keras", ".hdf5"))


def again(outcome: Outcome) -> Outcome:
    return outcome_of(record_of(line(outcome).encode("ascii")))


def rendered(outcome: Outcome, name: str) -> str:
    return "".join(parts([outcome], name, "report"))


def same(one: Outcome, other: Outcome) -> None:
    for name in FORMATS:
        assert rendered(one, name) == rendered(other, name), name
    assert rank(one) == rank(other)
    assert one.verdict == other.verdict


def reports() -> dict[str, Callable[[], Report]]:
    def check(name: str) -> Callable[[], Report]:
        asked: dict[str, Any] = {"declared": True} if "declared" in name else {"max_norm": 1.0}
        return lambda: renorm_cli.check(SAMPLES / name, **asked, keep_norms=False)

    grown = Baseline("b.json", 0.05, (Growth("a", "grew", 1.0, 2.0), Growth("b", "vanished", 1.0, None)))
    notes = (Note("a doubt", warning=True, doubt=True), Note("a note"))
    made = a_report([a_row("dense/kernel", 3.0), a_row("dense/other", nonfinite=2)], notes=notes, command="check")
    kinds = (
        "attention.h5",
        "bfloat16.keras",
        "custom_layer.keras",
        "declared.keras",
        "embedding.h5",
        "dense.weights.h5",
    )
    return {
        **{name: check(name) for name in kinds},
        "spectra": lambda: renorm_cli.inspect(
            SAMPLES / "dense.keras", norm="spectral", spectrum=True, keep_norms=False
        ),
        "operators": lambda: renorm_cli.inspect(
            SAMPLES / "convolutions.keras", norm="spectral", conv="operator", include="*filters*", keep_norms=False
        ),
        "baseline": lambda: dataclasses.replace(made, baseline=grown, allowed=("guess",)),
    }


@pytest.mark.parametrize("kind", reports())
def test_a_report_read_again_is_rendered_alike_in_every_format(kind: str) -> None:
    report = reports()[kind]()
    read = again(report)
    assert isinstance(read, Report)
    assert findings(read) == findings(report)
    assert report_dict(read) == report_dict(report)
    same(read, report)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_hostile_text_is_read_again_as_it_was(name: str) -> None:
    if name.startswith("\ud800"):
        pytest.skip("a surrogate that stands for no byte is three bytes afterwards")
    report = hostile_report(name)
    assert report_dict(again(report)) == report_dict(report)  # type: ignore[arg-type]
    failure = Failure("check", "0.1.0", name, "format", name)
    assert again(failure) == failure
    assert path_of(failure_dict(failure)) == name


def a_record() -> dict[str, Any]:
    report = a_report([a_row("dense/kernel")], notes=(Note("x"),), command="check")
    return dict(json.loads(line(report)))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a record."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [one for key, item in inside for one in [(*path, key), *places(item, (*path, key))]]


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a largest norm below the least": {"norm": {"max": 0.0}},
    "a median above the largest norm": {"norm": {"median": 1e9}},
    "a negative norm": {"norm": {"min": -1.0}},
    "norms after that are not in order": {
        "norm_after": {"min": 2.0, "median": 1.0, "mean": 1.0, "p95": 1.0, "max": 1.0},
    },
    "more units over than there are": {"over": 10**6},
    "more units that are not finite than there are": {"nonfinite": 10**6},
    "more units under than there are": {"under": 10**6},
    "norms without a histogram": {"histogram": []},
    "a histogram of nothing": {"histogram": [0] * 64},
    "a histogram without norms": {"norm": None},
    "an axis that the shape has not": {"unit_axes": [5]},
    "an axis twice": {"unit_axes": [1, 1]},
    "a negative axis": {"unit_axes": [-1]},
    "a matrix without columns": {"spectral": {"matrix": [4, 0]}},
    "a norm above its bound": {"spectral": {"upper": 0.0}},
    "a spectrum of counts below 0": {"spectral": {"histogram": {"counts": [-1, 2]}}},
    "a spectrum of nothing": {"spectral": {"histogram": {"counts": []}}},
    "a spectrum from high to low": {"spectral": {"histogram": {"low": 9.0, "high": -9.0}}},
    "a power law from below 0": {"spectral": {"alpha": {"alpha": 2.0, "xmin": -1.0, "distance": 0.1}}},
}
"""Changes of a record of a row that leave each number possible, and all of them together impossible."""


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_numbers_that_cannot_be_true_together_are_refused(what: str) -> None:
    kind = "spectra" if "spectral" in IMPOSSIBLE[what] else "dense.weights.h5"
    record: dict[str, Any] = json.loads(line(reports()[kind]()))
    outcome_of(record)
    row = record["variables"][0]
    merge(row, IMPOSSIBLE[what])
    with pytest.raises(UnexpectedError, match=r"variables\.0"):
        outcome_of(record)


def merge(record: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(record.get(name), dict):
            merge(record[name], value)
        else:
            record[name] = value


ANYTHING = (
    *({"totals"}, {"joint"}, {"status"}, {"histogram_range"}),
    *({"variables", 0, "excess"}, {"variables", 0, "coverage"}),
)
"""What is computed anew, and so may be anything."""


def test_a_record_with_anything_else_in_any_place_is_refused_or_says_the_same() -> None:
    refused = 0
    for path in places(a_record()):
        record = a_record()
        *above, last = path
        inner: Any = record
        for key in above:
            inner = inner[key]
        inner[last] = {"else": [1]}
        try:
            outcome_of(record)
        except UnexpectedError:
            refused += 1
            continue
        assert any(set(path) >= free for free in ANYTHING) or path == ("verdict",), path
    assert refused > 40


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, '{"a":"\\ud8']
)
def test_a_line_that_is_no_object_of_strict_json_is_refused(text: str) -> None:
    with pytest.raises(UnexpectedError):
        record_of(text.encode())
