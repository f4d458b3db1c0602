"""The contract of every format, for PyTorch: Python's own machine reads the pickles, which hold tensors alone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.slow
class TestTorchZipDeflated(TestTorchZip):
    method, rewrites = zipfile.ZIP_DEFLATED, True


class TestTorchStream(CheckpointContract):
    format, name, kernels = "torch-legacy", "m.pth", KERNELS

    def make(self, folder: Path) -> Path:
        torch_files.write_stream(folder / "m.pth", arrays())
        return folder / "m.pth"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return torch_files.read_torch(path)


class TestTorchDistributed(CheckpointContract):
    """Most arrays lie in two files, the first rows in one."""

    format, name, kernels = "torch-distributed", "step", KERNELS

    def make(self, folder: Path) -> Path:
        torch_files.write_distributed(folder / "step", arrays())
        return folder / "step"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return torch_files.read_distributed(path)

    def rest(self, path: Path) -> object:
        return (path / ".metadata").read_bytes()

    def essential(self, path: Path) -> Sequence[Path]:
        return sorted(path.iterdir())


class TestTorchIndex(TestTorchZip):
    """One shard is an archive, the other a stream."""

    format, name = "torch-index", "pytorch_model.bin.index.json"

    def make(self, folder: Path) -> Path:
        first, second = tensor_files.halves(arrays())
        names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
        torch_files.write_torch(folder / names[0], first, prefix="archive")
        torch_files.write_stream(folder / names[1], second)
        weight_map = dict.fromkeys(first, names[0]) | dict.fromkeys(second, names[1])
        path = folder / "pytorch_model.bin.index.json"
        path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
        return path

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        names = sorted({*json.loads(path.read_text())["weight_map"].values()})
        return {key: array for name in names for key, array in torch_files.read_torch(path.with_name(name)).items()}

    def rest(self, path: Path) -> object:
        with zipfile.ZipFile(path.with_name("pytorch_model-00001-of-00002.bin")) as archive:
            assert archive.testzip() is None
            return json.loads(path.read_text()), archive.namelist(), archive.read("archive/data.pkl")
