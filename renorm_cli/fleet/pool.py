"""Processes of this machine, a pipe to each, so that it is known which checkpoint is in which process.

A process that dies takes nothing with it but the checkpoint it held, which is tried once more and then blamed. One that
is late is killed. When this process is gone, the others end by themselves. They are started anew (spawn), not forked:
this process may have threads.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from renorm_cli.errors import EngineError, RenormError

_Answer = TypeVar("_Answer")

TRIES = 2
"""Deaths after which a checkpoint is blamed."""

_STARTS = 3
"""Processes in a row that may die before they are ready."""

_GRACE = 5.0
"""Seconds that a killed process has to be gone."""


class Job(NamedTuple):
    """One thing to do, of a checkpoint or with `what`; `threads` are those that it may use, and an `alone` one has no
    other beside it."""

    number: int
    path: str
    threads: int | None = 1
    alone: bool = False
    what: Any = None


class Lost(NamedTuple):
    """Why there is no answer."""

    kind: Literal["died", "timeout"]
    text: str


Do = Callable[[Job], _Answer]
"""What is done with a job, in another process; can be sent there."""


class Processes(Protocol):
    """Has jobs done somewhere, and gives the answers as they come."""

    def __call__(self, do: Do[_Answer], jobs: Sequence[Job], /) -> Iterator[tuple[Job, _Answer | Lost]]: ...


@dataclass(eq=False)
class _Worker(Generic[_Answer]):
    process: Any
    line: Connection
    ready: bool = False
    job: Job | None = None
    since: float = 0.0

    def end(self) -> str:
        """Kill it if it still runs; how it ended."""
        self.line.close()
        self.process.kill()
        self.process.join(_GRACE)
        code = self.process.exitcode
        return "it does not end" if code is None else f"signal {-code}" if code < 0 else f"exit status {code}"


def pool(
    do: Do[_Answer], jobs: Iterable[Job], count: int, timeout: float | None = None
) -> Iterator[tuple[Job, _Answer | Lost]]:
    """Do all jobs, in their order as far as that goes, in `count` processes; each answer comes when it is there.

    An error of ours that `do` raises ends it and is raised here. Raises EngineError if no process can be started. No
    process is left when it ends, for whatever reason.
    """
    running = _Pool(do, list(jobs)[::-1], count, timeout)
    try:
        yield from running.answers()
    finally:
        running.stop()


class _Pool(Generic[_Answer]):
    def __init__(self, do: Do[_Answer], todo: list[Job], count: int, timeout: float | None) -> None:
        self._do, self._todo, self._timeout = do, todo, timeout
        self._deaths: dict[int, int] = {}
        self._failed_starts = 0
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, _Worker[_Answer]] = {}
        self._count = max(1, min(count, len(todo)))

    def answers(self) -> Iterator[tuple[Job, _Answer | Lost]]:
        while self._todo or any(worker.job for worker in self._workers.values()):
            self._fill()
            for line in wait(list(self._workers), self._patience()):
                found = self._heard(self._workers[line])  # type: ignore[index]
                if found is not None:
                    yield found
            yield from self._late()

    def stop(self) -> None:
        for worker in list(self._workers.values()):
            worker.end()
        self._workers.clear()

    def _fill(self) -> None:
        """Start processes and hand out jobs, as many as there is work for."""
        while len(self._workers) < min(self._count, len(self._todo) + self._busy()):
            self._start()
        for worker in list(self._workers.values()):
            if worker.ready and worker.job is None and self._may_begin():
                job = self._todo.pop()
                try:
                    worker.line.send(job)
                except OSError:  # it died while it had nothing to do
                    self._todo.append(job)
                    self._bury(worker)
                    continue
                worker.job, worker.since = job, time.monotonic()

    def _may_begin(self) -> bool:
        busy = [worker.job for worker in self._workers.values() if worker.job]
        return bool(self._todo) and not any(job.alone for job in busy) and not (busy and self._todo[-1].alone)

    def _busy(self) -> int:
        return sum(worker.job is not None for worker in self._workers.values())

    def _start(self) -> None:
        try:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_live, args=(theirs, self._do), daemon=True)
            process.start()
        except OSError as error:
            raise EngineError(f"a process to work in cannot be started: {os.strerror(error.errno or 0)}") from None
        theirs.close()
        self._workers[ours] = _Worker(process, ours)

    def _heard(self, worker: _Worker[_Answer]) -> tuple[Job, _Answer | Lost] | None:
        job = worker.job
        try:
            answer = worker.line.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if not worker.ready:
            worker.ready, self._failed_starts = True, 0
            return None
        worker.job = None
        if isinstance(answer, RenormError):
            raise answer
        return None if job is None else (job, answer)

    def _died(self, worker: _Worker[_Answer]) -> tuple[Job, _Answer | Lost] | None:
        how, job = self._bury(worker), worker.job
        if job is None:
            self._failed_starts += not worker.ready
            if self._failed_starts >= _STARTS:
                raise EngineError(f"{_STARTS} processes in a row ended before they could work ({how})")
            return None
        deaths = self._deaths[job.number] = self._deaths.get(job.number, 0) + 1
        if deaths < TRIES:
            self._todo.append(job)
            return None
        return job, Lost("died", f"{job.path!r}: the process that read it died {deaths} times ({how})")

    def _late(self) -> Iterator[tuple[Job, _Answer | Lost]]:
        for worker in list(self._workers.values()):
            job = worker.job
            if job is not None and self._timeout is not None and time.monotonic() - worker.since > self._timeout:
                self._bury(worker)
                yield job, Lost("timeout", f"{job.path!r} was not done after {self._timeout:g} s, and given up")

    def _patience(self) -> float | None:
        """Seconds until the next deadline."""
        if self._timeout is None:
            return None
        due = [worker.since + self._timeout for worker in self._workers.values() if worker.job]
        return max(0.0, min(due) - time.monotonic()) + 0.01 if due else None

    def _bury(self, worker: _Worker[_Answer]) -> str:
        self._workers.pop(worker.line)
        return worker.end()


def _live(line: Connection, do: Do[Any]) -> None:
    """The whole life of a process: it says that it is ready, then does one job after the other."""
    gc.set_threshold(200_000)  # as for the command line
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the process that started it says when to stop
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()
    with suppress(OSError, EOFError):
        line.send(None)
        while True:
            job = line.recv()
            try:
                answer = do(job)
            except RenormError as error:
                answer = error
            line.send(answer)


def _watch(sentinel: int) -> None:
    """End this process when the one that started it is gone, also in the middle of a job."""
    wait([sentinel])
    os._exit(1)
