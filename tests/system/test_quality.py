"""The linter, the formatter and the type checker pass."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.places import ROOT

MYPY = pytest.param(["mypy", "--strict", "renorm_cli"], marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], MYPY],
    ids=["ruff check", "ruff format", "mypy --strict"],
)
def test_the_tree_is_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
