"""The frame of the hostile checkpoints: each of its checks finds a tool that breaks the promise."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hostile.bad_tools import BREAKS
from hostile.frame import Case, Limits, Outcome, Tool, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the frame needs inotify and pidfd")

LIMITS = Limits(seconds=0.7, peak=350 << 20, alone=True)


def _odd(inside: Path) -> Path:
    (inside / "model.h5").write_bytes(b"odd")
    return inside / "model.h5"


def _sound(inside: Path) -> Path:
    with h5py.File(inside / "model.h5", "w") as file:
        file["dense/kernel"] = np.full((4, 4), 9, "f4")
    return inside / "model.h5"


ODD = Case("odd", "nothing at all", _odd, "error", "odd")
SOUND = Case("sound", "nothing at all", _sound, "handled")


@pytest.fixture(scope="module")
def launched() -> Iterator[Tool]:
    tool = Tool()
    yield tool
    tool.close()


@pytest.fixture
def judged(launched: Tool, tmp_path: Path) -> Callable[..., Outcome]:
    def judge(case: Case, tool: str | None = None, command: str = "apply", limits: Limits = LIMITS) -> Outcome:
        return run(case, command, tmp_path, launched if tool is None else launched.named(tool), limits)

    return judge


@pytest.mark.slow
@pytest.mark.parametrize("bad", BREAKS, ids=lambda bad: bad.__name__)
def test_a_tool_that_breaks_a_promise_is_found(bad: Callable[[], None], judged: Callable[..., Outcome]) -> None:
    faults = judged(ODD, f"hostile.bad_tools:{bad.__name__}").faults
    assert any(BREAKS[bad] in fault for fault in faults), faults


def test_a_tool_that_keeps_its_promises_passes(judged: Callable[..., Outcome]) -> None:
    assert judged(ODD, "hostile.bad_tools:good").faults == ()


def test_an_output_whose_odd_part_was_touched_is_found(judged: Callable[..., Outcome]) -> None:
    def untouched(source: Path, output: Path) -> None:
        assert source.read_bytes() == output.read_bytes(), "the weights differ"

    outcome = judged(replace(SOUND, untouched=untouched), limits=Limits())
    assert len(outcome.faults) == 1
    assert "the weights differ" in outcome.faults[0]


def test_a_sound_checkpoint_passes_as_handled_and_an_error_is_found_there(
    judged: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert judged(SOUND, limits=Limits()).faults == ()
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert any("exit code 2" in fault for fault in judged(replace(SOUND, make=_odd), limits=Limits()).faults)


def test_the_report_must_be_strict_json(launched: Tool, tmp_path: Path) -> None:
    faults = run(SOUND, "json", tmp_path, launched.named("hostile.bad_tools:succeeds"), LIMITS).faults
    assert any("no strict JSON" in fault for fault in faults), faults
