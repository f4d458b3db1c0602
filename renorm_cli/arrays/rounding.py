"""The one rule by which float64 products become stored weights: toward zero, so that no rounding can grow a norm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FLOAT32_TAIL = np.uint64((1 << 29) - 1)
"""The bits of a float64 significand that float32 has no room for."""


def widen(tile: npt.NDArray[np.generic], out: npt.NDArray[np.float64]) -> None:
    """Write a tile of weights of any supported dtype and byte order as float64."""
    if tile.dtype.name == "bfloat16":
        bits = tile.view(np.uint16).astype(np.uint32) << np.uint32(16)
        np.copyto(out, bits.view(np.float32))
    else:
        np.copyto(out, tile, casting="safe")


def narrow(products: npt.NDArray[np.float64], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Round float64 products toward zero to `dtype`; `products` is overwritten.

    Below float32's smallest normal number the cast rounds to nearest; who bounds a norm looks at it again afterwards.
    """
    if dtype.itemsize == 8:
        return products.astype(dtype)
    bits = products.view(np.uint64)
    np.bitwise_and(bits, ~FLOAT32_TAIL, out=bits)
    return narrow_float32(products.astype(np.float32), dtype)


def narrow_float32(values: npt.NDArray[np.float32], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Round float32 values toward zero to `dtype` (float32 or 16 bit)."""
    if dtype.name == "bfloat16":
        return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16).view(dtype)
    if dtype.itemsize == 4:
        return values.astype(dtype, copy=False)
    nearest = values.astype(np.float16)
    grown = np.abs(nearest.astype(np.float32)) > np.abs(values)
    toward_zero = nearest.view(np.uint16) - grown  # sign and magnitude: one less is one step toward zero
    return toward_zero.astype(np.uint16).view(np.float16).astype(dtype, copy=False)
