"""Arrays of every dtype, and facts about the dtypes."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

DTYPES = ("float16", "bfloat16", "float32", "float64")
ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
LARGEST = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38, "float64": 1e300}
SMALLEST_NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}
POWERS = (1.0, 2.0, 3.0, math.inf)
SLACK = {"float64": 1e-12}


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array of any dtype, rank 0 to 4, with units of very different sizes, and axes that name its units."""
    name = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=0, max_size=4)))
    unit_axes = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    magnitudes = st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4])
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).standard_normal(shape)
    sizes = np.array(draw(st.lists(magnitudes, min_size=1, max_size=6)))
    grid = np.resize(sizes, tuple(n if axis in unit_axes else 1 for axis, n in enumerate(shape)))
    return np.asarray(values * grid).astype(dtype_of(name)), unit_axes


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def spread(per_unit: np.ndarray, array: np.ndarray, unit_axes: tuple[int, ...]) -> np.ndarray:
    """One value per unit, repeated for each element of the unit."""
    others = tuple(axis for axis in range(array.ndim) if axis not in unit_axes)
    return np.broadcast_to(np.expand_dims(per_unit, others), array.shape)
