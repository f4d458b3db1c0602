"""Matrices are bounded by their spectral norm as units are by theirs, and the verdict at a tie is the sensible one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.effort import examples
from support.matrices import KINDS, RANDOM, hadamard, largest, matrix_step, measured, orthogonal, scaled, wide
from support.memory import Tensor, step_of
from support.tensors import DTYPES, ROUNDOFF, bits, dtype_of

from renorm_cli.errors import NonFiniteError
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.run.matrices import run_matrices
from renorm_cli.run.readings import readings_of
from renorm_cli.run.steps import Work

SHAPES = [(64, 24), (24, 64), (50, 50), (1, 40), (40, 1)]
SHARES = (1.5, 1.0, 1 - 1e-7, 0.999, 0.7, 1 / 3, 1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_norm_is_above_its_bound_and_a_second_pass_changes_nothing(kind: str, dtype: str, engine: Engine) -> None:
    for shape in SHAPES[: max(1, examples(5))]:
        with np.errstate(all="ignore"):
            array = KINDS[kind](*shape).astype(dtype_of(dtype))
        norm = largest(array)
        if not (np.isfinite(wide(array)).all() and norm):
            continue
        for share in SHARES:
            limit = norm * share
            after, row = scaled(array, limit, engine)
            assert row.norm_after is not None
            if share >= 1:
                assert (row.over, bits(after).tobytes()) == (0, bits(array).tobytes())
                continue
            assert row.over == 1
            assert row.norm_after.max <= limit
            assert largest(after) <= limit * (1 + 1e-12)
            assert largest(after) >= limit * (1 - 50 * ROUNDOFF[dtype]) or share < 0.1  # subnormal numbers
            assert not (np.sign(wide(after)) * np.sign(wide(array)) < 0).any()
            again, second = scaled(after, limit, engine)
            assert (second.over, bits(again).tobytes()) == (0, bits(after).tobytes())
            dry, same = scaled(array, limit, engine, sink=None)
            assert (same, bits(dry).tobytes()) == (row, bits(array).tobytes())


TIES = {
    "identity": (np.eye(100), 1),
    "permutation": (np.eye(100)[RANDOM.permutation(100)], 1),
    "twice an identity": (2 * np.eye(64), 2),
    "ones": (np.ones((100, 100)), 100),
    "Hadamard": (hadamard(64), 8),
    "a vector": (np.array([[3.0, 4.0]]), 5),
    "a diagonal of two close values": (np.diag([1, 1 - 2.0**-24]), 1),
}


@pytest.mark.parametrize("name", TIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_norm_that_is_its_limit_is_not_over_and_one_roundoff_of_float32_above_it_is(name: str, dtype: str) -> None:
    array, norm = TIES[name]
    array = array.astype(dtype)
    for limit, over in ((norm, 0), (norm * (1 - 0.9e-8), 0), (norm * (1 - 1.1e-8), 1), (norm * (1 - 2.0**-24), 1)):
        row = measured(array, limit)
        assert row.over == over
        assert row.spectral is not None
        assert (row.spectral.lower > limit) if over else (row.spectral.upper <= limit * (1 + 2e-8))
    kept, _ = scaled(array, norm)
    assert kept.tobytes() == array.tobytes()


def test_verdicts_around_the_limit_are_those_of_numpy() -> None:
    for _ in range(examples(100)):
        array = RANDOM.standard_normal(RANDOM.randint(2, 40, 2)).astype(np.float32)
        norm = largest(array)
        for off in (-1e-6, -6e-8, -2.1e-8, -1e-9, 0, 1e-9, 0.9e-8, 1.1e-8, 2e-8, 1e-7):
            assert measured(array, norm / (1 + off)).over == (off > 1e-8)


def test_only_the_blocks_that_are_over_are_scaled_each_by_one_factor() -> None:
    array = np.stack([orthogonal(9, 2) * size for size in (0.5, 2, 0.9, 3)], axis=1).astype(np.float32)
    after, row = scaled(array, 1.0, blocks=(1,))
    assert (row.units, row.over) == (4, 2)
    assert bits(after[:, [0, 2]]).tobytes() == bits(array[:, [0, 2]]).tobytes()
    for place in (1, 3):
        ratio = after[:, place] / array[:, place]
        assert np.ptp(ratio) < 3e-7
        assert largest(after[:, place]) <= 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_block_with_nan_or_inf_is_refused_or_keeps_its_bytes(bad: float) -> None:
    array = (3 * RANDOM.standard_normal((4, 6, 5))).astype(np.float32)
    array[2, 1, 1] = bad
    with pytest.raises(NonFiniteError, match="'w' holds NaN or Inf in 1 of 4 units"):
        scaled(array, 1.0, blocks=(0,), nonfinite="refuse")
    after, row = scaled(array, 1.0, blocks=(0,), nonfinite="skip")
    assert (row.over, row.nonfinite, row.spectral) == (3, 1, None)
    assert bits(after[2]).tobytes() == bits(array[2]).tobytes()
    assert all(largest(after[place]) <= 1 for place in (0, 1, 3))


def test_rounding_every_weight_toward_zero_can_lift_a_norm_which_is_seen() -> None:
    low, high = np.array([[1, 1], [1, -0.75]]), np.array([[1, 1], [1, -0.7539]])
    assert largest(low) > largest(high)


def test_matrices_and_units_are_measured_in_one_run() -> None:
    array = RANDOM.standard_normal((12, 8)).astype(np.float32)
    both = [matrix_step(array, 1.0), step_of(array, (1,), 1.0)]
    one, other = run_matrices(both, Work(Tensor(array), NumpyEngine()))
    assert (one.units, other.units) == (1, 8)
    assert (one.norm and one.norm.max) == pytest.approx(largest(array))
    assert (other.norm and other.norm.max) == pytest.approx(float(np.linalg.norm(array, axis=0).max()))


def test_progress_is_told_once_of_every_byte() -> None:
    array = RANDOM.standard_normal((30, 70)).astype(np.float32)
    told: list[int] = []
    measured(array, advance=told.append, block_bytes=256)
    assert sum(told) == array.nbytes


@pytest.mark.parametrize(("limit", "reading"), [(0.99, "fail"), (1.5, "differ"), (12.0, "hold")])
def test_a_guess_of_axes_matters_where_norms_of_other_matrices_can_be_on_the_other_side(
    limit: float, reading: Any
) -> None:
    array = np.full((5, 5, 5), 1.0, np.float32)
    found = readings_of([matrix_step(array, limit)], Tensor(array), NumpyEngine(), map)
    assert found == {"w": reading}


def test_a_matrix_far_above_a_limit_is_scaled_though_its_factor_is_no_float64() -> None:
    array = RANDOM.standard_normal((2, 5, 4)) * np.array([1e306, 1e-25])[:, None, None]
    after, row = scaled(array, 1e-20, blocks=(0,))
    assert row.over == 1
    assert after[0] == pytest.approx(array[0] / largest(array[0]) * 1e-20, rel=1e-8)
    assert largest(after[0]) <= 1e-20 * (1 + 1e-12)
    assert after[1].tobytes() == array[1].tobytes()
