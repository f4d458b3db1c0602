"""Memory for blocks, looked at by its address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from renorm_cli.parallel.memory import reuse


@pytest.mark.parametrize("nbytes", [1, 100, 1 << 20, 5 << 20, 33 << 20])
def test_memory_begins_at_a_line_of_the_cache_and_never_where_large_new_memory_does(nbytes: int) -> None:
    found = reuse(f"test {nbytes}", nbytes)
    assert found.nbytes == nbytes
    assert found.ctypes.data % 64 == 0


def test_memory_is_that_of_the_last_time_unless_more_is_wanted() -> None:
    first = reuse("test again", 1000)
    assert reuse("test again", 10).ctypes.data == first.ctypes.data
    assert reuse("test other", 10).ctypes.data != first.ctypes.data
    assert reuse("test again", 2000).nbytes == 2000


def test_each_thread_has_its_own() -> None:
    mine = reuse("test threads", 1000)
    mine[:] = 1
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: reuse("test threads", 1000).fill(2)).result()
    assert mine.min() == mine.max() == 1
