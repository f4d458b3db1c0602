"""Blocks that an engine holds: moved once for sums and products, and dropped when their variable is done.

RENORM_TEST_DEVICE=gpu has those of TensorFlow on a GPU; see test_gpu.py.
"""

from __future__ import annotations

import math
import os
from collections import Counter

import numpy as np
import pytest
from support.elsewhere import NumpyElsewhere
from support.memory import Tensor, bounded, step_of
from support.tensors import bits, dtype_of

from renorm_cli.errors import NonFiniteError
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.parallel.threads import threads
from renorm_cli.run.steps import Work, renorm_variable

ROWS = 8
"""Rows of the matrix; each is a block."""


def matrix(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, 30)).astype(dtype_of(dtype))


@pytest.fixture
def tensorflow(tensorflow_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, list[bytes]]:
    """TensorFlow with room for all, and the bytes of each block that becomes a tensor: only tensors are moved."""
    from renorm_cli.norms.engines import tensorflow_engine as module

    moved: list[bytes] = []
    build = module._tensor
    monkeypatch.setattr(module, "_tensor", lambda tf, block: moved.append(block.tobytes()) or build(tf, block))
    monkeypatch.setattr(tensorflow_engine, "room", 1 << 20)
    return tensorflow_engine, moved


@pytest.mark.parametrize("rows", [ROWS, 5, 0])
@pytest.mark.parametrize("p", [2.0, 9.0, math.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_block_goes_to_the_engine_once_for_sums_and_products_and_once_as_it_was_read_back(
    dtype: str, p: float, rows: int
) -> None:
    """And comes back once. Rows for which the engine has no room go there for each of the two."""
    before = matrix(dtype)
    size = before[0].nbytes
    engine = NumpyElsewhere(rows * size)
    after, row = bounded(before, (1,), 0.5, p, engine, block_bytes=size)
    assert row.over == 30
    lines = [line.tobytes() for line in (*before, *before[rows:], *after)]
    assert Counter(engine.moved) == Counter(lines)
    assert engine.back == [line.tobytes() for line in after]


@pytest.mark.slow
@pytest.mark.parametrize("p", [2.0, 9.0, math.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_so_it_is_with_tensorflow(dtype: str, p: float, tensorflow: tuple[Engine, list[bytes]]) -> None:
    engine, moved = tensorflow
    before = matrix(dtype)
    after, row = bounded(before, (1,), 0.5, p, engine, block_bytes=before[0].nbytes)
    assert row.over == 30
    assert Counter(moved) == Counter(line.tobytes() for line in (*before, *after))


@pytest.mark.slow
def test_a_held_block_is_in_the_memory_of_the_gpu(tensorflow: tuple[Engine, list[bytes]]) -> None:
    engine, _ = tensorflow
    device = os.environ.get("RENORM_TEST_DEVICE", "cpu").upper()
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        assert engine.hold(matrix(dtype)).tensor.device.endswith(f"device:{device}:0")


@pytest.mark.slow
def test_a_block_for_which_the_gpu_has_no_memory_goes_there_for_each_operation(
    tensorflow: tuple[Engine, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from renorm_cli.norms.engines import tensorflow_engine as module

    def full(block: object) -> object:
        raise tf.errors.ResourceExhaustedError(None, None, "no room")

    engine, moved = tensorflow
    build = module._function
    monkeypatch.setattr(module, "_function", lambda *given: full if len(given) == 5 else build(*given))
    monkeypatch.setattr(engine, "_functions", {})
    before = matrix()
    after, _ = bounded(before, (1,), 0.5, 2.0, engine, block_bytes=before[0].nbytes)
    assert Counter(moved) == Counter(line.tobytes() for line in (*before, *before, *before, *after))  # once in vain
    assert np.array_equal(bits(after), bits(bounded(before, (1,), 0.5, 2.0, NumpyEngine())[0]))


@pytest.mark.slow
def test_a_small_block_is_not_held(tensorflow: tuple[Engine, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The call takes longer than a second transfer."""
    from renorm_cli.norms.engines import tensorflow_engine as module

    engine, _ = tensorflow
    block = matrix()
    assert engine.hold(block) is not block
    monkeypatch.setattr(module, "_LEAST_HELD", block.nbytes + 1)
    assert engine.hold(block) is block


def test_only_blocks_that_change_come_back() -> None:
    before = matrix()
    before[::2] *= 0.01
    engine = NumpyElsewhere(1 << 20)
    after, row = bounded(before, (0,), 0.5, 2.0, engine, block_bytes=before[0].nbytes)
    assert row.over == ROWS // 2
    assert engine.back == [line.tobytes() for line in after[1::2]]


def test_nothing_is_held_where_nothing_is_to_be_bounded() -> None:
    before = matrix()
    engine = NumpyElsewhere(1 << 20)
    held = []
    hold = engine.hold
    engine.hold = lambda block: held.append(block) or hold(block)  # type: ignore[method-assign, func-returns-value]
    renorm_variable(step_of(before, (1,), 0.5), Work(Tensor(before), engine, block_bytes=before[0].nbytes))
    assert len(engine.moved) == ROWS
    assert not held


def test_nothing_is_held_after_a_variable_is_done_nor_after_a_run_that_fails() -> None:
    before = matrix()
    engine = NumpyElsewhere(1 << 20)
    size = before[0].nbytes
    bounded(before, (1,), 0.5, 2.0, engine, block_bytes=size)
    assert not engine.held
    before[-1, 0] = math.nan
    with pytest.raises(NonFiniteError) as failed:
        bounded(before, (1,), 0.5, 2.0, engine, block_bytes=size, nonfinite="refuse")
    assert len(engine.moved) == 3 * ROWS
    assert failed.value.__traceback__ is not None  # which refers to all that was being done
    assert not engine.held


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("rows", [ROWS, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_held_blocks_give_the_bits_of_numpy_also_far_above_the_limit(dtype: str, rows: int, jobs: int) -> None:
    """A float64 unit that is more than 2**1000 above it is divided by a power of two first: what is held is not."""
    before = matrix(dtype)
    before[:, ::2] *= 1e300 if dtype == "float64" else 1e30
    limit, size = 1e-10 if dtype == "float64" else 0.5, before[0].nbytes
    expected, _ = bounded(before, (1,), limit, 2.0, NumpyEngine(), block_bytes=size)
    with threads(jobs) as imap:
        sink = Tensor(before.copy())
        work = Work(Tensor(before), NumpyElsewhere(rows * size), bound=True, sink=sink, block_bytes=size)
        renorm_variable(step_of(before, (1,), limit), work, imap)
    assert np.array_equal(bits(sink.array), bits(expected))
