"""Files of other frameworks than Keras and TensorFlow, by their specifications: written by json and NumPy alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from support import builders

Arrays = Mapping[str, np.ndarray]

SAFETENSORS = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}
CODES = {dtype: name for name, dtype in SAFETENSORS.items()}
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def torch_arrays() -> dict[str, np.ndarray]:
    """The arrays of a small model of PyTorch, every second unit of its kernels of norm 2."""
    return {
        "embed.weight": builders.kernel((6, 4), (0,)),
        "conv.weight": builders.kernel((4, 3, 2, 2), (0,), seed=1),
        "conv.bias": np.full(4, 3.0, np.float32),
        "fc.weight": builders.kernel((5, 4), (0,), seed=2, dtype=np.float16),
        "fc.bias": np.full(5, 3.0, np.float16),
        "head.weight": builders.kernel((3, 5), (0,), seed=3, dtype=ml_dtypes.bfloat16),
        "norm.weight": np.full(5, 3.0, np.float32),
        "norm.num_batches_tracked": np.array(7, np.int64),
        "scale": np.full(3, 2, ml_dtypes.float8_e4m3fn),
        "none.weight": np.zeros((0, 4), np.float32),
    }


TORCH_KERNELS = {"embed.weight": (0,), "conv.weight": (0,), "fc.weight": (0,), "head.weight": (0,)}


def safetensors(header: Mapping[str, Any] | bytes, data: bytes, size: int = 0) -> bytes:
    """A file of any header; the header padded with spaces to a size."""
    text = (header if isinstance(header, bytes) else json.dumps(header).encode()).ljust(size)
    return len(text).to_bytes(8, "little") + text + data


def write_safetensors(path: Path, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    data = b""
    for name, array in arrays.items():
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": CODES[array.dtype], "shape": list(array.shape), "data_offsets": place}
        data += raw
    path.write_bytes(safetensors(header, data))


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file, or of all files that an index names."""
    if path.name.endswith(".json"):
        names = sorted(set(json.loads(path.read_text())["weight_map"].values()))
        return {key: array for name in names for key, array in read_safetensors(path.with_name(name)).items()}
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            count, at = math.prod(entry["shape"]), start + entry["data_offsets"][0]
            found[name] = np.frombuffer(raw, SAFETENSORS[entry["dtype"]], count, at).reshape(entry["shape"])
    return found


def write_index(path: Path, shards: Sequence[Arrays], stem: str = "model", ending: str = "safetensors") -> Path:
    """The index of shards that are written beside it, as Hugging Face names them."""
    weight_map = {}
    for number, arrays in enumerate(shards, 1):
        name = f"{stem}-{number:05}-of-{len(shards):05}.{ending}"
        write_safetensors(path.with_name(name), arrays, {"format": "pt"})
        weight_map |= dict.fromkeys(arrays, name)
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}, indent=2))
    return path


def halves(arrays: Arrays) -> list[Arrays]:
    """The arrays in two shards."""
    items = list(arrays.items())
    return [dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])]
