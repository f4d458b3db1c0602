"""Make every file of this folder: seeded, small checkpoints, one per format and one per hard case.

    python make.py [FOLDER]

needs keras, tf_keras, h5py, ml_dtypes and tensorstore (the `dev` extra). It never uses renorm_cli: the manifest it
writes says what a reader should find, from the knowledge of the models below and a plain NumPy count.

All numbers come from exact steps (integers, one square root, one product, one rounding): no machine changes them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import h5py
import keras
import ml_dtypes
import numpy as np
import tf_keras
from exported import EXPORTED, SHAPES, exported
from models import DIGITS_KERNELS, SAMPLES, Sample, UnitAxes, digits
from saved import SAVED, SAVED_SHAPES, safetensors, torch
from served import SERVED, SERVED_SHAPES, tfjs
from stepped import STEPPED, STEPPED_SHAPES, orbax, stored_name

Engine = Mapping[str, np.ndarray]
Row = dict[str, Any]

LIMIT = 1.0
"""The bound the manifest counts against; no unit norm lies within 5 % of it, so that no rounding can matter."""
KERAS = f"keras {keras.__version__}"
TF_KERAS = f"tf_keras {tf_keras.__version__}"
H5PY = f"h5py {h5py.__version__}"
CONTAINERS = {
    ".h5": "legacy full model: ",
    ".weights.h5": "v3 weights: ",
    ".weights.json": "v3 weights in shards, one group in two of them: ",
    ".keras": "v3 archive, members stored: ",
}
POSITIVE = re.compile("variance|velocity|(^|/)v/")
GENERIC = {"decoder/kernel": (1,), "encoder/kernel": (1,), "words/embeddings": (0,)}


def units_first(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The array as (units, elements of a unit)."""
    units = [array.shape[axis] for axis in axes]
    return np.moveaxis(array, axes, range(len(axes))).reshape(math.prod(units), -1)


def kernel(rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...], highest: int) -> np.ndarray:
    """Seeded values whose unit norms are 64ths between 0.5 and `highest`/64, about half below 1, none near 1."""
    whole = rng.integers(-99, 100, shape).astype(np.float64)
    sums = (units_first(whole, axes) ** 2).sum(axis=1)
    below = np.arange(len(sums)) % 2 == 0
    targets = np.where(below, rng.integers(32, 61, len(sums)), rng.integers(68, highest + 1, len(sums))) / 64
    factors = (targets / np.sqrt(sums)).reshape([shape[axis] for axis in axes])
    return whole * np.expand_dims(factors, tuple(axis for axis in range(len(shape)) if axis not in axes))


def other(rng: np.random.Generator, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Values for what is no kernel, with norms well above 1; variances and second moments are positive."""
    values = rng.integers(-128, 129, shape) / 64
    return np.abs(values) + 1 / 64 if POSITIVE.search(name) else values


def name_of(variable: Any) -> str:
    """The friendly name: Keras' path."""
    return str(getattr(variable, "path", variable.name)).removesuffix(":0")


def fill(model: Any, kernels: UnitAxes, highest: int, seed: str) -> None:
    """Give every floating variable of rank >= 1, optimizer slots included, its seeded values."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    optimizer = getattr(model, "optimizer", None)
    slots = optimizer.variables if optimizer else []
    for variable in [*model.weights, *(slots() if callable(slots) else slots)]:
        name = name_of(variable)
        if len(variable.shape) == 0:
            continue
        axes = kernels.get(name)
        shape = tuple(variable.shape)
        values = kernel(rng, shape, axes, highest) if axes else other(rng, shape, name)
        variable.assign(values.astype(ml_dtypes.bfloat16 if "bfloat16" in str(variable.dtype) else np.float32))


def save(model: Any, path: Path) -> None:
    if ".weights" in path.name:
        # in GiB: the hidden kernel fits into a shard, its bias no longer, so that one group has two files
        model.save_weights(path, **({"max_shard_size": 5.78e-6} if path.suffix == ".json" else {}))
    else:
        model.save(path)


def rezip(source: Path, path: Path, compression: int) -> None:
    """The same members without what changes by the run: the time of day, and the memory addresses Keras uses as ids."""
    with zipfile.ZipFile(source) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    metadata = json.loads(members["metadata.json"]) | {"date_saved": "1980-01-01@00:00:00"}
    members["metadata.json"] = json.dumps(metadata).encode()
    numbers: dict[bytes, int] = {}
    members["config.json"] = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda address: b"%d" % numbers.setdefault(address[0], len(numbers) + 1),
        members["config.json"],
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compression)


def write_generic(path: Path, userblock: int = 0) -> None:
    """HDF5 of no framework: every way to store and link a float array that h5py offers and a reader may meet."""
    rng = np.random.default_rng(2026)
    with h5py.File(path, "w", userblock_size=userblock) as file:
        encoder = kernel(rng, (48, 24), (1,), 120).astype("<f4")
        file.create_dataset("encoder/kernel", data=encoder, chunks=(16, 8), compression="gzip", shuffle=True)
        file["encoder/bias"] = other(rng, (24,), "bias").astype("<f4")
        file["decoder/kernel"] = kernel(rng, (24, 48), (1,), 120).astype(">f4")
        file["words/embeddings"] = kernel(rng, (60, 8), (0,), 120).astype("<f2")
        file["mixture"] = other(rng, (8, 8), "mixture")
        file["counts"] = rng.integers(0, 99, (10, 10), dtype=np.int32)
        file["step"] = np.int64(1200)
        file["tied/kernel"] = file["decoder/kernel"]
        file["best/kernel"] = h5py.SoftLink("/encoder/kernel")
    if userblock:
        with path.open("r+b") as raw:
            raw.write(b"a note in front of the file\n")


def shards_of(index: Path) -> list[Path]:
    names = {name for names in json.loads(index.read_text())["weight_map"].values() for name in names}
    return [index.parent / name for name in sorted(names)]


def arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every dataset of one file, each object once, read with h5py; bfloat16 where Keras marks it."""
    if path.suffix == ".json":
        for shard in shards_of(path):
            yield from arrays(shard)
        return
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            marked = item.attrs.get("dtype") == "bfloat16"
            found[name] = item[()].view(ml_dtypes.bfloat16) if marked else item[()]

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member, h5py.File(member) as file:
            file.visititems(visit)
    else:
        with h5py.File(path) as file:
            file.visititems(visit)
    yield from found.items()


def over(array: np.ndarray, axes: tuple[int, ...], limit: float) -> int:
    """How many units have a 2-norm above the limit: a plain count, in float64."""
    return int((np.linalg.norm(units_first(array.astype(np.float64), axes), axis=1) > limit).sum())


def constrained(stored: Engine, expected: UnitAxes, values: Engine) -> list[Row]:
    """One row per expected variable that this file holds; its key is the dataset with the same bytes."""
    rows = []
    for name, axes in expected.items():
        keys = [key for key, array in stored.items() if array.tobytes() == values[name].tobytes()]
        if keys:
            (key,) = keys
            array = stored[key]
            units = math.prod(array.shape[axis] for axis in axes)
            count = over(array, axes, LIMIT)
            rows.append({"name": name, "key": key, "unit_axes": list(axes), "units": units, "over": count})
    return rows


def entry(
    path: Path,
    what: str,
    made: str,
    reproducible: bool,
    expected: UnitAxes,
    values: Engine,
    stored: Engine | None = None,
) -> Row:
    stored = dict(arrays(path)) if stored is None else stored
    rows = constrained(stored, expected, values)
    content = b"".join(file.read_bytes() for file in sorted([path, *path.rglob("*")]) if file.is_file())
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "what": what,
        "made_with": made,
        "reproducible": reproducible,
        "datasets": len(stored),
        "over": sum(row["over"] for row in rows),
        "constrained": rows,
    }


def values_of(model: Any, kernels: UnitAxes) -> Engine:
    named = {name_of(variable): variable for variable in model.weights}
    return {name: np.asarray(named[name]) for name in kernels}


def make_keras(folder: Path, stem: str, sample: Sample) -> Iterator[Row]:
    keras.utils.clear_session()
    model = sample.build()
    fill(model, sample.kernels, sample.highest, stem)
    values = values_of(model, sample.kernels)
    for suffix in sample.suffixes:
        path = folder / f"{stem}{suffix}"
        save(model, path)
        untouched = path.name == "dense.keras"  # one archive stays exactly as Keras wrote it
        if suffix == ".keras" and not untouched:
            rezip(path, path, zipfile.ZIP_STORED)
        expected = {n: a for n, a in sample.kernels.items() if suffix == ".h5" or n not in sample.named_only}
        made = KERAS if untouched or suffix != ".keras" else f"{KERAS}, dates and ids fixed with zipfile"
        row = entry(path, CONTAINERS[suffix] + sample.what, made, not untouched, expected, values)
        if sample.declared:
            row["declared"] = [
                {"name": name, "limit": limit, "over": over(values[name], sample.kernels[name], limit)}
                for name, limit in sample.declared.items()
            ]
        yield row
        if suffix == ".weights.json":
            for shard in shards_of(path):
                what = f"one shard of {path.name}"
                yield entry(shard, what, made, True, expected, values) | {"part_of": path.name}
    if stem == "dense":
        path = folder / "deflated.keras"
        rezip(folder / "dense.keras", path, zipfile.ZIP_DEFLATED)
        yield entry(path, "dense.keras with deflated members", f"{KERAS}, zipfile", True, sample.kernels, values)


def make_tf_keras(folder: Path) -> Iterator[Row]:
    model = digits(tf_keras)
    fill(model, DIGITS_KERNELS, 120, "dense")
    values = values_of(model, DIGITS_KERNELS)
    full, weights = folder / "dense_keras2.h5", folder / "dense_keras2_weights.h5"
    model.save(full)
    model.save_weights(weights)
    for path, what in (full, "Keras 2 legacy full model"), (weights, "Keras 2 legacy weights only, no config"):
        yield entry(path, f"{what}: two Dense layers with Adam state", TF_KERAS, True, DIGITS_KERNELS, values)


def make_generic(folder: Path) -> Iterator[Row]:
    what = "HDF5 of no framework: gzip and shuffle, big-endian, float16, integers, a hard and a soft link"
    for name, userblock, note in ("generic.hdf5", 0, ""), ("generic_userblock.hdf5", 512, ", after a userblock"):
        path = folder / name
        write_generic(path, userblock)
        yield entry(path, what + note, H5PY, True, GENERIC, dict(arrays(path)))


def seeded(shapes: Mapping[str, tuple[int, ...]], kernels: UnitAxes, seed: int) -> Engine:
    rng = np.random.default_rng(seed)
    return {
        name: (kernel(rng, shape, axes, 120) if (axes := kernels.get(name)) else other(rng, shape, name)).astype("<f4")
        for name, shape in shapes.items()
    }


def make_torch(folder: Path) -> Iterator[Row]:
    whole = seeded(SAVED_SHAPES, SAVED, 2028)
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in whole.items()}
    for name, write, stored in ("saved.safetensors", safetensors, half), ("saved.pt", torch, whole):
        path = folder / name
        path.write_bytes(write(stored))
        what = "PyTorch: an embedding, a transposed convolution, a normalization, a linear layer"
        yield entry(path, f"{what}, {stored['fc.weight'].dtype}", "saved.py", True, SAVED, stored, stored)


def make_orbax(folder: Path) -> Iterator[Row]:
    made = seeded(STEPPED_SHAPES, STEPPED, 2029)
    path = folder / "saved.orbax"
    shutil.rmtree(path, ignore_errors=True)
    orbax(path, made)
    stored = {stored_name(name): array for name, array in made.items()}
    what = "Orbax, a folder: an embedding, a convolution and a dense layer of flax, and a slot of an optimizer"
    yield entry(path, what, "stepped.py", False, STEPPED, made, stored)


def make_tfjs(folder: Path) -> Iterator[Row]:
    stored = seeded(SERVED_SHAPES, SERVED, 2030)
    for name, content in tfjs(stored, "served").items():
        path = folder / name
        path.write_bytes(content)
        if path.suffix == ".json":
            what = "TensorFlow.js: an embedding, a transposed convolution, a dense layer"
            yield entry(path, what, "served.py", True, SERVED, stored, stored)
        else:
            row = entry(path, "one file of served.json", "served.py", True, SERVED, stored, {})
            yield row | {"part_of": "served.json"}


def make_onnx(folder: Path) -> Iterator[Row]:
    stored = seeded(SHAPES, EXPORTED, 2027)
    path = folder / "exported.onnx"
    path.write_bytes(exported(stored))
    yield entry(path, "ONNX: Gather, Conv, Gemm and MatMul", "exported.py", True, EXPORTED, stored, stored)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = [row for stem, sample in SAMPLES.items() for row in make_keras(folder, stem, sample)]
    files += [
        *make_tf_keras(folder),
        *make_generic(folder),
        *make_onnx(folder),
        *make_torch(folder),
        *make_orbax(folder),
        *make_tfjs(folder),
    ]
    versions = {module.__name__: module.__version__ for module in (keras, tf_keras, h5py, np, ml_dtypes)}
    versions |= {"hdf5": h5py.version.hdf5_version, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    manifest = {"limit": LIMIT, "made_with": versions, "files": sorted(files, key=lambda row: row["file"])}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
