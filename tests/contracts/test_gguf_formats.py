"""The contract of every format, for files of GGUF: the package gguf reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract
from support import gguf_files

pytest.importorskip("gguf")
pytestmark = pytest.mark.slow


class TestGguf(CheckpointContract):
    format, name, kernels = "gguf", "m.gguf", gguf_files.KERNELS

    def make(self, folder: Path) -> Path:
        return gguf_files.write(folder / "m.gguf")

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return gguf_files.read(path)


class TestSplit(CheckpointContract):
    format, name, kernels = "gguf-split", "m-00001-of-00003.gguf", gguf_files.KERNELS

    def make(self, folder: Path) -> Path:
        return gguf_files.write_split(folder)

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        parts = sorted(path.parent.glob("*.gguf"))
        return {name: array for part in parts for name, array in gguf_files.read(part).items()}
