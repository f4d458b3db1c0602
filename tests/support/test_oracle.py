"""The oracle is judged by hand answers and by numpy.linalg.norm, never by the tool it judges."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from support import oracle

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
PS = [1.0, 2.0, 3.0, math.inf]
TRIANGLES = np.array([[3.0, 5.0, 0.3], [4.0, 12.0, 0.4]])


@pytest.mark.parametrize(
    ("p", "norms"), [(1.0, [7.0, 17.0, 0.7]), (2.0, [5.0, 13.0, 0.5]), (math.inf, [4.0, 12.0, 0.4])]
)
def test_norms_of_right_triangles_are_the_school_answers(p: float, norms: list[float]) -> None:
    np.testing.assert_allclose(oracle.unit_norms(TRIANGLES, (1,), p), norms, rtol=1e-15)


def test_only_the_triangles_above_the_limit_are_shrunk_to_it() -> None:
    np.testing.assert_array_equal(oracle.over(TRIANGLES, (1,), 1.0), [True, True, False])
    shrunk = oracle.renorm(TRIANGLES, (1,), 1.0)
    np.testing.assert_allclose(shrunk, [[3 / 5, 5 / 13, 0.3], [4 / 5, 12 / 13, 0.4]], rtol=2e-16)
    assert shrunk[:, 2].tobytes() == TRIANGLES[:, 2].tobytes()


def test_a_unit_exactly_at_the_limit_is_not_over() -> None:
    np.testing.assert_array_equal(oracle.over(TRIANGLES, (1,), 5.0), [False, True, False])


def test_the_axes_are_those_kept_not_those_reduced() -> None:
    np.testing.assert_allclose(oracle.unit_norms(np.array([[3.0, 4.0], [5.0, 12.0]]), (0,)), [5.0, 13.0], rtol=1e-15)


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [(), (0,), (2,), (-2,), (0, 2), (2, 0), (0, 1, 2)])
def test_norms_agree_with_numpy_for_any_axes(axes: tuple[int, ...], dtype: type, p: float) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)
    kept = sorted(axis % 3 for axis in axes)
    flat = np.moveaxis(array.astype(np.float64), kept, range(len(kept))).reshape([array.shape[a] for a in kept] + [-1])
    np.testing.assert_allclose(oracle.unit_norms(array, axes, p), np.linalg.norm(flat, ord=p, axis=-1), rtol=1e-14)


@given(
    st.data(),
    st.sampled_from(DTYPES),
    st.sampled_from([0.5, *PS]),
    st.floats(1e-3, 1e3),
)
def test_a_renormalized_array_holds_the_limit_and_keeps_its_signs(
    data: st.DataObject, dtype: type, p: float, limit: float
) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    array = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(-1e4, 1e4, width=32))).astype(dtype)
    over = oracle.over(array, axes, limit, p)
    result = oracle.renorm(array, axes, limit, p)
    norms = oracle.unit_norms(result, axes, p)
    np.testing.assert_allclose(norms[over], limit, rtol=1e-13)
    assert (norms[~over] <= limit).all()
    np.testing.assert_array_equal(np.sign(result), np.sign(array.astype(np.float64)))
    assert not oracle.over(result, axes, limit * (1 + 1e-13), p).any()


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e-30, 1e30, 1e200, 1e308])
def test_nothing_overflows_or_vanishes_at_any_size(size: float) -> None:
    triangle = np.array([[3.0], [4.0]]) * (size / 4)
    limit = size / 2
    (norm,) = oracle.unit_norms(triangle, (1,))
    assert norm == pytest.approx(size * 1.25, rel=0.01 if size < 1e-300 else 1e-15, abs=0)
    assert oracle.unit_norms(oracle.renorm(triangle, (1,), limit), (1,))[0] == pytest.approx(
        limit, rel=0.01 if size < 1e-300 else 1e-15, abs=0
    )


def test_a_norm_beyond_float64_is_infinite_and_still_shrinks_to_the_limit() -> None:
    huge = np.full((4, 1), 1.7e308)
    assert oracle.unit_norms(huge, (1,))[0] == math.inf
    np.testing.assert_array_equal(oracle.renorm(huge, (1,), 1.0), np.full((4, 1), 0.5))


def test_nan_and_inf_are_not_finite_and_never_over() -> None:
    array = np.array([[math.nan, math.inf, -math.inf, 9.0], [1.0, 1.0, math.nan, 0.0]])
    norms = oracle.unit_norms(array, (1,))
    assert math.isnan(norms[0])
    assert norms[1] == math.inf
    assert math.isnan(norms[2])
    np.testing.assert_array_equal(oracle.over(array, (1,), 1.0), [False, False, False, True])
    np.testing.assert_array_equal(oracle.nonfinite(array, (1,)), [True, True, True, False])
    np.testing.assert_array_equal(oracle.renorm(array, (1,), 1.0)[:, :3], array[:, :3])


def test_a_unit_without_elements_has_norm_zero() -> None:
    np.testing.assert_array_equal(oracle.unit_norms(np.zeros((0, 3)), (1,)), [0.0, 0.0, 0.0])
    assert oracle.unit_norms(np.zeros((0, 3)), (0,)).shape == (0,)


def test_negative_zero_keeps_its_sign() -> None:
    array = np.array([[-0.0], [8.0]])
    assert np.signbit(oracle.renorm(array, (1,), 1.0)[0, 0])
