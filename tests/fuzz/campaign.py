"""Many mutants for one target: what they did that is neither a result nor a RenormError, or took too long."""

from __future__ import annotations

import os
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.mutate import Kind
from renorm_cli.errors import RenormError

SECONDS = 5.0
"""Of wall time, times the programs for each processor where others keep them busy."""

GROWTH = 700 << 20
"""What the process may grow by, whatever the mutants claim."""

Target = Callable[[bytes, int], None]


@dataclass
class Finds:
    """`what` has one entry for each kind of find: the seed, the number, and the traceback of the first."""

    run: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    what: dict[str, str] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, seed: str, number: int, text: str) -> None:
        self.count[kind] = self.count.get(kind, 0) + 1
        self.what.setdefault(kind, f"seed {seed!r}, mutant {number}\n{text}")


def mutants(default: int) -> int:
    """How many are asked for: the environment variable RENORM_FUZZ_MUTANTS."""
    return int(os.environ.get("RENORM_FUZZ_MUTANTS", default))


def hunt(kind: Kind, target: Target, first: int, count: int) -> Finds:
    """Try the mutants of the numbers from `first`; those that find something are kept in RENORM_FUZZ_KEEP, if set."""
    finds = Finds()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    for number in range(first, first + count):
        seed, data = kind.mutant(number)
        started = time.perf_counter()
        found = None
        try:
            target(data, number)
            finds.accepted += 1
        except RenormError as error:
            finds.refused += 1
            if "\n" in str(error) or not str(error):
                found = "an error of more or less than one line"
                finds.add(found, seed, number, str(error))
        except Exception as error:  # noqa: BLE001  (any other is a find)
            found = _kind_of(error)
            finds.add(found, seed, number, traceback.format_exc(limit=-6))
        finds.run += 1
        seconds = time.perf_counter() - started
        finds.slowest = max(finds.slowest, seconds)
        if seconds > SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
            found = f"took more than {SECONDS:g} s"
            finds.add(found, seed, number, f"{seconds:.1f} s")
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        if now > peak + GROWTH:
            found = f"grew by more than {GROWTH >> 20} MiB"
            finds.add(found, seed, number, f"{now >> 20} MiB")
            peak = now
        if found is not None and finds.count[found] <= 5:
            _keep(data, seed, number)
    return finds


def _kind_of(error: Exception) -> str:
    """The error and the place it came from: finds of one kind are one find."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "renorm_cli" in frame.filename] or frames
    return f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno}: {str(error)[:80]}"


def _keep(data: bytes, seed: str, number: int) -> None:
    folder = os.environ.get("RENORM_FUZZ_KEEP")
    if folder:
        name = "".join(char if char.isalnum() else "-" for char in seed)
        (Path(folder) / f"{name}.{number}").write_bytes(data)
