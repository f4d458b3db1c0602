"""Executors of the three block operations, and the choice between them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from renorm_cli.errors import EngineError
from renorm_cli.model import Note

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK_BYTES = 4 << 20
"""Weights in memory at once, per job, where the CPU computes."""

_WORTH_A_GPU = 2 << 30
"""Bytes of weights up to which NumPy was done first whatever the dtype, also on two threads beside an H200: TensorFlow
takes four seconds to start there. The README has what was measured, under "Engines"."""

_GPU_NODES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of NVIDIA, AMD and WSL drivers: a look at them costs nothing, importing TensorFlow costs seconds."""


class Arrays(Protocol):
    """Three operations on one block of weights; they hold no policy.

    A block is a small-rank array in its stored dtype, `kept` are its axes that name units. Per-unit arrays have the
    shape of the kept axes and are float64 (exponents: int64).
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def block_bytes(self) -> int:
        """How many bytes of weights it is best given at a time."""
        ...

    def peaks(self, block: npt.NDArray[Any], kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Largest |x| per unit, NaN where a unit holds NaN."""
        ...

    def power_sums(
        self, block: npt.NDArray[Any], kept: tuple[int, ...], p: float, exponents: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.float64]:
        """Sum of (|x| * 2**-exponent) ** p per unit; not finite where a unit holds NaN or Inf."""
        ...

    def scale(
        self, block: npt.NDArray[Any], kept: tuple[int, ...], factors: npt.NDArray[np.float64]
    ) -> npt.NDArray[Any]:
        """The block times one factor per unit, rounded to nearest; of 16 bits, toward zero.

        A unit whose factor is 1 keeps its numbers, one whose factor is NaN its bytes, also those of a NaN in it. The
        result is valid until the next call on the same thread.
        """
        ...


def others(rank: int, kept: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that name no units: those that sums run over."""
    return tuple(axis for axis in range(rank) if axis not in kept)


def pick(engine: str = "auto", device: str = "auto", nbytes: int = 0) -> tuple[Arrays, tuple[Note, ...]]:
    """The executor for `engine` (auto, numpy, tensorflow) and `device` (auto, cpu, gpu), and what to say of it.

    `auto` is TensorFlow if a GPU is there and so many bytes of weights are worth its start, which takes seconds, else
    NumPy: on a CPU TensorFlow's float64 sums are slower. Raises EngineError where the asked engine or device is not
    there.
    """
    if engine == "numpy" and device == "gpu":
        raise EngineError("--engine numpy runs on the CPU only; use --engine tensorflow with --device gpu")
    gpu = any(Path(node).exists() for node in _GPU_NODES)
    if device == "gpu" and not gpu:
        raise EngineError("--device gpu: no GPU device was found on this machine; use --device cpu or auto")
    demanded = engine == "tensorflow" or device == "gpu"
    if demanded or (gpu and engine == device == "auto" and nbytes > _WORTH_A_GPU):
        if importlib.util.find_spec("tensorflow") is not None:
            from renorm_cli.arrays.tensorflow_arrays import TensorFlowArrays

            found = TensorFlowArrays(device)
            if demanded or found.device != "cpu":
                return found, ()
        elif demanded:
            raise EngineError("TensorFlow is not installed; pip install 'renorm-ckpt[gpu]', or use --engine numpy")
        else:
            advice = "pip install 'renorm-ckpt[gpu]' to use it"
            return _numpy(), (Note(f"a GPU is there but TensorFlow is not: {advice}", warning=True),)
    return _numpy(), ()


def _numpy() -> Arrays:
    from renorm_cli.arrays.numpy_arrays import NumpyArrays

    return NumpyArrays()
