"""The contract of every format, for what NumPy and flax save: NumPy reads the one, a few lines the other."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract
from support import builders, msgpack_files, tensor_files

FLAT = ("head.weight", "scale")
"""Of dtypes that NumPy does not save."""


def arrays() -> dict[str, np.ndarray]:
    """As C order and little-endian has them, but for one array that is big-endian."""
    found = {name: array for name, array in tensor_files.torch_arrays().items() if name not in FLAT}
    return found | {"big.weight": builders.kernel((3, 4), (0,), seed=4).astype(">f4"), "words": np.array(["a", "bc"])}


KERNELS = {name: axes for name, axes in tensor_files.TORCH_KERNELS.items() if name not in FLAT} | {"big.weight": (0,)}


class TestNpz(CheckpointContract):
    format, name, kernels = "npz", "m.npz", KERNELS
    save: Callable[..., Any] = staticmethod(np.savez)

    def make(self, folder: Path) -> Path:
        self.save(folder / "m.npz", **arrays())
        return folder / "m.npz"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        with np.load(path) as file, zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return dict(file)

    def rest(self, path: Path) -> object:
        with zipfile.ZipFile(path) as archive:
            return [(info.filename, info.date_time, info.compress_type) for info in archive.infolist()]


@pytest.mark.slow
class TestCompressedNpz(TestNpz):
    save, rewrites = staticmethod(np.savez_compressed), True


class TestFlax(CheckpointContract):
    format, name, kernels = "flax-msgpack", "m.msgpack", msgpack_files.FLAX_KERNELS

    def make(self, folder: Path) -> Path:
        msgpack_files.write_msgpack(folder / "m.msgpack", msgpack_files.flax_tree())
        return folder / "m.msgpack"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return msgpack_files.read_msgpack(path)
