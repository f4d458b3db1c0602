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


def by_size(
    do: Callable[[Item, Imap], Result],
    items: Iterable[Item],
    nbytes: Callable[[Item], int],
    imap: Imap,
    *,
    small: int,
    together: int,
) -> Iterator[Result]:
    """Do every item, in order: those of up to `small` bytes whole, spread over the jobs, about `together` at a time.

    A larger one, or one that no other small one is beside, is done alone, and given `imap` to spread its own parts.
    """
    for run in _runs(items, nbytes, small):
        if len(run) == 1:
            yield do(run[0], imap)
        else:
            for done in imap(lambda parcel: [do(item, map) for item in parcel], parcels(run, nbytes, together)):
                yield from done


def parcels(items: Iterable[Item], nbytes: Callable[[Item], int], together: int) -> Iterator[list[Item]]:
    """The items in order, in lists of about `together` bytes or characters: handing over many tiny ones would take
    longer than doing them."""
    parcel: list[Item] = []
    size = 0
    for item in items:
        parcel.append(item)
        size += nbytes(item)
        if size >= together:
            yield parcel
            parcel, size = [], 0
    if parcel:
        yield parcel


def _runs(items: Iterable[Item], nbytes: Callable[[Item], int], small: int) -> Iterator[list[Item]]:
    """Runs of items of up to `small` bytes; each larger item alone."""
    run: list[Item] = []
    for item in items:
        if nbytes(item) <= small:
            run.append(item)
            continue
        if run:
            yield run
            run = []
        yield [item]
    if run:
        yield run


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
