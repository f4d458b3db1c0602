"""Memory for blocks, looked at by its address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from renorm_cli.parallel.memory import Purpose, reuse


@pytest.mark.parametrize("nbytes", [1, 100, 1 << 20, 5 << 20, 33 << 20])
def test_memory_begins_at_a_line_of_the_cache_and_never_where_large_new_memory_does(nbytes: int) -> None:
    found = reuse(Purpose.TILE, nbytes)
    assert found.nbytes == nbytes
    assert found.ctypes.data % 64 == 0


def test_memory_is_that_of_the_last_time_unless_more_is_wanted() -> None:
    first = reuse(Purpose.SOURCE, 1000)
    assert reuse(Purpose.SOURCE, 10).ctypes.data == first.ctypes.data
    assert reuse(Purpose.SINK, 10).ctypes.data != first.ctypes.data
    assert reuse(Purpose.SOURCE, 2000).nbytes == 2000


def test_each_thread_has_its_own() -> None:
    mine = reuse(Purpose.SOURCE, 1000)
    mine[:] = 1
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: reuse(Purpose.SOURCE, 1000).fill(2)).result()
    assert mine.min() == mine.max() == 1
