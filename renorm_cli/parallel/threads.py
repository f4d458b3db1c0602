"""Spread work over threads: results come in order, and few items are in flight at once."""

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
"""The largest default number of threads: each holds some 20 MiB of blocks, and a run promises at most 250 MB."""


class Imap(Protocol):
    """The signature of `map` with one iterable."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


def default_jobs() -> int:
    """One per processor, `_MOST` at most."""
    return min(_processors(), _MOST)


@contextmanager
def threads(jobs: int | None) -> Iterator[Imap]:
    """A lazy, ordered `map` over `jobs` threads (None: one per processor, `_MOST` at most); plain `map` for one."""
    count = jobs or default_jobs()
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
    """Do every item, in order. Items of up to `small` bytes are spread over the jobs in parcels of about `together`.

    A large item, or a small one between two large ones, runs alone and parallelises its own parts with `imap`.
    """
    for run in _runs(items, nbytes, small):
        if len(run) == 1:
            yield do(run[0], imap)
        else:
            for done in imap(lambda parcel: [do(item, map) for item in parcel], parcels(run, nbytes, together)):
                yield from done


def parcels(items: Iterable[Item], nbytes: Callable[[Item], int], together: int) -> Iterator[list[Item]]:
    """The items in order, in lists of about `together` bytes (or characters): handing over tiny items one by one would
    take longer than doing them."""
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
    """Consecutive items of up to `small` bytes in one list; each larger item in a list of its own."""
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
