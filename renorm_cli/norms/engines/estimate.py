"""How long each engine would take, by rates that were measured (docs/performance.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from renorm_cli.norms.error_free import is_small_whole


class Rates(NamedTuple):
    """GB/s of stored weights, on one thread, for each kind of power that is summed."""

    squares: float
    magnitudes: float
    """p = 1, and p = inf."""
    whole: float
    """Small whole p."""
    other: float

    def of(self, p: float) -> float:
        """The rate for this p."""
        if p == 2:
            return self.squares
        if p in (1.0, float("inf")):
            return self.magnitudes
        return self.whole if is_small_whole(p) else self.other


NUMPY: Mapping[str, Rates] = {
    "float32": Rates(16, 17, 4.1, 2.0),
    "bfloat16": Rates(8.4, 4.5, 2.0, 1.0),
    "float16": Rates(3.6, 2.7, 1.5, 0.9),
    "float64": Rates(9.6, 27, 4.6, 2.9),
}

NUMPY_PRODUCTS = 16e9
"""Multiplications of float64 matrices per second on one thread, with all that a proof takes beside them."""

GPU_START = 4.0
"""Seconds."""

GPU_TRANSFER = 7.0
"""GB/s of stored weights to the GPU, with any number of threads. What is computed of them there takes a tenth."""

GPU_PRODUCTS = 600e9
"""As `NUMPY_PRODUCTS`, together, on GPUs that are not made for float64 (1.3 TFLOP/s); others have fifty times that."""

_MARGIN = 2.0
"""How many times as fast the GPU must be, as these are the rates of other machines."""


class Load(NamedTuple):
    """What is to be computed, at least: one look at the weights.

    Where that pays, a bound does: for it NumPy sums twice, and the GPU needs three transfers, one of them back.
    """

    weights: Mapping[tuple[str, float], int] = {}
    """Bytes of weights by their dtype and p."""
    products: float = 0.0
    """Multiplications of float64 matrices that a device would do."""
    jobs: int = 1
    """Threads of NumPy."""


def numpy_seconds(load: Load) -> float:
    """The time of NumPy."""
    sums = sum(nbytes / 1e9 / NUMPY[dtype].of(p) for (dtype, p), nbytes in load.weights.items())
    return (sums + load.products / NUMPY_PRODUCTS) / load.jobs


def gpu_seconds(load: Load) -> float:
    """The time of TensorFlow on a GPU, its start included."""
    return GPU_START + sum(load.weights.values()) / 1e9 / GPU_TRANSFER + load.products / GPU_PRODUCTS


def gpu_pays(load: Load) -> bool:
    """Whether a GPU is certainly faster."""
    return numpy_seconds(load) > _MARGIN * gpu_seconds(load)
