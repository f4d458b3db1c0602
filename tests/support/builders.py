"""Real checkpoint files for tests, made fast with h5py, json and zipfile alone: no Keras, and never renorm_cli."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import ml_dtypes
import numpy as np

Engine = Mapping[str, np.ndarray]
Weights = Mapping[str, Engine]
"""{layer: {weight: array}}"""
Attrs = Mapping[str, Mapping[str, Any]]
Layers = Mapping[str, tuple[str, list[np.ndarray]]]
"""v3 groups in file order: "layers/dense" -> (the layer's own name, [its arrays]); a name "" writes no attribute."""
NO_ATTRS: Attrs = {}
KERAS_VERSION = "3.15.1"


def kernel(
    shape: tuple[int, ...], unit_axes: tuple[int, ...] = (-1,), seed: int = 0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal values whose 2-norm per unit is 0.5 and 2.0 in turn: for a limit of 1.0 every second unit is over."""
    axes = [axis % len(shape) for axis in unit_axes]
    others = tuple(axis for axis in range(len(shape)) if axis not in axes)
    values = np.random.default_rng(seed).normal(size=shape)
    norms = np.sqrt((values**2).sum(axis=others, keepdims=True))
    targets = np.where(np.arange(norms.size) % 2, 2.0, 0.5).reshape(norms.shape)
    return (values / norms * targets).astype(dtype)


def two_dense(seed: int = 0, dtype: Any = np.float32) -> dict[str, dict[str, np.ndarray]]:
    """The weights of a small classifier by layer: hidden (12 -> 8) and digit (8 -> 4), every second unit of norm 2."""
    return {
        "hidden": {"kernel": kernel((12, 8), seed=seed, dtype=dtype), "bias": np.full(8, 3, dtype)},
        "digit": {"kernel": kernel((8, 4), seed=seed + 1, dtype=dtype), "bias": np.full(4, 3, dtype)},
    }


def _put(file: h5py.File, arrays: Engine, attrs: Attrs, **dataset_kwargs: Any) -> None:
    for path, array in arrays.items():
        array = np.asarray(array)
        if (
            array.dtype == ml_dtypes.bfloat16
        ):  # as Keras does: two opaque bytes and an attribute that says what they are
            file.create_dataset(path, data=array.view("V2"), **dataset_kwargs).attrs["dtype"] = "bfloat16"
        else:
            file.create_dataset(path, data=array, **dataset_kwargs)
    for path, values in attrs.items():
        file.require_group(path or "/").attrs.update(values)


def write_h5(
    path: Path | BinaryIO,
    arrays: Engine,
    *,
    attrs: Attrs = NO_ATTRS,
    userblock: int = 0,
    libver: Any = None,
    **dataset_kwargs: Any,
) -> None:
    """Any HDF5 file: {"a/b": array}, attributes by object path ("" is the root); the options go to every dataset."""
    with h5py.File(path, "w", userblock_size=userblock, libver=libver) as file:
        _put(file, arrays, attrs, **dataset_kwargs)


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """Every dataset by its first path, bfloat16 where it is marked."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            marked = item.attrs.get("dtype") == "bfloat16"
            found[name] = item[()].view(ml_dtypes.bfloat16) if marked else item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def v3_layers(weights: Weights) -> Layers:
    """The v3 groups of Dense layers: layers/dense, layers/dense_1, ... whatever the layers are called."""
    groups = ["layers/dense", *(f"layers/dense_{number}" for number in range(1, len(weights)))]
    return {group: (name, list(own.values())) for group, (name, own) in zip(groups, weights.items(), strict=True)}


def write_v3(path: Path | BinaryIO, layers: Layers, **dataset_kwargs: Any) -> None:
    """A `.weights.h5` as Keras 3 writes it: <group>/vars/<number>, the layer's name on the `vars` group."""
    arrays = {f"{group}/vars/{number}": array for group, (_, own) in layers.items() for number, array in enumerate(own)}
    names = {f"{group}/vars": {"name": name} if name else {} for group, (name, _) in layers.items()}
    write_h5(path, arrays, attrs={"vars": {"name": "model"}} | names, **dataset_kwargs)


def write_sharded(index: Path, shards: Iterable[Layers]) -> list[Path]:
    """`NAME.weights.json` and one `NAME_0000k.weights.h5` for each element of `shards`; returns the shards' paths.

    A group that goes on in a second shard is given there again, its arrays numbered on.
    """
    base = index.name.removesuffix(".weights.json")
    written: list[Path] = []
    weight_map: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    total = 0
    for number, layers in enumerate(shards):
        path = index.parent / f"{base}_{number:05d}.weights.h5"
        arrays: dict[str, np.ndarray] = {}
        attrs: dict[str, dict[str, str]] = {}
        for group, (name, own) in layers.items():
            first = counts.get(group, 0)
            arrays |= {f"{group}/vars/{first + offset}": array for offset, array in enumerate(own)}
            attrs[f"{group}/vars"] = {"name": name} if first == 0 and name else {}
            counts[group] = first + len(own)
            weight_map.setdefault(f"/{group}/vars", []).append(path.name)
            total += sum(array.nbytes for array in own)
        write_h5(path, arrays, attrs=attrs)
        written.append(path)
    index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=4))
    return written


def layer_config(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """One layer of a Keras config; a module of Keras is claimed, as in every config Keras writes for its own layers."""
    own = {"name": name, **config}
    return {"module": "keras.layers", "class_name": class_name, "config": own, "registered_name": None}


def sequential_config(layers: Iterable[Mapping[str, Any]], name: str = "model") -> dict[str, Any]:
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": name, "layers": list(layers)},
        "registered_name": None,
    }


def dense_config(weights: Weights, **every_layer: Any) -> dict[str, Any]:
    """The config of a Sequential model of Dense layers with these kernels; `every_layer` goes into each of them."""
    kernels = {name: own["kernel"] for name, own in weights.items()}
    inputs = next(iter(kernels.values())).shape[0]
    dense = [
        layer_config("Dense", name, units=kernel.shape[1], dtype=str(kernel.dtype), **every_layer)
        for name, kernel in kernels.items()
    ]
    return sequential_config(
        [layer_config("InputLayer", "pixels", batch_shape=[None, inputs], dtype="float32"), *dense]
    )


def write_legacy(
    path: Path,
    weights: Weights,
    *,
    config: Mapping[str, Any] | None = None,
    optimizer: Engine | None = None,
    suffix: str = "",
    **dataset_kwargs: Any,
) -> None:
    """A legacy `.h5`: {layer: {weight: array}}. With `config` a full model, without one weights only (at the root).

    A weight without "/" is stored as Keras stores it, <layer>/<layer>/<weight><suffix>; Keras 2 has the suffix ":0".
    `optimizer` is stored under optimizer_weights.
    """
    root = "model_weights" if config is not None else ""
    inside = f"{root}/" if root else ""
    arrays: dict[str, np.ndarray] = {}
    attrs: dict[str, dict[str, Any]] = {
        root: {"layer_names": list(weights), "backend": "tensorflow", "keras_version": KERAS_VERSION}
    }
    for layer, own in weights.items():
        names = {(name if "/" in name else f"{layer}/{name}") + suffix: array for name, array in own.items()}
        attrs[f"{inside}{layer}"] = {"weight_names": list(names)}
        arrays |= {f"{inside}{layer}/{name}": array for name, array in names.items()}
    if config is not None:
        attrs[""] = {"model_config": json.dumps(config), "backend": "tensorflow", "keras_version": KERAS_VERSION}
    if optimizer:
        attrs["optimizer_weights"] = {"weight_names": list(optimizer)}
        arrays |= {f"optimizer_weights/{name}": array for name, array in optimizer.items()}
    write_h5(path, arrays, attrs=attrs, **dataset_kwargs)


def write_keras(
    path: Path,
    config: Mapping[str, Any],
    layers: Layers,
    *,
    compression: int = zipfile.ZIP_STORED,
    extra: Mapping[str, bytes] | None = None,
    prefix: bytes = b"",
    **dataset_kwargs: Any,
) -> None:
    """A `.keras` archive of config and v3 weights; `extra` members come last, `prefix` bytes before the archive."""
    weights = io.BytesIO()
    write_v3(weights, layers, **dataset_kwargs)
    members = {
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION, "date_saved": "2026-01-01@00:00:00"}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": weights.getvalue(),
        **(extra or {}),
    }
    with path.open("wb") as raw:
        raw.write(prefix)
        with zipfile.ZipFile(raw, "w", compression) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name), data, compression)
