"""Gram matrices on the device of TensorFlow: the same enclosures as NumPy's, on the CPU where there is no GPU.

RENORM_TEST_DEVICE=gpu holds the same on a GPU. Without one, operations that are meant for a GPU run on the CPU by
TensorFlow's soft placement.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.matrices import KINDS, RANDOM, largest, measured, orthogonal, scaled, with_values
from support.tensors import dtype_of

from renorm_cli.errors import EngineError
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.tensorflow_engine import TensorFlowEngine
from renorm_cli.norms.spectral import held

pytestmark = pytest.mark.slow

SVD = 2e-14
"""How far, relatively, NumPy's largest singular value may be off."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """TensorFlow, with matrices of any size on its device."""
    import tensorflow as tf

    least, soft = held._LEAST_SIDE, tf.config.get_soft_device_placement()
    found = TensorFlowEngine(os.environ.get("RENORM_TEST_DEVICE", "cpu"))
    found._place = "/GPU:0"
    held._LEAST_SIDE = 1
    tf.config.set_soft_device_placement(True)  # without a GPU its part is done by the CPU
    yield found
    held._LEAST_SIDE = least
    tf.config.set_soft_device_placement(soft)


def assert_encloses(array: np.ndarray, engine: Engine, norm: float, off: float = SVD) -> None:
    one = measured(array, engine=engine).spectral
    assert one is not None
    assert one.lower <= norm * (1 + off)
    assert norm <= one.upper * (1 + off)
    assert one.upper - one.lower <= 1e-8 * one.lower
    beside = measured(array).spectral
    assert beside is not None
    assert one.norm == pytest.approx(beside.norm, rel=1e-12)
    assert one.frobenius == pytest.approx(beside.frobenius, rel=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_norm_is_inside_its_enclosure_and_so_is_that_of_numpy(kind: str, dtype: str, engine: Any) -> None:
    for rows, columns in ((2, 7), (70, 60), (50, 81)):
        with np.errstate(all="ignore"):
            array = KINDS[kind](rows, columns).astype(dtype_of(dtype))
        if array.any() and np.isfinite(array.astype(float)).all():
            assert_encloses(array, engine, largest(array))


def test_sixty_digits_of_mpmath_are_inside_the_enclosure(engine: Any) -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for number in range(12):
            array = RANDOM.standard_normal(RANDOM.randint(2, 9, 2)) * 10.0 ** RANDOM.randint(-3, 4)
            array = array.astype(("float32", "float64", "float16")[number % 3])
            exact = mpmath.matrix([[mpmath.mpf(float(value)) for value in row] for row in array])
            norm = max(mpmath.svd_r(exact, compute_uv=False))
            one = measured(array, engine=engine).spectral
            assert one is not None
            assert mpmath.mpf(one.lower) <= norm <= mpmath.mpf(one.upper)


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 2.0**-140), ("float64", 2.0**-1060), ("float64", 1e300)])
def test_weights_that_tensorflow_would_flush_to_zero_are_measured(dtype: str, scale: float, engine: Any) -> None:
    array = (RANDOM.standard_normal((40, 30)) * scale).astype(dtype)
    one = measured(array, engine=engine).spectral
    assert one is not None
    assert one.lower <= largest(array) * (1 + SVD) + 5e-324
    assert largest(array) * (1 - SVD) - 5e-324 <= one.upper
    assert one.norm > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_matrix_with_nan_or_inf_has_no_norm(bad: float, engine: Any) -> None:
    array = np.ones((30, 20), np.float32)
    array[7, 3] = bad
    row = measured(array, engine=engine)
    assert (row.nonfinite, row.norm, row.spectral) == (1, None, None)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_all_singular_values_are_those_of_numpy(shape: tuple[int, int], engine: Any) -> None:
    array = RANDOM.standard_normal(shape)
    one = measured(array, engine=engine, spectrum=True).spectral
    assert one is not None
    assert one.spectrum is not None
    assert one.spectrum.condition == pytest.approx(np.linalg.cond(array), rel=1e-6)


def test_a_cluster_that_hides_its_largest_is_found(engine: Any) -> None:
    assert_encloses(orthogonal(300, 300).astype(np.float32), engine, 1, 1e-7)
    assert_encloses(with_values(120, 80, [1, 1 - 1e-13, *np.linspace(0.9, 0, 70)]), engine, 1, 4e-15)


@pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
def test_what_is_scaled_is_within_the_limit_as_numpy_has_it_and_a_second_pass_changes_nothing(
    shape: tuple[int, int], engine: Any
) -> None:
    array = RANDOM.standard_normal(shape).astype(np.float32)
    limit = largest(array) * 0.7
    once, row = scaled(array, limit, engine)
    assert row.over == 1
    assert largest(once) <= limit * (1 + 1e-9)
    np.testing.assert_array_equal(scaled(once, limit, engine)[0], once)
    np.testing.assert_array_equal(scaled(once, limit)[0], once)


def test_what_is_summed_in_parts_is_as_the_whole(engine: Any) -> None:
    """Of rows, of columns in two parts, and of parts of a factor in three."""
    for shape in ((6000, 40), (40, 2000), (700, 600)):
        array = RANDOM.standard_normal(shape).astype(np.float32)
        assert_encloses(array, engine, largest(array))


# What a broken part of it does


def matrix(array: np.ndarray) -> held.Matrix:
    slabs = [slice(at, min(at + 50, len(array))) for at in range(0, len(array), 50)]
    return held.Matrix(*array.shape, slabs, lambda slab: array[slab].astype(float))


def test_a_device_that_multiplies_wrongly_is_seen(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    true = engine._tf.linalg.matmul
    lies = lambda *of, **how: engine._tf.cast(engine._tf.cast(true(*of, **how), "float32"), "float64")  # noqa: E731
    monkeypatch.setattr(engine._tf.linalg, "matmul", lies)
    with pytest.raises(EngineError, match=r"tensorflow on .* multiplies .* wrongly: \d+ of 200 sums .*engine='numpy'"):
        measured(RANDOM.standard_normal((500, 200)), engine=engine)


def test_a_factorization_that_always_succeeds_makes_no_bound_that_is_too_low(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = RANDOM.standard_normal((400, 300))
    highest = float(np.linalg.eigvalsh(array.T @ array)[-1])
    found = held.on_device(matrix(array), engine)
    assert found is not None
    assert found.bound_above(highest * (1 - 1e-9)) == math.inf
    assert highest <= found.bound_above(highest * (1 + 1e-9)) <= highest * (1 + 2e-9)
    # what is taken off is at most 1.8e-13 of the trace, which is some 90 times the largest
    assert highest * (1 - 2e-11) <= found.quotient(np.linalg.eigh(array.T @ array)[1][:, -1]) <= highest * (1 + SVD)
    tf = engine._tf

    def succeeds(shifted: Any) -> Any:
        values, vectors = np.linalg.eigh(shifted.numpy())
        return tf.constant(np.linalg.cholesky((vectors * np.maximum(values, 1e-6)) @ vectors.T + 1e-9 * np.eye(300)))

    monkeypatch.setattr(tf.linalg, "cholesky", succeeds)
    for part in (0.5, 0.9, 0.999, 1.0, 1.01):
        assert found.bound_above(highest * part) >= highest


def test_an_error_for_what_has_no_factor_says_so_too(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = held.on_device(matrix(np.eye(30)), engine)
    assert found is not None

    def fails(shifted: Any) -> Any:
        raise engine._tf.errors.InvalidArgumentError(None, None, "Cholesky decomposition was not successful")

    monkeypatch.setattr(engine._tf.linalg, "cholesky", fails)
    assert found.bound_above(2) == math.inf


def test_numpy_measures_what_the_device_has_no_room_for(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(shifted: Any) -> Any:
        raise engine._tf.errors.ResourceExhaustedError(None, None, "OOM")

    array = RANDOM.standard_normal((60, 50))
    monkeypatch.setattr(engine._tf.linalg, "cholesky", full)
    assert measured(array, engine=engine) == measured(array)


def test_a_wide_matrix_is_held_on_the_device_only_up_to_a_size(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_ON_DEVICE", 8 * 40 * 60 - 1)
    assert held.on_device(matrix(np.ones((40, 60))), engine) is None
    assert held.on_device(matrix(np.ones((60, 40))), engine) is not None


def test_small_matrices_are_left_to_numpy(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_LEAST_SIDE", 41)
    assert held.on_device(matrix(np.ones((60, 40))), engine) is None
