"""A real dask cluster whose workers, nannies and scheduler are killed: it ends right, or it ends with 2 and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.clusters import LocalCluster, local_cluster
from support.places import ROOT, SAMPLES
from support.pool_jobs import work

from renorm_cli.errors import EngineError, UsageError
from renorm_cli.fleet import cluster as module
from renorm_cli.fleet.cluster import cluster
from renorm_cli.fleet.discover import Item, Search
from renorm_cli.fleet.pool import Job, Lost

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed"),
]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path) as made:
        yield made


def first(folder: Path) -> Item:
    shutil.copy(SAMPLES / "dense.h5", folder / "first.h5")
    (item,) = Search().items([str(folder / "first.h5")])
    return item


def asked(made: LocalCluster, paths: list[str], timeout: float | None = None) -> dict[str, str]:
    """What is answered for each path, each once."""
    jobs = [Job(number, path) for number, path in enumerate(paths)]
    found: dict[str, str] = {}
    for job, answer in cluster(work, jobs, made.address, first(made.folder), timeout):
        assert job.path not in found
        found[job.path] = answer.kind if isinstance(answer, Lost) else answer
    return found


@contextmanager
def once_begun(made: LocalCluster, do: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as the first job, which leaves a note, is done."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not (made.folder / "0-ended").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("trials", [1, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_only_what_kills_its_workers_is_blamed_and_nothing_hangs(trials: int, two: LocalCluster) -> None:
    for trial in range(trials):
        paths = [f"a{trial}-{number}" for number in range(20)]
        paths.insert(trial % 20, "poison")
        started = time.monotonic()
        assert asked(two, paths) == {**{path: path.upper() for path in paths}, "poison": "died"}
        assert time.monotonic() - started < 150


@pytest.mark.exhaustive
def test_killed_nannies_cost_nothing_as_long_as_a_worker_is_there(two: LocalCluster) -> None:
    two.add()
    paths = [f"note:{two.folder}", *(f"slow:{number}" for number in range(60))]
    with once_begun(two, lambda: two.kill(two.nannies[0])):
        assert asked(two, paths) == {path: path.upper() for path in paths}


def test_a_job_that_is_late_is_given_up_and_what_is_asked_wrongly_is_said(two: LocalCluster) -> None:
    assert asked(two, ["a", "hang", "b"], timeout=4.0) == {"a": "A", "b": "B", "hang": "timeout"}
    with pytest.raises(UsageError, match="p is wrong"):
        asked(two, ["a", "usage"])


def run(made: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "renorm_cli", "check", "-r", "runs", "--max-norm", "9", "--cluster", made.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*program, *arguments], cwd=made.folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def runs(two: LocalCluster) -> LocalCluster:
    for number in range(30):
        path = two.folder / "runs" / f"{number}.h5"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(SAMPLES / "dense.h5", path)
    (two.folder / "runs" / "torn.h5").write_bytes((SAMPLES / "dense.h5").read_bytes()[:5000])
    return two


def test_a_cluster_finds_what_this_machine_finds_and_a_dead_scheduler_ends_it_so_that_it_goes_on(
    runs: LocalCluster,
) -> None:
    done = run(runs, "--format", "json")
    assert (done.returncode, len(json.loads(done.stdout))) == (2, 31)
    here = subprocess.run(
        [sys.executable, "-m", "renorm_cli", "check", "-r", "runs", "--max-norm", "9", "--format", "json"],
        cwd=runs.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told(here.stdout) == told(done.stdout)
    assert here.stderr == done.stderr
    runs.kill(runs.scheduler)
    dead = run(runs, "--journal", "j.jsonl")
    assert dead.returncode == 2
    assert "the scheduler" in dead.stderr
    assert "the same command goes on where the journal 'j.jsonl' ends" in dead.stderr


def told(text: str) -> list[object]:
    return [
        {name: value for name, value in one.items() if name not in ("seconds", "provenance")}
        for one in json.loads(text)
    ]


def test_a_scheduler_that_dies_in_the_middle_ends_it(two: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 1.0)
    with (
        pytest.raises(EngineError, match="is gone"),
        once_begun(two, lambda: os.killpg(two.scheduler.pid, signal.SIGKILL)),
    ):
        asked(two, [f"note:{two.folder}", "hang", "hang2"])


@pytest.mark.exhaustive
def test_workers_that_are_all_gone_end_it(two: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 1.0)
    monkeypatch.setattr(module, "_NO_WORKER", 8.0)

    def kill() -> None:
        for nanny in two.nannies:
            two.kill(nanny)

    with pytest.raises(EngineError, match="all workers of the cluster"), once_begun(two, kill):
        asked(two, [f"note:{two.folder}", "hang", "hang2"])


@pytest.mark.exhaustive
def test_workers_that_see_other_files_or_run_another_version_are_refused(runs: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    runs.add(cwd=tmp_path / "elsewhere")
    time.sleep(4)
    assert "do not see 'runs/0.h5' as it is here" in run(runs).stderr
    other = tmp_path / "other"
    shutil.copytree(ROOT / "renorm_cli", other / "renorm_cli")
    init = other / "renorm_cli" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "99.'))
    runs.kill(runs.nannies.pop())
    runs.add(PYTHONPATH=str(other))
    time.sleep(4)
    done = run(runs)
    assert (done.returncode, "runs renorm-ckpt 99." in done.stderr) == (2, True)
