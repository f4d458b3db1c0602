"""The contract of every format, for those of TensorFlow: TensorFlow reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract, contents
from support import keras_zoo, tf_files
from support import small_checkpoints as small

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

ONE, TWO = {"dense/kernel": (1,)}, {"dense/kernel": (1,), "dense_1/kernel": (1,)}
SAVED = {"dense/kernel": (1,), "conv2d_transpose/kernel": (2,)}
MODEL = {f"optimizer/_trainable_variables/{number}/.ATTRIBUTES/VARIABLE_VALUE": (1,) for number in (0, 2)}
OBJECTS = {"kernel/.ATTRIBUTES/VARIABLE_VALUE": (1,)}


class TensorFlowContract(CheckpointContract):
    kind: str
    name = "m"

    def make(self, folder: Path) -> Path:
        path = small.TENSORFLOW[self.kind](folder)
        for other in folder.glob("[!m]*.*"):
            other.unlink()  # what it was merged from
        return path

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        import tensorflow as tf

        reader = tf.train.load_checkpoint(str(self.prefix(path)))
        return {key: np.asarray(reader.get_tensor(key)) for key in reader.get_variable_to_dtype_map()}

    def prefix(self, path: Path) -> Path:
        """What TensorFlow takes."""
        return path


class TestPrefix(TensorFlowContract):
    kind, format, kernels = "prefix", "tf-checkpoint", ONE


class TestPrefixOfShards(TensorFlowContract):
    kind, format, kernels = "prefix of shards", "tf-checkpoint", TWO


@cache
def saved(write: Callable[[Path], Path]) -> tuple[TemporaryDirectory[str], str]:
    """A folder that is kept, and the name of what TensorFlow wrote there."""
    kept = TemporaryDirectory()
    return kept, write(Path(kept.name)).name


class SavedContract(TensorFlowContract):
    """What TensorFlow saves of a model, with the state of its optimizer; it takes a second, and is done once."""

    format = "tf-checkpoint"
    write: Callable[[Path], Path]

    def make(self, folder: Path) -> Path:
        kept, name = saved(type(self).write)
        shutil.copytree(kept.name, folder, dirs_exist_ok=True)
        return folder / name

    def essential(self, path: Path) -> Sequence[Path]:
        """Not the graph that is carried over, nor the state file."""
        return sorted([*path.parent.glob("*.index"), *path.parent.glob("*.data-*")])


class TestSaver(SavedContract):
    name, kernels = "model.ckpt-7", SAVED
    write = staticmethod(tf_files.saver)


class TestPartitionedByRows(TestSaver):
    write = staticmethod(partial(tf_files.saver, partitions=5))


class TestPartitionedByColumns(TestSaver):
    write = staticmethod(partial(tf_files.saver, partitions=4, axis=1))


class TestObjects(SavedContract):
    name, kernels = "ckpt-7", MODEL
    write = staticmethod(tf_files.object_checkpoint)


class TestSlicesInManyFiles(TestObjects):
    write = staticmethod(tf_files.sharded)


class TestV1(TensorFlowContract):
    kind, format, kernels = "v1", "tf-checkpoint-v1", ONE
    rewrites, in_place = True, False


class TestSavedModel(TensorFlowContract):
    kind, name, format = "saved model", "module", "saved-model"
    kernels = OBJECTS

    def prefix(self, path: Path) -> Path:
        return path / "variables" / "variables"

    def rest(self, path: Path) -> object:
        changing = ("fingerprint.pb", "variables/")
        return {name: content for name, content in contents(path).items() if not name.startswith(changing)}

    def essential(self, path: Path) -> Sequence[Path]:
        return sorted((path / "variables").iterdir())
