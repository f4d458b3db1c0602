"""The contract of every format, for safetensors: json and NumPy read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from contracts.checkpoint import CheckpointContract
from support import tensor_files


class TestSafetensors(CheckpointContract):
    format, name, kernels = "safetensors", "m.safetensors", tensor_files.TORCH_KERNELS

    def make(self, folder: Path) -> Path:
        tensor_files.write_safetensors(folder / "m.safetensors", tensor_files.torch_arrays(), {"format": "pt"})
        return folder / "m.safetensors"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return tensor_files.read_safetensors(path)

    def rest(self, path: Path) -> object:
        """The whole header."""
        raw = path.read_bytes()
        return raw[: 8 + int.from_bytes(raw[:8], "little")]


class TestSafetensorsIndex(TestSafetensors):
    format, name = "safetensors-index", "model.safetensors.index.json"

    def make(self, folder: Path) -> Path:
        shards = tensor_files.halves(tensor_files.torch_arrays())
        return tensor_files.write_index(folder / "model.safetensors.index.json", shards)

    def rest(self, path: Path) -> object:
        index = json.loads(path.read_text())
        headers = [TestSafetensors.rest(self, path.with_name(name)) for name in sorted({*index["weight_map"].values()})]
        return index, headers


class TestModelFolder(TestSafetensorsIndex):
    """The folder that holds an index, its shards and other files."""

    name = "model"

    def make(self, folder: Path) -> Path:
        (folder / "model" / "tokens").mkdir(parents=True)
        (folder / "model" / "config.json").write_text('{"model_type": "other"}')
        (folder / "model" / "tokens" / "words.txt").write_bytes(b"one\ntwo\n")
        super().make(folder / "model")
        return folder / "model"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return super().arrays(path / "model.safetensors.index.json")

    def rest(self, path: Path) -> object:
        others = ["config.json", "tokens/words.txt", "model.safetensors.index.json"]
        return super().rest(path / others[-1]), [(path / name).read_bytes() for name in others]

    def essential(self, path: Path) -> Sequence[Path]:
        return sorted(path.glob("model*"))
