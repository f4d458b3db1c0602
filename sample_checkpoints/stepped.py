"""A model of flax in a folder as Orbax writes it: arrays of zarr 3 in an OCDBT database, made by tensorstore."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

STEPPED = {"params/words/embedding": (0,), "params/edges/kernel": (3,), "params/head/kernel": (1,)}
"""The weights that should be constrained; a convolution is (h, w, in, out), a dense kernel (in, out)."""
STEPPED_SHAPES = {
    "params/words/embedding": (60, 8),
    "params/edges/kernel": (3, 3, 2, 6),
    "params/edges/bias": (6,),
    "params/head/kernel": (8, 10),
    "params/head/bias": (10,),
    "opt_state/0/mu/head/kernel": (8, 10),
    "step": (),
}

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_PACKED = {"name": "zstd", "configuration": {"level": 3}}


def stored_name(path: str) -> str:
    return path.replace("/", ".")


def orbax(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the folder; the files of a database have names of their own each time."""
    folder.mkdir(parents=True)
    database = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder.resolve()}/"}}
    for path, array in arrays.items():
        spec = {
            "driver": "zarr3",
            "kvstore": {**database, "path": f"{stored_name(path)}/"},
            "metadata": _metadata(array),
            "create": True,
            "store_data_equal_to_fill_value": True,
        }
        tensorstore.open(spec).result().write(array).result()
    (folder / "_METADATA").write_text(
        json.dumps({"tree_metadata": _tree(arrays), "use_ocdbt": True, "use_zarr3": True})
    )
    (folder / "_sharding").write_text("{}")


def _metadata(array: np.ndarray) -> dict[str, Any]:
    """One chunk, which is a shard of one chunk."""
    edges = list(array.shape)
    shard = {"chunk_shape": edges, "codecs": [_LITTLE, _PACKED], "index_codecs": [_LITTLE, {"name": "crc32c"}]}
    return {
        "shape": edges,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": edges}},
        "codecs": [{"name": "sharding_indexed", "configuration": shard}],
    }


def _tree(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        str(tuple(path.split("/"))): {
            "key_metadata": [{"key": key, "key_type": 2} for key in path.split("/")],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }
        for path in arrays
    }
