"""The tool's own command lines."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.files import LIMIT, parts
from bench.measure import Program

TOOL = (sys.executable, "-m", "renorm_cli")


def apply(checkpoint: Path, to: Path, *options: str) -> Program:
    """`apply` into the folder `to`, under the same name, with the report that comes with it."""
    outputs = (*(to / part.name for part in parts(checkpoint)), to / f"{checkpoint.name}.report.json")
    argv = (*TOOL, "apply", str(checkpoint), "--max-norm", str(LIMIT), "-o", str(to / checkpoint.name), *options)
    return Program(argv, outputs)


def dry_run(checkpoint: Path, *options: str) -> Program:
    """`apply --dry-run`: all that `apply` computes, and nothing of the disk."""
    return Program((*TOOL, "apply", str(checkpoint), "--max-norm", str(LIMIT), "--dry-run", *options))


def inspect(checkpoint: Path, *options: str) -> Program:
    return Program((*TOOL, "inspect", str(checkpoint), *options))


HELP = Program((*TOOL, "--help"))
