"""Who else runs."""

from __future__ import annotations

import os
from pathlib import Path


def children() -> set[int]:
    """The child processes of this one, dead ones that nobody waited for among them."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            _, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone by now
            continue
        if int(parent) == os.getpid():
            found.add(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
