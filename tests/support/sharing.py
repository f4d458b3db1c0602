"""Workers of one checkpoint that tests can have fail: they get their items, and give their answers, as pickles do."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Workers:
    """Does the items in this process, the last one first and each of them `times`; notes each in `done`.

    `before` is called with the number of each item, and may raise; the answers to `lost` numbers are kept back.
    """

    times: int = 1
    before: Callable[[int], None] = lambda number: None
    lost: tuple[int, ...] = ()
    done: list[int] = field(default_factory=list)

    def __call__(self, do: Callable[[Any], Any], items: Sequence[Any], /) -> Iterator[tuple[Any, Any]]:
        for item in reversed(items):
            function, sent = pickle.loads(pickle.dumps((do, item)))
            for _ in range(self.times):
                self.before(item[0])
                answer = pickle.loads(pickle.dumps(function(sent)))
                self.done.append(item[0])
            if item[0] not in self.lost:
                yield item, answer


def slowly(folder: Path, do: Callable[[Any], Any], item: Any) -> Any:
    """Do an item in a process that notes in `folder` who it is and what it does, so that it can be killed meanwhile."""
    (folder / f"{os.getpid()}-{item[0]}").touch()
    time.sleep(0.05)
    return do(item)


def killing(folder: Path, kills: int) -> threading.Thread:
    """A thread that kills so many of the processes that leave notes in `folder`, each at another item."""

    def kill() -> None:
        hit: set[str] = set()
        seen: set[str] = set()
        deadline = time.monotonic() + 60
        while len(hit) < kills and time.monotonic() < deadline:
            for name in {path.name for path in folder.iterdir()} - seen:
                seen.add(name)
                process, _, item = name.partition("-")
                if item not in hit and len(hit) < kills:
                    with suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)
                        hit.add(item)
            time.sleep(0.01)
        assert len(hit) == kills

    thread = threading.Thread(target=kill)
    thread.start()
    return thread
