"""The child's side: lists, reads and writes arrays through tensorstore, which is passed in.

Sources: the zarr specifications 2 and 3, and the drivers `zarr`, `zarr3`, `ocdbt` and `file` of tensorstore. Which
driver reads which folder is said here and never by a file, so nothing leads to a network. The driver `file` refuses
keys that lead out of its folder (`IsKeyValid` in `kvstore/file/util.cc`), also where an OCDBT manifest names files so.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.untrusted import JsonError, parse_json, quoted

VERSIONS = {b".zarray": 2, b"zarr.json": 3}
"""The names of zarr metadata."""
DRIVERS = {2: "zarr", 3: "zarr3"}
MAX_KEYS = 2_000_000
MAX_METADATA = 1 << 20
CACHE = 96 << 20
"""Bytes of decoded chunks that are kept of arrays of small chunks."""
AT_ONCE_BYTES, AT_ONCE = 64 << 20, 256
"""Bytes and keys that are copied or read at once; of a larger chunk, one."""

_DEPTH = 32
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}
_NUMPY = re.compile(r"[<>|]?([fiuc])([1-9][0-9]?)")
_TRUSTS = {"recheck_cached_data": False, "recheck_cached_metadata": False}
"""What was read from a folder is not asked for again: who runs this looks whether the folder has changed."""
_NO_ROOM = "No space left on device"


class Place(NamedTuple):
    """A folder of arrays: its path, and whether an OCDBT database holds them."""

    path: str
    ocdbt: bool


class Server:
    """Serves the arrays in `folder`."""

    def __init__(self, ts: Any, folder: Sequence[Place], fills: Sequence[bool], shown: str) -> None:
        self._ts = ts
        self._folder = folder
        self._fills = fills
        self._shown = shown
        self._cache = CACHE
        self._context = self._caching(CACHE)
        # In a fork of a program that has used tensorstore, the first read ends the process; so it is this one.
        self._keys(folder[0]._replace(ocdbt=False)).read("no such file").result()
        self._open: dict[tuple[int, str], Any] = {}
        self._left: Iterator[list[bytes]] = iter(())

    def serve(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
        match request["op"]:
            case "survey":
                return {"arrays": list(self._survey())}, b""
            case "read":
                return {}, self._read(request)
            case "stored":
                return {}, self._stored(request["item"], request["name"])
            case "write":
                return {"more": self._written(request)}, b""
        raise AssertionError(request["op"])

    def _caching(self, cache: int) -> Any:
        """What tensorstore works in: it keeps so many bytes of decoded chunks."""
        settings = {"cache_pool": {"total_bytes_limit": cache}, "file_io_concurrency": {"limit": 4}}
        return self._ts.Context({**settings, "file_io_sync": False})  # who takes the files over flushes them

    # --- key-value stores

    def _base(self, place: Place, name: str = "") -> dict[str, Any]:
        """What leads to the keys of a folder, or of an array in it."""
        path = f"{name}/" if name else ""
        base = {"driver": "file", "path": f"{place.path}/{'' if place.ocdbt else path}"}
        return {"driver": "ocdbt", "base": base, "path": path} if place.ocdbt else base

    def _keys(self, place: Place, name: str = "") -> Any:
        return self._ts.KvStore.open(self._base(place, name), context=self._context).result()

    def _array(self, item: int, name: str, version: int, cache: int) -> Any:
        """An open array. One of large chunks has a cache of its own, and those of the array before it go first."""
        found = self._open.get((item, name))
        if found is None:
            if len(self._open) >= AT_ONCE or max(cache, self._cache) > CACHE:
                self._open.clear()
                self._cache, self._context = cache, self._caching(cache)
            spec = {
                "driver": DRIVERS[version],
                "kvstore": self._base(self._folder[item], name),
                "fill_missing_data_reads": self._fills[item],
                **_TRUSTS,
            }
            found = self._open[item, name] = self._ts.open(spec, context=self._context, open=True).result()
        return found

    # --- listing

    def _survey(self) -> Iterator[list[Any]]:
        for number, place in enumerate(self._folder):
            store = self._keys(place)
            keys = store.list().result()
            if len(keys) > MAX_KEYS:
                raise FormatError(f"{self._shown}: it holds more than {MAX_KEYS} keys, no checkpoint does")
            heads = {key.rpartition(b"/")[0]: VERSIONS[end] for key in keys if (end := _end(key)) in VERSIONS}
            stored = _counted(keys, heads)
            names = sorted(heads)
            for part in _batches(names, AT_ONCE):
                asked = [store.read(name + b"/" + _metadata(heads[name])) for name in part]
                for name, answer in zip(part, asked, strict=True):
                    facts = self._facts(name, heads[name], bytes(answer.result().value))
                    if facts is not None:
                        yield [number, *facts[:-1], stored[name], facts[-1]]

    def _facts(self, raw: bytes, version: int, text: bytes) -> list[Any] | None:
        """Name, version, shape, dtype and chunk of an array, and the digest of its metadata; None for a group."""
        try:
            name = raw.decode("utf-8")
            if len(text) > MAX_METADATA:
                raise JsonError(f"has {len(text)} bytes")
            found = parse_json(text, depth=_DEPTH)
            if version == 3 and found.get("node_type") == "group":
                return None
            if version == 2:
                chunk, dtype = found["chunks"], _dtype2(found["dtype"])
            else:
                chunk, dtype = found["chunk_grid"]["configuration"]["chunk_shape"], found["data_type"]
            shape = found["shape"]
        except (JsonError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            raise FormatError(
                f"{self._shown}: {quoted(os.fsdecode(raw))} has no metadata of zarr: it is damaged"
            ) from None
        dtype = dtype if isinstance(dtype, str) else "no number"
        return [name, version, shape, dtype, chunk, hashlib.sha256(text).hexdigest()]

    # --- reading

    def _read(self, request: dict[str, Any]) -> memoryview:
        import numpy as np

        array = self._array(request["item"], request["name"], request["version"], request["cache"])
        if list(array.shape) != request["of"] or array.dtype.name != request["dtype"]:
            raise FormatError(f"{self._shown}: {request['name']!r} is {array.dtype.name} {list(array.shape)} by itself")
        box = tuple(slice(at, at + size) for at, size in zip(request["start"], request["shape"], strict=True))
        values = np.ascontiguousarray((array[box] if box else array).read(order="C").result())
        return values.reshape(-1).view(np.uint8).data

    def _stored(self, item: int, name: str) -> bytes:
        """A digest of all that is stored under the name of an array."""
        store, known = self._keys(self._folder[item], name), hashlib.sha256()
        for key in sorted(store.list().result()):
            value = bytes(store.read(key).result().value)
            known.update(b"%d %d " % (len(key), len(value)) + key + value)
        return known.digest()

    # --- writing

    def _written(self, request: dict[str, Any]) -> bool:
        """Do a step of writing an item anew to another folder; whether there are more."""
        target = Place(request["target"], self._folder[request["item"]].ocdbt)
        try:
            match request["step"]:
                case "begin":
                    self._left = iter(self._to_copy(request["item"], request["chunks"], set(request["anew"])))
                case "copy":
                    return self._copy(request["item"], target)
                case "arrays":
                    self._write(target, request["arrays"], request["values"])
        except (ValueError, OSError) as error:
            why = _NO_ROOM if _NO_ROOM in str(error) else type(error).__name__
            raise OutputError(f"{request['target']!r} cannot be written: {why}; nothing was changed") from None
        return False

    def _to_copy(self, item: int, chunks: dict[str, int], anew: set[str]) -> Iterator[list[bytes]]:
        """The keys of an item, but the chunks of the arrays that are written anew, in groups that fit in memory.

        `chunks` has the bytes of a chunk of each array.
        """
        group: list[bytes] = []
        size = 0
        for key in self._keys(self._folder[item]).list().result():
            owner = None if _end(key) in VERSIONS else next((name for name in _above(key) if name in chunks), None)
            if owner in anew:
                continue
            size += chunks[owner] if owner is not None else MAX_METADATA >> 4
            if group and (size > AT_ONCE_BYTES or len(group) >= AT_ONCE):
                yield group
                group, size = [], chunks[owner] if owner is not None else 0
            group.append(key)
        if group:
            yield group

    def _copy(self, item: int, target: Place) -> bool:
        """Copy one group of keys to a database of the same settings; whether there was one."""
        group = next(self._left, None)
        if group is None:
            return False
        source = self._keys(self._folder[item])
        settings = source.spec().to_json().get("config", {})
        config = {key: value for key, value in settings.items() if key not in ("uuid", "manifest_kind")}
        spec = {**self._base(target), "config": config}
        store = self._ts.KvStore.open(spec, context=self._context).result()
        asked = [source.read(key) for key in group]
        for done in [store.write(key, read.result().value) for key, read in zip(group, asked, strict=True)]:
            done.result()
        return True

    def _write(self, target: Place, arrays: Sequence[Mapping[str, Any]], values: str) -> None:
        """Write arrays from the plain numbers at their offsets in a file; of several, all at once."""
        import numpy as np

        opened = [self._ts.open(self._to_write(target, one), context=self._context, open=True) for one in arrays]
        written: list[Any] = []
        for one, future in zip(arrays, opened, strict=True):
            array = future.result()
            dtype, chunk = array.dtype.numpy_dtype, array.chunk_layout.write_chunk.shape
            numbers = np.memmap(values, dtype, "r", one["offset"], tuple(array.shape))
            for box in _boxes(array.shape, chunk, AT_ONCE_BYTES // dtype.itemsize):
                written.append(array[box].write(numbers[box], can_reference_source_data_indefinitely=True))
                if len(arrays) == 1:
                    written.pop().result()
        for done in written:
            done.result()

    def _to_write(self, target: Place, one: Mapping[str, Any]) -> dict[str, Any]:
        base = self._base(target, one["name"])
        return {"driver": DRIVERS[one["version"]], "kvstore": base, "store_data_equal_to_fill_value": True, **_TRUSTS}


def _end(key: bytes) -> bytes:
    return key.rpartition(b"/")[2]


def _metadata(version: int) -> bytes:
    return next(end for end, known in VERSIONS.items() if known == version)


def _above(key: bytes) -> Iterator[str]:
    """The names of the arrays that a key can belong to, the longest first."""
    while b"/" in key:
        key = key.rpartition(b"/")[0]
        yield os.fsdecode(key)


def _counted(keys: Iterable[bytes], heads: dict[bytes, int]) -> dict[bytes, int]:
    """How many keys each array has besides its metadata."""
    found = dict.fromkeys(heads, 0)
    for key in keys:
        if _end(key) in VERSIONS:
            continue
        head = key
        while b"/" in head:
            head = head.rpartition(b"/")[0]
            if head in found:
                found[head] += 1
                break
    return found


def _batches(names: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    return (names[at : at + size] for at in range(0, len(names), size))


def _dtype2(found: object) -> object:
    """The name of a dtype that zarr 2 spells as NumPy does."""
    spelled = _NUMPY.fullmatch(found) if isinstance(found, str) else None
    if found == "|b1":
        return "bool"
    return found if spelled is None else f"{_KINDS[spelled[1]]}{8 * int(spelled[2])}"


def _boxes(shape: Sequence[int], chunk: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of whole chunks that cover an array, of at most `most` elements or one chunk."""
    steps, size = list(chunk), math.prod(chunk)
    for axis in reversed(range(len(shape))):
        times = max(1, min(-(-shape[axis] // chunk[axis]), most // max(1, size)))
        steps[axis], size = chunk[axis] * times, size * times
    ranges = [range(0, edge, step) for edge, step in zip(shape, steps, strict=True)]
    for start in itertools.product(*ranges):
        yield tuple(slice(at, min(at + step, edge)) for at, step, edge in zip(start, steps, shape, strict=True))
