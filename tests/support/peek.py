"""What is in a checkpoint, seen with h5py, json and zipfile alone."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import ml_dtypes
import numpy as np


def images(path: Path) -> dict[str, bytes]:
    """The HDF5 images of a checkpoint, by the file or member that holds them."""
    if path.suffix == ".json":
        shards = {name for names in json.loads(path.read_text())["weight_map"].values() for name in names}
        return {str(number): (path.parent / name).read_bytes() for number, name in enumerate(sorted(shards))}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {"model.weights.h5": archive.read("model.weights.h5")}
    return {path.name: path.read_bytes()}


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a checkpoint by its path, as it is stored (bfloat16 as bfloat16)."""
    found: dict[str, np.ndarray] = {}
    for image in images(path).values():
        with h5py.File(io.BytesIO(image)) as file:
            file.visititems(
                lambda name, item: found.update({name: _value(item)} if isinstance(item, h5py.Dataset) else {})
            )
    return found


def facts(image: bytes | BinaryIO) -> dict[str, Any]:
    """All that an HDF5 image says beside its floating data: attributes, links, shapes, dtypes, layouts, filters."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        kind: Any = "group"
        if isinstance(item, h5py.Dataset):
            kind = (item.shape, str(item.dtype), item.chunks, item.compression, item.shuffle, item.fletcher32)
            if item.dtype.kind not in "fV":
                kind = (*kind, _value(item).tolist())
        found[name] = (kind, {key: str(value) for key, value in item.attrs.items()})

    with h5py.File(io.BytesIO(image) if isinstance(image, bytes) else image) as file:
        found["/"] = {key: str(value) for key, value in file.attrs.items()}
        file.visititems(visit)
        found["links"] = {
            f"{name}/{key}": item.get(key, getlink=True).path
            for name, item in [("", file), *((name, file[name]) for name in found if name != "/")]
            if isinstance(item, h5py.Group)
            for key in item
            if isinstance(item.get(key, getlink=True), h5py.SoftLink)
        }
    return found


def _value(item: h5py.Dataset) -> np.ndarray:
    value = np.asarray(item[()])
    return value.view(ml_dtypes.bfloat16) if item.attrs.get("dtype") == "bfloat16" else value
