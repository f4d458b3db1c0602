"""The matrices of a variable, and how each is read: in slabs that are runs of the file, where its layout allows it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.plan import Step
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.rounding import widen
from renorm_cli.norms.spectral.gram import SLAB_ELEMENTS, Matrix, room
from renorm_cli.norms.spectral.tiles import spans

Read = Callable[[Block], npt.NDArray[Any]]

_REARRANGED = 1 << 24
"""Bytes of a variable that is rearranged in memory; a larger one is in an unnamed file."""


class _Axes(NamedTuple):
    """The axes of a variable, each of one of three kinds; those of length 1 are of none."""

    blocks: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def matrices(step: Step, read: Read, region: Block, elements: int = SLAB_ELEMENTS) -> Iterator[Matrix]:
    """The matrices in a region of a variable, in the order of its unit grid, each as it is or transposed.

    A transposed matrix has the same singular values, and one of the two lies better in the file.
    """
    axes = _axes(step, region.shape)
    kinds = "".join(kind for kind, _ in itertools.groupby(_kinds(axes)))
    inner = tuple(1 if axis in axes.blocks else size for axis, size in enumerate(region.shape))
    second = math.prod(inner[axis] for axis in _last(axes)) if len(kinds.strip("b")) > 1 else 1
    if "b" in kinds.lstrip("b") or len(kinds.lstrip("b")) > 2 or second > elements:
        yield from _rearranged(read, region, axes, elements)
        return
    pieces = partition(inner, elements)
    for index in itertools.product(*(range(region.shape[axis]) for axis in axes.blocks)):
        at = dict(zip(axes.blocks, index, strict=True))
        origin = tuple(first + at.get(axis, 0) for axis, first in enumerate(region.start))
        yield _stored(read, pieces, origin, inner, second)


def _axes(step: Step, shape: tuple[int, ...]) -> _Axes:
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    blocks = tuple(axis for axis in wide if axis in step.unit_axes)
    columns = tuple(axis for axis in wide if axis in step.columns)
    return _Axes(blocks, tuple(axis for axis in wide if axis not in blocks and axis not in columns), columns)


def _kinds(axes: _Axes) -> str:
    """The kinds of the axes in their order: b, r, c."""
    kinds = {axis: kind for kind, several in zip("brc", axes, strict=True) for axis in several}
    return "".join(kinds[axis] for axis in sorted(kinds))


def _last(axes: _Axes) -> tuple[int, ...]:
    """The axes of the kind that the last axis has."""
    return max(axes, key=lambda several: max(several, default=-1))


def _stored(
    read: Read, pieces: Sequence[Block], origin: tuple[int, ...], inner: tuple[int, ...], second: int
) -> Matrix:
    """A matrix that lies row by row in the file, from `origin` on, with `second` numbers in a row."""
    blocks: dict[int, Block] = {}
    slabs: list[slice] = []
    for piece in pieces:
        first = piece.first_element(inner) // second
        blocks[first] = piece.shifted(origin)
        slabs.append(slice(first, first + piece.elements // second))

    def rows(slab: slice) -> Float64:
        return _widened(read(blocks[slab.start]).reshape(-1, second))

    return Matrix(slabs[-1].stop, second, slabs, rows)


def kernels(step: Step, read: Read, region: Block) -> Iterator[Float64]:
    """The kernels of a convolution in the order of the unit grid: a matrix for each position, in float64."""
    axes = _axes(step, region.shape)
    rows = tuple(axis for axis in axes.rows if axis not in step.spatial)
    store = _stored_by(read, region, (axes.blocks, step.spatial, rows, axes.columns))
    for kernel in store:
        yield _widened(kernel)


def _rearranged(read: Read, region: Block, axes: _Axes, elements: int) -> Iterator[Matrix]:
    """The matrices one after the other, each with its longer side first."""
    sides = sorted((axes.rows, axes.columns), key=lambda side: -math.prod(region.shape[axis] for axis in side))
    store = _stored_by(read, region, (axes.blocks, *sides))
    long, short = store.shape[1:]
    slabs = spans(long, max(1, elements // short))
    for matrix in store:
        yield Matrix(long, short, slabs, lambda slab, matrix=matrix: _widened(matrix[slab]))  # type: ignore[misc]


def _stored_by(read: Read, region: Block, kinds: Sequence[tuple[int, ...]]) -> npt.NDArray[Any]:
    """A region with the axes of each kind as one, in memory or in an unnamed file."""
    shape = region.shape
    order = [*(axis for axis, size in enumerate(shape) if size == 1), *(axis for kind in kinds for axis in kind)]
    blocks = partition(shape, SLAB_ELEMENTS)
    dtype = read(blocks[0].shifted(region.start)).dtype
    store = room(tuple(shape[axis] for axis in order), dtype, _REARRANGED)
    as_stored = store.transpose(np.argsort(order))
    for block in blocks:
        as_stored[block.box] = read(block.shifted(region.start))
    return store.reshape([math.prod(shape[axis] for axis in kind) for kind in kinds])


def _widened(values: npt.NDArray[Any]) -> Float64:
    wide = np.empty(values.shape)
    with np.errstate(all="ignore"):  # NaN
        widen(values, wide)
    return wide
