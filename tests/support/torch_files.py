"""Files of PyTorch without PyTorch: pickles are written by instructions, and read by Python's own machine."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Arrays = Mapping[str, np.ndarray]

CLASSES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
}
STREAM_MARK = 0x1950A86A20F9469CFC6C
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def sizes(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    key: str,
    kind: str,
    numbers: int,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    ending: bytes = b"",
) -> bytes:
    """The instructions that push a tensor; in a stream, "N" is the ending of what tells its storage."""
    stored = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(numbers)
    stored += ending + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return REBUILD + b"(" + stored + number(offset) + sizes(size) + sizes(stride) + b"\x89" + hooks + b"tR"


def of_array(key: str, array: np.ndarray, ending: bytes = b"") -> bytes:
    kind = next(name for name, dtype in CLASSES.items() if dtype == array.dtype)
    stride = tuple(step // array.itemsize for step in array.strides)
    return tensor(key, kind, array.size, 0, array.shape, stride, ending)


def pickled(pairs: Mapping[str, bytes]) -> bytes:
    """A pickle of a dict, of which the values are given as instructions."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in pairs.items()) + b"u."


def write_torch(
    path: Path, arrays: Arrays, *, method: int = zipfile.ZIP_STORED, prefix: str = "m", unsummed: bool = False
) -> None:
    """An archive as `torch.save` writes it; without checksums as it does where that is asked for."""
    pairs = {name: of_array(str(number), array) for number, (name, array) in enumerate(arrays.items())}
    with zipfile.ZipFile(path, "w", method) as archive:
        members = {"data.pkl": pickled(pairs), "byteorder": b"little"}
        members |= {f"data/{number}": array.tobytes("A") for number, array in enumerate(arrays.values())}
        for name, content in (members | {"version": b"3\n"}).items():
            archive.writestr(zipfile.ZipInfo(f"{prefix}/{name}"), content, method)
    if unsummed:
        content = bytearray(path.read_bytes())
        for mark, place in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
            at = content.find(mark)
            while at >= 0:
                content[at + place : at + place + 4] = bytes(4)
                at = content.find(mark, at + 4)
        path.write_bytes(content)


def write_stream(path: Path, arrays: Arrays) -> None:
    """The stream that was written before PyTorch 1.6."""
    pairs = {name: of_array(str(number), array, b"N") for number, (name, array) in enumerate(arrays.items())}
    head = b"".join(pickle.dumps(value, 2) for value in (STREAM_MARK, 1001, {"little_endian": True}))
    keys = pickle.dumps([str(number) for number in range(len(arrays))], 2)
    stored = (struct.pack("<q", array.size) + array.tobytes("A") for array in arrays.values())
    path.write_bytes(head + pickled(pairs) + keys + b"".join(stored))


class _Unpickler(pickle.Unpickler):
    """Knows the names that `write_torch` writes, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_rebuild_tensor_v2":
            return lambda *args: args[:4]
        if name == "OrderedDict":
            return dict
        assert module == "torch"
        return CLASSES[name]

    def persistent_load(self, told: Any) -> Any:
        return told[1], told[2], told[4]


def _view(told: Any, storages: Mapping[str, bytes]) -> np.ndarray:
    (dtype, key, numbers), offset, size, stride = told
    flat = np.frombuffer(storages[key], dtype, numbers)[offset:]
    return np.lib.stride_tricks.as_strided(flat, size, [step * dtype.itemsize for step in stride])


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of what the functions above write."""
    if path.read_bytes()[:2] == b"PK":
        with zipfile.ZipFile(path) as archive, archive.open(f"{_folder(archive)}/data.pkl") as file:
            told = _Unpickler(file).load()
            storages = {
                name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if name.count("/") == 2
            }
    else:
        with path.open("rb") as stream:
            *_, told, keys = (_Unpickler(stream).load() for _ in range(5))
            kinds = {key: dtype for (dtype, key, _), *_ in told.values()}
            storages = {key: stream.read(struct.unpack("<q", stream.read(8))[0] * kinds[key].itemsize) for key in keys}
    return {name: _view(one, storages) for name, one in told.items()}


def _folder(archive: zipfile.ZipFile) -> str:
    return archive.namelist()[0].partition("/")[0]
