"""A model of PyTorch as safetensors and as `torch.save` writes it, by their specifications: no package is needed."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

SAVED = {"words.weight": (0,), "up.weight": (1,), "fc.weight": (0,)}
"""The weights that should be constrained; a transposed convolution is (in, out, size)."""
SAVED_SHAPES = {
    "words.weight": (60, 8),
    "up.weight": (8, 6, 2),
    "up.bias": (6,),
    "norm.weight": (6,),
    "norm.bias": (6,),
    "norm.running_mean": (6,),
    "fc.weight": (10, 6),
    "fc.bias": (10,),
}

_CODES = {"float32": "F32", "bfloat16": "BF16"}


def safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A header of JSON, padded to 8 bytes, and the arrays one behind the other."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, array in arrays.items():
        place = [at, at + array.nbytes]
        header[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values())


def torch(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An archive of a pickle of float32 tensors and a member for the numbers of each."""
    members = {"data.pkl": _pickle(arrays), "byteorder": b"little"}
    members |= {f"data/{number}": array.tobytes() for number, array in enumerate(arrays.values())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members | {"version": b"3\n"}).items():
            archive.writestr(zipfile.ZipInfo(f"saved/{name}"), content)
    return buffer.getvalue()


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A dict of tensors, in the instructions of protocol 2."""
    tensors = b""
    for number, (name, array) in enumerate(arrays.items()):
        steps = tuple(step // array.itemsize for step in array.strides)
        storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(number)) + _text("cpu")
        storage += _number(array.size) + b"tQ"
        tensors += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0)
        tensors += _numbers(array.shape) + _numbers(steps) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}(" + tensors + b"u."


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
