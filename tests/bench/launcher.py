"""A small process that starts programs and tells what each one cost.

The kernel counts the memory of the process that called `exec` into the peak of the program: one started from a test
run with NumPy and TensorFlow in it would seem to need hundreds of MiB. Started from here, it seems to need 10 at least.
Requests and answers are lines of JSON on stdin and stdout. Run as a script (`python -I -S`), by measure.py.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

_PERIOD = 0.005
"""Seconds between two looks at a tree of processes: what lives shorter than that is not seen."""

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed package is compiled once, not at each start."""


def timed(argv: list[str], errors: str, watch: bool) -> dict[str, float]:
    """Run a program to its end, its stdout thrown away, its stderr in the file `errors`.

    wall and cpu (user + system, with the children it waited for) are in seconds, peak is the largest resident set of
    any one of its processes in bytes, tree that of all of them together (0 unless `watch`): half a page that two of
    them share is counted to each.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    tree = Tree()
    started = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=actions)
    if watch:
        tree.start(pid)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    tree.stop()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss << 10,
        "tree": tree.peak,
    }


class Tree:
    """Looks again and again how much memory a process and its descendants hold together."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._look, args=(pid,))
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, pid: int) -> None:
        while not self._over.wait(_PERIOD):
            self.peak = max(self.peak, sum(resident(one) for one in descendants(pid)))


def descendants(pid: int) -> list[int]:
    """The process and its children, and theirs; those that end meanwhile may be missing."""
    found = [pid]
    for one in found:
        try:
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text("ascii").split())
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    """Bytes of memory of one process, its share of what it shares (Pss); 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(timed(**json.loads(line))) + "\n")
        sys.stdout.flush()
