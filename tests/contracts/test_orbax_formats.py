"""The contract of every format, for folders of Orbax: tensorstore reads them, by other code than ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract, contents
from support import orbax_files

pytest.importorskip("tensorstore")
pytestmark = pytest.mark.slow


class OrbaxContract(CheckpointContract):
    format, name, rewrites = "orbax", "m", True
    kernels = orbax_files.KERNELS

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return orbax_files.read(path)

    def rest(self, path: Path) -> object:
        kept = ("_METADATA", "_sharding", "array_metadatas/", "params.Dense_0.bias/", "step/")
        return {name: content for name, content in contents(path).items() if name.startswith(kept)}


class TestOcdbt(OrbaxContract):
    def make(self, folder: Path) -> Path:
        return orbax_files.write(folder / "m")

    def essential(self, path: Path) -> Sequence[Path]:
        """Of a data file, what belongs to no array that is read may be missing."""
        return [path / "manifest.ocdbt", path / "_METADATA"]


class TestPlainInChunks(OrbaxContract):
    def make(self, folder: Path) -> Path:
        return orbax_files.write(folder / "m", zarr3=False, ocdbt=False, chunk=3)

    def essential(self, path: Path) -> Sequence[Path]:
        return [path / "_METADATA", path / "params.Dense_0.kernel" / ".zarray", path / "params.Dense_0.kernel" / "0.1"]
