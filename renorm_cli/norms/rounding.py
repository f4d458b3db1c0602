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

_FLOAT16_TO_FLOAT32 = np.int32(13)
_FLOAT16_BITS = np.int32(-0x70002000)
"""The sign, once, the exponent and the significand of a float16 that was extended by its sign and shifted."""

_FLOAT16_BIAS = np.float32(2.0**112)
"""The value of a float16 over that of the float32 with its exponent and significand."""


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
