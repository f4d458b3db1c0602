"""Mutants of the files of other frameworks: what they are made of, and what is done with one."""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from support import gguf_files, msgpack_files, onnx_files, tensor_files, tfjs_files, tflite_files, torch_files
from support.found import file_at
from support.memory_file import MemoryFile

from fuzz.mutate import JSON_TOKENS, ZIP_TOKENS, Kind, edit_json, edit_zip_fields
from fuzz.targets import plan_all, read_all
from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Head
from renorm_cli.formats.flax.format import FlaxFormat
from renorm_cli.formats.gguf.format import GgufFormat
from renorm_cli.formats.numpy.format import NpyFormat, NpzFormat
from renorm_cli.formats.onnx.format import OnnxFormat
from renorm_cli.formats.safetensors.format import Safetensors
from renorm_cli.formats.tfjs.format import TfjsFormat
from renorm_cli.formats.tflite.format import TfliteFormat
from renorm_cli.formats.torch.format import TorchStreamFormat, TorchZipFormat


class OpenTarget:
    """A mutant in memory, opened by its format alone: every variable once, its blocks read, and planned."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self.accepted = 0

    def __call__(self, data: bytes, number: int) -> None:
        file = MemoryFile(Path("mutant"), data)
        found = file_at(file.path, file)
        found.beside = _beside
        if not self._format.recognises(Head(file)):
            raise FormatError("not recognised")
        with self._format.open(found) as source:
            assert len({variable.key for variable in source.variables}) == len(source.variables)
            plan_all(source.variables)
            read_all(source)
        self.accepted += 1


def _beside(path: Path) -> MemoryFile:
    """The files of weights beside a model of TensorFlow.js."""
    content = _tfjs().get(path.name)
    if content is None:
        raise FormatError(f"{str(path)!r}: no such file")
    return MemoryFile(path, content)


@cache
def _tfjs() -> dict[str, bytes]:
    """Two models, of layers and of nodes, and their files of weights."""
    with tempfile.TemporaryDirectory() as folder:
        tfjs_files.write_small(Path(folder)).rename(Path(folder) / "layers")
        tfjs_files.write_graph(Path(folder), name="nodes", shard_bytes=4 << 20)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _written(write: Callable[[Path], object], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _safetensors() -> dict[str, bytes]:
    arrays = tensor_files.torch_arrays()
    metadata = {"format": "pt", "lm_head.weight": "embed.weight"}
    entry = tensor_files.ENTRY | {"shape": [2, 1]}
    return {
        "model": _written(lambda path: tensor_files.write_safetensors(path, arrays, metadata), "m"),
        "one": tensor_files.safetensors({"a.weight": entry}, np.full(2, 3, "<f4").tobytes()),
    }


def _edit_header(chance: random.Random, data: bytes) -> bytes:
    """Another JSON header in its frame."""
    length = int.from_bytes(data[:8], "little")
    header = edit_json(chance, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _npz(save: Callable[..., object] = np.savez) -> bytes:
    arrays = {name: array for name, array in tensor_files.torch_arrays().items() if array.dtype.kind in "fi"}
    odd = {"f.weight": np.asfortranarray(np.ones((3, 2))), "b.weight": np.ones((2, 2), ">f4"), "s": np.array(["x"])}
    return _written(lambda path: save(path, **arrays, **odd), "m.npz")


def _npy() -> dict[str, bytes]:
    arrays = {"c": np.ones((3, 2), "f4"), "fortran": np.asfortranarray(np.ones((3, 2))), "one": np.ones(4, ">f2")}
    return {
        name: _written(lambda path, array=array: np.save(path, array), "m.npy")  # type: ignore[misc]
        for name, array in arrays.items()
    }


NPY_TOKENS = [b"'fortran_order': True", b"'<f8'", b"'|O'", b"'|V2'", b"(1000000,)", b"()", b"9" * 19, b"\x93NUMPY\x02"]
MSGPACK_TOKENS = [
    b"\x81",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc7\x1d\x01\x93\x91",
    b"\xa7float32",
    b"\xcf",
]

PICKLE_TOKENS = [
    *(bytes([code]) for code in b"(.0123}])tuasebRQNhjqr\x81\x85\x86\x87\x88\x89\x93\x94\x95"),
    b"X\xff\xff\xff\x7f",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"ctorch._utils\n_rebuild_tensor_v3\n",
    b"ctorch\nBFloat16Storage\n",
    b"cos\nsystem\n",
]


ONNX_TOKENS = [
    *(bytes([number << 3 | 2, 0]) for number in (1, 2, 4, 5, 6, 7, 8, 9, 13, 22, 25)),
    b"\x08\x00", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x10\x01", b"\x10\x0a", b"\x70\x01",
    b"\x0a\xff\xff\xff\xff\x0f", b"MatMul", b"Gemm", b"Reshape", b"Transpose", b"Constant", b"If", b"LSTM",
]  # fmt: skip


TFLITE_TOKENS = [
    *(number.to_bytes(4, "little") for number in (0, 1, 2, 4, 8, 12, 24, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)),
    *(number.to_bytes(2, "little") for number in (0, 4, 6, 8, 10, 12, (1 << 16) - 1)),
    bytes(16),
]

TFJS_TOKENS = [
    *JSON_TOKENS,
    *(
        b'"%s"' % word
        for word in (b"paths", b"weights", b"quantization", b"uint8", b"string", b"node", b"input", b"attr")
    ),
]

GGUF_TOKENS = [
    *(struct.pack("<Q", number) for number in (0, 1, 2, 3, 31, 32, 33, 1 << 31, 1 << 32, 1 << 61, (1 << 64) - 1)),
    *(struct.pack("<I", number) for number in (0, 4, 8, 9, 10, 12, 30, 39, 77)),
    b"general.alignment", b"split.count", b"GGUF", b".weight", b"_exps", b"norm",
]  # fmt: skip


def _gguf() -> dict[str, bytes]:
    known, words = gguf_files.infos(gguf_files.arrays()), gguf_files.value("tokenizer.ggml.tokens", ["a", "b"])
    swapped = gguf_files.infos(gguf_files.arrays(), ">")
    return {
        "model": gguf_files.gguf([*known, ("q.weight", (6, 32), 8, gguf_files.BLOCKS[: 6 * 34])], [words]),
        "aligned": gguf_files.gguf(known[1:3], alignment=64),
        "swapped": gguf_files.gguf(swapped, order=">"),
    }


def _onnx_chained() -> bytes:
    """Weights that go through what changes their axes, by constants that say how."""
    node, w = onnx_files.node, np.ones((4, 3), np.float32)
    numbers = {"s": [0, -1], "a": [0, 2], "b": [1], "e": [3]}
    nodes = [
        node("Reshape", ["w", "s"], ["r"]),
        node("Unsqueeze", ["r", "a"], ["u"]),
        node("Transpose", ["u"], ["t"], perm=[0, 3, 2, 1]),
        node("Squeeze", ["t", "a"], ["q"]),
        node("Slice", ["q", "b", "e", "b"], ["l"]),
        node("Split", ["l", "s"], ["p", "o"], axis=1),
        node("Concat", ["p", "p"], ["c"], axis=-1),
        node("Flatten", ["c"], ["f"], axis=1),
        node("Gather", ["f", "ids"], ["g"], axis=1),
        node("Einsum", ["x", "f"], ["y"], equation="ab,bc->ac"),
        node("own", ["f"], ["z"], domain="own"),
    ]
    function = onnx_files.function("own", "own", ["a"], ["b"], [node("Gemm", ["x", "a"], ["b"], transB=1)])
    tensors = [onnx_files.tensor("w", w)]
    tensors += [onnx_files.tensor(name, np.array(held, np.int64), "typed") for name, held in numbers.items()]
    return onnx_files.model(onnx_files.graph(nodes, tensors), [function])


def _torch(write: Callable[..., object], **options: object) -> bytes:
    arrays = {name: array for name, array in tensor_files.torch_arrays().items() if name != "scale"}
    return _written(lambda path: write(path, arrays, **options), "m.pt")


def _edit_pickle(chance: random.Random, data: bytes) -> bytes:
    """Another pickle of the same length in its archive, so that only its checksum is not true: PyTorch never asks."""
    start = data.index(b"\x80\x02")
    end = data.index(b"u.", start) + 2
    edited = bytearray(data[start:end])
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, token = chance.randrange(len(edited)), chance.choice(PICKLE_TOKENS)
        edited[at : at + len(token)] = token
    return data[:start] + bytes(edited)[: end - start] + data[end:]


FOREIGN: Mapping[str, tuple[Kind, Format]] = {
    "safetensors": (Kind(_safetensors(), JSON_TOKENS, (_edit_header,)), Safetensors()),
    "npy": (Kind(_npy(), NPY_TOKENS), NpyFormat()),
    "npz": (
        Kind({"stored": _npz(), "deflated": _npz(np.savez_compressed)}, NPY_TOKENS + ZIP_TOKENS, (edit_zip_fields,)),
        NpzFormat(),
    ),
    "torch": (
        Kind({"stored": _torch(torch_files.write_torch, unsummed=True)}, PICKLE_TOKENS, (_edit_pickle,)),
        TorchZipFormat(),
    ),
    "torch stream": (Kind({"stream": _torch(torch_files.write_stream)}, PICKLE_TOKENS), TorchStreamFormat()),
    "gguf": (Kind(_gguf(), GGUF_TOKENS), GgufFormat()),
    "onnx": (Kind({"model": onnx_files.small_model(), "chained": _onnx_chained()}, ONNX_TOKENS), OnnxFormat()),
    "tflite": (Kind({"model": tflite_files.small_model()}, TFLITE_TOKENS), TfliteFormat()),
    "tfjs": (Kind({name: _tfjs()[name] for name in ("layers", "nodes")}, TFJS_TOKENS, (edit_json,)), TfjsFormat()),
    "flax": (Kind({"model": msgpack_files.packed(msgpack_files.flax_tree())}, MSGPACK_TOKENS), FlaxFormat()),
}
"""The mutants of each format, by its name, and the format that reads them."""
