"""What opening a file and telling its variables apart costs grows with their number, and not faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile import tf_build

from zoo.judge import identified

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNTS = (6_000, 24_000)
MORE = (25_000, 100_000)
counted = pytest.mark.parametrize(
    "counts", [COUNTS, pytest.param(MORE, marks=pytest.mark.exhaustive)], ids=["24000", "100000"]
)
SLOWER = 1.6
"""What four times as many may cost more than four times as much: clocks and caches are not exact."""

Names = Callable[[int], Mapping[str, tuple[int, ...]]]


def layers(count: int) -> dict[str, tuple[int, ...]]:
    """Kernels and biases of layers in groups of ten."""
    return {
        f"net/block_{n // 20}/dense_{n // 2}/{'bias' if n % 2 else 'kernel'}": (3,) if n % 2 else (2, 3)
        for n in range(count)
    }


def one_parent(count: int) -> dict[str, tuple[int, ...]]:
    return {f"net/vars/{n}": (2, 3) if n % 2 == 0 else (3,) for n in range(count)}


def slots(count: int) -> dict[str, tuple[int, ...]]:
    """Weights and their moments, by names."""
    kinds = ("", "/Adam", "/Adam_1", "/ExponentialMovingAverage")
    return {f"net/conv_{n // 4}/weights{kinds[n % 4]}": (1, 1, 2, 3) for n in range(count)}


def attentions(count: int) -> dict[str, tuple[int, ...]]:
    """Many siblings that could be an attention's."""
    parts = ("query", "key", "value", "attention_output")
    return {f"net/a_{n // 4}/{parts[n % 4]}/kernel": (6, 2, 3) if n % 4 < 3 else (2, 3, 6) for n in range(count)}


def deep(count: int) -> dict[str, tuple[int, ...]]:
    """Names of forty parts, nearly all shared."""
    start = "/".join(f"part{n}" for n in range(38))
    return {f"{start}/layer{n}/kernel": (2, 3) for n in range(count)}


NAMES: list[Names] = [layers, one_parent, slots, attentions, deep]


def tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    values = {shape: np.ones(shape, np.float32) for shape in set(shapes.values())}
    return tf_build.draft({name: values[shape] for name, shape in shapes.items()}).write(path)


def groups(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            file.create_dataset(name, shape, np.float32)
    return path


def seconds(paths: Mapping[int, Path]) -> dict[int, float]:
    """The least time of the processor of two runs of each, in turn."""
    best = dict.fromkeys(paths, float("inf"))
    for _ in range(2):
        for count, path in paths.items():
            started = time.process_time()
            assert len(identified(path)) >= count
            best[count] = min(best[count], time.process_time() - started)
    return best


def ratio(best: Mapping[int, float]) -> float:
    few, many = (best[count] for count in sorted(best))
    return many / few


@counted
@pytest.mark.parametrize("names", NAMES, ids=lambda names: names.__name__)
def test_opening_costs_no_more_than_in_step_with_the_number_of_tensors(
    names: Names, counts: tuple[int, ...], tmp_path: Path
) -> None:
    best = seconds({count: tensors(tmp_path / str(count) / "m", names(count)) for count in counts})
    assert ratio(best) < 4 * SLOWER, best


@counted
@pytest.mark.parametrize("names", [layers, one_parent], ids=lambda names: names.__name__)
def test_opening_costs_no_more_than_in_step_with_the_number_of_groups(
    names: Names, counts: tuple[int, ...], tmp_path: Path
) -> None:
    best = seconds({count: groups(tmp_path / f"{count}.weights.h5", names(count)) for count in counts})
    assert ratio(best) < 4 * SLOWER, best
