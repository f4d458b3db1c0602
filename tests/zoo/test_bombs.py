"""Graphs made to harm, through the command line: bounded time and memory, the guess stays, and a note says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hostile import tf_build
from support import graph_bombs, graph_build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS, MEGABYTES = 10, 250
"""Of the processor, on a slow machine, and of memory, beyond what a graph of one node costs."""


class Ran(NamedTuple):
    code: int
    report: dict[str, Any]
    errors: str
    seconds: float
    megabytes: float


def saved(folder: Path, bomb: bytes, shape: tuple[int, ...], count: int) -> Path:
    """A SavedModel whose objects are the bomb's variables, each with a tensor of its own shape."""
    names = [f"v{number}" for number in range(count)]
    nodes = [tf_build.attribute(name, f"{name}{tf_build.VALUE}") for name in names]
    tensors = {f"{name}{tf_build.VALUE}": np.ones(shape, np.float32) for name in names}
    return tf_build.saved_model(folder, bomb, tf_build.draft(tensors, tf_build.graph(*nodes)))


def tensors(folder: Path, count: int) -> Path:
    """A checkpoint by names."""
    return tf_build.draft({f"v{n}": np.ones((2, 2), np.float32) for n in range(count)}).write(folder / "m")


MEASURED = """
import os, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "renorm_cli", *sys.argv[1:]], capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
head = f"{used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024} {done.returncode} {len(done.stdout)}"
os.write(1, head.encode() + b"\\n" + done.stdout + done.stderr)
"""


def inspected(path: Path) -> Ran:
    """What the command line says of the first variable, and what its process used."""
    arguments = [str(path), "-i", "v0", "--format", "json"]
    done = subprocess.run([sys.executable, "-c", MEASURED, "inspect", *arguments], capture_output=True, check=True)
    head, rest = done.stdout.split(b"\n", 1)
    seconds, megabytes, code, size = map(float, head.split())
    printed, errors = rest[: int(size)], rest[int(size) :].decode()
    return Ran(int(code), json.loads(printed) if printed else {}, errors, seconds, megabytes)


SHAPES = {"large_rank": (2,) * 16, "many_variables": (2, 2)}
COUNTS = {"permuted_fan_out": 12, "many_weights_in_one": 4_000, "many_variables": 100_000}
BESIDE = ("many_variables",)
"""Bombs that are a `.meta` file."""
REFUSED = ("many_attributes",)
"""Bombs in the way of what is read of every SavedModel: an error names the file and what it has too much of."""
SPENT = (
    *("deep_calls", "permuted_fan_out", "long_chain", "long_way_back", "many_outputs_of_a_wide_node"),
    *("nested_loops", "many_branches", "many_functions"),
)
"""Bombs that use up what the graph may cost. The others cost little, and are followed to their end."""


def harmless(folder: Path, name: str) -> Path:
    """The same checkpoint with a graph of one node, and without any where the bomb is a `.meta` file."""
    count, shape = COUNTS.get(name, 1), SHAPES.get(name, (4, 4))
    if name in BESIDE:
        return tensors(folder, count)
    graph = graph_build.meta_graph([graph_build.node("x", "Placeholder")])
    return saved(folder / "m", graph_build.saved_model(graph), shape, count)


def armed(folder: Path, name: str, bomb: bytes) -> Path:
    if name not in BESIDE:
        return saved(folder / "m", bomb, SHAPES.get(name, (4, 4)), COUNTS.get(name, 1))
    path = tensors(folder, COUNTS[name])
    path.with_name("m.meta").write_bytes(bomb)
    return path


@pytest.mark.parametrize("bomb", graph_bombs.BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_graph_made_to_harm_costs_little_and_tells_no_axes(bomb: Callable[[], bytes], tmp_path: Path) -> None:
    name = bomb.__name__
    plain = inspected(harmless(tmp_path / "plain", name))
    ran = inspected(armed(tmp_path / "armed", name, bomb()))
    sys.stderr.write(f"{name}: {ran.seconds - plain.seconds:.2f} s, {ran.megabytes - plain.megabytes:.0f} MB\n")
    assert ran.seconds - plain.seconds < SECONDS
    assert ran.megabytes - plain.megabytes < MEGABYTES
    if name in REFUSED:
        assert (ran.code, ran.errors.count("\n")) == (2, 1)
        return
    assert ran.code == 0
    (row,) = [each for each in ran.report["variables"] if each["name"] == "v0"]
    assert row["axis_source"] == "guess"
    notes = [note["text"] for note in ran.report["notes"] if "the graph tells nothing" in note["text"]]
    assert bool(notes) == (name in SPENT)


def test_the_bombs_named_here_are_bombs() -> None:
    assert {*SHAPES, *COUNTS, *BESIDE, *REFUSED, *SPENT} <= {bomb.__name__ for bomb in graph_bombs.BOMBS}
