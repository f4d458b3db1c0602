"""When a GPU is chosen: by seconds, from a table of rates."""

from __future__ import annotations

import math

import pytest
from support.tensors import DTYPES

from renorm_cli.norms.engines.estimate import Load, gpu_pays, gpu_seconds, numpy_seconds

GB = 10**9


def test_every_dtype_has_a_rate_for_every_p() -> None:
    for dtype in DTYPES:
        times = [numpy_seconds(Load({(dtype, p): GB})) for p in (1, 2, 3, 2.5, math.inf)]
        assert all(0 < seconds < 2 for seconds in times)
        assert max(times) == times[3]


def test_seconds_are_those_of_the_parts_together_and_fewer_on_more_threads() -> None:
    one, other = Load({("float32", 2.0): GB}), Load({("float16", 2.5): GB}, products=1e12)
    both = Load({**one.weights, **other.weights}, other.products)
    assert numpy_seconds(both) == pytest.approx(numpy_seconds(one) + numpy_seconds(other))
    assert numpy_seconds(both._replace(jobs=8)) == pytest.approx(numpy_seconds(both) / 8)
    assert gpu_seconds(both._replace(jobs=8)) == gpu_seconds(both)


def test_what_was_measured_is_told_within_a_factor_of_two() -> None:
    """4 GiB on an H200: an inspect of float32 took 4.5 and 5.5 s."""
    assert 2.5 < gpu_seconds(Load({("float32", 2.0): 4 << 30})) < 10
    assert gpu_seconds(Load()) == 4


@pytest.mark.parametrize("jobs", [1, 2, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_sums_of_squares_never_go_to_a_gpu_that_takes_longer_to_get_them(dtype: str, jobs: int) -> None:
    assert not gpu_pays(Load({(dtype, 2.0): 10**15}, jobs=jobs))


def test_powers_that_numpy_is_slow_at_do_where_they_are_many_and_threads_few() -> None:
    assert not gpu_pays(Load({("float16", 2.5): 4 * GB}))
    assert gpu_pays(Load({("float16", 2.5): 40 * GB}))
    assert not gpu_pays(Load({("float16", 2.5): 40 * GB}, jobs=8))


def test_where_one_look_pays_a_bound_does_of_which_a_gpu_needs_three_transfers() -> None:
    loads = [Load({(dtype, p): size * GB}) for dtype in DTYPES for p in (1.0, 3.0, 2.5) for size in range(1, 400)]
    paying = [load for load in loads if gpu_pays(load)]
    assert paying
    for load in paying:
        transfer = gpu_seconds(load) - gpu_seconds(Load())
        assert 2 * numpy_seconds(load) > gpu_seconds(Load()) + 3 * transfer


def test_matrices_do_when_their_products_take_longer_than_the_start() -> None:
    large, small = 8192**3 * 1.3, 1024**3 * 1.3
    assert not gpu_pays(Load({("float32", 2.0): 4 * 1024**2}, small))
    assert gpu_pays(Load({("float32", 2.0): 4 * 8192**2}, large))
    assert not gpu_pays(Load({("float32", 2.0): 4 * 8192**2}, large, jobs=8))
    assert gpu_pays(Load({("float32", 2.0): 40 * 8192**2}, 10 * large, jobs=8))
