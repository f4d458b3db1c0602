"""The child's side of HDF5: the only file that imports h5py. It opens an image and answers with plain data."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.hdf5.chunks import chunks_of, decoded_size
from renorm_cli.formats.hdf5.types import SIZES
from renorm_cli.formats.hdf5.walk import MAX_CHUNK, Walk, filters_of, spaces_of
from renorm_cli.formats.hdf5.window import Window

CHUNK_SLOTS = 10_007
METADATA_CACHE = 4 << 20
"""Bytes of HDF5's metadata cache. HDF5's own limit, 32 MiB, more than doubles peak memory for files of many small
datasets and is no faster; 1 MiB is slower."""


def library() -> Any:
    """Import h5py with filter plugins and file locks off; HDF5 reads both settings when it is loaded."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
    import h5py

    return h5py


def _keep_little(access: Any) -> None:
    """Fix the size of HDF5's metadata cache."""
    config = access.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = config.max_size = METADATA_CACHE
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0  # never grow, never shrink
    access.set_mdc_config(config)


@dataclass(frozen=True)
class _OpenDataset:
    """A checked dataset that stays open, so that HDF5 caches its chunks between two blocks."""

    path: str
    item: Any
    kind: Any
    shape: tuple[int, ...]
    itemsize: int
    chunk: tuple[int, ...]
    filters: list[int]
    sound: set[tuple[int, ...]] = field(default_factory=set)
    """The origins of chunks that were checked: they decode to the size of a chunk."""


class Server:
    """Serves the image in bytes `base` to `base + length` of the open file `fd`, which it opens at the first request.

    `h5` is the h5py module, None where the child has to load it.
    """

    def __init__(self, h5: Any, fd: int, base: int, length: int | None, shown: str, writable: bool) -> None:
        self._h5 = h5
        self._fd = fd
        self._base = base
        self._length = length
        self._shown = shown
        self._writable = writable
        self._window: Window | None = None
        self._file: Any = None
        self._dataset: _OpenDataset | None = None

    def load(self) -> None:
        """Load the library, in the child."""
        with suppress(AttributeError):
            platform.uname().processor = ""  # type: ignore[misc]  # else h5py starts a program to ask for it
        with suppress(ImportError):  # raised again by the first request
            self._h5 = library()

    def serve(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
        if self._h5 is None:
            try:
                self._h5 = library()
            except ImportError as error:
                raise FormatError(f"{self._shown}: h5py cannot be loaded: {error}; install it again") from None
        try:
            if self._file is None:
                self._file = self._opened()
            reply, answer = self._answer(request, payload)
        except BaseException:
            self._check_window()
            raise
        self._check_window()
        return reply, answer

    def _answer(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
        match request["op"]:
            case "survey":
                return self._survey(request["unless"])
            case "context":
                from renorm_cli.formats.hdf5.context import context  # only a proof asks for it

                return {"context": context(self._h5, self._file, self._new_walk())}, b""
            case "read":
                return {}, self._read(request["path"], request["start"], request["shape"], request["nbytes"])
            case "write":
                self._write(request["path"], request["start"], request["shape"], payload)
            case "stored":
                return {"stored": self._stored(request["path"])}, b""
            case "close":
                self._close()
        return {}, b""

    def _opened(self) -> Any:
        h5 = self._h5
        # The program may have loaded HDF5 before we could set HDF5_PLUGIN_PRELOAD.
        for _ in range(h5.h5pl.size()):
            h5.h5pl.remove(0)
        access = h5.h5p.create(h5.h5p.FILE_ACCESS)
        access.set_fclose_degree(h5.h5f.CLOSE_STRONG)
        access.set_file_locking(False, True)
        access.set_cache(0, CHUNK_SLOTS, MAX_CHUNK, 0.75)
        _keep_little(access)
        if not self._writable:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            name = f"/dev/fd/{self._fd}"
            if not self._is_part() and not self._inherits_files() and self._is_found(name):
                # A name for the same open file: HDF5's own driver is faster than a Python file object.
                return h5.h5f.open(name.encode(), h5.h5f.ACC_RDONLY, access)
        # Write through our own file object, never through a name: on some systems /dev/fd/N opens the file anew and on
        # others it shares the descriptor. And a full disk is then an error instead of a crash.
        self._window = Window(self._fd, self._base, self._length, writable=self._writable)
        access.set_fileobj_driver(h5.h5fd.fileobj_driver, self._window)
        return h5.h5f.open(b"window", h5.h5f.ACC_RDWR if self._writable else h5.h5f.ACC_RDONLY, access)

    def _is_part(self) -> bool:
        return self._base > 0 or self._length != os.fstat(self._fd).st_size

    def _is_found(self, name: str) -> bool:
        """Whether the name, resolved as HDF5 does it, is still our file: not after the file was unlinked."""
        try:
            there = Path(name).resolve().stat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._fd)) and os.access(name, os.R_OK)

    def _inherits_files(self) -> bool:
        """Whether the program had HDF5 files open at the fork: HDF5 would continue to use their descriptors."""
        return bool(self._h5.h5f.get_obj_count(self._h5.h5f.OBJ_ALL, self._h5.h5f.OBJ_FILE))

    def _check_window(self) -> None:
        failure = self._window.failure if self._window is not None else 0
        if not failure:
            return
        if self._writable:
            raise OutputError(
                f"{self._shown}: the output cannot be written: {os.strerror(failure)}; nothing was changed"
            )
        raise FormatError(f"{self._shown}: its contents reach beyond its end, or cannot be read: it is cut short")

    def _new_walk(self) -> Walk:
        # The size includes what is not flushed yet.
        size = int(self._file.get_filesize()) if self._writable else self._length
        return Walk(self._h5, size or 0, self._shown)

    def _survey(self, unless: int | None) -> tuple[dict[str, Any], bytes]:
        walk = self._new_walk()
        root = self._h5.h5g.open(self._file, b"/")
        reply = walk.run(root)
        config = walk.config(root)
        # Python's hash has one random key for this process and all its forks.
        digest = hash((json.dumps(reply), config))
        if digest == unless:
            return {"digest": digest}, b""
        return {**reply, "config": config is not None, "digest": digest}, config or b""

    def _read(self, path: str, start: list[int], shape: list[int], nbytes: int) -> bytes | memoryview:
        dataset = self._found(path)
        self._check_box(dataset, start, shape, nbytes)
        return self._values(dataset, start, shape)

    def _values(self, dataset: _OpenDataset, start: Sequence[int], shape: Sequence[int]) -> bytes | memoryview:
        import numpy as np

        nbytes = math.prod(shape) * dataset.itemsize
        if not nbytes:
            return b""
        self._check_chunks(dataset, start, shape)
        values = np.empty(nbytes, dtype=np.uint8)
        # The memory type is the file's type, so HDF5 converts nothing and returns the stored bytes.
        dataset.item.read(*spaces_of(self._h5, dataset.item, start, shape), values, mtype=dataset.kind)
        return values.data

    def _write(self, path: str, start: list[int], shape: list[int], payload: bytes) -> None:
        import numpy as np

        dataset = self._found(path)
        self._check_box(dataset, start, shape, len(payload))
        if not payload:
            return
        self._check_chunks(dataset, start, shape)
        memory, place = spaces_of(self._h5, dataset.item, start, shape)
        dataset.item.write(memory, place, np.frombuffer(payload, dtype=np.uint8), mtype=dataset.kind)

    def _stored(self, path: str) -> str | None:
        from renorm_cli.formats.hdf5.stored import digest_of  # only a comparison asks for it

        item = self._item(path)
        locked = self._new_walk().dataset(path, item)[-1]
        return digest_of(self._h5, item, locked, partial(self._values, self._kept(path, item)))

    def _close(self) -> None:
        self._dataset = None
        if self._writable:
            self._h5.h5f.flush(self._file, self._h5.h5f.SCOPE_GLOBAL)
        self._file.close()
        self._file = None

    def _found(self, path: str) -> _OpenDataset:
        """The dataset of numbers at a path. Raises FormatError if it must not be read."""
        if self._dataset is None or self._dataset.path != path:
            self._dataset = None
            self._dataset = self._checked(path, self._item(path))
        return self._dataset

    def _item(self, path: str) -> Any:
        """The dataset at a path, reached through hard links only."""
        item = self._h5.h5g.open(self._file, b"/")
        for name in path.encode("utf-8", "surrogateescape").split(b"/"):
            if not isinstance(item, self._h5.h5g.GroupID) or not item.links.exists(name):
                raise FormatError(f"{self._shown}: holds no dataset {path!r}")
            if item.links.get_info(name).type != self._h5.h5l.TYPE_HARD:
                raise FormatError(f"{self._shown}: {path!r} leads through a link that is not followed")
            item = self._h5.h5o.open(item, name)
        if not isinstance(item, self._h5.h5d.DatasetID):
            raise FormatError(f"{self._shown}: {path!r} is no dataset")
        return item

    def _checked(self, path: str, item: Any) -> _OpenDataset:
        _, _, dtype, _, _, _, locked = self._new_walk().dataset(path, item)
        if locked is not None or dtype not in SIZES:
            raise FormatError(f"{self._shown}: {path!r} cannot be read: {locked or f'it holds {dtype}, not numbers'}")
        dataset = self._kept(path, item)
        if dataset.chunk and not dataset.filters:
            size = math.prod(dataset.chunk) * dataset.itemsize
            # Any result but None ends the iteration.
            if item.chunk_iter(lambda stored: None if stored.size == size else True):
                raise FormatError(f"{self._shown}: {path!r} is damaged: a chunk of it has not {size} bytes")
        return dataset

    def _kept(self, path: str, item: Any) -> _OpenDataset:
        plist, kind = item.get_create_plist(), item.get_type()
        is_chunked = plist.get_layout() == self._h5.h5d.CHUNKED
        chunk = tuple(int(edge) for edge in plist.get_chunk()) if is_chunked else ()
        return _OpenDataset(path, item, kind, tuple(item.shape), kind.get_size(), chunk, filters_of(plist))

    def _check_box(self, dataset: _OpenDataset, start: Sequence[int], shape: Sequence[int], nbytes: int) -> None:
        """Raise FormatError for a box that the dataset has not."""
        fits = len(start) == len(shape) == len(dataset.shape) and all(
            min(at, count) >= 0 and at + count <= edge
            for at, count, edge in zip(start, shape, dataset.shape, strict=True)
        )
        if not fits or nbytes != math.prod(shape) * dataset.itemsize:
            raise FormatError(
                f"{self._shown}: {dataset.path!r} of shape {dataset.shape} has no block of {nbytes} bytes "
                f"and shape {tuple(shape)} at {tuple(start)}; was the file changed meanwhile?"
            )

    def _check_chunks(self, dataset: _OpenDataset, start: Sequence[int], shape: Sequence[int]) -> None:
        """Refuse compressed chunks that decode to more or less than a chunk, which HDF5 would not notice."""
        if not dataset.filters:
            return
        size = math.prod(dataset.chunk) * dataset.itemsize
        for origin in chunks_of(start, shape, dataset.chunk):
            if origin in dataset.sound:
                continue
            stored = self._stored_chunk(dataset, origin)
            if stored is not None:
                mask, data = stored
                found = decoded_size(data, dataset.filters, mask, size)
                if found is not None and found != size:
                    raise FormatError(
                        f"{self._shown}: {dataset.path!r} is damaged: a chunk of it should decode to {size} bytes"
                    )
            dataset.sound.add(origin)

    def _stored_chunk(self, dataset: _OpenDataset, origin: tuple[int, ...]) -> tuple[int, bytes] | None:
        """Filter mask and stored bytes of a chunk; None if it was never written."""
        try:
            mask, data = dataset.item.read_direct_chunk(origin)
        except (OSError, RuntimeError, KeyError, ValueError):
            # Not asked before, because HDF5 searches all chunks for the answer.
            if dataset.item.get_chunk_info_by_coord(origin).byte_offset is None:
                return None
            raise
        return int(mask), data
