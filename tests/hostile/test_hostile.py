"""Every hostile checkpoint, given to the real command line."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile
from hostile.frame import Case, Tool, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the frame needs inotify and pidfd")


def all_cases() -> list[Case]:
    names = sorted(module.name for module in pkgutil.iter_modules(hostile.__path__) if module.name.endswith("_cases"))
    return [case for name in names for case in importlib.import_module(f"hostile.{name}").CASES]


CASES = all_cases()


@pytest.fixture(scope="session")
def tool() -> Iterator[Tool]:
    started = Tool()
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_checkpoint_is_refused_in_one_line_or_handled_without_harm(
    case: Case, tmp_path: Path, tool: Tool
) -> None:
    for command in case.commands:
        (tmp_path / command).mkdir()
        outcome = run(case, command, tmp_path / command, tool)
        assert outcome.faults == (), f"{case.attack} ({command})"


def test_there_are_many_cases_and_each_has_a_name_of_its_own_and_says_what_it_tries() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 150
    assert all(case.attack.strip() and case.expect in ("error", "handled") for case in CASES)
    assert all(case.says for case in CASES if case.expect == "error")
