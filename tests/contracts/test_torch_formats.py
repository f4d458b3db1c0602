"""The contract of every format, for PyTorch: Python's own machine reads the pickles, which hold tensors alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from contracts.checkpoint import CheckpointContract
from support import tensor_files, torch_files

KERNELS = tensor_files.TORCH_KERNELS


def arrays() -> dict[str, np.ndarray]:
    return {name: array for name, array in tensor_files.torch_arrays().items() if name != "scale"}


class TestTorchZip(CheckpointContract):
    format, name, kernels = "torch", "m.pt", KERNELS
    method = zipfile.ZIP_STORED

    def make(self, folder: Path) -> Path:
        torch_files.write_torch(folder / "m.pt", arrays(), method=self.method)
        return folder / "m.pt"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
        return torch_files.read_torch(path)

    def rest(self, path: Path) -> object:
        with zipfile.ZipFile(path) as archive:
            found = [(info.filename, info.date_time, info.compress_type) for info in archive.infolist()]
            return found, archive.read("m/data.pkl")


class TestTorchZipDeflated(TestTorchZip):
    method, rewrites = zipfile.ZIP_DEFLATED, True


class TestTorchStream(CheckpointContract):
    format, name, kernels = "torch-legacy", "m.pth", KERNELS

    def make(self, folder: Path) -> Path:
        torch_files.write_stream(folder / "m.pth", arrays())
        return folder / "m.pth"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return torch_files.read_torch(path)
