"""What a command says names its own options: judged by its help."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support import builders
from support.cli import refused, renorm_here
from support.places import SAMPLES

from renorm_cli.cli import words
from renorm_cli.cli.app import app
from renorm_cli.errors import RenormError, Way
from renorm_cli.model.plan import Note

Capture = pytest.CaptureFixture[str]
DENSE = str(SAMPLES / "dense.h5")

ERROR = RenormError(
    "'x' is wrong",
    Way("exclude", "leave it out"),
    Way("rules", "say it"),
    Way("nonfinite", "leave the units alone", "skip"),
    Way("in_place", "replace it", True),
    Way("output", "leave out {}"),
)


def params(command: str) -> list[object]:
    import typer.main

    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return list(found.params)


def test_python_spells_ways_as_keywords() -> None:
    assert str(ERROR) == (
        "'x' is wrong; leave it out with exclude=, or say it with rules=, or leave the units alone with"
        " nonfinite='skip', or replace it with in_place=True, or leave out output="
    )
    assert str(Note("odd", True, (Way("units", "say them"),))) == "odd; say them with units="


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "apply",
            "leave it out with -x, or say it with --rules, or leave the units alone with --nonfinite skip,"
            " or replace it with --in-place, or leave out -o",
        ),
        ("inspect", "leave it out with -x, or say it with --rules"),
        ("diff", "leave it out with -x"),
        ("suggest", "leave it out with -x, or leave out -o"),
    ],
)
def test_a_command_spells_the_ways_it_has_and_leaves_out_the_others(command: str, said: str) -> None:
    words.speak_of(params(command))
    assert words.error_text(ERROR) == f"'x' is wrong; {said}"
    assert words.told([Note(ERROR.text, True, ERROR.ways)]) == (Note(f"'x' is wrong; {said}", True),)


def test_an_error_without_a_way_that_fits_is_its_text() -> None:
    words.speak_of(params("diff"))
    assert words.error_text(RenormError("'x' is wrong", Way("in_place", "replace it", True))) == "'x' is wrong"


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", DENSE),
        ("apply", DENSE, "--max-norm", "1", "-o", DENSE),
        ("apply", DENSE, "--max-norm", "1", "-o", "taken"),
        ("apply", DENSE, "--max-norm", "1", "-o", "nowhere/out.h5"),
        ("apply", DENSE, "--max-norm", "1", "-o", "other.h5", "--in-place"),
        ("apply", DENSE, "--max-norm", "1", "-o", "out.h5", "--report", "nowhere/r.json"),
        ("inspect", DENSE, "--report", "nowhere/r.json"),
        ("inspect", DENSE, "--engine", "numpy", "--device", "gpu"),
        ("check", DENSE),
        ("check", DENSE, "--max-norm", "1", "--max-growth", "5%"),
        ("check", DENSE, "--baseline", "taken"),
        ("diff", DENSE, DENSE, "--expect-renorm"),
        ("suggest", DENSE, "-o", "taken"),
        ("suggest", DENSE, "-o", "nowhere/rules.toml"),
        ("suggest", DENSE, "--clip", "5"),
    ],
)
def test_an_error_names_no_option_that_the_command_does_not_have(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    offered = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", renorm_here(capfd, arguments[0], "--help").stdout))
    done = renorm_here(capfd, *arguments)
    refused(done, "error: ")
    named = set(re.findall(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-z]\b)", done.stderr))
    assert named <= offered
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_report_that_cannot_be_written_does_not_send_for_another_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    done = renorm_here(capfd, "apply", DENSE, "--max-norm", "1", "-o", "out.h5", "--report", "nowhere/r.json")
    assert done.stderr == "error: the folder 'nowhere' is not there: make it first\n"
    done = renorm_here(capfd, "suggest", DENSE, "-o", "nowhere/rules.toml")
    assert done.stderr == (
        "error: the folder 'nowhere' is not there: make it first; give the rules another name with -o\n"
    )


def test_warnings_and_the_notes_of_a_report_have_the_words_of_the_command(tmp_path: Path, capfd: Capture) -> None:
    one, other = tmp_path / "a.h5", tmp_path / "b.h5"
    kernel = np.ones((4, 5, 6), np.float32)
    builders.write_h5(one, {"mystery/kernel": kernel})
    builders.write_h5(other, {"mystery/kernel": kernel / 2})
    report = tmp_path / "r.json"
    done = renorm_here(capfd, "diff", str(one), str(other), "--report", str(report))
    text = "'mystery/kernel': changed, and the unit axes are a guess from the shape; say them with --units"
    assert done.stderr == f"warning: {text}\n"
    assert text in report.read_text()


def test_a_usage_error_is_said_once_and_an_error_of_a_file_once_for_each(capfd: Capture, tmp_path: Path) -> None:
    gone = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    done = renorm_here(capfd, "check", *gone, DENSE, "--max-norm", "0")
    assert (done.returncode, done.stderr.count("error: ")) == (2, 1)
    done = renorm_here(capfd, "check", *gone, DENSE, "--max-norm", "9")
    assert (done.returncode, done.stderr.count("error: ")) == (2, 2)
    assert done.stdout.startswith("holds: ")
