"""The contract of every format, for TensorFlow.js: a plain loop reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from contracts.checkpoint import CheckpointContract
from support import tfjs_files


class TestTfjs(CheckpointContract):
    format, name, kernels = "tfjs", "model.json", tfjs_files.SMALL_KERNELS

    def make(self, folder: Path) -> Path:
        return tfjs_files.write_small(folder)

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return tfjs_files.read_tfjs(path)

    def rest(self, path: Path) -> object:
        return tfjs_files.but_paths(path)
