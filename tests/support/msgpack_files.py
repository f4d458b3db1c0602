"""msgpack files of flax, written and read by the specification: each value whole, in memory."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (gives NumPy the names of its dtypes)
import numpy as np

from support import builders

ARRAY = 1


def flax_tree() -> dict[str, Any]:
    """The state of a small model, every second unit of its kernels of norm 2."""
    return {
        "params": {
            "Embed_0": {"embedding": builders.kernel((6, 4), (0,))},
            "Conv_0": {"kernel": builders.kernel((2, 2, 3, 4), seed=1), "bias": np.full(4, 3.0, np.float32)},
            "Dense_0": {"kernel": builders.kernel((4, 5), seed=2, dtype=np.float16)},
            "Dense_1": {"kernel": builders.kernel((5, 3), seed=3, dtype=np.dtype("bfloat16"))},
        },
        "batch_stats": {"BatchNorm_0": {"mean": np.full(4, 3.0, np.float32)}},
        "step": np.array(7, np.int32),
    }


FLAX_KERNELS = {
    "params/Embed_0/embedding": (0,),
    "params/Conv_0/kernel": (3,),
    "params/Dense_0/kernel": (1,),
    "params/Dense_1/kernel": (1,),
}


def packed(value: Any) -> bytes:
    """A value as msgpack has it; arrays as flax has them."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return bytes([value]) if 0 <= value < 128 else b"\xcf" + struct.pack(">Q", value)
        case str():
            return b"\xdb" + struct.pack(">L", len(value.encode())) + value.encode()
        case bytes():
            return b"\xc6" + struct.pack(">L", len(value)) + value
        case np.ndarray():
            return extension(ARRAY, packed([list(value.shape), value.dtype.name, value.tobytes()]))
        case list() | tuple():
            return b"\xdd" + struct.pack(">L", len(value)) + b"".join(map(packed, value))
        case Mapping():
            head = bytes([0x80 | len(value)]) if len(value) < 16 else b"\xdf" + struct.pack(">L", len(value))
            return head + b"".join(packed(key) + packed(one) for key, one in value.items())
    raise TypeError(type(value))


def extension(kind: int, content: bytes) -> bytes:
    return b"\xc9" + struct.pack(">LB", len(content), kind) + content


def write_msgpack(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_bytes(packed(tree))


def read_msgpack(path: Path) -> dict[str, np.ndarray]:
    """The arrays by their paths, of what `packed` makes."""
    raw = path.read_bytes()
    value, end = _value(raw, 0)
    assert end == len(raw)
    found: dict[str, np.ndarray] = {}
    waiting = [("", value)]
    while waiting:
        path_, tree = waiting.pop()
        if isinstance(tree, dict):
            waiting += [(f"{path_}/{key}" if path_ else key, one) for key, one in tree.items()]
        else:
            found[path_] = tree
    return found


def _value(raw: bytes, at: int) -> tuple[Any, int]:
    code = raw[at]
    if code < 0x80:
        return code, at + 1
    if 0x80 <= code < 0x90:
        return _map(raw, at + 1, code & 15)
    (length,) = struct.unpack_from(">L", raw, at + 1)
    at += 5
    match code:
        case 0xDF:
            return _map(raw, at, length)
        case 0xDB:
            return raw[at : at + length].decode(), at + length
        case 0xC6:
            return raw[at : at + length], at + length
        case 0xDD:
            items = []
            for _ in range(length):
                item, at = _value(raw, at)
                items.append(item)
            return items, at
        case 0xC9:
            (shape, dtype, content), end = _value(raw, at + 1)
            return np.frombuffer(content, np.dtype(dtype)).reshape(shape), end
    raise ValueError(hex(code))


def _map(raw: bytes, at: int, length: int) -> tuple[dict[str, Any], int]:
    found = {}
    for _ in range(length):
        key, at = _value(raw, at)
        found[key], at = _value(raw, at)
    return found, at
