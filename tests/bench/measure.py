"""What whole processes cost: time, processor time and memory, each program in turn with its peers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, and the files or folders it makes: they are removed before each run."""

    argv: tuple[str, ...]
    outputs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: seconds of the clock and of the processors; bytes of its largest process, and of all together."""

    wall: float
    cpu: float
    peak: int
    tree: int = 0


class Stopwatch:
    """Runs programs one after the other. Raises AssertionError with the program's own words if one fails."""

    def __init__(self, folder: Path) -> None:
        self._errors = folder / "stderr.txt"
        command = [sys.executable, "-I", "-S", str(LAUNCHER)]
        self._launcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._launcher.communicate()

    def run(self, program: Program, *, watch: bool = False) -> Cost:
        """One run; with `watch` all its processes are looked at together, which takes some time of its own."""
        self._remove(program.outputs)
        assert self._launcher.stdin is not None
        assert self._launcher.stdout is not None
        path = shutil.which(program.argv[0])
        assert path is not None, f"there is no {program.argv[0]!r} here"
        request = {"argv": [path, *program.argv[1:]], "errors": str(self._errors), "watch": watch}
        self._launcher.stdin.write(json.dumps(request) + "\n")
        self._launcher.stdin.flush()
        answer = json.loads(self._launcher.stdout.readline())
        code = answer.pop("code")
        assert code == 0, f"{program.argv}: exit {code}: {self._errors.read_text('utf-8', 'replace')[-2000:]}"
        return Cost(**answer)

    def race(self, programs: Mapping[str, Program], runs: int, *, warm: bool = True) -> dict[str, tuple[Cost, ...]]:
        """`runs` runs of each in turn, after one that is not counted, to be `warm`: it fills the page cache."""
        found: dict[str, list[Cost]] = {name: [] for name in programs}
        for number in range(runs + warm):
            for name, program in programs.items():
                cost = self.run(program)
                if number >= warm:
                    found[name].append(cost)
        for program in programs.values():
            self._remove(program.outputs)
        return {name: tuple(costs) for name, costs in found.items()}

    def _remove(self, outputs: tuple[Path, ...]) -> None:
        """Remove what a run left, and let the file system settle that now, not on the time of the next run."""
        for output in outputs:
            if output.is_dir():
                shutil.rmtree(output)
            else:
                output.unlink(missing_ok=True)
        for folder in {output.parent for output in outputs}:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
