"""Cutting is judged by arrays of element numbers: every element once, in order, in one run."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.model.blocks import Block, collapse, grid_shape, groups, partition

SHAPES = st.lists(st.integers(0, 6), max_size=4).map(tuple)
SIZES = st.integers(1, 200)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


def cut(array: np.ndarray, block: Block) -> np.ndarray:
    return array[tuple(slice(start, start + size) for start, size in zip(block.start, block.shape, strict=True))]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape and the axes that name units."""
    shape = draw(SHAPES)
    return shape, tuple(axis for axis in range(len(shape)) if draw(st.booleans()))


@given(shape=SHAPES, elements=SIZES)
def test_blocks_cover_every_element_once_and_in_order(shape: tuple[int, ...], elements: int) -> None:
    pieces = [cut(numbered(shape), block).ravel() for block in partition(shape, elements)]
    np.testing.assert_array_equal(np.concatenate(pieces), numbered(shape).ravel())


@given(shape=SHAPES, elements=SIZES)
def test_every_block_is_one_run_of_at_most_the_asked_size(shape: tuple[int, ...], elements: int) -> None:
    for block in partition(shape, elements):
        run = cut(numbered(shape), block).ravel()
        assert block.elements == run.size <= elements
        first = block.first_element(shape)
        np.testing.assert_array_equal(run, np.arange(first, first + run.size))


@given(shape=SHAPES, elements=SIZES)
def test_blocks_are_not_cut_finer_than_a_row_asks_for(shape: tuple[int, ...], elements: int) -> None:
    blocks = partition(shape, elements)
    if math.prod(shape) <= elements:
        assert len(blocks) == 1
    for one, next_one in itertools.pairwise(blocks):
        same_row = one.start[:-1] == next_one.start[:-1]
        assert one.elements + next_one.elements > elements or not same_row


@given(tensor=tensors(), elements=SIZES)
def test_the_units_of_a_block_are_those_of_its_elements(
    tensor: tuple[tuple[int, ...], tuple[int, ...]], elements: int
) -> None:
    shape, unit_axes = tensor
    grid = numbered(grid_shape(shape, unit_axes))
    unit_of_element = np.broadcast_to(grid, shape)
    for block in partition(shape, elements):
        if block.elements:
            expected = np.unique(cut(unit_of_element, block))
            np.testing.assert_array_equal(np.unique(grid[block.units(unit_axes)]), expected)


@given(tensor=tensors(), elements=SIZES)
def test_groups_share_no_unit_and_keep_all_blocks_in_order(
    tensor: tuple[tuple[int, ...], tuple[int, ...]], elements: int
) -> None:
    shape, unit_axes = tensor
    unit_of_element = np.broadcast_to(numbered(grid_shape(shape, unit_axes)), shape)
    found = groups(shape, unit_axes, elements)
    assert tuple(block for group in found for block in group) == partition(shape, elements)
    seen: set[int] = set()
    for group in found:
        units = {int(unit) for block in group for unit in cut(unit_of_element, block).ravel()}
        assert not units & seen
        seen |= units


@given(rows=st.integers(1, 50), columns=st.integers(1, 10), elements=st.integers(10, 100))
def test_an_embedding_is_many_groups_of_one_block_and_a_large_kernel_one_group(
    rows: int, columns: int, elements: int
) -> None:
    embedding, kernel = groups((rows, columns), (0,), elements), groups((rows, columns), (1,), elements)
    assert {len(group) for group in embedding} == {1}
    assert len(kernel) == 1 or rows == 1
    assert len(embedding) == len(partition((rows, columns), elements))


@given(tensor=tensors())
def test_the_unit_grid_has_one_element_per_unit(tensor: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    shape, unit_axes = tensor
    grid = grid_shape(shape, unit_axes)
    assert len(grid) == len(shape)
    assert math.prod(grid) == math.prod(shape[axis] for axis in unit_axes)


@given(tensor=tensors())
def test_a_collapsed_tensor_has_the_same_units_of_the_same_elements_in_the_same_order(
    tensor: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, unit_axes = tensor
    layout = collapse(shape, unit_axes)
    assert math.prod(layout.shape) == math.prod(shape)

    def by_unit(array: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
        others = tuple(axis for axis in range(array.ndim) if axis not in kept)
        units = math.prod(array.shape[axis] for axis in kept)
        elements = math.prod(array.shape[axis] for axis in others)
        return array.transpose(*kept, *others).reshape(units, elements)

    before = by_unit(numbered(shape), unit_axes)
    after = by_unit(numbered(shape).reshape(layout.shape), layout.kept)
    np.testing.assert_array_equal(after, before)


@given(tensor=tensors())
def test_in_a_collapsed_tensor_unit_axes_and_others_alternate(
    tensor: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    layout = collapse(*tensor)
    kinds = [axis in layout.kept for axis in range(len(layout.shape))]
    assert 1 <= len(kinds) <= max(1, len(tensor[0]))
    assert all(one != next_one for one, next_one in itertools.pairwise(kinds))
