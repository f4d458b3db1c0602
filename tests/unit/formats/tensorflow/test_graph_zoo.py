"""How many kernels and embeddings of a zoo of layers have the axes of their layer, judged by the live layer objects.

Part of the zoo for each way to save it; all of it, and what a table of consumers without a row makes of it, with
`-m exhaustive`. `-rP` prints the figures.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support import graph_zoo, tf_zoo, zoo_score
from support.graph_zoo import ALL, Truths

from renorm_cli.conventions.graph.consumers import CONSUMERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

NAMES = [way.__name__ for way in graph_zoo.WAYS]
FILES = [pytest.param(*file, id="-".join(file)) for file in graph_zoo.FILES]
TRANSPOSED = graph_zoo.Truth("EinsumDense", "kernel", "kernel", (7, 6), (0,))
"""Of "abc,dc->abd" without a bias: by its name alone a kernel of rank 2 is (in, out), as in all other layers."""


def missed(flavour: str, save: str) -> set[graph_zoo.Truth]:
    """What files of that kind may tell wrong: in checkpoints of tf_keras the layer has attributes that tell it."""
    return {TRANSPOSED} if (flavour, save) == ("keras", "checkpoint") else set()


TWICE = ("keras_3_export", "keras_3_export_in_bfloat16", "tf_keras_export_in_bfloat16")
"""Ways that store a weight in two lists; else both lists name one place."""

STEP = len(NAMES) // 2
"""The parts of as many ways are all of the zoo."""


class Made(NamedTuple):
    """A saved model and what its layers say of its weights."""

    path: Path
    truths: Truths


Make = Callable[[str, slice], Made]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    @functools.cache
    def make(way: str, start: int | None, step: int | None) -> Made:
        path = tmp_path_factory.mktemp(way) / "saved"
        return Made(path, getattr(graph_zoo, way)(path, slice(start, None, step)))

    return lambda way, part: make(way, part.start, part.step)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def judge(way: str, made: Made, least: int) -> None:
    for score in (zoo_score.of_the_graph(*made), zoo_score.of_the_program(*made)):
        say(way, score)
        assert not score.wrong
        assert not score.open
        assert len(score.right) >= least
    copies = zoo_score.told_by_the_graph(made.path).copies
    values = tf_zoo.values_of(made.path)
    assert all(values[key].tobytes() == values[copy].tobytes() for key, copy in copies)
    assert bool(copies) == (way in TWICE)


@pytest.mark.parametrize(("number", "way"), list(enumerate(NAMES)), ids=NAMES)
def test_the_units_of_a_part_of_the_zoo_are_those_of_the_layers(number: int, way: str, made: Make) -> None:
    judge(way, made(way, slice(number % STEP, None, STEP)), 12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", NAMES)
def test_the_units_of_the_whole_zoo_are_those_of_the_layers(way: str, made: Make) -> None:
    judge(way, made(way, ALL), 120)


@pytest.mark.parametrize(("flavour", "save", "name"), FILES)
def test_what_files_without_a_graph_leave_open_is_a_guess(flavour: str, save: str, name: str, tmp_path: Path) -> None:
    truths = graph_zoo.to_a_file(flavour, save, tmp_path / name, slice(0, None, STEP))
    assert {truth for truth, _ in zoo_score.of_the_program(tmp_path / name, truths).wrong} <= missed(flavour, save)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("flavour", "save", "name"), FILES)
def test_what_files_of_the_whole_zoo_leave_open_is_a_guess(flavour: str, save: str, name: str, tmp_path: Path) -> None:
    truths = graph_zoo.to_a_file(flavour, save, tmp_path / name)
    score = zoo_score.of_the_program(tmp_path / name, truths)
    say(flavour, save, name, score)
    assert {truth for truth, _ in score.wrong} <= missed(flavour, save)


def test_slots_of_a_training_graph_are_optimizer_state(made: Make) -> None:
    found = zoo_score.told_by_the_graph(made("training_graph", slice(6, None, STEP)).path)
    slots = {key for key in found.uses if key.endswith(("/Adam", "/Adam_1"))}
    assert len(slots) > 40
    sparse = {key for key in slots if found.uses[key].role != "optimizer"}
    assert all("embeddings" in key for key in sparse)  # of rows, which are updated by Scatter
    assert {key for key, use in found.uses.items() if use.role == "optimizer"} == slots - sparse


ABLATED = ["keras_3_export", "tf_keras_save", "training_graph"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", ABLATED)
def test_a_consumer_that_the_table_lacks_leaves_kernels_open_and_none_wrong(
    way: str, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = made(way, ALL)
    whole = len(zoo_score.of_the_graph(*saved).right)
    telling = {op for use in zoo_score.told_by_the_graph(saved.path).uses.values() for op in use.ops if use.unit_axes}
    for op in sorted(telling):
        with monkeypatch.context() as patch:
            for key in [key for key in CONSUMERS if key[0] == op]:
                patch.delitem(CONSUMERS, key)  # type: ignore[arg-type]
            score = zoo_score.of_the_graph(*saved)
        say(way, "without", op, score)
        assert not score.wrong
        assert len(score.right) < whole
    assert len(telling) >= 5
