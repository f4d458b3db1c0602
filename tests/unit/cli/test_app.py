"""Wiring: options reach the plan, exit codes, what goes to stdout and what to stderr. Every run is a real process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import builders, oracle
from support.cli import on_a_terminal, refused, renorm, renorm_here
from support.places import SAMPLES

from renorm_cli.api import verbs
from renorm_cli.cli.signals import Stopped, Written, untouched
from renorm_cli.render.registry import FORMATS, SUGGEST_FORMATS


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A weights file with two kernels: `hidden` has units of norm 0.5 and 2, `digit` too."""
    path = tmp_path / "model.weights.h5"
    builders.write_v3(path, builders.v3_layers(builders.two_dense()))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_apply_writes_the_output_and_the_report_under_their_default_names(model: Path, tmp_path: Path) -> None:
    before = digest(model)
    done = renorm("apply", "model.weights.h5", "--max-norm", 1, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model-renorm.weights.h5",
        "model-renorm.weights.h5.report.json",
        "model.weights.h5",
    ]
    assert digest(model) == before
    report = json.loads((tmp_path / "model-renorm.weights.h5.report.json").read_text())
    assert report["output"] == "model-renorm.weights.h5"
    assert report["totals"]["over"] > 0
    with h5py.File(tmp_path / "model-renorm.weights.h5") as file:
        for variable in report["variables"]:
            assert (oracle.unit_norms(file[variable["key"]][:], (1,)) <= 1).all()
    assert "wrote model-renorm.weights.h5" in done.stdout


@pytest.mark.parametrize(
    ("name", "output", "report"),
    [
        ("a.h5", "a-renorm.h5", "a-renorm.h5.report.json"),
        ("a.b.hdf5", "a.b-renorm.hdf5", "a.b-renorm.hdf5.report.json"),
        ("a.weights.h5", "a-renorm.weights.h5", "a-renorm.weights.h5.report.json"),
        ("a.keras", "a-renorm.keras", "a-renorm.keras.report.json"),
        ("plain", "plain-renorm", "plain-renorm.report.json"),
    ],
)
def test_default_names_keep_the_whole_ending(tmp_path: Path, name: str, output: str, report: str) -> None:
    sample = SAMPLES / ("dense.keras" if name.endswith(".keras") else "dense.h5")
    (tmp_path / name).write_bytes(sample.read_bytes())
    assert renorm("apply", name, "--max-norm", 1, "-q", cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, output, report])


def test_check_is_0_1_or_2_and_apply_makes_a_1_a_0(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.weights.h5"
    assert renorm("check", model, "--max-norm", 1).returncode == 1
    assert renorm("check", model, "--max-norm", 3).returncode == 0
    assert renorm("check", tmp_path / "none.h5", "--max-norm", 1).returncode == 2
    assert renorm("apply", model, "--max-norm", 1, "-o", out).returncode == 0
    assert renorm("check", out, "--max-norm", 1).returncode == 0


@pytest.mark.parametrize("format", ["table", "json", "csv"])
@pytest.mark.parametrize(("limit", "code"), [(1, 1), (3, 0)])
def test_the_output_format_never_changes_the_exit_code(model: Path, format: str, limit: float, code: int) -> None:
    assert renorm("check", model, "--max-norm", limit, "--format", format).returncode == code


def test_json_on_stdout_is_one_document_and_inspect_check_dry_run_and_apply_agree(model: Path, tmp_path: Path) -> None:
    def variables(*arguments: object) -> list[dict[str, object]]:
        found = json.loads(renorm(*arguments, "--max-norm", 1, "--format", "json").stdout)["variables"]
        return [{key: value for key, value in one.items() if key != "norm_after"} for one in found]

    looked = variables("inspect", model)
    assert looked == variables("check", model) == variables("apply", model, "--dry-run")
    assert looked == variables("apply", model, "-o", tmp_path / "out.weights.h5")


def test_a_dry_run_writes_nothing_and_tells_the_norms_after(model: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    dry = json.loads(renorm("apply", model, "--max-norm", 1, "--dry-run", "--format", "json").stdout)
    assert sorted(tmp_path.iterdir()) == before
    assert dry["dry_run"] is True
    wet = json.loads(
        renorm("apply", model, "--max-norm", 1, "-o", tmp_path / "o.weights.h5", "--format", "json").stdout
    )
    assert [one["norm_after"] for one in dry["variables"]] == [one["norm_after"] for one in wet["variables"]]


def test_in_place_replaces_the_input_and_through_a_link_the_file_it_names(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.weights.h5"
    link.symlink_to(model)
    assert renorm("apply", link, "--max-norm", 1, "--in-place", "-q").returncode == 0
    assert link.is_symlink()
    assert renorm("check", model, "--max-norm", 1).returncode == 0


def test_reports_go_where_they_are_sent_in_the_format_of_their_ending(model: Path, tmp_path: Path) -> None:
    for command in (
        ["inspect"],
        ["check", "--max-norm", 3],
        ["apply", "--max-norm", 1, "-o", tmp_path / "out.weights.h5"],
    ):
        reports = [tmp_path / f"{command[0]}.json", tmp_path / f"{command[0]}.csv"]
        done = renorm(*command, model, "--report", reports[0], "--report", reports[1])
        assert done.returncode == 0
        assert json.loads(reports[0].read_text())["command"] == command[0]
        assert reports[1].read_text().count("\n") == 5
    assert not (tmp_path / "out.weights.h5.report.json").exists()


def test_several_files_are_all_looked_at_and_one_bad_one_is_2(model: Path, tmp_path: Path) -> None:
    done = renorm("check", model, SAMPLES / "dense.keras", tmp_path / "gone.h5", "--max-norm", 9, "--format", "json")
    assert done.returncode == 2
    *read, failed = json.loads(done.stdout)
    assert [one["source"]["format"] for one in read] == ["keras-weights-h5", "keras-zip"]
    assert (failed["source"]["path"], failed["error"]["kind"]) == (f"{tmp_path}/gone.h5", "format")
    assert done.stderr == f"error: '{tmp_path}/gone.h5': no such file\n"
    assert renorm("check", model, SAMPLES / "dense.keras", "--max-norm", 9).returncode == 0


def test_options_reach_the_plan(model: Path) -> None:
    def one(*arguments: object) -> dict[str, object]:
        found = json.loads(renorm("inspect", model, "--format", "json", *arguments).stdout)["variables"]
        assert len(found) == 1
        return dict(found[0])

    found = one("-i", "digit/*", "-x", "*bias", "--p", "inf", "--units", "-2", "--jobs", 1, "--engine", "numpy")
    assert (found["name"], found["p"], found["unit_axes"], found["axis_source"]) == (
        "digit/kernel",
        "inf",
        [0],
        "option",
    )


def test_one_norm_can_run_over_a_unit_a_tensor_or_everything(model: Path, tmp_path: Path) -> None:
    for per, units in (("unit", 12), ("tensor", 2), ("global", 2)):
        out = tmp_path / f"{per}.weights.h5"
        arguments = ("--max-norm", 0.4, "--per", per, "--format", "json")
        done = renorm("apply", model, *arguments, "-o", out)
        assert done.returncode == 0
        report = json.loads(done.stdout)
        assert report["totals"]["units"] == report["totals"]["over"] == units
        assert {one["per"] for one in report["variables"]} == {per}
        assert renorm("check", out, *arguments).returncode == 0
    kernels = [builders.read_h5(out)[f"layers/{name}/vars/0"].ravel() for name in ("dense", "dense_1")]
    assert 0.3999 < np.linalg.norm(np.concatenate(kernels).astype(np.float64)) <= 0.4


def test_quiet_prints_nothing_and_warnings_go_to_stderr() -> None:
    sample = SAMPLES / "custom_layer.keras"
    assert renorm("inspect", sample).stderr.startswith("warning: ")
    quiet = renorm("inspect", sample, "-q")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)
    refused(renorm("inspect", sample, "--strict"), "No such option: --strict")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["check", "model.weights.h5", "--max-norm", "0"], "the bound must be a finite number above 0, got 0.0"),
        (["check", "model.weights.h5", "--max-norm", "-1"], "the bound must be a finite number above 0, got -1.0"),
        (["check", "model.weights.h5", "--max-norm", "nan"], "the bound must be a finite number above 0, got nan"),
        (["check", "model.weights.h5", "--max-norm", "inf"], "the bound must be a finite number above 0, got inf"),
        (["check", "model.weights.h5", "--max-norm", "one"], "--max-norm"),
        (["check", "model.weights.h5", "--max-norm", "1", "--p", "0"], "p must be from 1/512"),
        (
            ["check", "model.weights.h5", "--max-norm", "1", "--units", "2"],
            "units 2 is out of range for 'hidden/kernel'",
        ),
        (["check", "model.weights.h5", "--max-norm", "1", "--units", "x"], "the units are auto or axes"),
        (["check", "model.weights.h5", "--max-norm", "1", "--units", "0", "--per", "tensor"], "leave out --units"),
        (["check", "model.weights.h5", "--max-norm", "1", "-i", "hiden/kernel"], "closest: 'hidden/kernel'"),
        (["check", "model.weights.h5", "--max-norm", "1", "-x", "nothing*"], "matches none of the 4 variables"),
        (["check", "model.weights.h5", "--max-norm", "1", "--device", "gpu", "--engine", "numpy"], "CPU only"),
        (
            ["check", "model.weights.h5", "--max-norm", "1", "--report", "x.pdf"],
            "use .json, .jsonl, .csv, .md, .html, .xml or .sarif",
        ),
        (["inspect", "model.weights.h5", "--report", "model.weights.h5"], "use .json, .jsonl, .csv, .md"),
        (["apply", "model.weights.h5", "--max-norm", "1", "-o", "model.weights.h5"], "is the input"),
        (["apply", "model.weights.h5", "--max-norm", "1", "-o", "./model.weights.h5", "--force"], "is the input"),
        (["apply", "model.weights.h5", "--max-norm", "1", "-o", "other", "--in-place"], "leave out"),
        (
            ["apply", "model.weights.h5", "--max-norm", "1", "-o", "nowhere/out.weights.h5"],
            "the folder 'nowhere' is not there",
        ),
        (["apply", "model.weights.h5", "--max-norm", "1", "-o", "."], "is a directory"),
        (
            ["apply", "model.weights.h5", "--max-norm", "1", "-o", "taken"],
            "'taken' exists; give another with -o, or replace it with --force",
        ),
        (["inspect", "none.h5"], "'none.h5': no such file"),
        (["inspect", "."], "is an unzipped .keras folder; give 'model.weights.h5'"),
        (["inspect", "/"], "is a directory and no checkpoint"),
        (["inspect", "empty"], "'empty' is empty"),
        (["inspect", "taken"], "'taken' is no checkpoint of a known format"),
        (["inspect", "ints.h5"], "'ints.h5' holds no floating variable among its 1"),
        (["suggest", "none-in.h5"], "'none-in.h5' holds no variable: there is nothing to measure"),
        (["inspect", "two"], "'two' is a directory and no checkpoint; it holds 'a.h5', 'b.h5'; give one of them"),
        (["inspect", ""], "an argument is empty; a value was expected"),
        (["inspect", "model.weights.h5", "--rules="], "'--rules=' is empty; a value was expected"),
        (["apply", "model.weights.h5", "--max-norm", "1", "-o", "x" * 300], "cannot be written: File name too long"),
        (["inspect", "cut.h5"], "cut.h5"),
        (["inspect", "/dev/null"], "not a regular file"),
        (["inspect"], "CHECKPOINT"),
        (["inspect", "model.weights.h5", "--timeout", "nan"], "--timeout nan: at most 1,000,000 seconds were expected"),
        (["inspect", "model.weights.h5", "--timeout", "3e6"], "--timeout 3e+06: at most 1,000,000 seconds"),
        (["inspect", "two/a.h5", "--match", "no"], "no checkpoint was found, 1 checkpoint left out by --match or --s"),
        (["inspect", "modle.weights.h5"], "'modle.weights.h5': no such file; closest: 'model.weights.h5'"),
        (["check", "model.weights.h5", "--rules", "takn"], "rules 'takn': no such file; closest: 'taken'"),
        (["check", "model.weights.h5", "--baseline", "takn"], "'takn': no such file; closest: 'taken'"),
        (["inspect", "https://example.org/m.h5"], "'https://example.org/m.h5': a URL, and files of this machine are"),
        (
            ["apply", "model.weights.h5", "--max-norm", "1", "-o", "s3://b/m.weights.h5"],
            "'s3://b/m.weights.h5' is a URL; files are",
        ),
        (["apply", "model.weights.h5"], "or take those that the file declares with --declared"),
        (["check", "model.weights.h5"], "`suggest` tells which fit; give one with --max-norm"),
        (["check", "model.weights.h5"], "or compare with an earlier report with --baseline"),
        (["check", "model.weights.h5", "--max-norm", "1", "-i", "hidden"], "; 'hidden/*' matches 2 of them"),
        (["check", "model.weights.h5", "--max-norm", "1", "-i", "kernel"], "; '*/kernel' matches 2 of them"),
        (["check", "model.weights.h5", "--max-norm", "1", "-x", "hid"], "; '*hid*' matches 2 of them"),
        (["check", "model.weights.h5", "two/a.h5", "--max-norm", "1", "-i", "?"], "error: 'two/a.h5': include '?'"),
        (["inspect", "model.weights.h5", "--frobnicate"], "; see `renorm-ckpt inspect --help`"),
        (["check", "model.weights.h5", "--max-norm"], "requires an argument; see `renorm-ckpt check --help`"),
        (["--frobnicate"], "No such option: --frobnicate; see `renorm-ckpt --help`"),
        (["frobnicate"], "'frobnicate' is no command; there are apply, inspect, show, check, diff, suggest"),
        (["inspct", "model.weights.h5"], "'inspct' is no command; closest: inspect"),
        (["model.weights.h5"], "is a path, and a command was expected; try `renorm-ckpt inspect model.weights.h5`"),
        (["taken"], "'taken' is a path, and a command was expected; try `renorm-ckpt inspect taken`"),
        (["gone/m 1.h5", "--per", "unit"], "try `renorm-ckpt inspect 'gone/m 1.h5'`"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    model: Path,
    tmp_path: Path,
    arguments: list[str],
    what: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("just some text\n")
    (tmp_path / "empty").touch()
    (tmp_path / "cut.h5").write_bytes(model.read_bytes()[:-2000])
    builders.write_h5(tmp_path / "ints.h5", {"step": np.arange(3)})
    builders.write_h5(tmp_path / "none-in.h5", {})
    (tmp_path / "two").mkdir()
    for name in "ab":
        (tmp_path / "two" / f"{name}.h5").write_bytes(model.read_bytes())
    before = {str(path): digest(path) for path in tmp_path.rglob("*") if path.is_file()}
    done = renorm_here(capfd, *arguments)
    if done.stderr.count("\n") == 2:  # a line for each of two files
        done.stderr = done.stderr.partition("\n")[2]
    refused(done, what)
    assert {str(path): digest(path) for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("jinja2", ["inspect", "--report", "page.html"]),
        ("jinja2", ["apply", "--max-norm", "1", "--report", "page.html"]),
        ("h5py", ["check", "--max-norm", "1"]),
    ],
)
def test_a_module_that_is_not_installed_is_one_line_and_nothing_is_written(
    model: Path,
    module: str,
    arguments: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None in `sys.modules` is how Python is told that a module is not there."""
    monkeypatch.chdir(model.parent)
    for name in [name for name in sys.modules if name == "renorm_cli.render.page.page"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    said = f"the module {module!r} is needed for this and not installed; install it: pip install {module}"
    refused(renorm_here(capfd, arguments[0], model.name, *arguments[1:]), said)
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_without_the_parser_of_options_it_is_one_line_too() -> None:
    code = "import sys; sys.modules['typer'] = None; from renorm_cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    refused(done, "the module 'typer' is needed for this and not installed; install it: pip install typer")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.usefixtures("heard_signals")
def test_a_signal_before_the_command_line_is_loaded_is_one_line(number: signal.Signals, code: int) -> None:
    """Sent by the process itself where it imports the parser of options."""
    lines = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        name == 'typer' and os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder)\n"
        "from renorm_cli.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "error: stopped; nothing was begun\n")


def test_of_several_files_every_warning_names_its_file(model: Path) -> None:
    custom = SAMPLES / "custom_layer.keras"
    alone = renorm("inspect", custom, "--format", "json").stderr
    assert alone.startswith("warning: 2 of 4 matrices not identified")
    several = renorm("inspect", custom, model, "--format", "json").stderr
    assert several == alone.replace("warning: ", f"warning: '{custom}': ")
    assert renorm("suggest", custom, model, "--format", "json").stderr == several


def test_nan_in_a_selected_variable_is_refused_skipped_counted_or_reported(tmp_path: Path) -> None:
    weights = builders.two_dense()
    weights["hidden"]["kernel"][0, 0] = np.nan
    path, out = tmp_path / "nan.weights.h5", tmp_path / "out.weights.h5"
    builders.write_v3(path, builders.v3_layers(weights))
    refused(renorm("apply", path, "--max-norm", 1, "-o", out), "'hidden/kernel' holds NaN or Inf in 1 of")
    assert [one.name for one in tmp_path.iterdir()] == ["nan.weights.h5"]
    assert renorm("check", path, "--max-norm", 99).returncode == 1
    assert json.loads(renorm("inspect", path, "--format", "json").stdout)["totals"]["nonfinite"] == 1
    assert renorm("apply", path, "--max-norm", 1, "-o", out, "--nonfinite", "skip").returncode == 0
    kernel = builders.read_h5(out)["layers/dense/vars/0"]
    assert np.isnan(kernel[0, 0])
    assert np.array_equal(kernel[1:, 0], weights["hidden"]["kernel"][1:, 0])


def test_a_read_only_folder_is_one_line(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere: take a file system that nobody may write to
        folder = Path("/proc")
    done = renorm("apply", model, "--max-norm", 1, "-o", folder / "out.weights.h5")
    refused(done, "nothing can be written to the folder")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of a superuser, who may search any folder."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("output", ["out.npz", "in/out.npz"])
def test_an_output_in_a_folder_that_may_not_be_searched_is_one_line(
    output: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        np.savez(folder / "model.npz", **{"dense/kernel": np.ones((3, 2), np.float32)})
        closed = folder / "closed"
        (closed / "in").mkdir(parents=True)
        arguments = ["apply", str(folder / "model.npz"), "--max-norm", "1", "-o"]
        renorm_here(
            capfd, *arguments, str(folder / "imports.npz")
        )  # whoever lost their rights may read no module either
        closed.chmod(0o000)
        with as_nobody():
            done = renorm_here(capfd, *arguments, str(closed / output))
        closed.chmod(0o700)
        refused(done, f"{str(closed / output)!r} cannot be written: Permission denied; give another with -o")
        assert [path.name for path in closed.rglob("*")] == ["in"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.usefixtures("heard_signals")
def test_a_signal_stops_the_run_and_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The run is stopped as soon as its temporary file is there."""
    path = tmp_path / "big.h5"
    builders.write_h5(path, {"big/kernel": np.ones((4096, 8192), dtype=np.float32)})
    before = digest(path)
    run = subprocess.Popen(
        [sys.executable, "-m", "renorm_cli", "apply", str(path), "--max-norm", "1", "--jobs", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".renorm-*")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    run.send_signal(number)
    _, err = run.communicate()
    assert run.returncode == code
    assert err == f"error: stopped; {str(path)!r} is as it was, no output was written\n"
    assert [one.name for one in tmp_path.iterdir()] == ["big.h5"]
    assert digest(path) == before


@pytest.mark.usefixtures("heard_signals")
def test_a_signal_that_comes_while_the_output_gets_its_name_waits_and_is_told_so(model: Path, tmp_path: Path) -> None:
    """Sent by the run itself in the middle of its last step."""
    code = (
        "import os, pathlib, signal, sys\n"
        "real = pathlib.Path.replace\n"
        "def replace(self, target):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(self, target)\n"
        "pathlib.Path.replace = replace\n"
        f"sys.argv = ['renorm-ckpt', 'apply', {str(model)!r}, '--max-norm', '1']\n"
        "from renorm_cli.cli.app import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    output, report = tmp_path / "model-renorm.weights.h5", tmp_path / "model-renorm.weights.h5.report.json"
    told = f"error: stopped; {str(output)!r}, {str(report)!r} were written before\n"
    assert (done.returncode, done.stderr) == (130, told)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model-renorm.weights.h5",
        "model-renorm.weights.h5.report.json",
        "model.weights.h5",
    ]
    assert renorm("check", output, "--max-norm", 1).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["apply", "m.h5", "--max-norm", "1"], "'m-renorm.h5', 'm-renorm.h5.report.json' were written before"),
        (
            ["apply", "m.h5", "--max-norm", "1", "--in-place", "--report", "r.csv"],
            "'m.h5', 'r.csv' were written before",
        ),
        (["apply", "m.h5", "--max-norm", "1", "--dry-run", "--report", "r.csv"], "'r.csv' was written before"),
        (["inspect", "m.h5", "--report", "r.md", "--norms", "n.npz"], "'r.md', 'n.npz' were written before"),
        (["check", "m.h5", "--max-norm", "1"], "'m.h5' is as it was"),
        (["diff", "m.h5", "m.h5", "--report", "r.json"], "'r.json' was written before"),
        (["suggest", "m.h5", "-o", "rules.toml"], "'rules.toml' was written before"),
    ],
)
def test_a_signal_while_results_are_printed_says_which_files_were_written(
    model: Path,
    tmp_path: Path,
    arguments: list[str],
    told: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model.rename("m.h5")
    monkeypatch.setattr("renorm_cli.cli.output.print_text", lambda text: os.kill(os.getpid(), signal.SIGTERM))
    done = renorm_here(capfd, *arguments)
    said = done.stderr.replace(f"{tmp_path.resolve()}/", "")
    assert (done.returncode, said) == (143, f"error: stopped; {told}\n")
    assert all(Path(name).exists() for name in re.findall("'(.*?)'", told))


def test_a_file_that_was_there_before_is_not_said_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    outputs = [Written(tmp_path / name, tmp_path / name) for name in ("old", "new")]
    with pytest.raises(Stopped) as stopped, untouched([tmp_path / "m.h5"], outputs):
        outputs[1].found.write_text("new")
        raise Stopped(signal.SIGTERM)
    assert stopped.value.files == f"{str(tmp_path / 'new')!r} was written before"


@pytest.mark.usefixtures("heard_signals")
def test_a_check_that_is_stopped_says_that_its_files_are_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "big.h5"
    with h5py.File(path, "w") as file:
        kernel = file.create_dataset("big/kernel", (1 << 15, 1 << 15), np.float32, fill_time="never")
        kernel[-1, -1] = 1  # 4 GiB of nothing: a hole in the file
    assert path.stat().st_blocks < 1 << 12
    other = tmp_path / "other.h5"
    for paths, told in (((path,), "is as it was"), ((path, other), "and 1 more are as they were")):
        run = subprocess.Popen(
            [sys.executable, "-m", "renorm_cli", "check", *map(str, paths), "--max-norm", "1", "--jobs", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 30
        while str(path) not in _open_files(run.pid):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate()
        assert (run.returncode, err) == (130, f"error: stopped; {str(path)!r} {told}\n")


def _open_files(pid: int) -> set[str]:
    """What a process has open; files that it closes meanwhile are left out."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(entry.readlink()))
    return found


def test_a_closed_stdout_changes_nothing(model: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "renorm_cli", "apply", str(model), "--max-norm", "1"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "model-renorm.weights.h5").exists()


@pytest.mark.slow
def test_a_terminal_gets_colour_unless_it_asks_for_none_and_a_pipe_gets_no_escape(model: Path) -> None:
    arguments = ("check", model, "--max-norm", 1)
    assert "\x1b[" in on_a_terminal(*arguments, TERM="xterm")
    assert "\x1b[" not in on_a_terminal(*arguments, TERM="xterm", NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal(*arguments, TERM="dumb")
    assert "\x1b[" not in renorm(*arguments).stdout


def test_warnings_are_yellow_where_the_terminal_has_colours(tmp_path: Path) -> None:
    path = tmp_path / "plain.h5"
    builders.write_h5(path, {"w": builders.kernel((8, 4))})
    arguments = ("inspect", path, "--max-norm", 1)
    assert "\x1b[33mwarning: " in on_a_terminal(*arguments, TERM="xterm")
    assert "\x1b[" not in on_a_terminal(*arguments, "--color", "never", TERM="xterm")
    assert renorm(*arguments).stderr.startswith("warning: ")


@pytest.mark.parametrize("columns", [90, 120])
def test_help_is_as_wide_as_the_terminal(columns: int) -> None:
    widest = max(map(len, renorm("inspect", "--help", COLUMNS=str(columns)).stdout.splitlines()))
    assert columns - 15 < widest < columns


def test_a_terminal_without_unicode_gets_plain_ascii(model: Path) -> None:
    done = renorm("check", model, "--max-norm", 1, PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stdout.isascii()


@pytest.mark.parametrize("format", [None, *FORMATS])
def test_every_format_can_be_printed_where_the_terminal_lacks_a_character(format: str | None, tmp_path: Path) -> None:
    path = tmp_path / "é.npz"
    np.savez(path, **{"日本/kernel": builders.kernel((4, 4)), "ü": builders.kernel((4, 4))})
    asked = () if format is None else ("--report", f"{format}=-")
    for verb, *options in (("check", "--max-norm", "0.1"), ("suggest",)):
        if verb == "check" or format is None or format in SUGGEST_FORMATS:
            done = renorm(verb, path, *options, *asked, PYTHONIOENCODING="ascii")
            assert "Traceback" not in done.stderr
            assert ("日本" in done.stdout) == (format not in (None, "json", "jsonl", "sarif", "gitlab"))


def test_a_name_with_escapes_is_shown_harmless(tmp_path: Path) -> None:
    path = tmp_path / "evil.h5"
    builders.write_h5(path, {"a\x1b[31m[red]\n::error::/kernel": np.ones((2, 2), np.float32)})
    for arguments in (
        ["inspect", path],
        ["inspect", path, "-i", "nothing\x1b[2J"],
        ["inspect", path, "--format", "csv"],
    ):
        done = renorm(*arguments)
        assert "\x1b" not in done.stdout + done.stderr
        assert not any(line.lstrip().startswith("::") for line in (done.stdout + done.stderr).splitlines())


def test_help_and_version() -> None:
    assert renorm("--version").stdout == "renorm-ckpt 0.1.0\n"
    for command in ((), ("apply",), ("inspect",), ("check",)):
        done = renorm(*command, "-h")
        assert done.returncode == 0
        assert "Exit codes: 0 done, or the bound holds" in done.stdout
    assert renorm().returncode == 2


VERBS = ("apply", "inspect", "show", "check", "diff", "suggest", "report")


def test_no_line_of_help_is_cut_or_wider_than_80_columns() -> None:
    for verb in ((), *((verb,) for verb in VERBS)):
        text = renorm(*verb, "--help", COLUMNS="80").stdout
        assert "..." not in text.replace("CHECKPOINT...", "").replace("JOURNAL...", "").replace("[ARGS]...", "")
        assert max(map(len, text.splitlines())) <= 80


def test_a_pipe_that_breaks_inside_a_run_is_never_a_verdict(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(verbs, "check", broken)
    refused(renorm("check", model, "--max-norm", 9), "a pipe broke")


def test_in_a_folder_that_is_gone_absolute_paths_work_and_others_are_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert renorm_here(capfd, "check", str(model), "--max-norm", "9").returncode == 0
    for verb, option in (("inspect", "--report"), ("inspect", "--journal"), ("suggest", "-o")):
        told = "the working directory is gone; go to another, or give absolute paths only"
        refused(renorm_here(capfd, verb, str(model), option, "name.json"), told)


COMMANDS = ("apply", "inspect", "check", "diff")


def test_the_options_are_under_headings_and_help_is_quick() -> None:
    times = []
    for _ in range(5):
        started = time.monotonic()
        text = renorm("check", "--help").stdout
        times.append(time.monotonic() - started)
    assert min(times) < 1  # 0.2 s on an idle machine
    for heading in ("The bound:", "Against an earlier report:", "What is reported:"):
        assert f"\n{heading}\n  -" in text
    assert all("Examples:" in renorm(command, "--help").stdout for command in COMMANDS)


@pytest.mark.slow
def test_the_examples_of_the_help_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dense.h5", "dense.keras"):
        for path in (tmp_path / name.replace("dense", "model"), tmp_path / "runs" / name):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes((SAMPLES / name).read_bytes())
    assert renorm_here(capfd, "inspect", "model.h5", "--report", "earlier.json", "-q").returncode == 0
    codes: dict[str, list[int]] = {}
    for command in COMMANDS:
        lines = re.findall(r"^ +renorm-ckpt (.*)$", renorm_here(capfd, command, "--help").stdout, re.MULTILINE)
        assert len(lines) >= 2
        codes[command] = [renorm_here(capfd, *shlex.split(line)).returncode for line in lines]
    assert codes == {"apply": [0, 0, 0, 0], "inspect": [0, 0, 0, 0], "check": [1, 1, 0, 0, 0], "diff": [1, 0]}
    written = {path.name for path in tmp_path.iterdir()}
    assert {"model-renorm.h5", "bounded.h5", "page.html", "norms.csv", "results.xml"} <= written
