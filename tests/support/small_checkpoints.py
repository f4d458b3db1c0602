"""A small checkpoint of every format, each in a folder of its own, and what a folder holds."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support import builders

DENSE = builders.two_dense()
KERNEL, BIAS = builders.kernel((12, 6)), np.full(6, 9.0, np.float32)

Make = Callable[[Path], Path]


def _legacy(folder: Path) -> Path:
    builders.write_legacy(folder / "m.h5", DENSE, config=builders.dense_config(DENSE))
    return folder / "m.h5"


def _v3(**options: Any) -> Make:
    def make(folder: Path) -> Path:
        builders.write_v3(folder / "m.weights.h5", builders.v3_layers(DENSE), **options)
        return folder / "m.weights.h5"

    return make


def _keras(compression: int, extra: dict[str, bytes]) -> Make:
    def make(folder: Path) -> Path:
        config, layers = builders.dense_config(DENSE), builders.v3_layers(DENSE)
        builders.write_keras(folder / "m.keras", config, layers, compression=compression, extra=extra)
        return folder / "m.keras"

    return make


def _shards(folder: Path) -> Path:
    layers = builders.v3_layers(DENSE)
    builders.write_sharded(folder / "m.weights.json", [{group: own} for group, own in layers.items()])
    return folder / "m.weights.json"


def _plain(folder: Path) -> Path:
    builders.write_h5(folder / "m.hdf5", {"a/kernel": KERNEL, "b": BIAS})
    return folder / "m.hdf5"


def _prefix(folder: Path) -> Path:
    _save(folder / "m", {"dense/kernel": KERNEL, "dense/bias": BIAS})
    return folder / "m"


def _prefix_of_shards(folder: Path) -> Path:
    import tensorflow as tf

    parts = {"one": {"dense/kernel": KERNEL}, "two": {"dense_1/kernel": KERNEL * 2, "dense_1/bias": BIAS}}
    for name, tensors in parts.items():
        _save(folder / name, tensors)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(folder / name) for name in parts], destination_prefix=str(folder / "m")
    )
    return folder / "m"


def _save(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[*tensors.values()],
    )


def _v1(folder: Path) -> Path:
    import tensorflow as tf

    tf.raw_ops.Save(filename=str(folder / "m.ckpt"), tensor_names=["dense/kernel", "dense/bias"], data=[KERNEL, BIAS])
    return folder / "m.ckpt"


def _saved_model(folder: Path) -> Path:
    from support import tf_files

    tf_files.module(folder)
    (folder / "words.txt").unlink()
    return folder / "module"


HDF5: dict[str, Make] = {
    "keras h5": _legacy,
    "v3": _v3(),
    "v3 in chunks": _v3(chunks=True, compression="gzip"),
    "keras zip": _keras(zipfile.ZIP_STORED, {"assets/words.txt": b"one\ntwo\n"}),
    "keras zip deflated": _keras(zipfile.ZIP_DEFLATED, {"assets/words.txt": b"one\ntwo\n"}),
    "shards": _shards,
    "plain hdf5": _plain,
}
TENSORFLOW: dict[str, Make] = {
    "prefix": _prefix,
    "prefix of shards": _prefix_of_shards,
    "v1": _v1,
    "saved model": _saved_model,
}
FORMATS = HDF5 | TENSORFLOW
MULTIPLE = ("shards", "prefix", "prefix of shards", "v1")
"""Whose output is several files in the folder of others."""


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that is part of a checkpoint: no temporary one, no report, no state file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not _beside(path.relative_to(folder))
    }


def temporaries(folder: Path) -> list[str]:
    """The names of what is left of a run."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".renorm-"))


def _beside(path: Path) -> bool:
    return path.parts[0].startswith(".renorm-") or path.name.endswith(".report.json") or path.parts == ("checkpoint",)
