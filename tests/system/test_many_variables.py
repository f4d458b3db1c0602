"""Many variables and large ones: all are accounted for, the work grows with their number, the memory not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from bench import files, ours
from bench.files import FORMATS, Format
from bench.measure import Cost, Program, Stopwatch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64}
COUNTS = [(400, 2_000), pytest.param(2_000, 10_000, marks=pytest.mark.exhaustive)]
MIB = [(8, 64), pytest.param(128, 1024, marks=pytest.mark.exhaustive)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def stopwatch(folder: Path) -> Iterator[Stopwatch]:
    with Stopwatch(folder) as found:
        yield found


@dataclass(frozen=True)
class Bounded:
    """An input, the program that bounded it, and what that cost."""

    source: Path
    program: Program
    cost: Cost


@pytest.fixture(scope="module")
def bounded(folder: Path, stopwatch: Stopwatch) -> Callable[[Format, int], Bounded]:
    """Checkpoints of so many variables, each bounded once."""

    @cache
    def make(kind: Format, count: int) -> Bounded:
        source = files.checkpoint(folder, f"many-{count}", kind, files.many(count))
        out = folder / f"{kind}-{count}"
        out.mkdir()
        program = ours.apply(source, out)
        return Bounded(source, program, stopwatch.run(program))

    return make


def stored(checkpoint: Path) -> dict[str, np.ndarray]:
    """Every variable of a checkpoint, by h5py or TensorFlow; there the object graph is one too."""
    if checkpoint.exists():
        return files.arrays(checkpoint)
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(checkpoint))
    return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_dtype_map()}


@pytest.mark.parametrize(("_few", "many"), COUNTS)
@pytest.mark.parametrize("kind", FORMATS)
def test_each_of_many_variables_is_in_the_report_and_within_the_bound(
    kind: Format, _few: int, many: int, bounded: Callable[[Format, int], Bounded]
) -> None:
    done = bounded(kind, many)
    path = done.program.outputs[-1]
    before, after = stored(done.source), stored(path.with_name(done.source.name))
    report = json.loads(path.read_text("utf-8"))

    told = [one["key"] for one in report["variables"] + report["skipped"]]
    assert sum(array.dtype == np.float32 for array in before.values()) == many
    assert sorted(told) == sorted(before) == sorted(after)
    totals = report["totals"]
    assert (totals["variables"], totals["constrained"]) == (len(before), many // 2)
    assert totals["skipped"] == len(before) - many // 2
    kernels = {name for name, array in before.items() if array.ndim == 2}
    assert {one["key"] for one in report["variables"]} == kernels
    assert max(np.linalg.norm(after[name].astype(np.float64), axis=0).max() for name in kernels) <= files.LIMIT
    assert all(before[name].tobytes() == after[name].tobytes() for name in before.keys() - kernels)


@pytest.mark.parametrize(("few", "many"), COUNTS)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_work_grows_with_the_number_of_variables_and_not_with_its_square(
    kind: Format, few: int, many: int, bounded: Callable[[Format, int], Bounded]
) -> None:
    some, all_ = (bounded(kind, count).cost.cpu for count in (few, many))
    assert all_ < 7 * some, f"{many} variables take {all_:.1f} s of the processors, {few} take {some:.1f} s"


@pytest.mark.parametrize(("small", "large"), MIB)
@pytest.mark.parametrize("unit_axis", ["first", "last"])
def test_memory_is_the_same_for_a_tensor_eight_times_as_large(
    unit_axis: str, small: int, large: int, folder: Path, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    def apply(nbytes: int) -> Cost:
        source = files.one_variable(folder, nbytes)
        program = ours.apply(source, tmp_path, "--units", "0" if unit_axis == "first" else "-1")
        cost = stopwatch.run(program, watch=True)
        with h5py.File(source) as before, h5py.File(program.outputs[0]) as after:
            rows = np.s_[: 64 << 4]
            assert (before["layers/dense/vars/0"][rows] != after["layers/dense/vars/0"][rows]).any()
        program.outputs[0].unlink()
        return cost

    less, more = apply(small << 20), apply(large << 20)
    assert abs(more.peak - less.peak) < 20e6
    assert abs(more.tree - less.tree) < 20e6
    assert more.tree < 250e6


@pytest.mark.parametrize(
    ("dtype", "per"),
    [
        *(("float32", "unit"), ("bfloat16", "unit"), ("float64", "tensor"), ("float16", "tensor")),
        *(pytest.param(dtype, "unit", marks=pytest.mark.exhaustive) for dtype in ("float64", "float16")),
        *(pytest.param(dtype, "tensor", marks=pytest.mark.exhaustive) for dtype in ("float32", "bfloat16")),
    ],
)
def test_as_many_threads_as_there_are_unless_asked_for_stay_within_250_mb(
    dtype: str, per: str, folder: Path, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    layers = files.network(128 << 20, itemsize=np.dtype(DTYPES[dtype]).itemsize)
    source = files.checkpoint(folder, dtype, ".weights.h5", layers, DTYPES[dtype])
    cost = stopwatch.run(ours.apply(source, tmp_path, "--jobs", "8", "--per", per), watch=True)
    assert cost.tree < 250e6


def test_a_program_that_holds_its_tensor_would_be_found(tmp_path: Path, stopwatch: Stopwatch) -> None:
    def held(nbytes: int) -> Cost:
        code = f"import time; held = bytearray(b'1') * {nbytes}; time.sleep(0.1)"
        return stopwatch.run(Program(("python3", "-c", code)), watch=True)

    small, large = held(1 << 20), held(128 << 20)
    assert large.peak - small.peak > 100e6
    assert large.tree - small.tree > 100e6
    assert small.peak < 30e6, "the memory of this process was counted into it"
