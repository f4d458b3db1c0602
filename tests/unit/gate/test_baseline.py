"""A check against an earlier report: what grew, came or went, judged by plain loops; and reports not to be trusted."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import builders
from support.cli import refused, renorm_here
from support.places import SAMPLES

from renorm_cli.errors import FormatError, RenormError, SelectionError, UsageError
from renorm_cli.gate.baseline import Reference, growth_of, held_against
from renorm_cli.gate.stored_report import read_stored
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.failure import Failure
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Skip, SkipCode, Step
from renorm_cli.model.report import Growth, NormStats, Report, Row
from renorm_cli.model.variable import Variable
from renorm_cli.render.data.json_report import render_json

Capture = pytest.CaptureFixture[str]


def row(name: str, largest: float | None, *, axes: tuple[int, ...] = (1,), p: float = 2.0) -> Row:
    stats = None if largest is None else NormStats(0.0, 0.0, 0.0, 0.0, largest)
    variable = Variable(name, f"key/{name}", (2, 2), "float32")
    return Row(Step(variable, "kernel", axes, "layer", Constraint(None, PNorm(p))), 2, 0, 0 if stats else 2, stats)


def report(*rows: Row, skips: tuple[Skip, ...] = (), path: str = "m.h5") -> Report:
    return Report("inspect", "0", path, "hdf5", 0, "numpy", "cpu", rows, skips)


def compared(path: Path, before: Report, after: Report, growth: float = 0.05, **allowed: bool) -> tuple[Growth, ...]:
    path.write_text("".join(render_json([before])))
    found = held_against(after, Reference(read_stored(path), growth, **allowed)).baseline
    assert found is not None
    assert (found.path, found.max_growth) == (str(path), growth)
    return found.growths


NORMS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 1.04, 1.06, 2.0, 3.0]), st.floats(0, 1e300))


@given(
    before=st.dictionaries(st.sampled_from("abcdef"), NORMS),
    after=st.dictionaries(st.sampled_from("abcdef"), NORMS),
    growth=st.one_of(st.sampled_from([0.0, 0.05, 1.0]), st.floats(0, 10)),
)
def test_a_growth_is_told_where_a_plain_loop_finds_one(
    before: dict[str, float | None],
    after: dict[str, float | None],
    growth: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "baseline.json"
    found = compared(
        path, report(*(row(*one) for one in before.items())), report(*(row(*one) for one in after.items())), growth
    )
    expected = {(name, "appeared") for name in after.keys() - before.keys()}
    expected |= {(name, "vanished") for name in before.keys() - after.keys()}
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if old is not None and (new is None or new > old * (1 + growth)):
            expected.add((name, "grew"))
    assert {(one.name, one.kind) for one in found} == expected
    assert len(found) == len(expected)
    allowed = compared(
        path,
        report(*(row(*one) for one in before.items())),
        report(*(row(*one) for one in after.items())),
        growth,
        allow_new=True,
        allow_gone=True,
    )
    assert {one.kind for one in allowed} <= {"grew"}


def test_what_the_patterns_leave_out_has_not_vanished_and_what_is_skipped_otherwise_has(tmp_path: Path) -> None:
    variable = row("a", 1.0).step.variable
    cases: dict[SkipCode, list[str]] = {
        "excluded": [],
        "not_included": [],
        "no_rule": [],
        "rule_leaves": [],
        "dtype": ["vanished"],
        "role": ["vanished"],
        "unreadable": ["vanished"],
    }
    for code, kinds in cases.items():
        after = report(row("b", 1.0), skips=(Skip(variable, "kernel", code, "whatever it says"),))
        found = compared(tmp_path / "b.json", report(row("a", 1.0), row("b", 1.0)), after)
        assert [one.kind for one in found] == kinds


def known_as(one: Row, *aliases: str) -> Row:
    return replace(one, step=replace(one.step, variable=replace(one.variable, aliases=aliases)))


def test_another_name_leads_to_a_variable_of_the_baseline_where_no_other_can_be_meant(tmp_path: Path) -> None:
    one, other, x, y = row("one", 1.0), row("other", 1.0), row("x", 9.0), row("y", 9.0)
    both = {("one", "vanished"), ("x", "appeared")}
    cases: list[tuple[list[Row], list[Row], set[tuple[str, str]]]] = [
        ([known_as(one, "x")], [x], {("x", "grew")}),
        ([one], [known_as(x, "one")], {("x", "grew")}),
        ([known_as(one, "x"), known_as(other, "x")], [x], both | {("other", "vanished")}),
        ([known_as(one, "x", "y")], [x, y], both | {("y", "appeared")}),
    ]
    for before, after, expected in cases:
        found = compared(tmp_path / "b.json", report(*before), report(*after))
        assert {(growth.name, growth.kind) for growth in found} == expected


def test_of_an_apply_that_bounded_nothing_of_a_variable_the_norms_that_it_has_count(tmp_path: Path) -> None:
    applied = replace(report(row("a", 1.0)), command="apply", output="out.h5")
    assert [one.kind for one in compared(tmp_path / "b.json", applied, report(row("a", 2.0)))] == ["grew"]


def test_copies_of_a_weight_that_the_baseline_lists_one_by_one_are_one_variable(tmp_path: Path) -> None:
    first = row("w", 1.0)
    copy = replace(first.variable, key="again")
    listed = [replace(first.step, copies=(copy,)), replace(first.step, variable=copy, copies=(first.variable,))]
    before = report(*(replace(first, step=step) for step in listed))
    assert compared(tmp_path / "b.json", before, report(first)) == ()


def test_where_names_are_not_unique_keys_are_compared(tmp_path: Path) -> None:
    def twins(first: float, second: float) -> Report:
        rows = [row("a", first), row("b", second)]
        same = [Variable("same", one.step.variable.key, (2, 2), "float32") for one in rows]
        return report(
            *(
                Row(Step(variable, "kernel", (1,), "layer", Constraint(None)), 2, 0, 0, one.norm)
                for one, variable in zip(rows, same, strict=True)
            )
        )

    assert compared(tmp_path / "b.json", twins(1, 2), twins(1, 2)) == ()
    assert compared(tmp_path / "b.json", twins(1, 2), twins(2, 2)) == (Growth("same", "grew", 1.0, 2.0),)


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (row("a", 1.0, p=1.0), "p 2.0, this run with 1.0"),
        (row("a", 1.0, p=math.inf), "p 2.0, this run with inf"),
        (row("a", 1.0, axes=(0,)), "unit axes [1], this run with [0]"),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(after: Row, what: str, tmp_path: Path) -> None:
    with pytest.raises(RenormError, match="measure both alike") as error:
        compared(tmp_path / "b.json", report(row("a", 1.0)), report(after))
    assert what in str(error.value)


@pytest.mark.parametrize(("text", "growth"), [("5%", 0.05), ("0.05", 0.05), ("0", 0), ("500%", 5), (" 1.5 % ", 0.015)])
def test_a_growth_is_a_share(text: str, growth: float) -> None:
    assert growth_of(text) == growth


@pytest.mark.parametrize("text", ["5", "-1%", "nan", "inf", "inf%", "1e400", "", "%", "five", "5%%"])
def test_a_growth_that_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"growth.*max_growth="):
        growth_of(text)


def good() -> dict[str, Any]:
    found: dict[str, Any] = json.loads("".join(render_json([report(row("a", 1.0), row("b", 2.0))])))
    return found


def changed(*path: Any, to: Any) -> str:
    found: Any = good()
    last: Any = found
    for step in path[:-1]:
        last = last[step]
    last[path[-1]] = to
    return json.dumps(found)


BAD = {
    "empty": "",
    "no JSON": "{",
    "a number": "1",
    "null": "null",
    "no reports": "[]",
    "another tool": changed("tool", to="other"),
    "another schema": changed("schema_version", to=2),
    "a schema that is true": changed("schema_version", to=True),
    "a comparison": changed("command", to="diff"),
    "a command that is a list": changed("command", to=["inspect"]),
    "no variables": changed("variables", to=None),
    "variables that are no objects": changed("variables", to=[1]),
    "a name that is a number": changed("variables", 0, "name", to=1),
    "axes that are texts": changed("variables", 0, "unit_axes", to=["1"]),
    "axes that are bools": changed("variables", 0, "unit_axes", to=[True]),
    "a norm that is a text": changed("variables", 0, "norm", "max", to="1"),
    "a norm that is true": changed("variables", 0, "norm", "max", to=True),
    "a norm below zero": changed("variables", 0, "norm", "max", to=-1),
    "a norm that is NaN": changed("variables", 0, "norm", "max", to=math.nan),
    "a norm that is Infinity": changed("variables", 0, "norm", "max", to=math.inf),
    "a norm too large for a float": changed("variables", 0, "norm", "max", to=7).replace('"max": 7', '"max": 1e999'),
    "a norm that is a huge integer": changed("variables", 0, "norm", "max", to=10**400),
    "a norm of more digits than are read": changed("variables", 0, "norm", "max", to=7).replace(
        '"max": 7', '"max": ' + "7" * 5000
    ),
    "a NaN that nobody asks for": changed("variables", 0, "norm", "min", to=math.nan),
    "norms without a largest": changed("variables", 0, "norm", to={}),
    "a key that comes twice": json.dumps(good()).replace('"tool"', '"tool": "renorm-ckpt", "tool"', 1),
    "two variables of one key": changed("variables", 1, "key", to="key/a"),
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep inside": changed("notes", to=json.loads("[" * 50 + "]" * 50)),
    "two reports of one path": json.dumps([good(), good()]),
    "no path": changed("source", to={}),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_report_that_is_none_of_ours_is_one_error_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(good()))
    assert read_stored(path).reports["m.h5"][1].largest == 2.0
    path.write_text(text)
    with pytest.raises(FormatError, match="the baseline") as error:
        read_stored(path)
    assert "\n" not in str(error.value)


def test_checkpoints_that_failed_are_passed_over(tmp_path: Path) -> None:
    failed = [Failure("check", "0", f"{name}.h5", "format", "damaged") for name in "ab"]
    path = tmp_path / "baseline.json"
    path.write_text("".join(render_json([failed[0], report(row("a", 1.0)), failed[1]])))
    found = read_stored(path)
    assert (list(found.reports), found.several) == (["m.h5"], True)
    with pytest.raises(SelectionError, match=r"has no report of 'a\.h5' among its 1"):
        held_against(report(row("a", 1.0), path="a.h5"), Reference(found, 0.0))
    for none in (failed, failed[:1]):
        path.write_text("".join(render_json(none)))
        with pytest.raises(FormatError, match="has no report in it"):
            read_stored(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from([*good(), *good()["variables"][0], "max"]), inner)
        ),
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    for made in (value, {**good(), "variables": [value]}, {**good(), **(value if isinstance(value, dict) else {})}):
        path.write_text(json.dumps(made))
        try:
            read_stored(path)
        except FormatError as error:
            assert "\n" not in str(error)  # noqa: PT017 -- most values are refused, and some are not


def test_what_is_no_regular_file_or_too_large_is_refused_unread(tmp_path: Path) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo)
    with large.open("wb") as file:
        file.truncate(257 << 20)
    for path, what in (
        (fifo, "not a regular file"),
        (tmp_path, "directory"),
        (Path("/dev/zero"), "not a regular file"),
        (large, "at most"),
        (tmp_path / "gone", "no such file"),
        (tmp_path / "a\0b", "no name of a file"),
    ):
        with pytest.raises(FormatError, match=what):
            read_stored(path)


@pytest.fixture
def grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two checkpoints of the same variables; in the second one column of `digit` is 10 % longer."""
    monkeypatch.chdir(tmp_path)
    weights = builders.two_dense()
    builders.write_v3(tmp_path / "one.h5", builders.v3_layers(weights))
    kernel = weights["digit"]["kernel"]
    largest = int(np.argmax(np.linalg.norm(kernel, axis=0)))
    kernel[:, largest] *= np.float32(1.1)
    builders.write_v3(tmp_path / "two.h5", builders.v3_layers(weights))
    return "one.h5", "two.h5"


def test_check_is_1_where_a_norm_grew_by_more_and_0_where_not(grown: tuple[str, str], capfd: Capture) -> None:
    one, two = grown
    assert renorm_here(capfd, "inspect", one, "--report", "base.json", "-q").returncode == 0
    check = ("check", two, "--baseline", "base.json")
    done = renorm_here(capfd, *check)
    assert done.returncode == 1
    assert (
        "'digit/kernel': the largest norm grew from 2.00000003 to 2.20000007, more than the 5 % allowed" in done.stdout
    )
    assert "'hidden/kernel'" not in done.stdout
    assert renorm_here(capfd, *check, "--max-growth", "9%").returncode == 1
    assert renorm_here(capfd, *check, "--max-growth", "11%").returncode == 0
    assert renorm_here(capfd, *check, "--max-growth", "11%", "--max-norm", "1").returncode == 1
    assert renorm_here(capfd, *check, "-x", "digit/*").returncode == 0
    assert (
        renorm_here(capfd, *check, "-i", "hidden/*", "--role", "kernel,bias").returncode == 1
    )  # its bias was not measured
    assert renorm_here(capfd, *check, "-i", "hidden/*", "--role", "kernel,bias", "--allow-new").returncode == 0
    found = json.loads(renorm_here(capfd, *check, "--format", "json").stdout)["baseline"]
    assert [(one["name"], one["kind"]) for one in found["growths"]] == [("digit/kernel", "grew")]
    refused(renorm_here(capfd, *check, "--p", "1"), "measure both alike")
    refused(renorm_here(capfd, *check, "--per", "tensor"), "measure both alike")
    refused(renorm_here(capfd, *check, "--report", "base.json"), "is another file of this run")
    for option in (("--max-growth", "5%"), ("--allow-new",), ("--allow-gone",)):
        refused(renorm_here(capfd, "check", two, "--max-norm", "9", *option), "--baseline")


def test_several_checkpoints_are_held_against_their_own_report_or_all_against_the_only_one(
    grown: tuple[str, str], capfd: Capture
) -> None:
    one, two = grown
    assert renorm_here(capfd, "inspect", one, two, "--report", "both.json", "-q").returncode == 0
    assert renorm_here(capfd, "check", f"./{two}", one, "--baseline", "both.json").returncode == 0
    Path("three.h5").write_bytes(Path(one).read_bytes())
    refused(
        renorm_here(capfd, "check", "three.h5", "--baseline", "both.json"), "has no report of 'three.h5' among its 2"
    )
    assert renorm_here(capfd, "check", "three.h5", one, "--baseline", "both.json").returncode == 2
    assert renorm_here(capfd, "inspect", one, "--report", "base.json", "-q").returncode == 0
    done = renorm_here(capfd, "check", one, two, "three.h5", "--baseline", "base.json")
    assert (done.returncode, [line[:5] for line in done.stdout.splitlines() if line[0] != " "]) == (
        1,
        ["holds", "viola", "holds"],
    )


def test_the_report_of_an_apply_speaks_of_its_output(
    capfd: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(SAMPLES / "dense.h5")
    assert (
        renorm_here(capfd, "apply", source, "--max-norm", "1", "-o", "out.h5", "--report", "base.json").returncode == 0
    )
    assert renorm_here(capfd, "check", "out.h5", "--baseline", "base.json", "--max-growth", "0").returncode == 0
    assert renorm_here(capfd, "check", source, "--baseline", "base.json").returncode == 1
    dry = ("apply", source, "--max-norm", "1", "-o", "no.h5", "--report", "dry.json", "--dry-run")
    assert renorm_here(capfd, *dry).returncode == 0
    assert renorm_here(capfd, "check", source, "--baseline", "dry.json", "--max-growth", "0").returncode == 0


def test_a_hostile_name_in_a_baseline_is_shown_harmless(capfd: Capture, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(changed("variables", 0, "name", to="a\x1b[2J\n::error::/kernel\ud800"))
    done = renorm_here(capfd, "check", str(SAMPLES / "dense.h5"), "--baseline", str(path), "--allow-new")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert r"\u{1b}[2J" in done.stdout
    assert not any(line.lstrip().startswith("::") for line in done.stdout.splitlines())
