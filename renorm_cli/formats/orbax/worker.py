"""Arrays of Orbax through tensorstore, in a child process: the only file that imports tensorstore.

It is a large C++ library, so a damaged or hostile folder may crash it, or make it take memory and time without end.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from renorm_cli.errors import FormatError
from renorm_cli.formats.apart import CPU_SECONDS, Worker
from renorm_cli.formats.orbax.arrays import Array, Item, arrays_of
from renorm_cli.formats.orbax.server import AT_ONCE_BYTES, CACHE, Place, Server

MEMORY = 1 << 30
"""Bytes that the child may take besides its chunks: tensorstore starts threads, each of which reserves some."""
CHUNKS = 5
"""How many times the largest chunk a child has at once: packed, unpacked, kept, cut and sent."""
SMALL = 32 << 20
"""Bytes of a chunk of which several fit in the cache that all arrays share."""
MOST_PATIENCE, PATIENCE = 600.0, 60.0
"""The deadline for one answer is PATIENCE and a second per MiB, in seconds."""
SURVEY_PROCESSOR, SURVEY_PROCESSOR_PER_MIB = 3, 10


class OrbaxWorker:
    """The arrays in the items of `folder`, whose largest chunk has `chunk` bytes. Safe from any thread.

    All methods raise FormatError if the folder is damaged or hostile, or if the child is gone. It never writes unless
    it is `writable`.
    """

    def __init__(self, folder: Path, items: Sequence[Item], *, chunk: int = 0, writable: bool = False) -> None:
        self._folder = folder
        self._items = items
        self._chunk = chunk
        shown = str(folder)
        root = _as_text(folder.resolve(), shown)
        places = [(f"{root}/{_as_text(Path(item.path), shown)}".removesuffix("/."), item.ocdbt) for item in items]
        request = {
            "op": "open",
            "shown": shown,
            "folder": places,
            "fills": [item.fills for item in items],
            "writable": writable,
        }
        memory = MEMORY + CHUNKS * chunk
        _check_installed(shown)
        self._worker = Worker(serve, shown, "tensorstore", memory=memory)
        try:
            self._call(request, 0)
        except FormatError:  # the program itself uses tensorstore, which then stops in every fork
            self.close()
            self._worker = Worker(__name__, shown, "tensorstore", memory=memory)
            self._call(request, 0)

    def survey(self, size: int) -> tuple[Array, ...]:
        """All arrays in the folder, whose files have `size` bytes together."""
        processor = SURVEY_PROCESSOR + (SURVEY_PROCESSOR_PER_MIB * size >> 20)
        reply, _ = self._call({"op": "survey"}, size, processor=processor)
        return arrays_of(reply, self._items, size, str(self._folder))

    def read(self, array: Array, start: tuple[int, ...], shape: tuple[int, ...], nbytes: int) -> bytes:
        """The numbers of a box of an array in C order, little-endian."""
        request = {
            **_asked(array),
            "op": "read",
            "of": array.shape,
            "dtype": array.dtype,
            "start": start,
            "shape": shape,
            "cache": _cache(array),
        }
        _, data = self._call(request, nbytes + self._chunk, limit=nbytes)
        if len(data) != nbytes:
            raise FormatError(
                f"{str(self._folder)!r}: {array.name!r} gave {len(data)} bytes where {nbytes} were expected"
            )
        return data

    def stored(self, array: Array) -> bytes:
        """A digest of all that is stored of an array."""
        return self._call({"op": "stored", "item": array.item, "name": array.name}, array.nbytes, limit=1 << 10)[1]

    def write(self, item: int, target: Path, arrays: Sequence[Array], anew: Sequence[Array]) -> None:
        """Begin an item at `target`: copy all keys of its database but the chunks of the arrays that come `anew`."""
        step = {"op": "write", "item": item, "target": _as_text(target, str(target))}
        chunks = {array.name: array.chunk_bytes for array in arrays}
        self._call({**step, "step": "begin", "chunks": chunks, "anew": [array.name for array in anew]}, 0)
        while self._call({**step, "step": "copy"}, AT_ONCE_BYTES + self._chunk)[0].get("more") is True:
            pass

    def put(self, arrays: Sequence[Array], target: Path, values: Path, offsets: Sequence[int]) -> None:
        """Write all chunks of arrays of one item at `target`, from the plain numbers at their offsets in a file."""
        asked = [{**_asked(array), "offset": offset} for array, offset in zip(arrays, offsets, strict=True)]
        request = {"op": "write", "step": "arrays", "item": arrays[0].item, "target": _as_text(target, str(target))}
        self._call({**request, "arrays": asked, "values": str(values)}, sum(array.nbytes for array in arrays))

    def close(self) -> None:
        """End the child."""
        self._worker.close()

    def _call(
        self, request: dict[str, Any], size: int, limit: int = 0, processor: int = CPU_SECONDS
    ) -> tuple[dict[str, Any], bytes]:
        patience = min(MOST_PATIENCE, PATIENCE + size / (1 << 20))
        return self._worker.call(request, deadline=patience, processor=processor, limit=limit)


def _asked(array: Array) -> dict[str, Any]:
    return {"item": array.item, "name": array.name, "version": array.version}


def _cache(array: Array) -> int:
    """Bytes of chunks to keep of an array, which is read in C order: of a large chunk one, and two if they lie side by
    side; what is decoded takes as much again while it is packed."""
    if array.chunk_bytes <= SMALL:
        return CACHE
    side_by_side = any(edge > step for edge, step in zip(array.shape[1:], array.chunk[1:], strict=True))
    return SMALL + (1 + side_by_side) * array.chunk_bytes


def _as_text(path: Path, shown: str) -> str:
    """A path as tensorstore takes it. Raises FormatError for a name that is no UTF-8."""
    found = str(path)
    try:
        found.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{shown!r}: tensorstore reads no folder whose path is not UTF-8; rename it") from None
    return found


def _check_installed(shown: str) -> None:
    """Import tensorstore, which all children share then. Raises FormatError where it is not there."""
    try:
        import tensorstore  # noqa: F401
    except ModuleNotFoundError:
        raise FormatError(
            f"{shown!r} is an Orbax checkpoint, which the package tensorstore reads, and that is not installed;"
            " pip install 'renorm-ckpt[orbax]'"
        ) from None


_served: list[Server] = []


def serve(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    """Answer a request, in the child; the first says what is served."""
    if request["op"] == "open":
        import tensorstore

        if not request["writable"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        places = [Place(path, ocdbt) for path, ocdbt in request["folder"]]
        _served[:] = [Server(tensorstore, places, request["fills"], request["shown"])]
        return {}, b""
    return _served[0].serve(request, payload)
