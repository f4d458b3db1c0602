"""The installation without TensorFlow that README gives: exactly these packages, and every command and report works.

The environment is made of the packages that are installed here, and of nothing else; no index is asked.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support import tf_recorded
from support.places import ROOT, SAMPLES

from renorm_cli.render.registry import DIFF_FORMATS, FORMATS

README, CI = ((ROOT / page).read_text("utf-8") for page in ("README.md", "docs/ci.md"))
(NAMED,) = re.findall(r"`pip install (.*) && pip install --no-deps \.`", README)
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def named() -> list[str]:
    return [word.strip("'") for word in NAMED.split()]


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """The packages that an installer would install for these, with what they need."""
    found: dict[str, Distribution] = {}
    wanted = [Requirement(text) for text in requirements]
    while wanted:
        one = wanted.pop()
        if one.name in found or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        package = found[one.name] = distribution(one.name)
        assert one.specifier.contains(package.version, prereleases=True), one
        wanted += map(Requirement, package.requires or ())
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the packages README names, and this project."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for package in closure(named()).values():
        for top in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))))
    (site / "renorm.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def run(python: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-I", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_packages_named_are_those_of_the_project_but_tensorflow() -> None:
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    needed = {Requirement(text).name for text in re.findall(r'^    "([^"]*)"', listed, re.MULTILINE)}
    assert {Requirement(text).name for text in named()} == needed - {"tensorflow"}
    assert f"    - pip install {NAMED} && pip install --no-deps renorm-ckpt\n" in CI  # the recipe for GitLab


@pytest.mark.slow
def test_tensorflow_and_keras_are_not_there(python: Path, folder: Path) -> None:
    done = run(
        python, folder, "-c", "import importlib.util as u; print([u.find_spec(n) for n in ('tensorflow', 'keras')])"
    )
    assert done.stdout == "[None, None]\n"


COMMANDS: dict[str, tuple[object, ...]] = {
    "every report of inspect": (
        *("inspect", SAMPLES / "dense.h5", SAMPLES / "dense.keras", "--max-norm", 1),
        *(word for name in FORMATS for word in ("--report", f"{name}=inspect.{name}")),
    ),
    "norms": ("inspect", SAMPLES / "bfloat16.keras", "--norms", "n.npz"),
    "apply": ("apply", SAMPLES / "deflated.keras", "--max-norm", 1, "-o", "bounded.keras"),
    "apply to bfloat16": ("apply", SAMPLES / "bfloat16.weights.h5", "--max-norm", 0.1, "-o", "b.weights.h5"),
    "apply to TensorFlow": ("apply", tf_recorded.FOLDER / "objects", "--max-norm", 1, "-o", "ckpt"),
    "apply to a SavedModel": ("apply", tf_recorded.FOLDER / "saved-model" / "module", "--max-norm", 1, "-o", "sm"),
    "check": ("check", SAMPLES / "dense.weights.json", "--max-norm", 9, "--format", "github"),
    "check of what is declared": ("check", SAMPLES / "declared.h5", "--declared"),
    "diff": (
        *("diff", SAMPLES / "dense.h5", SAMPLES / "dense.keras"),
        *(word for name in DIFF_FORMATS for word in ("--report", f"{name}=diff.{name}")),
    ),
    "suggest": ("suggest", SAMPLES / "dense.h5", "-o", "rules.toml"),
    "help": ("--help",),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_report_works_with_these_packages_alone(command: str, python: Path, folder: Path) -> None:
    done = run(python, folder, "-m", "renorm_cli", *COMMANDS[command])
    assert (done.returncode, done.stderr) == (1 if command in ("diff", "check of what is declared") else 0, "")
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_a_progress_bar_and_python_work_with_these_packages_alone(python: Path, folder: Path) -> None:
    code = (
        "import renorm_cli, renorm_cli.render.terminal.progress\n"
        f"report = renorm_cli.inspect({str(SAMPLES / 'dense.h5')!r})\n"
        "assert report.unit_norms('hidden/kernel').shape == (1, 24)\n"
        "assert '<table' in report._repr_html_()\n"
        "try: report.to_pandas()\n"
        "except renorm_cli.RenormError as error: print(error)\n"
    )
    done = run(python, folder, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pandas is not installed; pip install ")
    asked = run(python, folder, "-m", "renorm_cli", "inspect", SAMPLES / "dense.h5", "--engine", "tensorflow")
    assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)
    assert asked.stderr.startswith("error: TensorFlow is not installed; pip install ")
