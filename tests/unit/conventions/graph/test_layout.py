"""Layouts against NumPy: the same operations on an array that holds the number of each element of the weight."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.conventions.graph.layout import Layout, plain

SHAPES = st.lists(st.sampled_from((1, 2, 3, 4, 6)), min_size=1, max_size=4).map(tuple)


@st.composite
def shaped(draw: st.DrawFn) -> tuple[tuple[int, ...], Layout, np.ndarray]:
    """The shape of a weight, a layout after some operations, and the array of the same operations."""
    shape = draw(SHAPES)
    array = np.arange(math.prod(shape)).reshape(shape)
    layout = plain("w", shape)
    for _ in range(draw(st.integers(0, 5))):
        layout, array = draw(st.sampled_from(STEPS))(draw, layout, array)
        if layout.lost or array.ndim == 0:
            break
    return shape, layout, array


def reshape(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> tuple[Layout, np.ndarray]:
    left, sizes = array.size, []
    while left > 1 and len(sizes) < 4:
        sizes.append(draw(st.sampled_from([size for size in range(1, left + 1) if left % size == 0])))
        left //= sizes[-1]
    target = (*sizes, left)
    asked = list(target)
    if draw(st.booleans()):
        asked[draw(st.integers(0, len(asked) - 1))] = -1
    return layout.reshape(tuple(asked)), array.reshape(target)


def transpose(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> tuple[Layout, np.ndarray]:
    order = draw(st.permutations(range(array.ndim)))
    return layout.transpose(order), array.transpose(order)


def expand(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> tuple[Layout, np.ndarray]:
    axis = draw(st.integers(-array.ndim - 1, array.ndim))
    return layout.expand(axis), np.expand_dims(array, axis)


def squeeze(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> tuple[Layout, np.ndarray]:
    return layout.squeeze(()), array.squeeze()


def cut(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> tuple[Layout, np.ndarray]:
    axis = draw(st.integers(0, array.ndim - 1))
    start = draw(st.integers(0, array.shape[axis] - 1))
    stop = draw(st.integers(start + 1, array.shape[axis]))
    return layout.resize(axis, stop - start), array.take(range(start, stop), axis)


def pick(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> tuple[Layout, np.ndarray]:
    axis = draw(st.integers(-array.ndim, array.ndim - 1))
    return layout.pick(axis), array.take(draw(st.integers(0, array.shape[axis] - 1)), axis)


STEPS = [reshape, transpose, expand, squeeze, cut, pick]


@given(shaped())
def test_the_shape_is_that_of_the_array(made: tuple[tuple[int, ...], Layout, np.ndarray]) -> None:
    _, layout, array = made
    assert layout.lost or layout.shape == array.shape


@given(shaped(), st.data())
def test_what_reaches_one_output_is_of_one_unit(
    made: tuple[tuple[int, ...], Layout, np.ndarray], data: st.DataObject
) -> None:
    """And what is of one unit reaches one output, but for indices that were picked apart."""
    shape, layout, array = made
    output = data.draw(st.sets(st.sampled_from(range(array.ndim)))) if array.ndim else set()
    units = layout.sides(output, shape).units
    if units is None:
        return
    at = np.unravel_index(array, shape)
    unit_of = (
        np.ravel_multi_index([at[axis] for axis in units], [shape[axis] for axis in units]) if units else array * 0
    )
    summed = tuple(axis for axis in range(array.ndim) if axis not in output)
    assert (unit_of.min(axis=summed) == unit_of.max(axis=summed)).all()
    groups: dict[int, set[tuple[int, ...]]] = {}
    for place in np.ndindex(array.shape):
        groups.setdefault(int(unit_of[place]), set()).add(tuple(place[axis] for axis in sorted(output)))
    assert all(len(group) == 1 for group in groups.values())


def test_a_split_that_is_torn_unevenly_is_lost() -> None:
    assert plain("w", (4, 9)).reshape((6, 6)).lost
    assert plain("w", (4, 9)).reshape((2, 18)).dims[1].axes == (0, 1)
    assert not plain("w", (4, 9)).reshape((2, 2, 3, 3)).lost


@pytest.mark.parametrize("target", [(-1, -1), (0, 12), (5,), (12, -2), (7, -1)])
def test_a_shape_that_does_not_fit_loses_the_axes(target: tuple[int, ...]) -> None:
    assert plain("w", (3, 4)).reshape(target).lost


def test_a_weight_of_which_only_repeated_values_are_left_is_empty() -> None:
    assert plain("w", (3, 4)).resize(0, 1).resize(1, 1).is_empty((3, 4))
    assert not plain("w", (1, 1)).is_empty((1, 1))
    assert not plain("w", (3,)).pick(0).is_empty((3,))
