"""A small checkpoint of every format, each in a folder of its own, and what a folder holds."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from support import builders, gguf_files, onnx_files, tensor_files, tf_recorded, tfjs_files, torch_files
from support.tf_files import BIAS, KERNEL

DENSE = builders.two_dense()

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


def _safetensors_shards(folder: Path) -> Path:
    shards = tensor_files.halves(tensor_files.torch_arrays())
    return tensor_files.write_index(folder / "m.safetensors.index.json", shards, "m")


def _model_folder(folder: Path) -> Path:
    (folder / "model" / "assets").mkdir(parents=True)
    (folder / "model" / "assets" / "words.txt").write_bytes(b"one\ntwo\n")
    shards = tensor_files.halves(tensor_files.torch_arrays())
    return tensor_files.write_index(folder / "model" / "model.safetensors.index.json", shards).parent


def _onnx(folder: Path) -> Path:
    onnx_files.write_outside(folder / "m.onnx", checksum=True)
    return folder / "m.onnx"


def _torch_distributed(folder: Path) -> Path:
    arrays = {name: array for name, array in tensor_files.torch_arrays().items() if name != "scale"}
    torch_files.write_distributed(folder / "step", arrays)
    return folder / "step"


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
    name: partial(tf_recorded.copied, name) for name in ("prefix", "prefix of shards", "v1", "saved model")
}
OTHERS: dict[str, Make] = {
    "safetensors shards": _safetensors_shards,
    "onnx with data": _onnx,
    "gguf split": gguf_files.write_split,
    "torch distributed": _torch_distributed,
    "model folder": _model_folder,
    "tfjs": tfjs_files.write_small,
}
FORMATS = HDF5 | TENSORFLOW | OTHERS
MULTIPLE = ("shards", "prefix", "prefix of shards", "v1", "safetensors shards", "onnx with data", "gguf split", "tfjs")
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
    return sorted(path.name for path in folder.rglob(".renorm-*"))


def _beside(path: Path) -> bool:
    inside = any(part.startswith(".renorm-") for part in path.parts)
    return inside or path.name.endswith(".report.json") or path.parts == ("checkpoint",)
