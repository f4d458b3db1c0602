"""Work over threads, held against plain `map`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.parallel.threads import Imap, by_size, parcels, threads


@given(items=st.lists(st.integers(), max_size=40), jobs=st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items: list[int], jobs: int) -> None:
    with threads(jobs) as imap:
        assert list(imap(lambda item: item * 3, items)) == [item * 3 for item in items]


@pytest.mark.parametrize("jobs", [1, 3])
def test_items_are_taken_when_there_is_a_thread_for_them_and_not_all_at_once(jobs: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with threads(jobs) as imap:
        for number, _ in enumerate(imap(abs, items())):
            assert len(taken) <= number + jobs + 2
    assert len(taken) == 1000


def test_an_error_in_a_thread_is_raised_where_its_result_is_asked_for() -> None:
    with threads(2) as imap:
        results = imap(lambda item: 1 // item, [2, 1, 0, 1])
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not tell which processors are ours")
@pytest.mark.parametrize(("processors", "expected"), [(1, 1), (2, 2), (8, 8), (200, 8)])
def test_there_is_a_thread_for_each_processor_but_eight_at_most(
    processors: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    together = threading.Barrier(expected, timeout=30)  # passed by nobody if there are fewer

    def name(item: int) -> str:
        together.wait()
        return threading.current_thread().name

    with threads(None) as imap:
        assert len(set(imap(name, range(5 * expected)))) == expected


SIZES = st.lists(st.integers(0, 30), max_size=40)


@given(sizes=SIZES, jobs=st.integers(1, 3), small=st.integers(0, 30), together=st.integers(1, 60))
def test_work_by_size_is_done_in_order_and_only_large_items_may_spread_their_parts(
    sizes: list[int], jobs: int, small: int, together: int
) -> None:
    def do(item: tuple[int, int], given: Imap) -> tuple[int, int, bool]:
        return (*item, given is imap)

    with threads(jobs) as imap:
        found = list(by_size(do, enumerate(sizes), lambda item: item[1], imap, small=small, together=together))
    assert [(number, size) for number, size, _ in found] == list(enumerate(sizes))
    if jobs > 1:
        for (_, size, may_spread), (_, after, _) in pairwise(found):
            if size > small:
                assert may_spread
            elif after <= small:
                assert not may_spread  # it has a small one beside it


@given(sizes=SIZES, together=st.integers(1, 60))
def test_parcels_hold_all_items_in_order_and_are_closed_as_soon_as_they_are_large_enough(
    sizes: list[int], together: int
) -> None:
    found = list(parcels(sizes, lambda size: size, together))
    assert [size for parcel in found for size in parcel] == sizes
    assert all(parcel for parcel in found)
    assert all(sum(parcel) >= together for parcel in found[:-1])
    assert all(sum(parcel[:-1]) < together for parcel in found)
