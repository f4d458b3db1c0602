"""Processes that are only events on a clock that runs as fast as it can, for the driver of `renorm_cli.fleet.pool`."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from renorm_cli.fleet import pool


class World:
    """The clock, and what will happen: a job takes a second on average, and its process dies with that likelihood."""

    def __init__(self, seed: int, dying: float) -> None:
        self.now = 0.0
        self.alive = self.deaths = 0
        self.dice = random.Random(seed)
        self.dying = dying
        self._ahead: list[tuple[float, int, Line, object]] = []
        self._count = 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool.multiprocessing, "get_context", lambda method: self)
        monkeypatch.setattr(pool, "wait", self.wait)
        monkeypatch.setattr(pool.time, "monotonic", lambda: self.now)

    def Pipe(self) -> tuple[Line, Line]:
        line = Line(self)
        return line, line

    def Process(self, target: object, args: tuple[Line, Callable[[Any], object]], daemon: bool) -> Process:
        return Process(self, *args)

    def later(self, line: Line, what: object, seconds: float) -> None:
        self._count += 1
        heapq.heappush(self._ahead, (self.now + seconds, self._count, line, what))

    def wait(self, lines: Sequence[Line], timeout: float | None) -> list[Line]:
        until = None if timeout is None else self.now + timeout
        while self._ahead and (until is None or self._ahead[0][0] <= until):
            self.now, _, line, what = heapq.heappop(self._ahead)
            if not line.closed:
                line.came.append(what)
                return [line]
        assert until is not None, "nothing will ever happen"
        self.now = until
        return []


class Line:
    def __init__(self, world: World) -> None:
        self.world, self.closed, self.came, self.process = world, False, deque[object](), None

    def send(self, job: Any) -> None:
        seconds = self.world.dice.expovariate(1.0)
        if "poison" in job.path or self.world.dice.random() < self.world.dying:
            self.world.later(self, EOFError, seconds / 2)
        elif "hang" not in job.path:
            self.world.later(self, self.process.do(job), seconds)

    def recv(self) -> object:
        found = self.came.popleft()
        if found is EOFError:
            self.world.deaths += 1
            raise EOFError
        return found

    def close(self) -> None: ...


class Process:
    exitcode = -9

    def __init__(self, world: World, line: Any, do: Callable[[Any], object]) -> None:
        self.world, self.line, self.do = world, line, do
        line.process = self

    def start(self) -> None:
        self.world.alive += 1
        self.world.later(self.line, None, 0.3)

    def kill(self) -> None:
        self.world.alive -= 1
        self.line.closed = True

    def join(self, timeout: float) -> None: ...
