"""What tests of the pool have done in its processes, which import it from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from renorm_cli.errors import UsageError
from renorm_cli.fleet.pool import Job


class Deadly:
    """Cannot be made again in another process: the process dies while it starts."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (7,)

    def __call__(self, job: Job) -> str:
        raise AssertionError


def work(job: Job) -> str:
    """The path in capitals; or what the path says."""
    if job.path.startswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.path.startswith("hang"):
        time.sleep(600)
    if job.path.startswith("slow"):
        time.sleep(0.2)
    if job.path.startswith("usage"):
        raise UsageError("p is wrong")
    if job.path.startswith("once"):
        _die_once(Path(job.path.partition(":")[2]))
    if job.path.startswith("note"):
        folder = Path(job.path.partition(":")[2])
        (folder / f"{job.number}-begun").touch()
        before = _running(folder)
        time.sleep(0.05)
        (folder / f"{job.number}-ended").write_text(str(max(before, _running(folder))))
    return job.path.upper()


def _die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _running(folder: Path) -> int:
    """How many jobs that leave notes have begun and not ended."""
    ended = len(list(folder.glob("*-ended")))
    return len(list(folder.glob("*-begun"))) - ended
