"""Where a report goes and how it looks there: formats, endings, colours, and what a GitHub workflow is told."""

from __future__ import annotations

import base64
import csv
import html.parser
import io
import json
import os
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import builders, onnx_files, tensor_files, torch_files
from support import small_checkpoints as small
from support.cli import on_a_terminal, refused, renorm, renorm_here
from support.places import DATA, SAMPLES
from support.report_maker import a_report, a_row

from renorm_cli.cli.output import SUMMARY_BYTES, rendered
from renorm_cli.cli.targets import Target
from renorm_cli.render.data.json_report import report_dict
from renorm_cli.render.registry import FORMATS, format_of

Capture = pytest.CaptureFixture[str]
DENSE = str(SAMPLES / "dense.h5")
PRINTED = ["table", *(set(FORMATS) - {"html"})]


@pytest.fixture(autouse=True)
def _no_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def parses(name: str, text: str) -> bool:
    """Whether a text is what a reader of that format takes, by a parser that is not ours."""
    if name in ("json", "sarif", "gitlab"):
        json.loads(text)
    elif name == "jsonl":
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    elif name == "csv":
        assert len({len(line) for line in csv.reader(io.StringIO(text))}) == 1
    elif name == "junit":
        assert ET.fromstring(text).tag == "testsuites"
    elif name == "html":
        tags: list[str] = []
        parser = html.parser.HTMLParser()
        parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
        parser.feed(text)
        assert {"html", "body"} <= set(tags)
    elif name == "github":
        assert all(line.startswith("::") for line in text.splitlines())
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRINTED))
def test_no_format_changes_the_exit_code_of_a_check(name: str, tmp_path: Path, capfd: Capture) -> None:
    nan = tmp_path / "nan.h5"
    builders.write_h5(nan, {"a/kernel": np.full((2, 2), np.nan, np.float32)})
    for paths, limit, code in (
        ((DENSE,), "9", 0),
        ((DENSE,), "1", 1),
        ((str(nan),), "9", 1),
        (("gone.h5",), "9", 2),
        ((DENSE, "gone.h5"), "9", 2),
        ((DENSE, "gone.h5"), "1", 2),
        ((DENSE, str(nan)), "9", 1),
    ):
        done = renorm_here(capfd, "check", *paths, "--max-norm", limit, "--format", name)
        assert done.returncode == code, (paths, limit)
        assert done.stdout == "" or parses(name, done.stdout)
        assert len(done.stderr.splitlines()) == ("gone.h5" in paths)
        assert renorm_here(capfd, "check", *paths, "--max-norm", limit, "--format", name, "-q").returncode == code


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("r.json", "json"),
        ("r.csv", "csv"),
        ("r.md", "md"),
        ("r.html", "html"),
        ("r.xml", "junit"),
        ("r.sarif", "sarif"),
        ("r.sarif.json", "sarif"),
        ("lr=0.1.json", "json"),
        *((f"{name}=r.txt", name) for name in FORMATS),
        ("gitlab=r.json", "gitlab"),
        ("junit=a=b.xml", "junit"),
    ],
)
def test_the_ending_or_the_word_before_it_chooses_the_format_of_a_report(
    file: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert renorm_here(capfd, "check", DENSE, "--max-norm", "1", "--report", file, "-q").returncode == 1
    (written,) = tmp_path.iterdir()
    assert written.name in (file, file.partition("=")[2])
    text = written.read_text("utf-8")
    assert parses(name, text)
    if name in PRINTED:
        printed = renorm_here(capfd, "check", DENSE, "--max-norm", "1", "--format", name).stdout
        seconds = re.compile(r'"seconds": ?[\d.e-]+|time="[\d.e-]+"|"started": ?"[^"]*"|"command": ?"renorm[^"]*"')
        assert seconds.sub("", printed) == seconds.sub("", text)


def test_a_report_of_many_variables_is_never_held_as_one_text(tmp_path: Path) -> None:
    report = a_report([a_row("dense/kernel")] * 10_000)
    (written,) = rendered([report], [Target(tmp_path / "r.json", "json")]).values()
    with (tmp_path / "r.json").open("wb") as file:
        sizes = [file.write(part) for part in written]
    assert json.loads((tmp_path / "r.json").read_bytes()) == report_dict(report)
    assert max(sizes) < sum(sizes) / 4


def test_an_ending_counts_as_a_whole_and_in_its_case() -> None:
    assert format_of("a.sarif.json") == "sarif"
    assert format_of("ajson") is format_of("a.JSON") is format_of("") is format_of("a.json.gz") is None


def test_one_run_feeds_all_reports_of_all_commands(tmp_path: Path, capfd: Capture) -> None:
    for command in (
        ["inspect"],
        ["check", "--max-norm", "9"],
        ["apply", "--max-norm", "1", "-o", str(tmp_path / "out.h5")],
    ):
        options = [f"--report={name}={tmp_path / command[0]}.{name}" for name in FORMATS]
        assert renorm_here(capfd, *command, DENSE, *options, "-q").returncode == 0
        for name in FORMATS:
            assert parses(name, (tmp_path / f"{command[0]}.{name}").read_text("utf-8"))


@pytest.mark.parametrize(
    ("reports", "what"),
    [
        (["r.pdf"], "the ending chooses the format"),
        (["r"], "the ending chooses the format"),
        (["pdf=r.pdf"], "or say it as FORMAT=FILE (json, jsonl, csv, md, html, junit, sarif, gitlab, github)"),
        (["json="], "the ending chooses the format"),
        (["r.json", "csv=./r.json"], "another report of this run has that name"),
        (["json=model.h5"], "is another file of this run"),
        (["nowhere/r.json"], "the folder 'nowhere' is not there"),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    reports: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.h5").write_bytes(Path(DENSE).read_bytes())
    options = [f"--report={report}" for report in reports]
    refused(renorm_here(capfd, "check", "model.h5", "--max-norm", "9", *options), what)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h5"]


READ = {
    "apply d.h5 --rules r.toml -o r.toml": "give another name with -o",
    "apply d.h5 --max-norm 1 --like c.h5 -o c.h5": "give another name with -o",
    "suggest d.h5 --clip 1% --like c.h5 -o c.h5": "give another name with -o",
    "inspect d.h5 --rules r.toml --report json=r.toml": "give the report another name",
    "check d.h5 --max-norm 9 --baseline b.json --report b.json": "give the report another name",
    "inspect t/m --report json=t/m.index": "give the report another name",
    "inspect t --report json=t/m.index": "give the report another name",
    "inspect d.h5 --like t/m --report json=t/m.data-00000-of-00001": "give the report another name",
    "inspect t/m.index --norms t/m.npz --report json=t/m.npz": "give the norms a name of their own",
    "inspect s --report json=s/assets/vocab.txt": "give the report another name",
    "check d.h5 --max-norm 9 --like s --report json=s/assets/empty": "give the report another name",
    "apply s --max-norm 1 -o out --report json=s/assets/vocab.txt": "give the report another name",
    "diff s d.h5 --report json=s/assets/vocab.txt": "give the report another name",
    "suggest s --clip 1% -o s/assets/vocab.txt": "give the rules another name",
    "inspect s --norms s/assets/one.npz": "give the norms a name of their own",
    "inspect s d.h5 --journal s/assets/empty": "give the journal a name of its own",
    "inspect e.h5 d.h5 --journal e.h5": "give the journal a name of its own",
}


@pytest.mark.parametrize("line", READ)
def test_what_a_run_reads_is_not_replaced_by_what_it_writes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DATA / "tensorflow" / "prefix", "t")
    shutil.copytree(DATA / "tensorflow" / "saved-model" / "module", "s")
    for name in ("vocab.txt", "one.npz"):
        Path("s/assets", name).write_text("words")
    for name in ("s/assets/empty", "e.h5"):
        Path(name).touch()
    for name in ("c.h5", "d.h5"):
        shutil.copy(DENSE, name)
    Path("r.toml").write_text('[[rule]]\nmatch = "*"\nmax_norm = 9\n')
    renorm_here(capfd, "inspect", "d.h5", "--report", "b.json", "-q")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    force = [] if "--journal" in line else ["--force"]
    refused(renorm_here(capfd, *line.split(), *force), READ[line])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


FOLDERS = ("saved model", "model folder", "torch distributed")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_given_without_its_name_is_called_by_it_in_the_output(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    folder = small.FORMATS[name](tmp_path)
    apply, out = ("apply", "--max-norm", "1", "-q"), folder.name + "-renorm"
    before = small.content(folder)
    monkeypatch.chdir(folder)
    assert renorm_here(capfd, *apply, ".").stderr == ""
    assert small.content(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, out, f"{out}.report.json"]
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    assert renorm_here(capfd, *apply, "..", "--force").stderr == ""
    monkeypatch.chdir(folder.with_name(out))
    assert renorm_here(capfd, *apply, str(folder), "-o", ".", "--force").stderr == ""
    monkeypatch.chdir(tmp_path)
    assert small.content(folder.with_name(out)).keys() == before.keys()
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, out, f"{out}.report.json"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_report_inside_an_output_that_is_a_folder_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    source = small.FORMATS[name](tmp_path)
    assert renorm_here(capfd, "apply", str(source), "--max-norm", "2", "-o", "out", "-q").returncode == 0
    before = small.content(tmp_path)
    Path("link").symlink_to("out")
    asked = ("apply", str(source), "--max-norm", "1", "-o", "out", "--force")
    for report in ("out/r.json", "json=link/r.json", "csv=out/sub/r.csv"):
        refused(renorm_here(capfd, *asked, "--report", report), "is inside the output")
        assert small.content(tmp_path) == before
    assert renorm_here(capfd, *asked, "--report", "out/r.json", "--dry-run", "-q").returncode == 0


def test_a_report_of_ours_in_the_folder_of_a_checkpoint_is_written_again(tmp_path: Path, capfd: Capture) -> None:
    folder = tmp_path / "s"
    shutil.copytree(DATA / "tensorflow" / "saved-model" / "module", folder)
    for _ in range(2):
        asked = ("inspect", str(folder), "--report", str(folder / "r.json"), "-q")
        assert renorm_here(capfd, *asked).returncode == 0


NAMED = {
    "inspect m.onnx --report json=w.npz": "give the report another name",
    "inspect m.onnx d.h5 --report json=w.npz": "give the report another name",
    "inspect m.onnx --norms w.npz": "give the norms a name of their own",
    "inspect m.onnx d.h5 --journal w.npz": "is no journal, and stays as it is",
    "inspect d.h5 --like m.onnx --report json=w.npz": "give the report another name",
    "check m.onnx --max-norm 9 --report csv=link": "give the report another name",
    "check t.bin.index.json --max-norm 9 --report json=t.dat": "give the report another name",
    "diff d.h5 s.safetensors.index.json --report json=one.safetensors": "give the report another name",
    "suggest s.safetensors.index.json --clip 1% --report json=two.safetensors": "give the report another name",
    "suggest m.onnx --clip 1% -o w.npz": "give the rules another name",
    "suggest d.h5 --clip 1% --like m.onnx -o w.npz": "give another name with -o",
    "report j --report json=w.npz": "give the report another name",
    "apply m.onnx --max-norm 1 --in-place --report json=w.npz": "give the report another name",
    "apply m.onnx --max-norm 1 -o o.onnx --report json=w.npz": "give the report another name",
    "apply m.onnx --max-norm 1 -o o.onnx --report json=o.onnx.data": "is a file of the output",
    "apply d.h5 --max-norm 1 --like m.onnx -o w.npz": "give another name with -o",
    "inspect one.safetensors --report json=config.json": "give the report another name",
    "check d.h5 --max-norm 9 --like s.safetensors.index.json --report json=config.json": "give the report another name",
    "suggest s.safetensors.index.json --clip 1% -o config.json": "give the rules another name",
    "apply one.safetensors --max-norm 1 -o config.json": "'config.json' is an input; give another",
    "apply one.safetensors --max-norm 1 --in-place --report json=config.json": "give the report another name",
}


@pytest.mark.parametrize("line", NAMED)
def test_a_file_that_a_checkpoint_names_is_not_replaced_whatever_it_is_called(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx_files.write_outside(Path("m.onnx"), "w.npz")
    arrays = tensor_files.torch_arrays()
    for name, half in zip(("one.safetensors", "two.safetensors"), tensor_files.halves(arrays), strict=True):
        tensor_files.write_safetensors(Path(name), half)
    maps = dict(zip(arrays, ["one.safetensors"] * (len(arrays) // 2) + ["two.safetensors"] * len(arrays), strict=False))
    Path("s.safetensors.index.json").write_text(json.dumps({"weight_map": maps}))
    for name in ("t.bin", "t.dat"):
        torch_files.write_torch(Path(name), {name: builders.kernel((6, 5))})
    Path("t.bin.index.json").write_text(json.dumps({"weight_map": {name: name for name in ("t.bin", "t.dat")}}))
    Path("link").symlink_to("w.npz")
    Path("config.json").write_text('{"model_type": "mine"}')
    shutil.copy(DENSE, "d.h5")
    if line.startswith("report"):
        renorm_here(capfd, "inspect", "m.onnx", "d.h5", "--journal", "j", "-q")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for force in ((), ("--force",)):
        if force and "--journal" in line:
            continue
        done = renorm_here(capfd, *line.split(), *force)
        refused(done, NAMED[line])
        assert "--force" not in done.stderr
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_comparison_has_the_formats_it_has_and_says_which(tmp_path: Path, capfd: Capture) -> None:
    diff = ("diff", DENSE, DENSE)
    refused(renorm_here(capfd, *diff, "--format", "junit"), "is not one of 'table', 'json', 'csv', 'md'")
    refused(renorm_here(capfd, *diff, "--report", "r.xml"), "use .json, .csv, .md or .html")
    refused(renorm_here(capfd, *diff, "--report", "junit=r.json"), "this command writes json, csv, md, html only")
    target = tmp_path / "r.txt"
    assert renorm_here(capfd, *diff, "--report", f"json={target}").returncode == 0
    assert json.loads(target.read_text())["command"] == "diff"


def test_a_gate_prints_one_line_a_checkpoint_that_holds_and_what_is_wrong_with_others(
    tmp_path: Path, capfd: Capture
) -> None:
    paths = (DENSE, str(SAMPLES / "dense.keras"))
    done = renorm_here(capfd, "check", *paths, "--max-norm", "9")
    assert done.stdout.splitlines() == [
        f"holds: none of 34 units over 9, in 2 of 2 matrices of '{path}'" for path in paths
    ]
    path = tmp_path / "many.h5"
    builders.write_h5(path, {f"{at:02}/kernel": np.full((2, 2), at + 1, np.float32) for at in range(25)})
    lines = renorm_here(capfd, "check", str(path), "--max-norm", "0.5", "--units", "1").stdout.splitlines()
    assert lines[0] == f"violated: 50 of 50 units over 0.5, in 25 of 25 matrices of '{path}'"
    assert [line[3:5] for line in lines[1:21]] == [f"{at:02}" for at in range(24, 4, -1)]
    assert lines[21:] == ["  and 5 more findings; --report FILE has all of them"]
    assert "hidden/kernel  Dense" in renorm_here(capfd, "check", DENSE, "--max-norm", "9", "--format", "table").stdout


def test_a_workflow_gets_annotations_and_a_summary_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    check = ("check", DENSE, "--max-norm", "1")
    monkeypatch.setenv("CI", "true")
    assert "::error" not in renorm_here(capfd, *check).stdout
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for silent in (("--format", "json"), ("--format", "table"), ("-q",)):
        assert "::error" not in renorm_here(capfd, *check, *silent).stdout
    assert "::error" not in renorm_here(capfd, "inspect", DENSE, "--max-norm", "1").stdout
    assert not summary.exists()
    done = renorm_here(capfd, *check)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("violated: ")
    assert re.search(r"^::error title=[^:\n]*,file=[^:\n]*,line=1::'hidden/kernel': ", done.stdout, re.MULTILINE)
    first = summary.read_text()
    assert "hidden/kernel" in first
    assert renorm_here(capfd, *check, "--format", "github").stdout.startswith("::error ")
    assert summary.read_text() == first * 2
    assert renorm_here(capfd, "check", DENSE, "--max-norm", "9", "--format", "github").stdout == ""


def test_a_summary_never_grows_above_what_github_takes_nor_changes_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    many, summary = tmp_path / "many.h5", tmp_path / "summary.md"
    builders.write_h5(many, {f"{at}/kernel": np.full((2, 2), 9, np.float32) for at in range(300)})
    check = ("check", str(many), "--max-norm", "1", "--units", "1", "--format", "github")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for left in (20_000, 3_000, 0, -1):
        summary.write_bytes(b"x" * (SUMMARY_BYTES - left))
        done = renorm_here(capfd, *check)
        assert done.returncode == 1
        assert summary.stat().st_size <= max(SUMMARY_BYTES, SUMMARY_BYTES - left)
        assert (summary.stat().st_size > SUMMARY_BYTES - left) == (left >= 3_000)
        assert done.stderr == ("" if left >= 3_000 else done.stderr)
    assert "nothing was added to it" in done.stderr
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/full"), tmp_path / "no" / "file"):
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
        done = renorm_here(capfd, *check)
        assert done.returncode == 1
        assert re.fullmatch(r"warning: the summary [^\n]*\n", done.stderr), path


@pytest.mark.slow
def test_colour_is_for_terminals_unless_it_is_asked_for_or_refused() -> None:
    def coloured(*options: str, terminal: bool, **environment: str) -> bool:
        arguments = ("check", DENSE, "--max-norm", 1, *options)
        run = on_a_terminal(*arguments, **environment) if terminal else renorm(*arguments, **environment).stdout
        assert "violated" in run
        return "\x1b[" in run

    assert coloured(terminal=True, TERM="xterm")
    assert not coloured(terminal=False, TERM="xterm")
    assert coloured(terminal=False, FORCE_COLOR="1")
    assert not coloured(terminal=False, FORCE_COLOR="0")
    assert not coloured(terminal=False, FORCE_COLOR="1", NO_COLOR="1")
    assert coloured(terminal=True, TERM="xterm", NO_COLOR="")
    assert not coloured("--color", "never", terminal=True, TERM="xterm", FORCE_COLOR="1")
    assert coloured("--color", "always", terminal=False, NO_COLOR="1")
    assert coloured("--color=always", "--format=table", terminal=False)


@pytest.mark.parametrize("name", sorted(set(PRINTED) - {"table"}))
def test_no_format_for_machines_has_an_escape_even_where_colour_is_asked_for(name: str, capfd: Capture) -> None:
    done = renorm_here(capfd, "check", DENSE, "--max-norm", "1", "--format", name, "--color", "always")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("inspect", "dense.h5"), "measured"),
        (("inspect", "dense.h5", "--max-norm", "1"), "constrained"),
        (("check", "dense.h5", "--max-norm", "1"), "constrained"),
        (("check", "declared.h5", "--declared"), "constrained"),
    ],
)
def test_the_table_the_csv_and_the_json_say_alike_whether_a_variable_is_constrained_or_measured(
    arguments: tuple[str, ...], status: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SAMPLES)
    lines = list(csv.DictReader(renorm_here(capfd, *arguments, "--format", "csv").stdout.splitlines()))
    assert {line["status"] for line in lines} == {status, "skipped"}
    report = json.loads(renorm_here(capfd, *arguments, "--format", "json").stdout)
    assert {one["status"] for one in report["variables"]} == {status}
    for one in report["variables"]:
        assert one["histogram_range"] == [one["norm"]["min"], one["norm"]["max"]]
        assert sum(one["histogram"]) == one["units"]
    assert f" {status}, " in renorm_here(capfd, *arguments, "--format", "table").stdout


@pytest.mark.parametrize(
    "asked",
    [
        (),
        ("--role", "bias", "--p", "inf", "--per", "tensor"),
        ("-i", "*/kernel", "-x", "digit/*", "--units", "hidden/*=0", "--like", "-a b.h5"),
        ("--spectral",),
    ],
)
def test_the_command_line_that_the_page_offers_bounds_what_was_measured(
    asked: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLES / "dense.h5", "-a b.h5")
    renorm_here(capfd, "inspect", *asked, "-q", "--report", "page.html", "--", "-a b.h5")
    (offered,) = re.findall(r'<code data-command="([^"]*)">', Path("page.html").read_text("utf-8"))
    _, *line = shlex.split(html.unescape(offered).replace("{bound}", "1.25"))
    assert {*asked} - {"--spectral"} <= {*line}
    applied = json.loads(renorm_here(capfd, *line, "--dry-run", "--format", "json").stdout)
    bounded = ("inspect", *asked, "--max-norm", "1.25", "--format", "json", "--", "-a b.h5")
    measured = json.loads(renorm_here(capfd, *bounded).stdout)
    fields = ("name", "role", "unit_axes", "norm_kind", "p", "per", "units", "over")
    assert [[row[field] for field in fields] for row in applied["variables"]] == [
        [row[field] for field in fields] for row in measured["variables"]
    ]


def test_no_command_line_is_offered_where_the_bounds_are_not_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.toml").write_text("[[rule]]\nmatch = 'hidden/*'\nmax_norm = 1\n[[rule]]\nmatch = '*'\nmax_norm = 2\n")
    for asked in (("dense.h5", "--rules", "r.toml"), ("declared.keras", "--declared")):
        sample, *options = asked
        renorm_here(capfd, "check", str(SAMPLES / sample), *options, "-q", "--report", "page.html", "--force")
        assert "data-command=" not in Path("page.html").read_text("utf-8").partition("<script>")[0]


@pytest.mark.parametrize(("accepted", "code", "level"), [((), 2, "error"), (("--allow-unidentified",), 0, "warning")])
def test_what_was_not_identified_fails_in_every_report_unless_it_is_accepted(
    accepted: tuple[str, ...], code: int, level: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ("check", str(SAMPLES / "custom_layer.keras"), "--max-norm", "9", *accepted, "--format")
    done = {name: renorm_here(capfd, *asked, name) for name in ("junit", "github", "sarif", "gitlab")}
    assert {one.returncode for one in done.values()} == {code}
    assert bool(ET.fromstring(done["junit"].stdout).findall(".//failure")) == (code == 2)
    variables = json.loads(renorm_here(capfd, *asked, "json").stdout)["totals"]["variables"]
    assert len(ET.fromstring(done["junit"].stdout).findall(".//testcase")) == variables
    assert {line.split()[0] for line in done["github"].stdout.splitlines()} == {f"::{level}"}
    assert {one["level"] for one in json.loads(done["sarif"].stdout)["runs"][0]["results"]} == {level}
    severity = {"error": "major", "warning": "minor"}[level]
    assert {one["severity"] for one in json.loads(done["gitlab"].stdout)} == {severity}


def test_a_suggestion_has_the_bytes_of_a_name_that_is_no_unicode(tmp_path: Path, capfd: Capture) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[b"\xff/kernel"] = builders.kernel((8, 4))
    found = json.loads(renorm_here(capfd, "suggest", str(tmp_path / "a.h5"), "--format", "json").stdout)
    (row,) = found["variables"]
    assert base64.b64decode(row["name_base64"]) == b"\xff/kernel"
