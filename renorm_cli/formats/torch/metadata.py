"""The file `.metadata` of a distributed checkpoint: of which tensors which boxes lie in which file.

It is a pickle of a `Metadata` of torch/distributed/checkpoint/metadata.py, whose `storage_data` are of filesystem.py
(PyTorch 2.13).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from renorm_cli.errors import FormatError
from renorm_cli.formats.tiling import fill
from renorm_cli.formats.torch.stack_machine import Damaged, Global, Machine, Made, Pairs, digest_of
from renorm_cli.formats.torch.tensors import Axes, call, size_of
from renorm_cli.untrusted import is_file_name, quoted

_TENSOR = "TensorStorageMetadata"
_OF_A_SAVE = ("checkpoint_id", "save_id", "load_id")
"""Fields of `StorageMeta`: the path, and random numbers."""
_MOST_FIELDS = 64
_MOST_CHUNKS = 1_000_000
_MOST_CORNERS = 8_000_000

Place = tuple[str, int, int]
"""A file, an offset in it and a length."""
_Items = Mapping[tuple[str, Axes | None], Place]
"""The place of a box, by the name of its tensor and where in it the box begins; None for what is no tensor."""


class Item(NamedTuple):
    """A box of a tensor, and the range of bytes of a file in which it was saved as an archive of its own."""

    start: Axes
    shape: Axes
    file: str
    offset: int
    length: int


class Stored(NamedTuple):
    """A tensor and the boxes that fill it; those that are empty are left out."""

    shape: Axes
    dtype: str
    items: tuple[Item, ...]


class Metadata(NamedTuple):
    """The tensors by name, of each file the byte where its last item ends, and the places of all items.

    Items of no tensor, and of one, are named by what they are of and where in it they begin.
    """

    tensors: Mapping[str, Stored]
    ends: Mapping[str, int]
    values: Mapping[str, Place]
    parts: Mapping[str, Place]


def read_metadata(content: bytes, shown: str) -> Metadata:
    """What the pickle tells. Raises FormatError where it is damaged, or tells of no tensors."""
    try:
        value = Machine(content, call).load()
    except Damaged as problem:
        raise FormatError(f"{shown!r}: {problem.text}") from None
    told = _fields(value)
    tensors, places = told.get("state_dict_metadata"), told.get("storage_data")
    if not isinstance(tensors, Pairs) or not isinstance(places, Pairs):
        raise FormatError(f"{shown!r} is no metadata of a distributed checkpoint, which were expected")
    found: dict[str, Stored] = {}
    items = _items(places, shown)
    left = _Left(_MOST_CHUNKS, shown)
    corners = _Left(_MOST_CORNERS, shown)
    for name, one in tensors.items:
        if not isinstance(one, Made) or not _name_of(one).endswith(_TENSOR):
            continue
        where = f"{shown!r}: the tensor {quoted(name)}" if isinstance(name, str) else shown
        if not isinstance(name, str) or name in found:
            raise FormatError(f"{where} has no name, or its name is there twice")
        found[name] = _stored(name, _fields(one), items, where, left, corners)
    ends: dict[str, int] = {}
    for file, offset, length in items.values():
        ends[file] = max(ends.get(file, 0), offset + length)
    values: dict[str, Place] = {}
    parts: dict[str, Place] = {}
    for (name, start), place in items.items():
        shown_as = f"the item {name!r}" + ("" if start is None else f" from {list(start)}")
        (parts if name in found else values)[shown_as] = place
    return Metadata(found, ends, values, parts)


def digests(content: bytes, shown: str) -> dict[str, str | None]:
    """Digests of what the pickle tells, and of what it imports, but for places in files and what names the save."""
    machine = Machine(content)
    try:
        told = _fields(machine.load())
    except Damaged as problem:
        raise FormatError(f"{shown!r}: {problem.text}") from None
    of_storage = _fields(told.pop("storage_meta", None))
    told.pop("storage_data", None)
    told |= {f"storage_meta.{key}": value for key, value in of_storage.items() if key not in _OF_A_SAVE}
    told["its imports"] = sorted(name for name in machine.imported if name.partition(".")[0] != "pathlib")
    return {name: digest_of(value) for name, value in told.items()}


class _Left:
    """What may still be spent."""

    def __init__(self, most: int, shown: str) -> None:
        self._left, self._shown = most, shown

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise FormatError(f"{self._shown!r} tells of more parts of tensors than any checkpoint has")


def _stored(name: str, told: Mapping[str, Any], items: _Items, where: str, left: _Left, corners: _Left) -> Stored:
    shape, chunks = size_of(told.get("size")), told.get("chunks")
    if shape is None or not isinstance(chunks, list):
        raise FormatError(f"{where} has no size, or no chunks")
    left.spend(len(chunks))
    boxes: list[Item] = []
    for chunk in map(_fields, chunks):
        start, lengths = size_of(chunk.get("offsets")), size_of(chunk.get("sizes"))
        if start is None or lengths is None or not len(start) == len(lengths) == len(shape):
            raise FormatError(f"{where} has a chunk without offsets and sizes of {len(shape)} axes")
        if any(at + length > size for at, length, size in zip(start, lengths, shape, strict=True)):
            raise FormatError(f"{where} has a chunk that is not inside of it")
        if 0 in lengths:
            continue
        place = items.get((name, start))
        if place is None:
            raise FormatError(f"{where} has a chunk of which no file is told")
        boxes.append(Item(start, lengths, *place))
    if 0 not in shape and not fill(shape, [(one.start, one.shape) for one in boxes], corners.spend):
        raise FormatError(f"{where} has chunks that leave a gap or overlap; a whole checkpoint was expected")
    return Stored(shape, _dtype(told.get("properties")), tuple(boxes))


def _items(places: Pairs, shown: str) -> _Items:
    """Where all items are."""
    found: dict[tuple[str, Axes | None], Place] = {}
    for key, value in places.items:
        index, place = _fields(key), _fields(value)
        name, start = index.get("fqn"), size_of(index.get("offset"))
        if not isinstance(name, str):
            raise FormatError(f"{shown!r} tells of an item without a name")
        where = f"{shown!r}: an item of {quoted(name)}"
        if place.get("transform_descriptors"):
            raise FormatError(f"{where} is compressed or otherwise transformed; save it without")
        file, offset, length = place.get("relative_path"), place.get("offset"), place.get("length")
        if not is_file_name(file):
            raise FormatError(f"{where} is in no file of the folder")
        if not _is_offset(offset) or not _is_offset(length):
            raise FormatError(f"{where} has no offset and length")
        if (name, start) in found:
            raise FormatError(f"{where} is there twice")
        found[name, start] = (file, offset, length)
    return found


def _fields(value: object) -> dict[str, Any]:
    """The fields of an object of a dataclass; none where it is something else."""
    if not isinstance(value, Made) or not isinstance(value.state, Pairs):
        return {}
    fields = value.state.items if len(value.state.items) <= _MOST_FIELDS else []  # many may share one that has more
    return {key: inner for key, inner in fields if isinstance(key, str)}


def _dtype(properties: object) -> str:
    """The dtype of `TensorProperties`, whose state is a tuple that begins with it."""
    state = properties.state if isinstance(properties, Made) else None
    dtype = state[0] if isinstance(state, tuple) and state else None
    return dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else "no number"


def _name_of(value: Made) -> str:
    return str(getattr(value.what, "name", ""))


def _is_offset(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 62
