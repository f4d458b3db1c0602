"""The tests mirror the package, and share helpers through tests/support alone."""

from __future__ import annotations

import ast
import re

import pytest
from support.places import ROOT, TESTS

PACKAGE = ROOT / "renorm_cli"

ELSEWHERE = {
    "formats/tensorflow/v1": "unit/formats/tensorflow/test_v1.py",
    "render/page/templates": "unit/render/page/test_page.py",
}
"""Folders of the package without a test folder of their own, and what tests them."""


def imported_tests(source: str, modules: set[str]) -> set[str]:
    """The test modules, by their last names, that a source imports."""
    found: set[str] = set()
    if modules.isdisjoint(re.findall(r"(?<!def )\btest_\w+", source)):
        return found
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.rpartition(".")[2] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update([(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)])
    return found & modules


def test_nothing_imports_a_test_module() -> None:
    modules = {path.stem for path in TESTS.rglob("test_*.py")}
    users = {path: imported_tests(path.read_text("utf-8"), modules) for path in TESTS.rglob("*.py")}
    assert len(users) > len(modules) > 0
    assert {str(path.relative_to(TESTS)): found for path, found in users.items() if found} == {}


def test_an_import_of_a_test_module_would_be_found() -> None:
    source = "import os\nfrom unit.cli.test_app import renorm\nfrom hostile import test_frame\nimport test_steps\n"
    assert imported_tests(source, {"test_app", "test_frame", "test_steps", "test_oracle"}) == {
        "test_app",
        "test_frame",
        "test_steps",
    }


def package_folders() -> list[str]:
    folders = (path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")
    return sorted(str(path.relative_to(PACKAGE)) for path in folders)


@pytest.mark.parametrize("folder", package_folders())
def test_every_folder_of_the_package_has_its_tests(folder: str) -> None:
    own = TESTS / "unit" / folder
    if folder in ELSEWHERE:
        assert not own.exists()
        assert (TESTS / ELSEWHERE[folder]).is_file()
    else:
        assert list(own.glob("test_*.py"))


def test_the_list_of_folders_tested_elsewhere_is_true() -> None:
    assert ELSEWHERE.keys() <= set(package_folders())
