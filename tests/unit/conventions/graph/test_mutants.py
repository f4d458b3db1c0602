"""Graphs that say anything at all: either the file is damaged, or axes are axes of the weight."""

from __future__ import annotations

import functools
import random
import time

import pytest
from support import graph_mutants, stored_graphs
from support.effort import examples

from renorm_cli.conventions.graph.uses import Use
from renorm_cli.errors import FormatError

NAMES = ["module.pb", "tf1.meta"]
SECONDS = 10.0
"""Of the processor, for one mutant, on a slow machine."""

bodies = functools.cache(graph_mutants.bodies)


def look(name: str, data: bytes) -> bool:
    """Whether the mutant was read; its uses are possible ones, and it took little time."""
    started = time.process_time()
    try:
        found = stored_graphs.uses.__wrapped__(name, data)
    except FormatError:
        return False
    finally:
        assert time.process_time() - started < SECONDS
    shapes = {each.name: each.shape for each in stored_graphs.judged(name)}
    for key, use in found.uses.items():
        assert possible(use, len(shapes[key])), (key, use)
    return True


def possible(use: Use, rank: int) -> bool:
    axes = use.unit_axes
    if axes is not None and (list(axes) != sorted(set(axes)) or not all(0 <= axis < rank for axis in axes)):
        return False
    return (axes is not None) == (use.state == "told" and use.role in ("kernel", "embedding"))


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_that_is_encoded_anew_tells_the_same(name: str) -> None:
    made, held = bodies(name)
    assert stored_graphs.uses.__wrapped__(name, graph_mutants.encode(name, made, held)) == stored_graphs.uses(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_wrong_content_gives_no_impossible_axes(name: str) -> None:
    made, held = bodies(name)
    changed = 0
    for seed in range(examples(40)):
        data = graph_mutants.wrong_content(name, made, held, random.Random(seed))
        changed += look(name, data) and stored_graphs.uses.__wrapped__(name, data) != stored_graphs.uses(name)
    assert changed > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes_are_damage_or_give_no_impossible_axes(name: str) -> None:
    outcomes = [
        look(name, graph_mutants.changed_bytes(stored_graphs.content(name), random.Random(seed)))
        for seed in range(examples(100))
    ]
    assert {True, False} == set(outcomes)


@pytest.mark.fuzz
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_many_mutants(name: str) -> None:
    made, held = bodies(name)
    for seed in range(1000, 4000):
        chance = random.Random(seed)
        look(name, graph_mutants.wrong_content(name, made, held, chance))
        look(name, graph_mutants.changed_bytes(stored_graphs.content(name), chance))
