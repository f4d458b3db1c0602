"""The three block operations on NumPy, in tiles that stay in the processor's cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from renorm_cli.arrays.powers import power
from renorm_cli.arrays.rounding import narrow, widen
from renorm_cli.buffers import reuse

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

_TILE = 1 << 16
"""Elements per tile: its float64 copy is 512 KiB. Measured on float32 over 16 MiB blocks, tiles of 2**15 to 2**17
run within 10 %, 2**20 at two thirds."""


class NumpyArrays:
    """Executor on the CPU. Blocks come with few axes, `kept` naming the ones that name units; see `blocks.collapse`."""

    name = "numpy"
    device = "cpu"

    def peaks(self, block: Array, kept: tuple[int, ...]) -> Float64:
        """Largest |x| per unit, NaN where a unit holds NaN. Shape: the kept axes of `block`."""

        def peak(wide: Float64, axes: tuple[int, ...]) -> Float64:
            return np.asarray(np.maximum(wide.max(axis=axes), -wide.min(axis=axes)))

        return self._reduce(block, kept, peak, np.maximum)

    def power_sums(self, block: Array, kept: tuple[int, ...], p: float, exponents: Array | None) -> Float64:
        """Sum of (|x| * 2**-exponent) ** p per unit, in float64. Shape: the kept axes of `block`."""
        labels = "abcdefgh"[: block.ndim]
        squares = f"{labels},{labels}->{''.join(labels[axis] for axis in kept)}"

        def sums(wide: Float64, axes: tuple[int, ...]) -> Float64:
            if p == 2:
                return np.asarray(np.einsum(squares, wide, wide))
            np.abs(wide, out=wide)
            return np.asarray(power(wide, p).sum(axis=axes))

        return self._reduce(block, kept, sums, np.add, exponents)

    def scale(self, block: Array, kept: tuple[int, ...], factors: Float64) -> Array:
        """The block times one factor per unit, rounded toward zero; units whose factor is 1 keep their bytes.

        It lies in memory that the next call on the same thread takes over.
        """
        result = reuse("scaled", block.nbytes).view(block.dtype).reshape(block.shape)
        buffer = reuse("tile", 8 * _TILE).view(np.float64)
        grid = _grid(factors, block.ndim, kept)
        bits = np.dtype(f"u{block.dtype.itemsize}")
        with np.errstate(all="ignore"):
            for tile in _tiles(block.shape):
                over = _part(grid, tile)
                kept_units = over == 1.0
                if kept_units.all():
                    result[tile] = block[tile]
                    continue
                part = block[tile]
                wide = buffer[: part.size].reshape(part.shape)
                widen(part, wide)
                np.multiply(wide, over, out=wide)
                narrow(wide, result[tile])
                if kept_units.any():
                    np.copyto(result[tile].view(bits), part.view(bits), where=kept_units)
        return result

    def _reduce(
        self,
        block: Array,
        kept: tuple[int, ...],
        reduce_tile: Callable[[Float64, tuple[int, ...]], Float64],
        join: np.ufunc,
        exponents: Array | None = None,
    ) -> Float64:
        axes = tuple(axis for axis in range(block.ndim) if axis not in kept)
        result = np.zeros(tuple(block.shape[axis] for axis in kept))
        grid = None if exponents is None else _grid(-exponents, block.ndim, kept)
        buffer = reuse("tile", 8 * _TILE).view(np.float64)
        with np.errstate(all="ignore"):
            for tile in _tiles(block.shape):
                part = block[tile]
                wide = buffer[: part.size].reshape(part.shape)
                widen(part, wide)
                if grid is not None:
                    wide = np.ldexp(wide, _part(grid, tile))
                where: tuple[Any, ...] = (*(tile[axis] for axis in kept), ...)
                units = result[where]  # a view; without the ellipsis a result of rank 0 would come as a number
                join(units, reduce_tile(wide, axes), out=units)
        return result


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most `_TILE` elements that cover `shape`, whole along the last axes as far as they fit."""
    steps: list[int] = []
    room = _TILE
    for size in reversed(shape):
        step = max(1, min(size, room))
        steps.append(step)
        room //= step
    ranges = [range(0, size, step) for size, step in zip(shape, reversed(steps), strict=True)]
    sizes = list(reversed(steps))
    for starts in itertools.product(*ranges):
        yield tuple(slice(start, start + step) for start, step in zip(starts, sizes, strict=True))


def _grid(per_unit: Array, ndim: int, kept: tuple[int, ...]) -> Array:
    """Per-unit numbers, shaped so that they broadcast over a block."""
    others = tuple(axis for axis in range(ndim) if axis not in kept)
    return np.asarray(np.expand_dims(per_unit, others))


def _part(grid: Array, tile: tuple[slice, ...]) -> Array:
    """The part of a unit grid that broadcasts over one tile."""
    return grid[tuple(cut if size > 1 else slice(None) for cut, size in zip(tile, grid.shape, strict=True))]
