"""What a folder of Orbax holds, as the worker tells it: plain data, checked against the files before it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.untrusted import UnexpectedError, below, field, items, quoted, text

ZARR = (".zarray", ".zattrs", "zarr.json")
"""Files beside the chunks of an array, which say how it is stored."""
MOST_FILES = 1_000_000
MAX_RANK = 32
"""The limit of tensorstore (kMaxRank)."""
MAX_EDGE = 1 << 62

RATIO = 200
FREE = 64 << 20
"""An array may take RATIO times the bytes of all files, a chunk CHUNK_RATIO times, and FREE bytes more: zeros are
stored in almost nothing, as in fresh optimizer slots, and a folder that claims more than that is a bomb."""
CHUNK_RATIO = 4
MOST_MISSING = 10_000
"""Chunks that need not be stored, because all in them is the fill value (older versions)."""

OTHER = "no number"


class Item(NamedTuple):
    """A folder of arrays inside a checkpoint, "" for the checkpoint itself. `ocdbt` is how the arrays are stored.

    `fills` is False where every chunk must be there.
    """

    path: str
    ocdbt: bool
    fills: bool


class Array(NamedTuple):
    """A stored array: `item` is the number of its folder, `version` that of zarr, `stored` how many chunks are there.

    `digest` is that of the zarr metadata, which says how it is stored.
    """

    item: int
    name: str
    version: int
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    stored: int
    digest: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self._item_bytes

    @property
    def chunk_bytes(self) -> int:
        return math.prod(self.chunk) * self._item_bytes

    @property
    def _item_bytes(self) -> int:
        return DTYPES[self.dtype].nbytes if self.dtype in DTYPES else 1


def arrays_of(reply: dict[str, Any], folder: Sequence[Item], size: int, shown: str) -> tuple[Array, ...]:
    """The arrays in a worker's reply about the items of a `folder` whose files have `size` bytes together.

    Raises FormatError for a reply that no sound worker sends, and for arrays that cannot be in so few bytes.
    """
    try:
        found = field(reply, "arrays", lambda value: items(value, lambda each: _array(each, len(folder))))
        if len({(array.item, array.name) for array in found}) < len(found):
            raise UnexpectedError("arrays of different names", found)
    except UnexpectedError:
        raise FormatError(
            f"{shown!r}: the tensorstore process answered nonsense: the folder is damaged or hostile, do not use it"
        ) from None
    for array in found:
        _check_chunks(array, folder[array.item], size, shown)
    if sum(array.nbytes for array in found) > RATIO * size + FREE:
        raise FormatError(
            f"{shown!r}: its arrays claim {sum(array.nbytes for array in found)} bytes and its files have {size};"
            " no checkpoint is packed so tightly"
        )
    return found


def _array(value: object, folders: int) -> Array:
    match value:
        case [
            item,
            str() as name,
            (2 | 3) as version,
            list() as shape,
            str() as dtype,
            list() as chunk,
            stored,
            digest,
        ]:
            sizes, edges = items(shape, below(MAX_EDGE)), items(chunk, below(MAX_EDGE))
            if len(sizes) != len(edges) or len(sizes) > MAX_RANK or 0 in edges:
                raise UnexpectedError("a shape and its chunks", value)
            if not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise UnexpectedError("a name that leads nowhere else", value)
            known = dtype if dtype in DTYPES else OTHER
            return Array(
                below(folders)(item), name, version, sizes, known, edges, below(MAX_EDGE)(stored), text(digest)
            )
    raise UnexpectedError("an array", value)


def _check_chunks(array: Array, item: Item, size: int, shown: str) -> None:
    wanted = math.prod(-(-edge // step) for edge, step in zip(array.shape, array.chunk, strict=True))
    missing = wanted - array.stored
    if missing > (MOST_MISSING if item.fills else 0):
        raise FormatError(
            f"{shown!r}: the array {quoted(array.name)} has {wanted} chunks and {array.stored} of them are there;"
            " the checkpoint is damaged or not finished"
        )
    if array.chunk_bytes > CHUNK_RATIO * size + FREE:
        raise FormatError(
            f"{shown!r}: a chunk of the array {quoted(array.name)} claims {array.chunk_bytes} bytes and all files"
            f" together have {size}; no checkpoint is packed so tightly"
        )
