"""Whether a unit is a scalar multiple of what it was, to within one rounding per element, told block by block.

Let `b` and `a` be the sizes of an element before and after, `a-` and `a+` the stored numbers next to `a`, and `(..)`
the middle of two. `a` is the product `f * b`, rounded once, exactly for the factors `f` in an interval:

    rounded toward zero, as 16 bits are by `apply`      a / b <= f < a+ / b
    rounded to nearest, as float32 is                   (a- a) / b <= f <= (a a+) / b

A unit is a multiple if one factor of at most 1 lies in the intervals of all its elements, all rounded the one way or
all the other, and if no sign changed, no element grew, and it is not zero all over where it was not.
So nothing is estimated, and only the largest lower end and the least upper end are kept per unit.

The ends are quotients in float64. For float32 and narrower that is exact: their numerators and denominators have at
most 25 significant bits, so two that differ do so by 2**-50 at least, and float64 tells them apart. Quotients of
float64 numbers are rounded themselves; there the neighbours are the ends and may miss by two roundoffs, so that an
element may be some five units in the last place off. Below its smallest normal number any dtype is allowed the
neighbours, as some casts round there to nearest and some toward zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import grid_shape, partition
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.norms.engines.base import others
from renorm_cli.norms.error_free import Bools, Float64
from renorm_cli.norms.rounding import widen

Array = npt.NDArray[Any]

Rounding = Literal["toward zero", "to nearest"]

_TILE = 1 << 16
_FLOAT64_MISS = 1 + 2.0**-52
_LIFT = 1000
"""Factors of float64 are kept times 2 ** _LIFT: one can be 1e-328, and where it is subnormal it would be any other."""


def bits(values: Array) -> Array:
    """The bit patterns of stored numbers as unsigned integers in this machine's byte order, a row per element."""
    dtype = values.dtype
    size = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    stored = np.dtype(f"u{size}").newbyteorder(dtype.byteorder)
    flat = np.ascontiguousarray(values).reshape(-1).view(stored)
    return flat.astype(np.dtype(f"u{size}"), copy=False).reshape(values.size, -1)


def largest_change(before: Array, after: Array) -> float:
    """The largest |after - before| of two float arrays, infinite where NaN or Inf came or went."""
    one, two = before.reshape(-1), after.reshape(-1)
    found = 0.0
    wide_one, wide_two = np.empty(_TILE), np.empty(_TILE)
    with np.errstate(all="ignore"):
        for start in range(0, one.size, _TILE):
            part = slice(start, start + _TILE)
            change, old = wide_two[: one[part].size], wide_one[: one[part].size]
            widen(two[part], change)
            widen(one[part], old)
            change -= old
            largest = max(float(change.max()), -float(change.min()))
            if not np.isfinite(largest):  # what is NaN or Inf and stayed so is no change
                differ = (bits(one[part]) != bits(two[part])).reshape(-1)
                largest = float(np.where(np.isfinite(change[differ]), np.abs(change[differ]), np.inf).max(initial=0.0))
            found = max(found, largest)
    return found


@dataclass(frozen=True, slots=True)
class Factors:
    """Per unit, on a unit grid: the least and the largest factor that fits, and what rules out any factor.

    Those of float64 are times 2 ** _LIFT.
    """

    lowest: Float64
    highest: Float64
    sound: Bools
    changed: Bools
    was_zero: Bools
    is_zero: Bools

    @staticmethod
    def none(grid: Sequence[int]) -> Factors:
        """The factors that fit no elements yet: all of them."""
        shape = tuple(grid)
        yes, no = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
        return Factors(np.zeros(shape), np.full(shape, np.inf), yes, no, yes.copy(), yes.copy())

    def add(self, where: tuple[slice, ...], other: Factors) -> None:
        """Add more elements of the units at `where`."""
        part: tuple[Any, ...] = (*where, ...)  # of rank 0, too, a view
        np.maximum(self.lowest[part], other.lowest, out=self.lowest[part])
        np.minimum(self.highest[part], other.highest, out=self.highest[part])
        self.sound[part] &= other.sound
        self.changed[part] |= other.changed
        self.was_zero[part] &= other.was_zero
        self.is_zero[part] &= other.is_zero

    def reshaped(self, grid: Sequence[int]) -> Factors:
        shape = tuple(grid)
        return Factors(
            self.lowest.reshape(shape),
            self.highest.reshape(shape),
            self.sound.reshape(shape),
            self.changed.reshape(shape),
            self.was_zero.reshape(shape),
            self.is_zero.reshape(shape),
        )

    def are_multiples(self, dtype: str, rounding: Rounding) -> Bools:
        """Which units are the old ones times one factor above 0 and of at most 1."""
        highest = np.minimum(self.highest, 2.0**_LIFT if dtype == "float64" else 1.0)
        if dtype == "float64":
            fits = self.lowest <= highest * _FLOAT64_MISS
        elif rounding == "toward zero":
            fits = (self.lowest < self.highest) & (self.lowest <= 1.0)
        else:
            fits = self.lowest <= highest
        return np.asarray(fits & self.sound & (self.was_zero | ~self.is_zero))


def factors(before: Array, after: Array, kept: tuple[int, ...], rounding: Rounding) -> Factors:
    """The factors that fit the elements of one block, of few axes; `kept` are its axes that name units."""
    found = Factors.none(grid_shape(before.shape, kept))
    summed = others(before.ndim, kept)
    tiles = _Tiles(before.dtype, min(before.size, _TILE))
    with np.errstate(all="ignore"):
        for tile in partition(before.shape, _TILE):
            found.add(tile.units(kept), tiles.factors(before[tile.box], after[tile.box], summed, rounding))
    return found


class _Tiles:
    """Works on one tile after the other in the same memory: to get it anew each time takes more than the work."""

    def __init__(self, dtype: np.dtype[Any], elements: int) -> None:
        self._dtype = dtype.newbyteorder("=")
        self._bits = np.empty((4, elements), dtype=f"u{dtype.itemsize}")
        self._wide = np.empty((4, elements))
        kind = self._bits.dtype.type
        self._step = kind(1)
        self._sizes = kind((1 << (8 * dtype.itemsize - 1)) - 1)
        self._normal = kind(1 << FLOATS[dtype.name].fraction_bits)
        self._infinite = self._sizes - (self._normal - self._step)

    def factors(self, before: Array, after: Array, others: tuple[int, ...], rounding: Rounding) -> Factors:
        shape, count = before.shape, before.size
        one, two = bits(before).reshape(shape), bits(after).reshape(shape)
        flips, old, new, spare = (room[:count].reshape(shape) for room in self._bits)
        flipped = np.bitwise_or.reduce(np.bitwise_xor(one, two, out=flips), axis=others, keepdims=True)
        np.bitwise_and(one, self._sizes, out=old)
        np.bitwise_and(two, self._sizes, out=new)
        least_old, least_new = int(old.min()), int(new.min())
        wide = self._widened(old, 3)
        lower, upper = self._ends(new, spare, least_new <= self._normal, rounding)
        for ends in (lower, upper):
            _divide(ends, wide, _LIFT if self._dtype.itemsize == 8 else 0)
        if not least_old:
            zero = old == 0
            lower[zero], upper[zero] = 0.0, np.inf
        wrong = flipped > self._sizes  # a sign
        if not least_old or least_new <= self._normal or self._dtype.itemsize == 8:
            wrong |= (new > old).any(axis=others, keepdims=True)  # elsewhere the lower end of what grew is above 1
        if old.max() >= self._infinite:
            wrong |= (old >= self._infinite).any(axis=others, keepdims=True) & (flipped != 0)
        return Factors(
            np.max(lower, axis=others, keepdims=True, initial=0.0),
            np.min(upper, axis=others, keepdims=True, initial=np.inf),
            ~wrong,
            flipped != 0,
            _all_zero(old, others, least_old),
            _all_zero(new, others, least_new),
        )

    def _ends(self, sizes: Array, spare: Array, has_tiny: bool, rounding: Rounding) -> tuple[Float64, Float64]:
        """The least and the largest product that `sizes`, bits without their signs, can be the rounding of."""
        above = self._widened(np.add(sizes, self._step, out=spare), 0)
        exact = self._widened(sizes, 1)
        nearest, narrow = rounding == "to nearest", self._dtype.itemsize < 8
        if narrow and not nearest and not has_tiny:
            return exact, above
        np.subtract(np.maximum(sizes, self._step, out=spare), self._step, out=spare)
        below = self._widened(spare, 2)
        if not narrow:
            return below, above
        if not has_tiny:
            return np.multiply(below + exact, 0.5, out=below), np.multiply(exact + above, 0.5, out=above)
        lower, upper = ((below + exact) / 2, (exact + above) / 2) if nearest else (exact, above)
        tiny = sizes <= self._normal
        return np.where(tiny, below, lower), np.where(tiny, above, upper)

    def _widened(self, sizes: Array, number: int) -> Float64:
        out = self._wide[number, : sizes.size].reshape(sizes.shape)
        widen(sizes.view(self._dtype), out)
        return out


def _divide(ends: Float64, by: Float64, lift: int) -> None:
    """Divide in place, and multiply by 2 ** lift; quotients that would be subnormal before that are not rounded."""
    if not lift or ends.min() > by.max() * 2.0**-lift:
        np.divide(ends, by, out=ends)
        if lift:
            np.multiply(ends, 2.0**lift, out=ends)
        return
    (numbers, exponents), (divisors, others) = np.frexp(ends), np.frexp(by)
    np.ldexp(numbers / divisors, exponents - others + lift, out=ends)


def _all_zero(sizes: Array, others: tuple[int, ...], least: int) -> Bools:
    if least:
        return np.zeros(tuple(1 if axis in others else size for axis, size in enumerate(sizes.shape)), dtype=bool)
    return np.asarray(~sizes.any(axis=others, keepdims=True))
