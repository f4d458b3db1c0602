"""How a tensor is cut into blocks that fit in memory, and where the units of a block lie.

A *unit grid* is an array with one element per unit: the tensor's shape with every axis that does not name
units replaced by 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Slices = tuple[slice, ...]

MOST_AXES = 64
"""Axes of an array, as NumPy bounds them: a shape with more is refused before anything is made of it."""


def is_shape(sizes: Sequence[int]) -> bool:
    """Whether NumPy has arrays of this shape: the sizes beside one of 0 count too."""
    return len(sizes) <= MOST_AXES and min(sizes, default=0) >= 0 and math.prod(size or 1 for size in sizes) < 1 << 59


class Block(NamedTuple):
    """A box of a C-order array that is one contiguous run of its elements."""

    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def box(self) -> Slices:
        """The block as slices of its array."""
        return tuple(slice(start, start + size) for start, size in zip(self.start, self.shape, strict=True))

    def shifted(self, origin: tuple[int, ...]) -> Block:
        """The block shifted by `origin`."""
        return Block(tuple(first + at for first, at in zip(origin, self.start, strict=True)), self.shape)

    def first_element(self, shape: tuple[int, ...]) -> int:
        """Position of the block's first element in the flattened array of `shape`."""
        position = 0
        for start, size in zip(self.start, shape, strict=True):
            position = position * size + start
        return position

    def units(self, unit_axes: tuple[int, ...]) -> Slices:
        """Where the block's units lie in the unit grid."""
        return tuple(
            slice(start, start + size) if axis in unit_axes else slice(0, 1)
            for axis, (start, size) in enumerate(zip(self.start, self.shape, strict=True))
        )


class Layout(NamedTuple):
    """A shape with neighbouring axes of one kind merged, as engines take it."""

    shape: tuple[int, ...]
    kept: tuple[int, ...]
    """The axes of `shape` that name units; they alternate with the other axes."""


def partition(shape: tuple[int, ...], elements: int) -> tuple[Block, ...]:
    """Cut an array of `shape` into contiguous blocks of at most `elements` elements, in storage order."""
    axis = 0  # the axis that is cut: all before it are walked one by one, all after it are whole
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) > elements:
        axis += 1
    if not shape or math.prod(shape) <= elements:
        return (Block((0,) * len(shape), shape),)
    inner = shape[axis + 1 :]
    step = max(1, elements // math.prod(inner))
    blocks = []
    for lead in range(math.prod(shape[:axis])):
        outer = _index(lead, shape[:axis])
        for start in range(0, shape[axis], step):
            size = min(step, shape[axis] - start)
            blocks.append(Block((*outer, start, *(0,) * len(inner)), (*(1,) * axis, size, *inner)))
    return tuple(blocks)


def groups(shape: tuple[int, ...], unit_axes: tuple[int, ...], elements: int) -> tuple[tuple[Block, ...], ...]:
    """Cut an array into groups of blocks that share no unit: groups of one block if units are whole, else one group.

    A group of one block is read once (an embedding), a group of several twice (a large kernel).
    """
    blocks = partition(shape, elements)
    whole = all(
        block.shape[axis] == size
        for block in blocks[:1]
        for axis, size in enumerate(shape)
        if axis not in unit_axes and size > 1
    )
    return tuple((block,) for block in blocks) if whole else (blocks,)


def grid_shape(shape: tuple[int, ...], unit_axes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the unit grid."""
    return tuple(size if axis in unit_axes else 1 for axis, size in enumerate(shape))


def collapse(shape: tuple[int, ...], unit_axes: tuple[int, ...]) -> Layout:
    """Merge neighbouring axes that both name units, or both do not; axes of size 1 join any neighbour."""
    sizes: list[int] = []
    kinds: list[bool] = []
    for axis, size in enumerate(shape):
        kind = axis in unit_axes
        if size == 1:
            continue
        if kinds and kinds[-1] == kind:
            sizes[-1] *= size
        else:
            sizes.append(size)
            kinds.append(kind)
    if not sizes:
        return Layout((1,), (0,))
    return Layout(tuple(sizes), tuple(axis for axis, kind in enumerate(kinds) if kind))


def _index(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index: list[int] = []
    for size in reversed(shape):
        position, at = divmod(position, size)
        index.append(at)
    return tuple(reversed(index))
