"""Engines that hold blocks where there is no GPU: in other memory of the same machine."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine


class Far:
    """A block that is held."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array.copy()


class NumpyElsewhere(NumpyEngine):
    """NumPy, with the bytes of each block that went to it and of each that came back; `held` are those alive."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.moved: list[bytes] = []
        self.back: list[bytes] = []
        self.held: weakref.WeakSet[Far] = weakref.WeakSet()

    def hold(self, block: Any) -> Any:
        self.moved.append(block.tobytes())
        far = Far(block)
        self.held.add(far)
        return far

    def peaks(self, block: Any, kept: tuple[int, ...]) -> np.ndarray:
        return super().peaks(self._there(block), kept)

    def power_sums(self, block: Any, kept: tuple[int, ...], p: float, exponents: Any) -> np.ndarray:
        return super().power_sums(self._there(block), kept, p, exponents)

    def scale(self, block: Any, kept: tuple[int, ...], factors: Any) -> np.ndarray:
        scaled = super().scale(self._there(block), kept, factors)
        self.back.append(scaled.tobytes())
        return scaled

    def _there(self, block: Any) -> np.ndarray:
        if isinstance(block, Far):
            return block.array
        self.moved.append(block.tobytes())
        return np.asarray(block)


class HeldFirst:
    """An engine that holds every block before the first operation on it; the memory of the block is used again after
    that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.device = engine.name, engine.device

    def peaks(self, block: np.ndarray, *rest: Any) -> np.ndarray:
        return self._engine.peaks(self._held(block), *rest)

    def power_sums(self, block: np.ndarray, *rest: Any) -> np.ndarray:
        return self._engine.power_sums(self._held(block), *rest)

    def scale(self, block: np.ndarray, *rest: Any) -> np.ndarray:
        return self._engine.scale(self._held(block), *rest)

    def _held(self, block: np.ndarray) -> Any:
        own = block.copy()
        held = self._engine.hold(own)
        assert held is not own or not own.size
        self._engine.peaks(held, ())
        if own.size:
            own.view(f"u{own.itemsize}")[...] = 0xAB
        return held


def tensorflow_elsewhere() -> Engine:
    """TensorFlow on the CPU, which holds blocks in memory of their own as it does on a GPU."""
    import tensorflow as tf

    from renorm_cli.norms.engines.tensorflow_engine import TensorFlowEngine

    class Elsewhere(TensorFlowEngine):
        def hold(self, block: np.ndarray) -> Any:
            held = super().hold(block)
            return held if held is block else held._replace(tensor=tf.raw_ops.DeepCopy(x=held.tensor))

    found = Elsewhere("cpu")
    found.room = 200
    return found
