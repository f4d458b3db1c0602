"""Rounds float64 products to weights of 16 bits: always toward zero, so that no rounding grows a norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from renorm_cli.parallel.memory import Purpose, reuse

FLOAT32_TAIL = np.uint64((1 << 29) - 1)
"""The bits of a float64 significand that do not fit into a float32."""

_FLOAT32_BITS = ~FLOAT32_TAIL

_FLOAT16_BIAS = np.float32(2.0**-112)
"""Converts float32's exponent bias to that of float16."""

_FLOAT16_LARGEST = np.float32(65504).view(np.uint32)


def widen(tile: npt.NDArray[np.generic], out: npt.NDArray[np.float64]) -> None:
    """Write a tile of weights of any supported dtype and byte order as float64."""
    if tile.dtype.kind == "V":  # bfloat16, which is not NumPy's own
        bits = _scratch(Purpose.WIDENED, tile.shape)
        np.copyto(bits, tile.view(np.uint16))
        np.left_shift(bits, np.uint32(16), out=bits)
        np.copyto(out, bits.view(np.float32))
    else:
        np.copyto(out, tile, casting="safe")


def narrow(products: npt.NDArray[np.float64], out: npt.NDArray[Any]) -> None:
    """Round float64 products toward zero to the 16 bit dtype of `out` and write them there; overwrites `products`.

    Products below float32's smallest normal number are rounded to nearest; whoever bounds a norm must measure again.
    """
    bits = products.view(np.uint64)
    np.bitwise_and(bits, _FLOAT32_BITS, out=bits)
    values = _scratch(Purpose.NARROWED, products.shape).view(np.float32)
    np.copyto(values, products, casting="same_kind")
    narrow_float32(values, out)


def narrow_float32(values: npt.NDArray[np.float32], out: npt.NDArray[Any]) -> None:
    """Round float32 values toward zero to the 16 bit dtype of `out`; keeps Inf and NaN."""
    # On integers, because NumPy's cast to float16 is not vectorized and is much slower.
    bits = _scratch(Purpose.BITS, values.shape)
    if out.dtype.name == "bfloat16":
        np.right_shift(values.view(np.uint32), np.uint32(16), out=bits)
        _store(bits, out)
        return
    signs = _scratch(Purpose.SIGNS, values.shape)
    np.right_shift(values.view(np.uint32), np.uint32(16), out=signs)
    np.bitwise_and(signs, np.uint32(0x8000), out=signs)
    np.bitwise_and(values.view(np.uint32), np.uint32(0x7FFFE000), out=bits)  # keeps 10 bits of the significand
    large = bool(bits.max(initial=0) > _FLOAT16_LARGEST)
    if large:
        np.minimum(bits, _FLOAT16_LARGEST, out=bits)
    np.multiply(bits.view(np.float32), _FLOAT16_BIAS, out=bits.view(np.float32))  # exact but for bits cut off next
    np.right_shift(bits, np.uint32(13), out=bits)
    np.bitwise_or(bits, signs, out=bits)
    _store(bits, out)
    if large:
        np.copyto(out, values, where=~np.isfinite(values), casting="same_kind")


def _store(bits: npt.NDArray[np.uint32], out: npt.NDArray[Any]) -> None:
    """Write patterns of 16 bits into an array of 16 bit floats."""
    np.copyto(out.view(np.dtype(np.uint16).newbyteorder(out.dtype.byteorder)), bits, casting="unsafe")


def _scratch(purpose: Purpose, shape: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    size = 1
    for length in shape:
        size *= length
    return reuse(purpose, 4 * size).view(np.uint32).reshape(shape)
