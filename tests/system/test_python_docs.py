"""What docs/python.md shows runs, block by block in one namespace, and prints what its comments say."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.cli import renorm
from support.places import ROOT, SAMPLES

import renorm_cli

TEXT = (ROOT / "docs" / "python.md").read_text("utf-8")
BLOCK = re.compile(r"(?:<!-- needs: (?P<needs>\w+) -->\n)?```(?P<kind>python|sh)\n(?P<code>.*?)```", re.DOTALL)
PROMISE = re.compile(r"^print\(.*\)  # (?P<said>.*)$", re.MULTILINE)


@pytest.mark.slow
def test_every_block_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(SAMPLES / "dense.h5", tmp_path / "model.h5")
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    promises = 0
    for block in BLOCK.finditer(TEXT):
        if block["needs"] and importlib.util.find_spec(block["needs"]) is None:
            continue
        if block["kind"] == "sh":
            program, *arguments = shlex.split(block["code"])
            assert program == "renorm-ckpt"
            assert renorm(*arguments).returncode == 0
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], "docs/python.md", "exec"), space)
        for promise in PROMISE.finditer(block["code"]):
            promises += 1
            assert promise["said"] in printed.getvalue().splitlines()
    assert promises >= 4


def test_every_public_name_is_on_the_page() -> None:
    assert [name for name in renorm_cli.__all__ if name not in TEXT] == []


def test_the_table_of_errors_has_all_of_them() -> None:
    source = ast.parse((ROOT / "renorm_cli" / "errors.py").read_text("utf-8"))
    errors = {node.name for node in source.body if isinstance(node, ast.ClassDef) and node.name.endswith("Error")}
    assert set(re.findall(r"^\| `(\w+Error)` \|", TEXT, re.MULTILINE)) == errors - {"RenormError"}
