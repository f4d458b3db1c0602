"""Spreading work over threads: results come back in order, few are in flight at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")


_MOST = 8
"""Threads unless told otherwise: each holds some 20 MiB of blocks, and 250 MB is promised on machines of any size."""


class Imap(Protocol):
    """The signature of `map` with one iterable."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


@contextmanager
def threads(jobs: int | None) -> Iterator[Imap]:
    """A lazy, ordered `map` over `jobs` threads (None: one per processor, `_MOST` at most); plain `map` for one."""
    count = jobs or min(_processors(), _MOST)
    if count <= 1:
        yield map
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count, thread_name_prefix="renorm") as pool:

        def imap(function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
            waiting: deque[Future[Any]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(function, item))
                    if len(waiting) > count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

        yield imap


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
