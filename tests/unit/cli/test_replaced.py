"""What a run may replace: its own reports on the same checkpoint; all else with --force alone. `-` is stdout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import builders
from support.cli import refused, renorm_here
from support.places import SAMPLES

from renorm_cli.formats.endings import check_ending
from renorm_cli.render.earlier import is_told
from renorm_cli.render.registry import FORMATS

Capture = pytest.CaptureFixture[str]
BOUND = ("--max-norm", "1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`dense.h5` and `dense.keras`, the same model."""
    monkeypatch.chdir(tmp_path)
    for name in ("dense.h5", "dense.keras"):
        shutil.copy(SAMPLES / name, tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("limit", ["1", "9"])
def test_a_report_of_ours_on_the_same_checkpoint_is_replaced_and_another_is_not(
    format: str, limit: str, folder: Path, capfd: Capture
) -> None:
    report = folder / "report"
    check = ("--max-norm", limit, "--report", f"{format}=report", "-q")
    exists = "'report' exists" if limit == "9" else "error: 'report' exists"
    assert renorm_here(capfd, "check", "dense.h5", *check).stderr == ""
    before = report.read_bytes()
    again = renorm_here(capfd, "check", "./dense.h5", *check)
    assert (again.stderr == "") == is_told(format)
    named = b"dense" in before  # a report of findings alone names nothing where there are none
    for others in (("dense.keras",), ("dense.h5", "dense.keras")):
        report.write_bytes(before)
        done = renorm_here(capfd, "check", *others, *check)
        if "dense.h5" in others and is_told(format):
            assert done.stderr == ""
        elif named or not is_told(format):
            refused(done, exists)
            assert report.read_bytes() == before
    for mine in ("my notes", "<!DOCTYPE html>\n<html><p>dense.h5</p></html>", "path,of,name,key,mine\n", "{}", ""):
        report.write_text(mine)
        refused(renorm_here(capfd, "check", "dense.h5", *check), "or replace it with --force")
        assert report.read_text() == mine
    assert renorm_here(capfd, "check", "dense.h5", *check, "--force").stderr == ""
    assert report.read_bytes() != b"my notes"


def test_a_report_on_more_checkpoints_is_not_replaced_by_one_on_fewer(folder: Path, capfd: Capture) -> None:
    each = [("--report", f"{format}={format}", "-q") for format in ("json", "csv", "html", "junit", "sarif", "gitlab")]
    every = [word for report in each for word in report]
    assert renorm_here(capfd, "check", "dense.h5", "dense.keras", *BOUND, *every).stderr == ""
    for report in each:
        refused(renorm_here(capfd, "check", "dense.h5", *BOUND, *report), "and is no report on this checkpoint; give")
    assert renorm_here(capfd, "check", "dense.keras", "dense.h5", *BOUND, *every).stderr == ""


def test_a_report_on_a_checkpoint_whose_name_needs_quotes_is_its_own_and_no_others(
    folder: Path, capfd: Capture
) -> None:
    (folder / "dense.h5").rename(folder / 'a,"b&c.h5')
    each = [("--report", f"{format}={format}", "-q") for format in filter(is_told, FORMATS)]
    every = [word for report in each for word in report]
    for name in ('a,"b&c.h5', str(folder / 'a,"b&c.h5')):
        for force in (("--force",), ()):
            assert renorm_here(capfd, "check", name, *BOUND, *every, *force).stderr == ""
    for report in each:
        refused(renorm_here(capfd, "check", "dense.keras", *BOUND, *report), "and is no report on this checkpoint")


def test_two_outputs_that_differ_in_the_ending_have_a_report_each(folder: Path, capfd: Capture) -> None:
    for name in ("dense.h5", "dense.keras"):
        assert renorm_here(capfd, "apply", name, *BOUND, "-q").returncode == 0
    for name in ("dense-renorm.h5", "dense-renorm.keras"):
        assert json.loads((folder / f"{name}.report.json").read_text())["output"] == name


def test_the_default_report_of_another_checkpoint_is_not_replaced(folder: Path, capfd: Capture) -> None:
    (folder / "dense-renorm.h5.report.json").write_text("{}")
    refused(renorm_here(capfd, "apply", "dense.h5", *BOUND), "'dense-renorm.h5.report.json' exists, and is no report")
    assert not (folder / "dense-renorm.h5").exists()
    assert renorm_here(capfd, "apply", "dense.h5", *BOUND, "-q", "--force").returncode == 0
    (folder / "dense-renorm.h5").unlink()
    assert renorm_here(capfd, "apply", "dense.h5", *BOUND, "-q").returncode == 0


def test_a_comparison_replaces_its_own_report(folder: Path, capfd: Capture) -> None:
    for _ in range(2):
        assert renorm_here(capfd, "diff", "dense.h5", "dense.keras", "--report", "r.json").stderr == ""
    refused(renorm_here(capfd, "diff", "dense.h5", "dense.h5", "--report", "r.json"), "is no report on these")


@pytest.mark.parametrize("command", [["inspect"], ["check", *BOUND], ["apply", "--dry-run", *BOUND]])
def test_a_report_sent_to_stdout_is_all_that_is_printed_there(command: list[str], folder: Path, capfd: Capture) -> None:
    for quiet in ([], ["-q"]):
        done = renorm_here(capfd, *command, "dense.h5", "--report", "json=-", *quiet)
        assert json.loads(done.stdout)["command"] == command[0]
        assert done.stderr == ""
    assert sorted(path.name for path in folder.iterdir()) == ["dense.h5", "dense.keras"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("inspect", "dense.h5", "--report", "-"),
            "has no ending; say the format, as in --report json=-",
        ),
        (("inspect", "dense.h5", "--report", "json=-", "--format", "md"), "is stdout, which --format md has"),
        (
            ("inspect", "dense.h5", "--report", "json=-", "--report", "csv=-"),
            "another report of this run has that",
        ),
        (("inspect", "-"), "CHECKPOINT '-' is no file; stdin and stdout are not used for it, './-' is a file"),
        (("check", "dense.h5", "--baseline", "-"), "--baseline '-' is no file"),
        (("check", "dense.h5", "--rules", "-"), "--rules '-' is no file"),
        (("apply", "dense.h5", *BOUND, "-o", "-"), "--output '-' is no file"),
        (("apply", "dense.h5", *BOUND, "--like", "-"), "--like '-' is no file"),
        (("inspect", "dense.h5", "--norms", "-"), "--norms '-' is no file"),
        (("diff", "-", "dense.h5"), "BEFORE '-' is no file"),
        (("suggest", "dense.h5", "-o", "-"), "--output '-' is no file"),
        (
            ("apply", "dense.keras", *BOUND, "-o", "o.h5"),
            "reads .h5 as another format than keras-zip; give a name",
        ),
        (("apply", "dense.h5", *BOUND, "-o", "o.weights.h5"), "give a name that ends in .h5 or .hdf5 with -o"),
        (("apply", "dense.h5", *BOUND, "-o", "o.keras", "--dry-run"), "Keras reads .keras as another format"),
    ],
)
def test_what_cannot_be_written_or_read_there_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], said: str, folder: Path, capfd: Capture
) -> None:
    refused(renorm_here(capfd, *arguments), said)
    assert sorted(path.name for path in folder.iterdir()) == ["dense.h5", "dense.keras"]


def test_a_file_that_is_called_so_is_read_by_its_path(folder: Path, capfd: Capture) -> None:
    (folder / "dense.h5").rename(folder / "-")
    assert renorm_here(capfd, "inspect", "./-", "-q").stderr == ""


@pytest.mark.parametrize("ending", ["", ".bin", ".h5.bak", ".renormed"])
def test_an_ending_that_keras_does_not_know_is_allowed(ending: str) -> None:
    for format in ("keras-zip", "keras-h5", "keras-weights-h5", "tf-checkpoint", "hdf5"):
        check_ending(format, "m", Path(f"out{ending}"))


def test_a_quiet_run_that_writes_a_checkpoint_still_warns_of_it(tmp_path: Path, capfd: Capture) -> None:
    """A lower bound is declared, which `apply` does not enforce."""
    weights, sample = builders.two_dense(), str(tmp_path / "m.keras")
    declared = {"class_name": "MinMaxNorm", "config": {"min_value": 0.5, "max_value": 1.0}}
    config = builders.dense_config(weights, kernel_constraint=declared)
    builders.write_keras(Path(sample), config, builders.v3_layers(weights))
    loud = renorm_here(capfd, "apply", sample, "--declared", "-o", str(tmp_path / "loud.keras")).stderr
    assert loud.startswith("warning: ")
    quiet = renorm_here(capfd, "apply", sample, "--declared", "-o", str(tmp_path / "quiet.keras"), "-q")
    assert (quiet.stdout, quiet.stderr) == ("", loud)
    dry = renorm_here(capfd, "apply", sample, "--declared", "-o", str(tmp_path / "dry.keras"), "-q", "--dry-run")
    assert (dry.stdout, dry.stderr) == ("", "")
    rules = renorm_here(capfd, "suggest", str(SAMPLES / "custom_layer.keras"), "-o", str(tmp_path / "r.toml"), "-q")
    assert rules.stderr.startswith("warning: 2 of 4 matrices not identified")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sample", "loads"),
    [
        ("dense.keras", {".keras"}),
        ("dense.h5", {".h5", ".hdf5"}),
        ("dense.weights.h5", {".weights.h5"}),
        ("dense.weights.json", {".weights.json"}),
    ],
)
def test_the_endings_that_fit_are_those_by_which_keras_reads_the_file(
    sample: str, loads: set[str], tmp_path: Path
) -> None:
    """Each sample under each ending: its weights, and a whole model, are loaded by Keras."""
    import keras

    from renorm_cli.errors import OutputError
    from renorm_cli.formats.registry import open_checkpoint

    with open_checkpoint(SAMPLES / sample) as source:
        format = source.format
    model = keras.saving.load_model(SAMPLES / "dense.keras", compile=False)
    for shard in SAMPLES.glob("dense_0*.weights.h5"):
        shutil.copy(shard, tmp_path)
    found, allowed = set(), set()
    for ending in (".keras", ".h5", ".hdf5", ".weights.h5", ".weights.json"):
        path = tmp_path / f"dense{ending}"
        shutil.copy(SAMPLES / sample, path)
        try:
            model.load_weights(str(path))
            if "weights" not in sample:
                keras.saving.load_model(str(path), compile=False)
            found.add(ending)
        except Exception:  # noqa: BLE001  (Keras has many ways to refuse)
            pass
        try:
            check_ending(format, "m", path)
            allowed.add(ending)
        except OutputError:
            pass
        path.unlink()
    assert found == allowed == loads
