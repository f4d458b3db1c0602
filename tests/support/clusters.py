"""A dask cluster on this machine, of real processes: a scheduler, and nannies that start workers anew."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.places import ROOT, TESTS


@dataclass
class LocalCluster:
    """`nannies` and the scheduler are processes that can be killed."""

    address: str
    folder: Path
    scheduler: subprocess.Popen[bytes]
    environment: dict[str, str]
    nannies: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self, *options: str, cwd: Path | None = None, **environment: str) -> None:
        program = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1", *options]
        log = (self.folder / f"worker-{len(self.nannies)}.log").open("wb")
        self.nannies.append(
            subprocess.Popen(
                [*program, "--no-dashboard", "--local-directory", str(self.folder), "--death-timeout", "60"],
                cwd=cwd or self.folder,
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )
        log.close()

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def local_cluster(folder: Path, workers: int = 2) -> Iterator[LocalCluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "scheduler.log").open("wb") as log:
        scheduler = subprocess.Popen(
            [*program, "--no-dashboard"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    made = LocalCluster(f"tcp://127.0.0.1:{port}", folder, scheduler, environment)
    try:
        _listening(port)
        for _ in range(workers):
            made.add()
        yield made
    finally:
        for process in (*made.nannies, scheduler):
            if process.poll() is None:
                made.kill(process)


def _listening(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
