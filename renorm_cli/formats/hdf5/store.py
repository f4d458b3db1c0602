"""Blocks of datasets inside one HDF5 image: plain bytes by position, everything else through the HDF5 worker."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from renorm_cli.formats.hdf5.survey import Dataset
from renorm_cli.formats.hdf5.worker import Hdf5Image
from renorm_cli.formats.numbers import room_for, stored_dtype
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.storage.files import read_exactly
from renorm_cli.storage.staged import Staged

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.model.blocks import Block
    from renorm_cli.parallel.memory import Buffer
    from renorm_cli.storage.checksum import Tally


class Hdf5Store:
    """The HDF5 file in bytes `base` to `base + length` of an open file.

    Contiguous datasets are read and written at their extents. Others go through a worker process that is started when
    the first of them is touched, so an image without them is never opened by the HDF5 library for writing.
    """

    def __init__(
        self,
        fd: int,
        shown: str,
        datasets: Mapping[str, Dataset],
        *,
        base: int = 0,
        length: int,
        image: Hdf5Image | None = None,
        output: Staged | None = None,
        tally: Tally | None = None,
        digest: int | None = None,
    ) -> None:
        """With a `tally`, it is told of all plain bytes that are read and written; see `Hdf5Image.digest`."""
        self.fd = fd
        self.shown = shown
        self.datasets = datasets
        self.base = base
        self.length = length
        self.tally = tally
        self.digest = digest
        self.written = False
        self._output = output
        self._image = image
        self._lock = Lock()
        self._copies: list[Hdf5Store] = []

    def staged(self, output: Staged, base: int, tally: Tally | None = None) -> Hdf5Store:
        """The same image in a staged copy, to be written."""
        copy = Hdf5Store(
            output.fd, self.shown, self.datasets, base=base, length=self.length, output=output, tally=tally
        )
        self._copies.append(copy)
        return copy

    def extents(self, paths: Iterable[str]) -> list[tuple[int, int]]:
        """Where in the file the bytes of those datasets lie that have a place of their own."""
        found = [self.datasets[path] for path in paths]
        return [
            (
                self.base + dataset.offset,
                self.base + dataset.offset + math.prod(dataset.shape) * FLOATS[dataset.dtype].nbytes,
            )
            for dataset in found
            if dataset.offset is not None
        ]

    def all_plain(self, paths: Iterable[str]) -> bool:
        """Whether all these datasets lie at extents."""
        return all(self.datasets[path].offset is not None for path in paths)

    def read(self, path: str, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        """A block in stored dtype and byte order, in `into` if that is given. Raises FormatError."""
        dataset = self.datasets[path]
        dtype = stored_dtype(dataset.dtype, dataset.order)
        values = room_for(block.shape, dtype, into)
        raw = values.reshape(-1).view(np.uint8).data
        if dataset.offset is not None:
            start = self.base + dataset.offset + block.first_element(dataset.shape) * dtype.itemsize
            read_exactly(self.fd, start, raw, self.shown)
            if self.tally is not None:
                self.tally.add(start, raw)
        else:
            raw[:] = self._worker().read(path, block.start, block.shape, len(raw))
        return values

    def write(self, path: str, block: Block, values: npt.NDArray[Any]) -> None:
        """Put a block of stored dtype and byte order in place. Raises OutputError or FormatError."""
        dataset = self.datasets[path]
        dtype = stored_dtype(dataset.dtype, dataset.order)
        if values.dtype != dtype or values.shape != block.shape:
            raise AssertionError(f"{path!r} is {dtype} {block.shape}, not {values.dtype} {values.shape}")
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        self.written = True
        if dataset.offset is None:
            if self._output is not None:
                self._output.rewritten = True
            self._worker().write(path, block.start, block.shape, raw)
            return
        start = self.base + dataset.offset + block.first_element(dataset.shape) * dtype.itemsize
        if self._output is None:
            raise AssertionError(f"{self.shown!r} is an input; only a staged copy is written")
        self._output.write(start, raw)
        if self.tally is not None:
            self.tally.forget(start)

    def close(self) -> None:
        """End the worker, if one was started; a writable image is flushed first. Raises FormatError or OutputError.

        Staged copies that were not closed by then are given up: something went wrong before they were complete.
        """
        for copy in self._copies:
            copy._take_image(flush=False)
        image = self._take_image(flush=True)
        if image is not None:
            image.close()

    def _take_image(self, *, flush: bool) -> Hdf5Image | None:
        """The worker's image, which is no longer this store's; without `flush` it is ended at once."""
        with self._lock:
            image, self._image = self._image, None
        if image is None or flush:
            return image
        image.abandon()
        return None

    def _worker(self) -> Hdf5Image:
        with self._lock:
            if self._image is None:
                writable = self._output is not None
                length = os.fstat(self.fd).st_size if writable else self.length
                self._image = Hdf5Image(self.fd, self.base, length, self.shown, writable=writable)
            return self._image
