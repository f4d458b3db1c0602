"""The variables of HDF5 images: plain bytes at their extents, everything else through the HDF5 worker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from renorm_cli.formats.base import Extent
from renorm_cli.formats.hdf5.survey import Dataset
from renorm_cli.formats.hdf5.worker import Hdf5Image
from renorm_cli.formats.numbers import item_bytes, room_for, stored_dtype
from renorm_cli.formats.plain import Layout, Part, PlainData
from renorm_cli.model.variable import Variable
from renorm_cli.storage.checksum import Crc
from renorm_cli.storage.files import Readable
from renorm_cli.storage.staged import Staged

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.model.blocks import Block
    from renorm_cli.parallel.memory import Buffer


class Place(NamedTuple):
    """The number of the image that holds a variable, and the path of its dataset."""

    image: int
    path: str


class Hdf5Store:
    """The HDF5 image in bytes `base` to `base + length` of an open file, for datasets that have no extent.

    The worker starts when the first of them is touched, so the HDF5 library never opens an image without them for
    writing.
    """

    def __init__(
        self,
        fd: int,
        shown: str,
        datasets: Mapping[str, Dataset],
        *,
        base: int = 0,
        length: int,
        output: Staged | None = None,
        digest: int | None = None,
    ) -> None:
        """`digest` is that of the image's survey; see `Hdf5Image.digest`."""
        self.fd = fd
        self.shown = shown
        self.datasets = datasets
        self.base = base
        self.length = length
        self.digest = digest
        self._output = output
        self.image: Hdf5Image | None = None
        """The worker, while there is one."""
        self._lock = Lock()
        self._copies: list[Hdf5Store] = []

    def staged(self, output: Staged, base: int) -> Hdf5Store:
        """The same image in a staged copy, to be written."""
        copy = Hdf5Store(output.fd, self.shown, self.datasets, base=base, length=self.length, output=output)
        self._copies.append(copy)
        return copy

    def read(self, path: str, block: Block, nbytes: int) -> bytes:
        """A block in stored dtype and byte order. Raises FormatError."""
        return self._worker().read(path, block.start, block.shape, nbytes)

    def write(self, path: str, block: Block, raw: memoryview) -> None:
        """Write a block of stored dtype and byte order. Raises OutputError or FormatError."""
        if self._output is None:
            raise AssertionError(f"{self.shown!r} is an input; only a staged copy is written")
        self._output.rewritten = True
        self._worker().write(path, block.start, block.shape, raw)

    def context(self) -> dict[str, str | None]:
        """Digests of all attributes, and the targets of soft links, by name; see `Checkpoint.context`."""
        return self._worker().context()

    def stored(self, path: str) -> str | None:
        """A digest of a dataset that is not read as numbers; see `Hdf5Image.stored`. Raises FormatError."""
        return self._worker().stored(path)

    def close(self) -> None:
        """End the worker, if one was started; a writable image is flushed first. Raises FormatError or OutputError.

        Staged copies that are not closed yet are given up: something failed before they were complete.
        """
        for copy in self._copies:
            copy._take_image(flush=False)
        image = self._take_image(flush=True)
        if image is not None:
            image.close()

    def _take_image(self, *, flush: bool) -> Hdf5Image | None:
        """The worker's image, which no longer belongs to this store; without `flush` it is ended at once."""
        with self._lock:
            image, self.image = self.image, None
        if image is None or flush:
            return image
        image.abandon()
        return None

    def _worker(self) -> Hdf5Image:
        with self._lock:
            if self.image is None:
                writable = self._output is not None
                length = os.fstat(self.fd).st_size if writable else self.length
                self.image = Hdf5Image(self.fd, self.base, length, self.shown, writable=writable)
            return self.image


class Hdf5Layout(Layout):
    """Datasets with a contiguous layout have an extent; `places` are those of the variables by their keys."""

    def __init__(self, stores: Sequence[Hdf5Store], places: Mapping[str, Place]) -> None:
        self.stores = tuple(stores)
        self.places = places

    def parts(self, variable: Variable) -> Sequence[Part]:
        image, path = self.places[variable.key]
        store = self.stores[image]
        offset = store.datasets[path].offset
        if offset is None:
            return ()
        size = variable.elements * (item_bytes(variable.dtype) or 0)
        return (Part(Extent(image, store.base + offset, size), (0,) * len(variable.shape), variable.shape),)

    def dtype(self, variable: Variable) -> np.dtype[Any]:
        image, path = self.places[variable.key]
        return stored_dtype(variable.dtype, self.stores[image].datasets[path].order)


class Hdf5Data(PlainData):
    """The data of one or more HDF5 images, each in a file of its own."""

    def __init__(
        self,
        files: Sequence[Readable],
        stores: Sequence[Hdf5Store],
        places: Mapping[str, Place],
        crc: Crc | None = None,
    ) -> None:
        super().__init__(files, Hdf5Layout(stores, places), crc)
        self.stores = tuple(stores)
        self.places = places

    def staged(self, files: Sequence[Staged]) -> Hdf5Data:
        stores = [store.staged(file, store.base) for store, file in zip(self.stores, files, strict=True)]
        return Hdf5Data(files, stores, self.places, self.crc)

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        image, path = self.places[variable.key]
        store = self.stores[image]
        if store.datasets[path].offset is not None:
            return super().read(variable, block, into)
        values = room_for(block.shape, self.layout.dtype(variable), into)
        raw = values.reshape(-1).view(np.uint8).data
        raw[:] = store.read(path, block, len(raw))
        return values

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        image, path = self.places[variable.key]
        store = self.stores[image]
        if store.datasets[path].offset is not None:
            super().write(variable, block, values)
            return
        self.changed = True
        store.write(path, block, np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def settle(self) -> None:
        self.close()

    def close(self) -> None:
        for store in self.stores:
            store.close()
