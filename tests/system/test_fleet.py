"""Whole runs over many checkpoints, killed: what was found is there, nothing is lost and nothing is told twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.places import SAMPLES
from support.processes import alive

pytestmark = pytest.mark.slow


def fill(folder: Path, count: int) -> None:
    """Checkpoints below a folder, of four kinds, every tenth damaged."""
    names = ("dense.h5", "dense.keras", "convolutions.weights.h5", "embedding.h5")
    for number in range(count):
        sample = SAMPLES / names[number % 4]
        path = folder / f"run-{number // 50}" / f"{number}.{sample.name.partition('.')[2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 10 == 9:
            path.write_bytes(sample.read_bytes()[:5000])
        else:
            shutil.copy(sample, path)


def command(folder: Path, journal: str) -> list[str]:
    program = [sys.executable, "-m", "renorm_cli", "check", "-r", "runs", "--max-norm", "1.5"]
    return [*program, "--journal", journal, "--jobs", "2", "-q"]


def records(path: Path) -> dict[str, Any]:
    """The records of a journal by path, without what differs from run to run; each path once."""
    lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    found = [one for one in lines if "source" in one]
    by_path = {one["source"]["path"]: one for one in found}
    assert len(by_path) == len(found)
    for one in found:
        one.pop("seconds", None)
        one.pop("provenance", None)
    return by_path


def kill_until_done(folder: Path, kills: int, within: float) -> None:
    """Kill the whole group of a run that often, at any moment, and then let it end."""
    moments = random.Random(1)
    for _ in range(kills):
        run = subprocess.Popen(command(folder, "killed.jsonl"), cwd=folder, start_new_session=True)
        time.sleep(moments.uniform(0.2, within))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert subprocess.run(command(folder, "killed.jsonl"), cwd=folder, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(("count", "kills"), [(150, 4), pytest.param(5000, 20, marks=pytest.mark.exhaustive)])
def test_a_run_that_is_killed_again_and_again_finds_what_an_undisturbed_one_does(
    count: int, kills: int, tmp_path: Path
) -> None:
    fill(tmp_path / "runs", count)
    assert (
        subprocess.run(command(tmp_path, "whole.jsonl"), cwd=tmp_path, check=False, capture_output=True).returncode == 2
    )
    kill_until_done(tmp_path, kills, within=1.5 if count < 1000 else 10)
    whole, killed = records(tmp_path / "whole.jsonl"), records(tmp_path / "killed.jsonl")
    assert len(whole) == count
    assert killed == whole


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the system does not list its processes")
def test_where_a_run_is_told_to_stop_its_processes_end_and_it_says_where_it_goes_on(tmp_path: Path) -> None:
    fill(tmp_path / "runs", 400)
    for signum in (signal.SIGINT, signal.SIGTERM):
        run = subprocess.Popen(
            command(tmp_path, f"{signum}.jsonl"),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        journal = tmp_path / f"{signum}.jsonl"
        while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
            assert run.poll() is None
            time.sleep(0.01)
        workers = below(run.pid)
        run.send_signal(signum)
        _, said = run.communicate()
        assert run.returncode == 128 + signum
        assert "and 399 more are as they were; the same command goes on where the journal" in said
        deadline = time.monotonic() + 5
        while any(map(alive, workers)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(workers) >= 2


def below(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, grew = {pid}, True
    while grew:
        more = {one for one, parent in parents.items() if parent in found} - found
        found, grew = found | more, bool(more)
    return sorted(found - {pid})
