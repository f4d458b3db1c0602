"""Real processes, killed and hung: a death costs the checkpoint that was in it, and no other."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.pool_jobs import Deadly, work
from support.processes import alive

from renorm_cli.errors import EngineError, UsageError
from renorm_cli.fleet.pool import Job, Lost, pool


def jobs(*paths: str) -> list[Job]:
    return [Job(number, path) for number, path in enumerate(paths)]


def answers(found: list[tuple[Job, str | Lost]]) -> dict[str, str]:
    return {job.path: one.kind if isinstance(one, Lost) else one for job, one in found}


def test_each_job_is_answered_once_and_only_what_kills_or_hangs_is_blamed(tmp_path: Path) -> None:
    good = [f"a{number}" for number in range(20)]
    once = f"once:{tmp_path / 'mark'}"
    found = list(pool(work, jobs(*good[:5], "poison", once, *good[5:], "hang"), 2, timeout=1.0))
    assert len(found) == 23
    assert answers(found) == {
        **{path: path.upper() for path in good},
        once: once.upper(),
        "poison": "died",
        "hang": "timeout",
    }
    texts = {job.path: one.text for job, one in found if isinstance(one, Lost)}
    assert texts == {
        "poison": "'poison': the process that read it died 2 times (signal 9)",
        "hang": "'hang' was not done after 1 s, and given up",
    }
    assert multiprocessing.active_children() == []


def test_what_is_asked_wrongly_ends_it_and_no_process_is_left() -> None:
    with pytest.raises(UsageError, match="p is wrong"):
        list(pool(work, jobs("a", "usage", "hang"), 2))
    assert multiprocessing.active_children() == []


def test_who_stops_listening_leaves_no_process() -> None:
    found = pool(work, jobs("a", "hang"), 2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_processes_that_die_before_they_can_work_are_an_error() -> None:
    with pytest.raises(EngineError, match=r"3 processes in a row ended before they could work \(exit status 7\)"):
        list(pool(Deadly(), jobs("a", "b"), 1))
    assert multiprocessing.active_children() == []


def test_a_job_that_is_to_be_alone_is_alone(tmp_path: Path) -> None:
    path = f"note:{tmp_path}"
    given = [Job(number, path, alone=number in (12, 18)) for number in range(24)]
    assert len(list(pool(work, given, 3))) == 24
    together = [int((tmp_path / f"{number}-ended").read_text()) for number in range(24)]
    assert together[12] == together[18] == 1
    assert max(together) > 1  # some were not


@pytest.mark.parametrize("free", [1, 3])
def test_too_few_file_descriptors_for_a_process_are_an_error(free: int) -> None:
    used = os.open(os.devnull, os.O_RDONLY)
    os.close(used)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, hard))
    try:
        with pytest.raises(EngineError, match="a process to work in cannot be started: Too many open files"):
            list(pool(work, jobs("a"), 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the system does not list its processes")
def test_when_the_driver_is_killed_its_processes_end_also_in_the_middle_of_a_job(tmp_path: Path) -> None:
    code = (
        "from support.pool_jobs import work\nfrom renorm_cli.fleet.pool import Job, pool\n"
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    for job, _ in pool(work, [Job(0, 'a'), Job(1, 'hang'), Job(2, 'hang')], 2):\n"
        "        print(*[one.pid for one in multiprocessing.active_children()], flush=True)\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        children = [int(pid) for pid in driver.stdout.readline().split()]
        assert children
        driver.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(alive, children)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
