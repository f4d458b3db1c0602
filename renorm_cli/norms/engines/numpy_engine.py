"""The three block operations on NumPy, in tiles that stay in the processor's cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.norms.engines.base import BLOCK_BYTES, others
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.powers import power, times_power_of_two
from renorm_cli.norms.rounding import SHRUNK, rough_factors, scale_16_bits, scale_roughly, shrink, widen
from renorm_cli.parallel.memory import Purpose, reuse

Array = npt.NDArray[Any]

_TILE = 1 << 18
"""Elements per tile: its float64 copy takes 2 MiB. On smaller ones the calls take too long to begin."""

_WORTH_ROUGH = 1 << 17
"""Elements of a block of 16 bits from which rough products, and exact ones where these may be wrong, are faster."""

_DOT = 48
"""Elements of a unit's line in memory from which a product of vectors (BLAS) sums their squares faster than einsum."""

_LONGEST_DOT = 1 << 13
"""Elements of one such product at most: BLAS would spread a longer one over threads of its own."""


class _Tile(NamedTuple):
    """A box of a block, its shape and size, and the position of its units in an array of the block's units."""

    box: tuple[slice, ...]
    shape: tuple[int, ...]
    size: int
    units: tuple[Any, ...]
    grid: tuple[slice, ...]
    """That position in an array that broadcasts over the block."""


class NumpyEngine:
    """The engine on the CPU. Blocks must have few axes; see `blocks.collapse`."""

    name = "numpy"
    device = "cpu"
    block_bytes = BLOCK_BYTES
    room = 0

    def hold(self, block: Array) -> Array:
        """The block itself."""
        return block

    def gram_sum(self, side: int) -> None:
        """None: see `norms/spectral/tiles.py`."""

    def peaks(self, block: Array, kept: tuple[int, ...]) -> Float64:
        """Largest |x| per unit; NaN for a unit that holds NaN. Shape: the kept axes of `block`."""

        axes = others(block.ndim, kept)

        def peak(values: Array) -> Float64:
            return np.asarray(np.maximum(values.max(axis=axes), -values.min(axis=axes)), dtype=np.float64)

        if block.itemsize > 2 and block.size:
            with np.errstate(all="ignore"):
                return peak(block)
        return self._reduce(block, kept, peak, np.maximum)

    def power_sums(self, block: Array, kept: tuple[int, ...], p: float, exponents: Array | None) -> Float64:
        """Sum of (|x| * 2**-exponent) ** p per unit, in float64. Shape: the kept axes of `block`."""
        axes = others(block.ndim, kept)

        def sums(wide: Float64) -> Float64:
            if p == 2:
                return _squares(wide, kept)
            np.abs(wide, out=wide)
            return np.asarray(power(wide, p).sum(axis=axes))

        if p == 2 and exponents is None and block.dtype == np.float16:
            return self._reduce(block, kept, sums, np.add, widened=shrink) * SHRUNK**2
        return self._reduce(block, kept, sums, np.add, exponents)

    def scale(self, block: Array, kept: tuple[int, ...], factors: Float64) -> Array:
        """The block times one factor per unit, rounded as `Engine.scale` says.

        The next call on the same thread reuses the memory of the result.
        """
        result = reuse(Purpose.SCALED, block.nbytes).view(block.dtype).reshape(block.shape)
        grid = _grid(factors, block.ndim, kept)
        with np.errstate(all="ignore"):
            if block.itemsize == 2:
                self._scale_16_bits(block, result, kept, grid)
            else:
                np.multiply(block, _as_narrow_as(block, grid), out=result, casting="same_kind")
            alone = np.isnan(grid)
            if alone.any():
                bits = f"u{block.itemsize}"
                np.copyto(result.view(bits), block.view(bits), where=alone)
        return result

    def _scale_16_bits(self, block: Array, result: Array, kept: tuple[int, ...], grid: Array) -> None:
        untouched = (grid == 1.0) | np.isnan(grid)
        differ = kept[:1] == (0,)  # tiles hold different units only if the first axis names units
        rough = rough_factors(grid, block.dtype) if block.size >= _WORTH_ROUGH else None
        doubtful: list[npt.NDArray[np.intp]] = []
        start = 0
        for tile in _tiles(block.shape, kept, _TILE):
            part, out = block[tile.box], result[tile.box]
            if differ and untouched[tile.grid].all():
                out[...] = part
            elif rough is not None and (found := scale_roughly(part, rough[tile.grid], out)) is not None:
                doubtful.append(found + start)
            else:
                scale_16_bits(part, grid[tile.grid], out)
            start += tile.size  # tiles follow each other as their elements do
        if doubtful:
            places = np.unravel_index(np.concatenate(doubtful), block.shape)
            exact = np.empty(places[0].size, block.dtype)
            scale_16_bits(block[places], np.broadcast_to(grid, block.shape)[places], exact)
            result[places] = exact

    def _reduce(
        self,
        block: Array,
        kept: tuple[int, ...],
        reduce_tile: Callable[[Float64], Float64],
        join: np.ufunc,
        exponents: Array | None = None,
        widened: Callable[[Array, Float64], None] = widen,
    ) -> Float64:
        result = np.zeros(tuple(block.shape[axis] for axis in kept))
        grid = None if exponents is None else _grid(-exponents, block.ndim, kept)
        buffer = reuse(Purpose.TILE, 8 * _TILE).view(np.float64)
        with np.errstate(all="ignore"):
            for tile in _tiles(block.shape, kept, _TILE):
                part, wide = block[tile.box], buffer[: tile.size].reshape(tile.shape)
                if grid is None or part.itemsize < 8:
                    widened(part, wide)
                    part = wide
                if grid is not None:
                    times_power_of_two(part, grid[tile.grid], wide)
                units = result[tile.units]
                join(units, reduce_tile(wide), out=units)
        return result


def _squares(wide: Float64, kept: tuple[int, ...]) -> Float64:
    """The sum of squares of each unit of a tile."""
    *outer, length = wide.shape
    if wide.ndim - 1 in kept or length < _DOT:
        labels = "abcdefgh"[: wide.ndim]
        return np.asarray(np.einsum(f"{labels},{labels}->{''.join(labels[axis] for axis in kept)}", wide, wide))
    whole = length - length % _LONGEST_DOT
    if whole and length > _LONGEST_DOT:
        sums = _dots(wide[..., :whole].reshape(*outer, -1, _LONGEST_DOT)).sum(axis=-1) + _dots(wide[..., whole:])
    else:
        sums = _dots(wide)
    return np.asarray(sums.sum(axis=others(wide.ndim - 1, kept)))


def _dots(lines: Float64) -> Float64:
    """The product of each line along the last axis with itself."""
    return np.asarray(np.matmul(lines[..., None, :], lines[..., :, None])[..., 0, 0])


@lru_cache(maxsize=32)
def _tiles(shape: tuple[int, ...], kept: tuple[int, ...], room: int) -> tuple[_Tile, ...]:
    """Tiles of at most `room` elements that cover `shape`, and span as many of the last axes as fit."""
    steps: list[int] = []
    for size in reversed(shape):
        step = max(1, min(size, room))
        steps.append(step)
        room //= step
    cuts = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, reversed(steps), strict=True)
    ]
    return tuple(_tile(box, kept) for box in itertools.product(*cuts))


def _tile(box: tuple[slice, ...], kept: tuple[int, ...]) -> _Tile:
    shape = tuple(cut.stop - cut.start for cut in box)
    return _Tile(
        box,
        shape,
        math.prod(shape),
        # the ellipsis makes it a view: without it, a result of rank 0 would be a number
        (*(box[axis] for axis in kept), ...),
        tuple(cut if axis in kept else slice(None) for axis, cut in enumerate(box)),
    )


def _as_narrow_as(block: Array, grid: Array) -> Array:
    """The factors as float32 if the block is float32 and float32 holds them exactly; else as they are.

    The result is the same: float32 rounds the product once, and so does rounding from float64, which holds it exactly.
    """
    if block.itemsize != 4:
        return grid
    narrowed = grid.astype(np.float32)
    return narrowed if np.all((narrowed == grid) | np.isnan(grid)) else grid


def _grid(per_unit: Array, ndim: int, kept: tuple[int, ...]) -> Array:
    """Per-unit numbers, reshaped to broadcast over a block."""
    return np.asarray(np.expand_dims(per_unit, others(ndim, kept)))
