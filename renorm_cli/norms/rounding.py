"""Widens stored weights to float64, and rounds products of 16 bit weights toward zero, so that none grows a norm.

On integers, because NumPy casts to and from float16 element by element. The bits of a 16 bit float, shifted, are those
of a wider float with the same significand and another bias of the exponent: a power of two away, also among subnormals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from renorm_cli.parallel.memory import Purpose, reuse

_SIGN = np.uint16(1 << 15)
_SIZE = np.uint16((1 << 15) - 1)

_INFINITY = {"float16": np.uint16(0x7C00), "bfloat16": np.uint16(0x7F80)}

_TO_FLOAT64 = {"float16": np.uint64(42), "bfloat16": np.uint64(45)}
"""Bits to shift a pattern without its sign by, so that its significand is that of a float64."""

_CUT_BITS = {"float16": np.uint32(13), "bfloat16": np.uint32(16)}
"""Bits of a float32's significand that the dtype has not."""

_KEEPING = {"float16": 1 + 2.0**-12, "bfloat16": 1 + 2.0**-9}
"""A factor whose products lie a quarter to half of the dtype's step above the number, and are cut to it."""

_LEAST_ROUGH = 2.0**-100
"""float32 has factors above this at its full precision."""

_OFF = 2
"""Units in the last place, rounded up, by which a product of float32 is off: 1 from its factor, 0.5 of its own."""

_LINES = 16
"""Lines that the low bits of products are laid in, to find the few that are near a step by the least of each column."""

_FEW = 4
"""Up to one column in 2**4 may have some: where there are more, the tile is made exact as a whole, which is faster."""

_FLOAT16_TO_FLOAT32 = np.int32(13)
_FLOAT16_BITS = np.int32(-0x70002000)
"""The sign, once, the exponent and the significand of a float16 that was extended by its sign and shifted."""

SHRUNK = 2.0**112
"""The value of a float16 over that of the float32 with its exponent and significand."""

_FLOAT16_BIAS = np.float32(SHRUNK)


def widen(tile: npt.NDArray[np.generic], out: npt.NDArray[np.float64]) -> None:
    """Write a tile of weights of any supported dtype and byte order as float64."""
    if tile.dtype != np.float16 or not tile.dtype.isnative or _sizes(tile).max(initial=0) >= _INFINITY["float16"]:
        np.copyto(out, tile, casting="safe")
        return
    wide = reuse(Purpose.WIDENED, 4 * tile.size).view(np.int32).reshape(tile.shape)
    np.copyto(wide, tile.view(np.int16))
    np.left_shift(wide, _FLOAT16_TO_FLOAT32, out=wide)
    np.bitwise_and(wide, _FLOAT16_BITS, out=wide)
    np.multiply(wide.view(np.float32), _FLOAT16_BIAS, out=wide.view(np.float32))
    np.copyto(out, wide.view(np.float32))


def shrink(tile: npt.NDArray[np.generic], out: npt.NDArray[np.float64]) -> None:
    """Write |x| of a tile of float16 as float64, divided by `SHRUNK`, which is exact and takes less than `widen`."""
    sizes = _sizes(tile)
    if sizes.max(initial=0) >= _INFINITY["float16"]:
        np.abs(tile, out=out, casting="safe")
        np.divide(out, SHRUNK, out=out)
        return
    wide = reuse(Purpose.WIDENED, 4 * tile.size).view(np.uint32).reshape(tile.shape)
    np.copyto(wide, sizes)
    np.left_shift(wide, _CUT_BITS["float16"], out=wide)
    np.copyto(out, wide.view(np.float32))


def rough_factors(factors: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[np.float32] | None:
    """Factors for `scale_roughly`; None where products in float32 could be far off, or numbers are stored swapped.

    The products of units whose factor is 1 or NaN are cut to the numbers as they are.
    """
    kept = np.isnan(factors) | (factors == 1)
    if not dtype.isnative or not (kept | ((factors >= _LEAST_ROUGH) & (factors < 1))).all():
        return None
    return np.where(kept, _KEEPING[dtype.name], factors).astype(np.float32)


def scale_roughly(
    tile: npt.NDArray[Any], factors: npt.NDArray[np.float32], out: npt.NDArray[Any]
) -> npt.NDArray[np.intp] | None:
    """Write a tile of 16 bit weights times `rough_factors`, as `scale_16_bits` does but for few elements.

    Returns the flat positions of all that may be wrong: the product in float32 is within its error of a number of the
    dtype, so that it is not certain to which the exact one is cut. NaN and Inf are among them. None where these are so
    many that the whole tile is better made by `scale_16_bits`.
    """
    name, cut = tile.dtype.name, _CUT_BITS[tile.dtype.name]
    columns = -(-tile.size // _LINES)
    room = reuse(Purpose.SIZES, 2 * _LINES * columns).view(np.uint16)
    low, patterns, results = room[: tile.size].reshape(tile.shape), tile.view(np.uint16), out.view(np.uint16)
    product = reuse(Purpose.WIDENED, 4 * tile.size).view(np.float32).reshape(tile.shape)
    bits = product.view(np.uint32)
    if name == "float16":
        np.bitwise_and(patterns, _SIZE, out=low)
        if low.max(initial=0) >= _INFINITY[name]:
            return None
        np.copyto(bits, low)
        np.left_shift(bits, cut, out=bits)
    else:
        np.copyto(product, tile)
    np.multiply(product, factors, out=product)
    np.copyto(low, bits, casting="unsafe")
    found = _near_steps(room, tile.size, cut)
    if found is None:
        return None
    np.right_shift(bits, cut, out=bits)
    np.copyto(results, bits, casting="unsafe")
    if name == "float16":
        np.bitwise_or(results, np.bitwise_and(patterns, _SIGN, out=low), out=results)
    return found


def _near_steps(low: npt.NDArray[np.uint16], count: int, cut: np.uint32) -> npt.NDArray[np.intp] | None:
    """Which of the first `count` products, given by their low bits, are near a step; None where many are."""
    step = np.uint16(1 << (16 - cut))
    if step > 1:
        np.multiply(low, step, out=low)  # moves all but the bits below the step out
    np.add(low, np.uint16(_OFF * step), out=low)
    low[count:] = 1 << 15  # far from any
    near = np.uint16(2 * _OFF * step)
    columns = low.size // _LINES
    found = np.flatnonzero(np.minimum.reduce(low.reshape(_LINES, columns), axis=0) < near)
    if found.size > max(1, columns >> _FEW):
        return None
    positions = (np.arange(0, low.size, columns)[:, None] + found).ravel()
    return np.asarray(positions[low[positions] < near])


def scale_16_bits(tile: npt.NDArray[Any], factors: npt.NDArray[np.float64], out: npt.NDArray[Any]) -> None:
    """Write a tile of 16 bit weights times factors >= 0, rounded toward zero; keeps signs, Inf and NaN.

    Products are rounded to float64 before, those below the dtype's normal range to nearest, in steps 2**42 (bfloat16:
    2**45) times finer than its own: whoever bounds a norm must measure again.
    """
    infinity, shift = _INFINITY[tile.dtype.name], _TO_FLOAT64[tile.dtype.name]
    sizes = _sizes(tile)
    special = sizes.max(initial=0) >= infinity
    wide = reuse(Purpose.TILE, 8 * tile.size).view(np.uint64).reshape(tile.shape)
    np.copyto(wide, sizes)
    np.left_shift(wide, shift, out=wide)
    np.multiply(wide.view(np.float64), factors, out=wide.view(np.float64))
    np.right_shift(wide, shift, out=wide)
    if factors.max(initial=0) > 1:
        np.minimum(wide, infinity - np.uint64(1), out=wide)
    patterns, results = _patterns(tile), _patterns(out)
    np.copyto(results, wide, casting="unsafe")
    np.bitwise_or(results, np.bitwise_and(patterns, _SIGN, out=sizes), out=results)
    if special:
        np.copyto(results, patterns, where=patterns & _SIZE >= infinity)


def _sizes(tile: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The patterns of a 16 bit tile without their signs; they have the order of the numbers, NaN above Inf."""
    sizes = reuse(Purpose.SIZES, 2 * tile.size).view(np.uint16).reshape(tile.shape)
    return np.asarray(np.bitwise_and(_patterns(tile), _SIZE, out=sizes))


def _patterns(tile: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The bits of a 16 bit tile as integers, in its byte order."""
    return tile.view(np.dtype(np.uint16).newbyteorder(tile.dtype.byteorder if tile.dtype.kind == "f" else "="))
