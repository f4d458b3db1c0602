"""Files of PyTorch without PyTorch: pickles are written by instructions, and read by Python's own machine."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
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


def item_of(array: np.ndarray, before: bytes = b"", order: str = "little") -> bytes:
    """One tensor, as `torch.save` writes it on a machine of that byte order, with instructions before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        members = {"data.pkl": b"\x80\x02" + before + of_array("0", array) + b".", "byteorder": order.encode()}
        stored = (array if order == "little" else array.byteswap()).tobytes()
        for name, content in (members | {"data/0": stored, "version": b"3\n"}).items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return buffer.getvalue()


def dataclass(module: str, name: str, fields: Mapping[str, bytes]) -> bytes:
    """The instructions that push an object of a dataclass of torch.distributed.checkpoint."""
    values = b"".join(text(key) + value for key, value in fields.items())
    return f"ctorch.distributed.checkpoint.{module}\n{name}\n".encode() + b")\x81}(" + values + b"ub"


def torch_size(values: tuple[int, ...]) -> bytes:
    return b"ctorch\nSize\n" + sizes(values) + b"\x85R"


_TORCH_DTYPES = {"f": "float32", "e": "float16", "d": "float64", "l": "int64", "E": "bfloat16"}


def sparse(layout: str, parts: Sequence[bytes], size: tuple[int, ...]) -> bytes:
    """The instructions that push a sparse tensor; the last of its parts are its values."""
    told = b"ctorch.serialization\n_get_layout\n(" + text(layout) + b"tR"
    return b"ctorch._utils\n_rebuild_sparse_tensor\n(" + told + b"(" + b"".join(parts) + torch_size(size) + b"ttR"


def told_of(array: np.ndarray, boxes: Sequence[tuple[int, int]]) -> bytes:
    """What the metadata tell of a tensor; its boxes are ranges of the first axis."""
    dtype = f"ctorch\n{_TORCH_DTYPES[array.dtype.char]}\n".encode()
    layout = b"ctorch.serialization\n_get_layout\n" + text("torch.strided") + b"\x85R"
    encoding = b"ctorch.distributed.checkpoint.metadata\n_MEM_FORMAT_ENCODING\nK\x00\x85R"
    properties = b"ctorch.distributed.checkpoint.metadata\nTensorProperties\n)\x81(" + dtype + layout + b"\x89"
    properties += encoding + b"\x89tb"
    chunks = b"](" + b"".join(
        dataclass("metadata", "ChunkStorageMetadata", {"offsets": torch_size(start), "sizes": torch_size(shape)})
        for start, shape in (_box(array, box) for box in boxes)
    )
    fields = {"properties": properties, "size": torch_size(array.shape), "chunks": chunks + b"e"}
    return dataclass("metadata", "TensorStorageMetadata", fields)


def _box(array: np.ndarray, box: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, last = box
    return (first, *(0,) * (array.ndim - 1))[: array.ndim], (last - first, *array.shape[1:])[: array.ndim]


def place_of(name: str, start: tuple[int, ...], file: str, offset: int, length: int) -> bytes:
    """A pair of what the metadata tell of items: of which box, and where it lies."""
    index = {"fqn": text(name), "offset": torch_size(start), "index": b"N"}
    place = {"relative_path": text(file), "offset": number(offset), "length": number(length)}
    place |= {"transform_descriptors": b"N"}
    return dataclass("metadata", "MetadataIndex", index) + dataclass("filesystem", "_StorageInfo", place)


def metadata_of(tensors: Mapping[str, bytes], places: Sequence[bytes], storage: bytes = b"N") -> bytes:
    fields = {
        "state_dict_metadata": pickled(tensors)[2:-1],
        "planner_data": b"}",
        "storage_data": b"}(" + b"".join(places) + b"u",
        "storage_meta": storage,
        "version": text("1.0.0"),
    }
    return b"\x80\x02" + dataclass("metadata", "Metadata", fields) + b"."


def write_distributed(folder: Path, arrays: Arrays) -> None:
    """A folder as `torch.distributed.checkpoint.save` writes it of two processes, with rows of each array in both."""
    folder.mkdir()
    files: dict[str, bytes] = {"__0_0.distcp": b"", "__1_0.distcp": b""}
    tensors, places = {}, []
    for name, array in arrays.items():
        rows = array.shape[0] if array.ndim else 1
        boxes = [(0, rows // 2), (rows // 2, rows)] if rows > 1 else [(0, rows)]
        tensors[name] = told_of(array, boxes)
        for file, box in zip(files, boxes, strict=False):
            item = item_of(np.ascontiguousarray(array[slice(*box)]) if array.ndim else array)
            places.append(place_of(name, _box(array, box)[0], file, len(files[file]), len(item)))
            files[file] += item
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / ".metadata").write_bytes(metadata_of(tensors, places))


def value_of(value: Any, save: str, folder: str = "archive") -> bytes:
    """What is no tensor, as `torch.save` writes it, with the number of the save."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        members = {"data.pkl": pickle.dumps(value, 2), "version": b"3\n", ".data/serialization_id": save.encode()}
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), content)
    return buffer.getvalue()


def write_values(
    folder: Path, array: np.ndarray, values: Mapping[str, Any], save: str, more: bytes = b"", before: bytes = b""
) -> None:
    """A folder as `torch.distributed.checkpoint.save` writes it of one array, with instructions `before` it, and of
    values; `more` ends the metadata's storage, which names the save."""
    folder.mkdir()
    content = item_of(array, before)
    tensors = {"a.weight": told_of(array, [(0, len(array))])}
    places = [place_of("a.weight", (0,) * array.ndim, "__0_0.distcp", 0, len(content))]
    for name, value in values.items():
        tensors[name] = dataclass("metadata", "BytesStorageMetadata", {})
        item = value_of(value, save)
        index = dataclass("metadata", "MetadataIndex", {"fqn": text(name), "offset": b"N", "index": b"N"})
        place = {"relative_path": text("__0_0.distcp"), "offset": number(len(content)), "length": number(len(item))}
        places.append(index + dataclass("filesystem", "_StorageInfo", place | {"transform_descriptors": b"N"}))
        content += item
    (folder / "__0_0.distcp").write_bytes(content)
    path = b"cpathlib\nPosixPath\n(" + b"".join(map(text, folder.parts)) + b"tR"
    storage = {"checkpoint_id": path, "save_id": text(save), "modules": b"]"}
    made = dataclass("metadata", "StorageMeta", storage) + more
    (folder / ".metadata").write_bytes(metadata_of(tensors, places, made))


class _Told:
    """An object of the metadata, with its fields."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch", "Size"):
            return tuple
        if module.startswith("torch.distributed.checkpoint.") and not name.startswith("_MEM"):
            return type(name, (_Told,), {})
        return lambda *args: None


def read_distributed(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of a folder that `write_distributed` wrote."""
    told = _MetadataUnpickler(io.BytesIO((folder / ".metadata").read_bytes())).load()
    found: dict[str, list[tuple[tuple[int, ...], np.ndarray]]] = {}
    for index, place in told.storage_data.items():
        content = (folder / place.relative_path).read_bytes()[place.offset :][: place.length]
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open("archive/data.pkl") as file:
            assert archive.testzip() is None
            array = _view(_Unpickler(file).load(), {"0": archive.read("archive/data/0")})
        found.setdefault(index.fqn, []).append((index.offset, array))
    ordered = {name: [array for _, array in sorted(parts, key=lambda one: one[0])] for name, parts in found.items()}
    return {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in ordered.items()}


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
