"""Chooses the engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from renorm_cli.errors import EngineError, Way
from renorm_cli.model.plan import Note
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.estimate import Load, gpu_pays

WITH_CUDA = "'tensorflow[and-cuda]'"
"""TensorFlow and the CUDA libraries; who has no GPU needs `tensorflow` alone."""

_GPU_NODES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of NVIDIA, AMD and WSL drivers. Looking for them is free; importing TensorFlow takes seconds."""


_NOTHING = Load()


def pick(engine: str = "auto", device: str = "auto", load: Load = _NOTHING) -> tuple[Engine, tuple[Note, ...]]:
    """The engine for `engine` (auto, numpy, tensorflow) and `device` (auto, cpu, gpu), and notes for the user.

    `auto` means TensorFlow if there is a GPU that is faster for this `load`, the seconds of TensorFlow's start
    included; else NumPy, because on a CPU TensorFlow's float64 sums are slower. Raises EngineError if the requested
    engine or device is missing.
    """
    if engine == "numpy" and device == "gpu":
        raise EngineError("NumPy computes on the CPU only", Way("engine", "use the GPU", "tensorflow"))
    gpu = any(Path(node).exists() for node in _GPU_NODES)
    if device == "gpu" and not gpu:
        raise EngineError("no GPU device was found on this machine", Way("device", "use what there is", "auto"))
    demanded = engine == "tensorflow" or device == "gpu"
    if demanded or (gpu and engine == device == "auto" and gpu_pays(load)):
        if importlib.util.find_spec("tensorflow") is not None:
            from renorm_cli.norms.engines.tensorflow_engine import TensorFlowEngine

            found = TensorFlowEngine(device)
            if demanded or found.device != "cpu":
                return found, ()
        elif demanded:
            package = WITH_CUDA if gpu else "tensorflow"
            raise EngineError(
                f"TensorFlow is not installed; pip install {package}", Way("engine", "do without", "numpy")
            )
        else:
            text = f"a GPU is there but TensorFlow is not: pip install {WITH_CUDA} to use it"
            return _numpy(), (Note(text, warning=True),)
    return _numpy(), ()


def _numpy() -> Engine:
    from renorm_cli.norms.engines.numpy_engine import NumpyEngine

    return NumpyEngine()
