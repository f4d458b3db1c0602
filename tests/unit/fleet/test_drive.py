"""The driver on a clock of its own: thousands of checkpoints, deaths of processes and of itself, a little memory."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.fake_processes import World

from renorm_cli.fleet.discover import Item
from renorm_cli.fleet.drive import Answer, ask_all, ordered
from renorm_cli.fleet.journal import Journal
from renorm_cli.fleet.outcomes import Outcomes
from renorm_cli.fleet.pool import Job
from renorm_cli.fleet.question import Question
from renorm_cli.model.failure import Failure
from renorm_cli.model.findings import Rank
from renorm_cli.model.readers import EVERYONE
from renorm_cli.render.data.json_report import line


class DriverKilledError(Exception):
    """The driver is gone, with whatever it had in its hands."""


class Watch:
    """Counts, and kills the driver after so many checkpoints."""

    def __init__(self, kill_after: int | None = None) -> None:
        self.count, self._kill_after = 0, kill_after

    def start(self, count: int, nbytes: int) -> None: ...

    def done(self, nbytes: int, line: bytes) -> None:
        self.count += 1
        if self.count == self._kill_after:
            raise DriverKilledError


class Words:
    def error(self, error: Any, of: str | None) -> str:
        return str(error)

    def notes(self, notes: Any) -> Any:
        return notes


class Asked(Question):
    """Nothing is read: what is told of a checkpoint is its path."""

    def ask(self, path: str, jobs: int | None) -> Failure:
        return Failure("check", "0.1.0", path, "format", f"told of {path}")


QUESTION = Asked("check", {}, Words())


def items(count: int) -> list[Item]:
    return [Item(f"runs/{number:06}.h5", 1000 + number, f"{number:x}") for number in range(count)]


def run(path: Path, given: Sequence[Item], watch: Watch, **options: Any) -> Outcomes:
    with closing(Journal.continued(path, {"command": "check"})) as journal:
        return ask_all(QUESTION, given, journal, watch, **options)


def told(path: Path) -> Counter[str]:
    """How many lines each path has, those aside that another try took the place of."""
    lines = [json.loads(one) for one in path.read_text("ascii").splitlines()]
    final = [one for one in lines if "source" in one and one["error"]["kind"] == "format"]
    return Counter(one["source"]["path"] for one in final)


MANY = pytest.param(10_000, 0.02, 20, marks=pytest.mark.exhaustive)


@pytest.mark.parametrize(("count", "dying", "kills"), [(500, 0.0, 0), (1_000, 0.02, 5), (500, 0.2, 3), MANY])
def test_nothing_is_lost_and_nothing_is_told_twice(
    count: int, dying: float, kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.jsonl"
    world = World(1, dying)
    world.patch(monkeypatch)
    for kill in range(kills):
        with pytest.raises(DriverKilledError):
            run(path, items(count), Watch(kill_after=20 + 10 * kill), jobs=64)
        assert world.alive == 0
    while True:  # one that died twice though nothing is wrong with it is asked again by the next run
        run(path, items(count), Watch(), jobs=64)
        assert world.alive == 0
        if len(told(path)) == count:
            break
    assert set(told(path).values()) == {1}
    assert set(told(path)) == {item.path for item in items(count)}
    assert (world.deaths > 0) == (dying > 0)


def test_what_is_asked_no_more_is_in_the_journal_no_more(tmp_path: Path) -> None:
    for count in (5, 3):
        run(tmp_path / "j.jsonl", items(count), Watch(), jobs=1)
    with closing(Journal.read(tmp_path / "j.jsonl")) as journal:
        assert (list(journal.known), journal.complete) == ([item.path for item in items(3)], True)


def test_what_kills_or_hangs_costs_its_tries_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2, dying=0.0)
    world.patch(monkeypatch)
    given = [*items(500), Item("poison", 5000, ""), Item("hang", 6000, "")]
    with closing(Journal.temporary({})) as journal:
        found = ask_all(QUESTION, given, journal, Watch(), jobs=8, timeout=100.0)
        told = [one.kind for one in found if isinstance(one, Failure)]
    assert told == ["format"] * 500 + ["died", "timeout"]
    assert world.deaths == 2
    assert world.now < 100 + 500


def test_the_clock_of_many_processes_is_that_of_one_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    for jobs in (1, 2, 16):
        world = World(3, dying=0.0)
        world.patch(monkeypatch)
        run(tmp_path / f"{jobs}.jsonl", items(1000), Watch(), jobs=jobs, timeout=1e6)
        times.append(world.now)
    assert 0.45 < times[1] / times[0] < 0.55
    assert times[2] / times[0] < 0.08


def quick(do: object, jobs: Sequence[Job]) -> Iterator[tuple[Job, Answer]]:
    """Workers that answer at once."""
    for job in jobs:
        failure = Failure("check", "0.1.0", job.path, "format", "x" * 5_000)
        yield job, Answer(line(failure).encode("ascii"), Rank(0, 0.0), EVERYONE)


def test_the_memory_of_the_driver_does_not_grow_with_what_is_found(tmp_path: Path) -> None:
    """Some 5 KB are found of each checkpoint."""
    count = 2_000
    given = items(count)
    tracemalloc.start()
    try:
        found = run(tmp_path / "j.jsonl", given, Watch(), workers=quick)
        assert len(found) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / count < 1_000


def test_the_largest_come_first_and_a_large_part_of_all_has_all_threads() -> None:
    given = [Item(str(size), size << 20, "") for size in (1, 300, 2, 900, 3)]
    assert [(job.path, job.threads, job.alone) for job in ordered(given, range(5), 2)] == [
        ("900", 2, True),
        ("300", 1, False),
        ("3", 1, False),
        ("2", 1, False),
        ("1", 1, False),
    ]
    assert not any(job.alone for job in ordered(given, range(5), 2, split=False))
