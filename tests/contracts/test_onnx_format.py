"""The contract of every format, for ONNX: a few lines that know onnx.proto read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract
from support import onnx_files


class TestOnnx(CheckpointContract):
    format, name, kernels = "onnx", "m.onnx", onnx_files.SMALL_KERNELS

    def make(self, folder: Path) -> Path:
        (folder / "m.onnx").write_bytes(onnx_files.small_model())
        return folder / "m.onnx"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return onnx_files.read_onnx(path)


class TestOnnxWithData(TestOnnx):
    """Tensors in a file beside the model."""

    def make(self, folder: Path) -> Path:
        onnx_files.write_outside(folder / "m.onnx")
        return folder / "m.onnx"


@pytest.mark.slow
class TestOnnxWithChecksum(TestOnnxWithData):
    """The model tells the checksum of that file, once for each tensor in it."""

    def make(self, folder: Path) -> Path:
        onnx_files.write_outside(folder / "m.onnx", checksum=True)
        return folder / "m.onnx"
