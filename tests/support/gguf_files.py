"""Files of GGUF by hand, so that they can be wrong, and the arrays that the package gguf reads in them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

TYPES = {"float32": 0, "float16": 1, "int8": 24, "int32": 26, "float64": 28, "bfloat16": 30}
Info = tuple[str, tuple[int, ...], int, bytes]
"""Name, shape in C order, number of the type, and stored bytes."""

BLOCKS = (np.arange(6 * 292) % 251).astype(np.uint8).tobytes()
"""Six rows of a block of Q8_K each, from which gguf tells no numbers."""
QUANTIZED: Info = ("blk.0.ffn_down.weight", (6, 256), 15, BLOCKS)


def arrays() -> dict[str, np.ndarray]:
    """A small model, some of its units over 1."""
    numbers = np.random.default_rng(7)

    def some(*shape: int) -> np.ndarray:
        return numbers.standard_normal(shape).astype("<f4") / 3

    return {
        "token_embd.weight": some(7, 8).astype(ml_dtypes.bfloat16),
        "blk.0.attn_norm.weight": np.ones(8, "<f4"),
        "blk.0.attn_q.weight": some(8, 8).astype("<f2"),
        "blk.0.attn_q.bias": np.zeros(8, "<f4"),
        "blk.0.ffn_up_exps.weight": some(3, 5, 8),
        "output.weight": some(7, 8).astype("<f8"),
    }


KERNELS = {
    "token_embd.weight": (0,),
    "blk.0.attn_q.weight": (0,),
    "blk.0.ffn_up_exps.weight": (0, 1),
    "output.weight": (0,),
}


def infos(known: Mapping[str, np.ndarray], order: str = "<") -> list[Info]:
    """How arrays are stored."""

    def stored(array: np.ndarray) -> bytes:
        swaps = array.dtype != ml_dtypes.bfloat16
        return (array.astype(array.dtype.newbyteorder(order)) if swaps else array).tobytes()

    return [(name, array.shape, TYPES[array.dtype.name], stored(array)) for name, array in known.items()]


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(f"{order}Q", len(raw)) + raw


def value(key: str, found: int | str | list[str], order: str = "<") -> bytes:
    """A key with a number, a text or a list of texts."""
    if isinstance(found, int):
        return text(key, order) + struct.pack(f"{order}II", 4, found)
    if isinstance(found, str):
        return text(key, order) + struct.pack(f"{order}I", 8) + text(found, order)
    return text(key, order) + struct.pack(f"{order}IIQ", 9, 8, len(found)) + b"".join(text(one, order) for one in found)


def gguf(
    tensors: Iterable[Info],
    values: Iterable[bytes] = (),
    *,
    order: str = "<",
    version: int = 3,
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
    offsets: Mapping[str, int] | None = None,
) -> bytes:
    """A file that ends with the last number; `counts` and `offsets` are what it says of itself."""
    tensors, values = list(tensors), [value("general.architecture", "llama", order), *values]
    if alignment != 32:
        values.append(value("general.alignment", alignment, order))
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, *(counts or (len(tensors), len(values)))) + b"".join(values)
    data = b""
    for name, shape, kind, content in tensors:
        at = (offsets or {}).get(name, len(data))
        head += text(name, order) + struct.pack(f"{order}I", len(shape))
        head += struct.pack(f"{order}{len(shape)}Q", *shape[::-1]) + struct.pack(f"{order}IQ", kind, at)
        data += content + bytes(-len(content) % max(1, alignment))
    if not tensors:
        return head
    content = tensors[-1][-1]
    return head + bytes(-len(head) % max(1, alignment)) + data[: len(data) - -len(content) % max(1, alignment)]


def write(path: Path, *, order: str = "<") -> Path:
    """The small model, and a quantized tensor."""
    known = [*infos(arrays(), order), QUANTIZED]
    words = value("tokenizer.ggml.tokens", ["<s>", "a", "\u2581the"], order)
    path.write_bytes(gguf(known, [words], order=order))
    return path


def write_split(folder: Path) -> Path:
    """The same in three files; the first has no tensors, as llama.cpp may write it."""
    known = [*infos(arrays()), QUANTIZED]
    for number, part in enumerate(([], known[:3], known[3:])):
        facts = [value("split.no", number), value("split.count", 3), value("split.tensors.count", len(known))]
        (folder / f"m-{number + 1:05}-of-00003.gguf").write_bytes(gguf(part, facts))
    return folder / "m-00001-of-00003.gguf"


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor as gguf reads it, with its axes in C order; of a block, the first 32 bytes."""
    from gguf import GGUFReader

    found = {}
    for tensor in GGUFReader(path).tensors:
        array, shape = np.array(tensor.data), tuple(int(edge) for edge in tensor.shape[::-1])
        if tensor.tensor_type == TYPES["bfloat16"]:
            array = array.view(ml_dtypes.bfloat16)
        found[tensor.name] = array.reshape(shape) if array.size == np.prod(shape) else array[:, : shape[1]]
    return found
