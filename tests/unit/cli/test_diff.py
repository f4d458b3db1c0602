# ruff: noqa: E501, RUF001 -- the expected tables are wide, and shapes have a multiplication sign
"""`diff` on the command line: exit codes, what is printed where, in which words, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import builders
from support.cli import refused, renorm, renorm_here
from support.places import SAMPLES

import renorm_cli
from renorm_cli.errors import UsageError
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.difference import DiffReport, DiffRow, DiffSide
from renorm_cli.model.plan import Note, Step
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.render.ci.diff_markdown import render_diff_markdown
from renorm_cli.render.data.diff_record import render_diff_csv, render_diff_json
from renorm_cli.render.page.diff_page import render_diff_html
from renorm_cli.render.terminal.diff_table import render_diff

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pair(tmp_path: Path, capfd: Capture) -> tuple[str, str]:
    """A sample and an apply of it."""
    before, after = str(SAMPLES / "dense.keras"), str(tmp_path / "after.keras")
    assert renorm_here(capfd, "apply", before, "--max-norm", "1", "-o", after, "-q").returncode == 0
    return before, after


def spoil(path: str) -> None:
    """One flipped weight in a bias, under a checksum that is right."""
    with h5py.File(SAMPLES / "dense.weights.h5") as file:
        bias = np.asarray(file["layers/dense/vars/1"]).tobytes()
    raw = Path(path).read_bytes()
    assert raw.count(bias) == 1
    with zipfile.ZipFile(path) as archive:
        old = archive.getinfo("model.weights.h5").CRC.to_bytes(4, "little")
        weights = archive.read("model.weights.h5")
    flipped = bias[:8] + bytes([bias[8] ^ 1]) + bias[9:]
    new = zlib.crc32(weights.replace(bias, flipped)).to_bytes(4, "little")
    assert raw.count(old) == 2
    Path(path).write_bytes(raw.replace(bias, flipped).replace(old, new))


def test_diff_is_0_1_or_2_and_an_expected_renorm_is_0_until_one_weight_is_flipped(
    pair: tuple[str, str], tmp_path: Path, capfd: Capture
) -> None:
    before, after = pair
    assert renorm_here(capfd, "diff", before, before).returncode == 0
    assert renorm_here(capfd, "diff", before, after).returncode == 1
    assert renorm_here(capfd, "diff", before, str(tmp_path / "none.h5")).returncode == 2
    proof = ("diff", before, after, "--expect-renorm", "--max-norm")
    assert renorm_here(capfd, *proof, "1").returncode == 0
    assert renorm_here(capfd, *proof, "0.9").returncode == 1
    spoil(after)
    assert renorm_here(capfd, *proof, "1").returncode == 1


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_the_format_and_quiet_never_change_the_exit_code(format: str, pair: tuple[str, str], capfd: Capture) -> None:
    before, after = pair
    assert renorm_here(capfd, "diff", before, after, "--format", format).returncode == 1
    assert renorm_here(capfd, "diff", before, before, "--format", format).returncode == 0
    quiet = renorm_here(capfd, "diff", before, after, "--format", format, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")


def test_a_real_process_prints_the_proof(pair: tuple[str, str]) -> None:
    done = renorm("diff", *pair, "--expect-renorm", "--max-norm", 1, PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("proven: 2 variables changed by a renorm within 1 alone, all others are identical\n")
    assert "14 variables: 12 identical, 2 pure renorm" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("dense.h5", "dense.keras", "--expect-renorm"), "a bound is needed"),
        (("dense.h5", "embedding.keras"), "has the name of one of the"),
        (("dense.h5", "README.md"), "no checkpoint of a known format"),
        (("README.md", "dense.h5"), "no checkpoint of a known format"),
        (("dense.h5", "gone.h5"), "no such file"),
        (("dense.h5", "dense.h5", "--units", "2"), "out of range"),
        (("dense.h5", "dense.h5", "--units", "x"), "the units are auto or axes"),
        (
            ("dense.h5", "dense.h5", "--per", "tensor", "--units", "0"),
            "a norm per tensor has no unit axes; leave out --units, or leave out --per",
        ),
        (("dense.h5", "dense.h5", "-i", "nothing/*"), "matches none"),
        (("dense.h5", "dense.h5", "--max-norm", "0"), "above 0"),
        (("dense.h5", "dense.h5", "--p", "0"), "p must be from 1/512"),
        (("dense.h5", "dense.h5", "--jobs", "0"), "--jobs"),
        (("dense.h5", "dense.h5", "--report", "report.txt"), "use .json, .csv, .md or .html"),
        (("dense.h5",), "AFTER"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    arguments: tuple[str, ...], what: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SAMPLES)
    refused(renorm_here(capfd, "diff", *arguments), what)


def test_a_report_is_written_beside_what_is_printed_and_never_over_a_checkpoint(
    pair: tuple[str, str], tmp_path: Path, capfd: Capture
) -> None:
    before, after = pair
    json_file, csv_file = tmp_path / "r.json", tmp_path / "r.csv"
    done = renorm_here(
        capfd, "diff", before, after, "--report", str(json_file), "--report", str(csv_file), "--format", "json"
    )
    printed, written = json.loads(done.stdout), json.loads(json_file.read_text())
    assert printed == written
    assert (written["command"], written["schema_version"]) == ("diff", 1)
    assert (written["same"], written["renorm_only"], written["proven"]) == (False, True, None)
    assert written["totals"]["variables"] == len(written["variables"]) == 14
    assert sum(count for verdict, count in written["totals"].items() if verdict != "variables") == 14
    lines = list(csv.DictReader(io.StringIO(csv_file.read_text())))
    assert [line["verdict"] for line in lines] == [one["verdict"] for one in written["variables"]]
    assert [float(line["norm_after"] or "nan") for line in lines if line["norm_after"]] == [
        one["norm_after"] for one in written["variables"] if one["norm_after"] is not None
    ]
    copy = tmp_path / "copy.json"
    shutil.copy(before, copy)
    refused(renorm_here(capfd, "diff", str(copy), after, "--report", str(copy)), "is another file of this run")


def test_what_was_not_compared_is_said_on_stderr(tmp_path: Path, capfd: Capture) -> None:
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["name"] = name
            file["dense/kernel"] = builders.kernel((4, 4))
            file["where"] = file["dense/kernel"].ref
    done = renorm_here(capfd, "diff", str(tmp_path / "a.h5"), str(tmp_path / "b.h5"))
    assert done.returncode == 2
    assert done.stderr == "warning: 'where': not compared, so nothing is known of it; leave it out with -x\n"
    assert done.stdout.endswith("unknown: 1 variable was not compared\n")


def test_a_guess_of_the_units_is_said_where_something_changed(tmp_path: Path, capfd: Capture) -> None:
    builders.write_h5(tmp_path / "a.h5", {"mystery/kernel": builders.kernel((4, 5, 6))})
    builders.write_h5(tmp_path / "b.h5", {"mystery/kernel": builders.kernel((4, 5, 6)) / 2})
    files = str(tmp_path / "a.h5"), str(tmp_path / "b.h5")
    assert "the unit axes are a guess" in renorm_here(capfd, "diff", *files).stderr
    assert renorm_here(capfd, "diff", files[0], files[0]).stderr == ""
    assert renorm_here(capfd, "diff", *files, "--units", "0").stderr == ""


def test_one_norm_over_a_tensor_is_proven_as_such(tmp_path: Path, capfd: Capture) -> None:
    before, after = str(SAMPLES / "dense.h5"), str(tmp_path / "after.h5")
    assert renorm_here(capfd, "apply", before, "--max-norm", "2", "--per", "tensor", "-o", after, "-q").returncode == 0
    proof = ("diff", before, after, "--expect-renorm", "--max-norm", "2", "--per")
    assert renorm_here(capfd, *proof, "tensor").returncode == 0
    other = str(tmp_path / "other.h5")
    assert renorm_here(capfd, "apply", before, "--max-norm", "1", "-o", other, "-q").returncode == 0
    assert renorm_here(capfd, "diff", before, other, "--per", "tensor", "-q").returncode == 1
    judged = renorm_here(capfd, "diff", before, other, "--per", "tensor", "--format", "json")
    assert {one["verdict"] for one in json.loads(judged.stdout)["variables"]} == {"identical", "other"}


def _report(expected: bool = False) -> DiffReport:
    """One row of every kind."""
    rule = Constraint(1.0 if expected else None)
    kernel = Variable("dense/kernel", "layers/dense/vars/0", (784, 200), "float32", Hint(layer="Dense"))
    turned = Variable("=cmd|'\x1b[31m", "layers/dense_1/vars/0", (200, 10), "float32", Hint(layer="Dense"))
    bias, halved = Variable("dense/bias", "b", (200,), "float32"), Variable("dense/bias", "b", (200,), "bfloat16")
    step, words = Variable("step", "step", (), "int64"), Variable("words", "words", (2,), "string")
    pure = DiffRow(
        "dense/kernel",
        kernel,
        kernel,
        "pure renorm",
        step=Step(kernel, "kernel", (1,), "layer", rule),
        changed=9_312,
        largest_change=0.18535,
        norm_before=5.9258314,
        norm_after=4.35065,
        units=200,
        changed_units=12,
        foreign_units=0,
        unit_norm_before=1.875,
        unit_norm_after=1.25,
        over=2 if expected else 0,
        nonfinite=1,
    )
    rows = (
        DiffRow("same", step, step, "identical", changed=0),
        pure,
        DiffRow(
            turned.name,
            turned,
            turned,
            "other",
            reason="3 of 4 changed units are no multiple, of at most 1, of the old",
            step=Step(turned, "kernel", (1,), "layer", rule),
            changed=4,
            largest_change=None,
            units=10,
            changed_units=4,
            foreign_units=3,
            unit_norm_before=0.5,
            unit_norm_after=0.5,
            over=0,
            nonfinite=0,
        ),
        DiffRow("dense/bias", bias, halved, "dtype changed", reason="float32 became bfloat16"),
        DiffRow("step", step, None, "missing"),
        DiffRow("new", None, step, "added"),
        DiffRow("words", words, words, "not compared", reason="string: its bytes are not read from these formats"),
    )
    sides = DiffSide("a.h5", "keras-h5", 12_345_678), DiffSide("b.keras", "keras-zip", 1_234)
    notes = (Note("soft link 'a' to 'b': left alone"), Note("loud", warning=True))
    return DiffReport("0.1.0", *sides, "name", rule, rows, expected=expected, notes=notes, seconds=0.25)


EXPECTED = """\
a.h5  keras-h5 · 11.8 MiB
b.keras  keras-zip · 1.2 KiB

name              verdict        shape    dtype                        changed  units changed  largest change  norm           largest unit     NaN/Inf
──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
=cmd|'\\u{1b}[31m  other          200×10   float32                   4 of 2,000        4 of 10          -       -              0.5000 → 0.5000        0
dense/bias        dtype changed  200      float32 → bfloat16                 -              -          -       -              -                      -
step              missing        scalar   int64                              -              -          -       -              -                      -
new               added          scalar   int64                              -              -          -       -              -                      -
words             not compared   2        string                             -              -          -       -              -                      -
dense/kernel      pure renorm    784×200  float32             9,312 of 156,800      12 of 200          0.1853  5.926 → 4.351  1.875 → 1.250          1

=cmd|'\\u{1b}[31m: 3 of 4 changed units are no multiple, of at most 1, of the old
dense/bias: float32 became bfloat16
words: string: its bytes are not read from these formats

note: soft link 'a' to 'b': left alone
7 variables: 1 identical, 1 pure renorm, 1 other, 1 dtype changed, 1 missing, 1 added, 1 not compared
Variables were compared; a model's configuration, graph and other files were not.
different
"""


def test_the_table_lists_what_differs_worst_first_and_accounts_for_every_variable() -> None:
    found = render_diff(_report(), width=None, colour=False, ascii=False)
    assert found == EXPECTED


def test_the_table_of_an_expected_renorm_says_why_it_is_not_proven() -> None:
    found = render_diff(_report(expected=True), width=None, colour=False, ascii=True)
    assert "dense/kernel: 2 units over 1, 1 unit not finite\n" in found
    assert "Variables were compared, and to the byte what else a loader reads in these files.\n" in found
    assert found.endswith(
        "not proven: 5 variables neither identical nor a pure renorm; 1 variable changed by a renorm, but not within 1\n"
    )
    assert found.isascii()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_no_foreign_escape_reaches_it(width: int) -> None:
    found = render_diff(_report(expected=True), width=width, colour=False, ascii=False)
    assert "\x1b" not in found
    assert max(map(len, found.splitlines())) <= width or width < 60
    assert "\x1b[31m" not in render_diff(_report(), width=width, colour=True, ascii=False).replace("\x1b[1;31m", "")


def test_csv_cells_of_foreign_names_are_no_formulas_and_json_is_strict() -> None:
    lines = list(csv.DictReader(io.StringIO(render_diff_csv(_report()))))
    assert lines[2]["name"].startswith("'=cmd")
    assert (lines[4]["key_after"], lines[4]["shape_before"], lines[3]["dtype_after"]) == ("", "scalar", "bfloat16")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    record = json.loads(render_diff_json(_report()), parse_constant=refuse)
    assert record["before"] == {"path": "a.h5", "format": "keras-h5", "bytes": 12_345_678}
    assert record["variables"][4]["after"] is None
    assert record["variables"][1]["unit_axes"] == [1]
    assert record["totals"]["dtype_changed"] == 1
    assert json.loads(render_diff_json(_report(expected=True)))["proven"] is False


def test_the_markdown_of_a_comparison_has_the_verdict_and_a_line_for_each_variable_that_differs() -> None:
    text = render_diff_markdown(_report())
    lines = text.splitlines()
    assert lines[0] == "## `a.h5` and `b.keras`"
    assert "**different**" in lines
    rows = [line for line in lines if line.startswith("| `")]
    assert [line.split("|")[2].strip() for line in rows] == [
        *("other", "dtype changed", "missing", "added", "not compared", "pure renorm")
    ]
    assert len({line.count("|") for line in lines if line.startswith("|") and "---" not in line}) == 1
    assert "\x1b" not in text


def test_the_page_of_a_comparison_has_a_line_for_each_variable_that_differs_and_escapes_names() -> None:
    page = render_diff_html(_report())
    assert re.findall(r'<meta name="checkpoint" content="(.*?)">', page) == ["a.h5", "b.keras"]
    assert len(re.findall(r'<tr(?: class="found")?><th scope="row"', page)) == 6
    assert len(re.findall(r'<tr class="found">', page)) == 5
    assert "\x1b" not in page
    assert "<script>alert" not in render_diff_html(
        replace(_report(), rows=(DiffRow("<script>alert(1)</script>", None, None, "other"),))
    )


def test_weights_only_leaves_out_what_an_optimizer_keeps(tmp_path: Path) -> None:
    report = renorm_cli.diff(SAMPLES / "dense.h5", SAMPLES / "dense.keras", weights_only=True)
    left = [row for row in report.rows if row.verdict == "left out"]
    assert {row.reason for row in left} == {"no weight of the model"}
    assert {row.name for row in report.rows} - {row.name for row in left} == {
        *("hidden/kernel", "hidden/bias", "digit/kernel", "digit/bias")
    }
    with pytest.raises(UsageError, match=r"proven of all that is stored; leave out weights_only=, or leave out expect"):
        renorm_cli.diff(SAMPLES / "dense.h5", SAMPLES / "dense.h5", weights_only=True, expect_renorm=True, max_norm=1)


def test_stored_copies_are_one_line_with_their_number() -> None:
    row = replace(_report().rows[2], name="dense/kernel", copies=("other",))
    assert "dense/kernel ×2  " in render_diff(replace(_report(), rows=(row,)), width=None, colour=False, ascii=False)
