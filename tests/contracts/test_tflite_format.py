"""The contract of every format, for TensorFlow Lite: the package flatbuffers writes and reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from contracts.checkpoint import CheckpointContract
from support import tflite_files


class TestTflite(CheckpointContract):
    format, name, kernels = "tflite", "m.tflite", tflite_files.SMALL_KERNELS

    def make(self, folder: Path) -> Path:
        (folder / "m.tflite").write_bytes(tflite_files.small_model())
        return folder / "m.tflite"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return tflite_files.read_tflite(path)
