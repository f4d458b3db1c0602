"""Checkpoints of any size for measuring, written with h5py, zipfile and TensorFlow; each is made once per folder."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import ml_dtypes
import numpy as np
from support import builders, tensor_files

Format = Literal[".weights.h5", ".keras", "TF checkpoint"]
FORMATS: tuple[Format, ...] = (".weights.h5", ".keras", "TF checkpoint")

LIMIT = 1.0
"""A bound that every second unit of these files is over: their norms are about 0.5 and 2 in turn."""

_TILE = 1 << 22
"""Random values that are drawn; larger arrays repeat them."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its class, its name in the config, how it is stored, and a shape and unit axis of each array.

    An array whose unit axis is None is a bias.
    """

    kind: str
    name: str
    weights: tuple[tuple[str, tuple[int, ...], int | None], ...]
    config: Mapping[str, Any]

    @property
    def elements(self) -> int:
        return sum(math.prod(shape) for _, shape, _ in self.weights)


def network(nbytes: int, *, itemsize: int = 4, mixed: bool = True) -> list[Layer]:
    """Layers of about `nbytes` in all: embeddings, convolutions and Dense; unless `mixed` a chain of Dense of one size.

    The chain is a model that Keras can build; the mixture is not, which no part of this tool minds.
    """
    side = max(8, math.isqrt(nbytes // itemsize // 16) // 24 * 24)
    third = side // 3
    layers: list[Layer] = []
    for number in range(16):
        if not mixed or number % 4 >= 2:
            layers.append(_dense(number, side, side))
        elif number % 4 == 1:
            # more filters than channels, so that the bias tells which axis names units where no config does
            weights = (("kernel", (3, 3, third // 2, 2 * third), -1), ("bias", (2 * third,), None))
            config = {"filters": 2 * third, "kernel_size": [3, 3]}
            layers.append(Layer("Conv2D", f"convolution_{number}", weights, config))
        else:
            rows = side * side // 256
            config = {"input_dim": rows, "output_dim": 256}
            layers.append(Layer("Embedding", f"embedding_{number}", (("embeddings", (rows, 256), 0),), config))
    return layers


def many(count: int) -> list[Layer]:
    """Dense layers with `count` variables in all, half of them kernels of 8 x 8."""
    return [_dense(number, 8, 8) for number in range(count // 2)]


def _dense(number: int, inputs: int, units: int) -> Layer:
    weights = (("kernel", (inputs, units), -1), ("bias", (units,), None))
    return Layer("Dense", f"dense_{number}", weights, {"units": units})


def values(shape: tuple[int, ...], unit_axis: int | None, dtype: Any = np.float32) -> np.ndarray:
    """Normal values with unit norms of about 0.5 and 2 in turn; of a bias, threes."""
    if unit_axis is None:
        return np.full(shape, 3, dtype)
    axis = unit_axis % len(shape)
    size = math.prod(shape)
    drawn = np.random.default_rng(0).standard_normal(min(size, _TILE), np.float32)
    array = np.resize(drawn, shape)
    scale = np.where(np.arange(shape[axis]) % 2, 2.0, 0.5) / math.sqrt(size // shape[axis])
    array *= scale.astype(np.float32).reshape([-1 if one == axis else 1 for one in range(len(shape))])
    return array.astype(dtype, copy=False)


def made(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`, filled by `make` unless an earlier run did so."""
    whole = folder / name
    if not whole.exists():
        part = folder / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(whole)
    return whole


def checkpoint(folder: Path, name: str, kind: Format, layers: list[Layer], dtype: Any = np.float32) -> Path:
    """A checkpoint of these layers, as it is given to the tool."""
    file = {".weights.h5": "model.weights.h5", ".keras": "model.keras", "TF checkpoint": "ckpt-1"}[kind]
    write = {".weights.h5": _weights, ".keras": _archive, "TF checkpoint": _bundle}[kind]
    return made(folder, f"{name}-{file}", lambda part: write(part / file, layers, dtype)) / file


def parts(checkpoint: Path) -> list[Path]:
    """The files a checkpoint consists of."""
    return [checkpoint] if checkpoint.exists() else sorted(checkpoint.parent.glob(f"{checkpoint.name}.*"))


def size(checkpoint: Path) -> int:
    return sum(part.stat().st_size for part in parts(checkpoint))


def _weights(path: Path, layers: Iterable[Layer], dtype: Any) -> None:
    """As Keras 3 stores them: <group>/vars/<number>, the group named by the class of the layer."""
    with h5py.File(path, "w") as file:
        for group, layer in _groups(layers):
            own = file.create_group(f"layers/{group}/vars")
            own.attrs["name"] = layer.name
            for number, (_, shape, axis) in enumerate(layer.weights):
                array = values(shape, axis, dtype)
                if array.dtype == ml_dtypes.bfloat16:
                    own.create_dataset(str(number), data=array.view("V2")).attrs["dtype"] = "bfloat16"
                else:
                    own.create_dataset(str(number), data=array)


def _groups(layers: Iterable[Layer]) -> Iterator[tuple[str, Layer]]:
    counts: dict[str, int] = {}
    for layer in layers:
        seen = counts.setdefault(layer.kind, 0)
        counts[layer.kind] += 1
        yield layer.kind.lower() + (f"_{seen}" if seen else ""), layer


def _archive(path: Path, layers: list[Layer], dtype: Any) -> None:
    first = layers[0].weights[0][1][0]
    entries = [builders.layer_config("InputLayer", "pixels", batch_shape=[None, first], dtype="float32")]
    entries += [builders.layer_config(layer.kind, layer.name, **layer.config) for layer in layers]
    config = builders.sequential_config(entries)
    weights = path.with_name("model.weights.h5")
    _weights(weights, layers, dtype)
    metadata = {"keras_version": builders.KERAS_VERSION, "date_saved": "2026-01-01@00:00:00"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        archive.write(weights, "model.weights.h5")
    weights.unlink()


def _bundle(path: Path, layers: Iterable[Layer], dtype: Any) -> None:
    """What tf.train.Checkpoint writes for modules with these variables as attributes."""
    import tensorflow as tf

    root = tf.Module()
    for layer in layers:
        module = tf.Module()
        for name, shape, axis in layer.weights:
            setattr(module, name, tf.Variable(values(shape, axis, dtype)))
        setattr(root, layer.name, module)
    tf.train.Checkpoint(root).write(str(path))


def safetensors(folder: Path, name: str, nbytes: int) -> Path:
    """Sixteen weights of Linear layers in bfloat16, as PyTorch names them, `nbytes` in all; the first axis names units.

    They are written one by one, so that no second copy of all is in memory.
    """
    side = max(8, math.isqrt(nbytes // 2 // 16))
    size = side * side * 2
    entries = {
        f"layers.{number}.weight": {
            "dtype": "BF16",
            "shape": [side, side],
            "data_offsets": [number * size, (number + 1) * size],
        }
        for number in range(16)
    }

    def write(part: Path) -> None:
        with (part / "model.safetensors").open("wb") as file:
            file.write(tensor_files.safetensors({"__metadata__": {"format": "pt"}, **entries}, b""))
            for _ in entries:
                file.write(values((side, side), 0, ml_dtypes.bfloat16).tobytes())

    return made(folder, f"{name}-model.safetensors", write) / "model.safetensors"


def tensors(path: Path) -> dict[str, np.ndarray]:
    """What a `.safetensors` of bfloat16 holds, in float32."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8:start])
    entries.pop("__metadata__", None)
    found = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        stored = np.frombuffer(raw[start + begin : start + end], ml_dtypes.bfloat16)
        found[name] = stored.astype(np.float32).reshape(entry["shape"])
    return found


def one_variable(folder: Path, nbytes: int, kind: Format = ".weights.h5") -> Path:
    """A Dense kernel of float32 with 4096 units, `nbytes` in all.

    In HDF5 only its first 64 MiB are stored, and the rest is a hole in the file, which reads as zeros.
    """
    rows = nbytes // 4 // 4096
    name = f"one-{nbytes}"
    if kind != ".weights.h5":
        return checkpoint(folder, name, kind, [_dense(0, rows, 4096)])

    def write(part: Path) -> None:
        with h5py.File(part / "model.weights.h5", "w") as file:
            sparse_dataset(file, "layers/dense/vars/0", (rows, 4096), min(rows, (64 << 20) // 4 // 4096))

    return made(folder, f"{name}-model.weights.h5", write) / "model.weights.h5"


def sparse_dataset(file: h5py.File, path: str, shape: tuple[int, int], real: int) -> None:
    """A float32 matrix whose space is set aside but not written, but for its first `real` rows."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    file.require_group(path.rpartition("/")[0])
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, path.encode(), h5py.h5t.IEEE_F32LE, space, properties)
    file[path][:real] = values((real, shape[1]), -1)


def four_axes(folder: Path, nbytes: int) -> Path:
    """One float32 variable of rank 4 in plain HDF5: normal values of variance 1, all axes of about one size."""
    shape = _four(nbytes)

    def write(part: Path) -> None:
        drawn = np.random.default_rng(0).standard_normal(min(math.prod(shape), _TILE), np.float32)
        builders.write_h5(part / "four.h5", {"block/kernel": np.resize(drawn, shape)})

    return made(folder, f"four-normal-{nbytes}", write) / "four.h5"


def four_axes_limit(nbytes: int, unit_axes: tuple[int, ...]) -> float:
    """A bound that all units of that variable are over, by about a half."""
    return math.sqrt(math.prod(size for axis, size in enumerate(_four(nbytes)) if axis not in unit_axes)) * 2 / 3


def _four(nbytes: int) -> tuple[int, ...]:
    side = max(4, round((nbytes / 4) ** 0.25))
    return (side, side, side, max(4, nbytes // 4 // side**3))


def arrays(path: Path) -> dict[str, np.ndarray]:
    """What a `.weights.h5` or a `.keras` holds, by h5py."""
    if path.suffix == ".h5":
        return builders.read_h5(path)
    with zipfile.ZipFile(path) as archive:
        inner = path.with_name(f"{path.name}.weights.h5")
        inner.write_bytes(archive.read("model.weights.h5"))
    try:
        return builders.read_h5(inner)
    finally:
        inner.unlink()
