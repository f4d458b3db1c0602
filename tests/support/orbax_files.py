"""Folders as Orbax writes them, by tensorstore and by hand, and the arrays in them.

tensorstore ends every fork of a process that has used it, and the code under test forks: so it works in a child here.
"""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Arrays = Mapping[tuple[str, ...], np.ndarray]

KERNEL = (np.arange(66, dtype="<f4").reshape(11, 6) - 20) / 16
FLAX: Arrays = {
    ("params", "Dense_0", "kernel"): KERNEL,
    ("params", "Dense_0", "bias"): np.zeros(6, "<f4"),
    ("params", "with.dots", "kernel"): (np.arange(12, dtype="<f8").reshape(6, 2) - 3) / 4,
    ("params", "with.dots", "bias"): np.ones(2, "<f8"),
    ("params", "Embed_0", "embedding"): (np.arange(20).reshape(5, 4) / 8).astype(ml_dtypes.bfloat16),
    ("opt_state", "0", "mu", "params", "Dense_0", "kernel"): KERNEL * 2,
    ("step",): np.array(7, "<i8"),
    ("mask",): np.array([True, False, True]),
}
KERNELS = {"params.Dense_0.kernel": (1,), "params.with.dots.kernel": (1,), "params.Embed_0.embedding": (0,)}


def apart(function: Callable[[], Any]) -> Any:
    """What a function returns in a fork of this process. Raises AssertionError with what it raised there."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            try:
                found = True, function()
            except BaseException as error:  # noqa: BLE001
                found = False, repr(error)
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(found, pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    fine, value = pickle.loads(answer) if answer else (False, "the child died")
    assert fine, value
    return value


def metadata(paths: Sequence[tuple[str, ...]], *, zarr3: bool, ocdbt: bool) -> dict[str, Any]:
    """What `_METADATA` holds."""
    return {
        "tree_metadata": {
            str(path): {
                "key_metadata": [{"key": key, "key_type": 2} for key in path],
                "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
            }
            for path in paths
        },
        "use_ocdbt": ocdbt,
        "use_zarr3": zarr3,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }


def codec(shape: Sequence[int]) -> dict[str, Any]:
    """One shard, as Orbax packs it (zarr 3)."""
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = [little, {"name": "zstd", "configuration": {"level": 3}}]
    outer = {"chunk_shape": list(shape), "codecs": inner, "index_codecs": [little, {"name": "crc32c"}]}
    return {"name": "sharding_indexed", "configuration": outer}


def write(
    folder: Path,
    arrays: Arrays = FLAX,
    *,
    zarr3: bool = True,
    ocdbt: bool = True,
    chunk: int = 1 << 30,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A folder of arrays, each in chunks of at most `chunk` rows. `config` are settings of the OCDBT database."""

    def store() -> None:
        import tensorstore as ts

        for path, array in arrays.items():
            name = ".".join(path)
            shape = [min(edge, chunk) for edge in array.shape]
            base = {"driver": "file", "path": f"{folder}/{'' if ocdbt else name + '/'}"}
            database = {"driver": "ocdbt", "base": base, "path": f"{name}/", "config": dict(config or {})}
            spec: dict[str, Any] = {
                "driver": "zarr3" if zarr3 else "zarr",
                "kvstore": database if ocdbt else base,
                "store_data_equal_to_fill_value": True,
                "create": True,
                "context": {"file_io_sync": False},
            }
            if zarr3:
                grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
                kind = {"data_type": array.dtype.name, "codecs": [codec(shape)]}
                spec["metadata"] = {"shape": list(array.shape), "chunk_grid": grid, **kind}
            else:
                spec["metadata"] = {"chunks": shape, "compressor": {"id": "zstd", "level": 1}}
                spec |= {"dtype": array.dtype.name}
                spec["metadata"]["shape"] = list(array.shape)
            ts.open(spec).result().write(array).result()

    folder.mkdir(parents=True, exist_ok=True)
    apart(store)
    (folder / "_METADATA").write_text(json.dumps(metadata(list(arrays), zarr3=zarr3, ocdbt=ocdbt)))
    (folder / "_sharding").write_text("{}")
    (folder / "array_metadatas").mkdir()
    (folder / "array_metadatas" / "process_0").write_text('{"array_metadatas": []}')
    return folder


def write_step(folder: Path, arrays: Arrays = FLAX, item: str = "default", **options: Any) -> Path:
    """The folder of a step, with one item."""
    write(folder / item, arrays, **options)
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps({"item_handlers": {item: "a handler"}}))
    return folder


def write_keras(folder: Path, arrays: Arrays, config: Mapping[str, Any] | None, step: int = 3) -> Path:
    """A folder of one step, as Keras' callback writes it."""
    inside = write_step(folder / str(step), arrays, "pytree")
    if config is not None:
        model = inside / "model_config"
        model.mkdir()
        (model / "_METADATA").write_text(json.dumps({"tree_metadata": {}}))
        (model / "_strings.json").write_text(json.dumps({"config": json.dumps(config)}))
        (inside / "_CHECKPOINT_METADATA").write_text(json.dumps({"item_handlers": {"pytree": "", "model_config": ""}}))
    return folder


def read(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a folder by its name, as tensorstore reads it; booleans, and what NumPy has not, as bits."""

    def load() -> dict[str, tuple[str, np.ndarray]]:
        import tensorstore as ts

        found = {}
        base = {"driver": "file", "path": f"{folder}/"}
        is_database = (folder / "manifest.ocdbt").exists()
        database = {"driver": "ocdbt", "base": base} if is_database else base
        for key in ts.KvStore.open(database).result().list().result():
            name, _, end = key.decode().rpartition("/")
            if end not in (".zarray", "zarr.json"):
                continue
            kvstore = {**database, "path": f"{name}/" if is_database else f"{folder}/{name}/"}
            driver = "zarr3" if end == "zarr.json" else "zarr"
            values = ts.open({"driver": driver, "kvstore": kvstore, "fill_missing_data_reads": False}).result().read()
            array = np.asarray(values.result())
            found[name] = (
                array.dtype.name,
                array.view(f"u{array.itemsize}" if array.dtype.kind in "bV" else array.dtype),
            )
        return found

    return {
        name: array.view(ml_dtypes.bfloat16) if dtype == "bfloat16" else array
        for name, (dtype, array) in apart(load).items()
    }
