"""The contract of every format, for all that is HDF5 inside: h5py, zipfile and json read it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract
from support import peek
from support import small_checkpoints as small

LEGACY = {"model_weights/hidden/hidden/kernel": (1,), "model_weights/digit/digit/kernel": (1,)}
V3 = {"layers/dense/vars/0": (1,), "layers/dense_1/vars/0": (1,)}
PLAIN = {"a/kernel": (1,)}


class Hdf5Contract(CheckpointContract):
    kind: str

    def make(self, folder: Path) -> Path:
        return small.HDF5[self.kind](folder)

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return peek.arrays(path)

    def rest(self, path: Path) -> object:
        return {name: peek.facts(image) for name, image in peek.images(path).items()}


class TestLegacyH5(Hdf5Contract):
    kind, name, format = "keras h5", "m.h5", "keras-h5"
    kernels = LEGACY


@pytest.mark.slow  # in the loop, the same in chunks
class TestWeightsH5(Hdf5Contract):
    kind, name, format, kernels = "v3", "m.weights.h5", "keras-weights-h5", V3


class TestWeightsH5InChunks(Hdf5Contract):
    kind, name, format, kernels = "v3 in chunks", "m.weights.h5", "keras-weights-h5", V3
    rewrites = True


@pytest.mark.slow  # in the loop, `.h5` of Keras
class TestPlainHdf5(Hdf5Contract):
    kind, name, format, kernels = "plain hdf5", "m.hdf5", "hdf5", PLAIN


class TestShards(Hdf5Contract):
    kind, name, format, kernels = "shards", "m.weights.json", "keras-weights-json", V3


class TestKerasArchive(Hdf5Contract):
    kind, name, format, kernels = "keras zip", "m.keras", "keras-zip", V3

    def rest(self, path: Path) -> object:
        """The members but for the weights, with their times and methods."""
        with zipfile.ZipFile(path) as archive:
            members = [
                (info.filename, info.date_time, info.compress_type, archive.read(info))
                for info in archive.infolist()
                if info.filename != "model.weights.h5"
            ]
        return members, super().rest(path)


class TestDeflatedArchive(TestKerasArchive):
    kind, rewrites = "keras zip deflated", True
