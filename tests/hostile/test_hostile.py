"""Every hostile checkpoint, given to the real command line."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import hostile
from hostile.frame import Case, Tool, run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="it needs inotify and pidfd")]


def all_cases() -> list[Case]:
    names = sorted(module.name for module in pkgutil.iter_modules(hostile.__path__) if module.name.endswith("_cases"))
    return [case for name in names for case in importlib.import_module(f"hostile.{name}").CASES]


CASES = all_cases()


@pytest.fixture(scope="session")
def tool() -> Iterator[Tool]:
    started = Tool()
    yield started
    started.close()


def adds_little(case: Case) -> bool:
    """Whether `apply` fails as `inspect` does, as neither can open the checkpoint; a tenth is left to show it."""
    alike = case.expect == "error" and not case.opens and {"inspect", "apply"} <= set(case.commands)
    return alike and zlib.crc32(case.name.encode()) % 10 != 0


def withstood(case: Case, commands: Iterable[str], folder: Path, tool: Tool) -> None:
    for command in commands:
        (folder / command).mkdir()
        outcome = run(case, command, folder / command, tool)
        assert outcome.faults == (), f"{case.attack} ({command})"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_checkpoint_is_refused_in_one_line_or_handled_without_harm(
    case: Case, tmp_path: Path, tool: Tool
) -> None:
    commands = [command for command in case.commands if command != "apply" or not adds_little(case)]
    withstood(case, commands, tmp_path, tool)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", list(filter(adds_little, CASES)), ids=lambda case: case.name)
def test_apply_refuses_whatever_inspect_cannot_open(case: Case, tmp_path: Path, tool: Tool) -> None:
    withstood(case, ["apply"], tmp_path, tool)


def test_there_are_many_cases_and_each_has_a_name_of_its_own_and_says_what_it_tries() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 150
    assert all(case.attack.strip() and case.expect in ("error", "handled") for case in CASES)
    assert all(case.says for case in CASES if case.expect == "error")
