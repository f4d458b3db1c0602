"""HDF5 through the HDF5 library, in a child process.

The library crashes on about 2 % of slightly damaged files and hangs on some, so the parent loads it and forks, but
never opens a file with it. Where one file alone is read, the child loads it, while the parent loads all else.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from renorm_cli.errors import FormatError
from renorm_cli.formats.apart import CPU_SECONDS, Worker
from renorm_cli.formats.hdf5.reply import context_of, stored_of, survey_of
from renorm_cli.formats.hdf5.server import Server, library
from renorm_cli.formats.hdf5.survey import Survey
from renorm_cli.formats.hdf5.walk import MAX_CONFIG

MEMORY = 512 << 20
MOST_PATIENCE = 600.0
"""Upper limit of the deadline for one answer, in seconds; the deadline is PATIENCE plus one second per MiB."""
PATIENCE = 60.0
SURVEY_PROCESSOR, SURVEY_PROCESSOR_PER_MIB = 1, 10
"""Processor seconds for a survey: some thirty times the need of a file full of tiny datasets."""


class Hdf5Image:
    """An HDF5 file, or `length` bytes from `base` of a larger file, served by a worker process.

    A writable image is a whole file (`base` 0), and may grow. With `ahead` the child loads the library, unless this
    process has it. Safe from any thread. All methods raise FormatError if the file is damaged, hostile or names
    something outside itself, or if the worker is gone.
    """

    def __init__(
        self, fd: int, base: int, length: int | None, shown: str, *, writable: bool = False, ahead: bool = False
    ) -> None:
        if writable and base:
            raise ValueError("only a whole file can be opened for writing")
        facts = os.fstat(fd)
        there = facts.st_size - base
        # Without holes: a sparse file must not get more time. Some file systems count no blocks.
        self._filled = facts.st_blocks * 512 or facts.st_size
        self._length = there if length is None or writable else min(length, there)
        self._shown = shown
        self._unsaved = False
        self.digest: int | None = None
        """A hash of the survey; within this process, equal digests mean equal surveys."""
        ahead = ahead and "h5py" not in sys.modules and find_spec("h5py") is not None
        server = Server(None if ahead else library(), fd, base, None if writable else self._length, shown, writable)
        load = server.load if ahead else _nothing
        self._worker = Worker(server.serve, shown, "HDF5", keep=(fd,), memory=MEMORY, load=load)

    def survey(self) -> Survey:
        """Everything in the file except the data of its datasets."""
        reply, config = self._surveyed(None)
        return survey_of(reply, config, self._length, self._shown)

    def context(self) -> dict[str, str | None]:
        """Digests of all attributes, and the targets of soft links, by name; None for what cannot be read."""
        reply, _ = self._call({"op": "context"}, self._length, processor=self._survey_processor())
        return context_of(reply, self._shown)

    def is_as(self, digest: int) -> bool:
        """Whether the survey has this digest; the child then does not send it."""
        return self._surveyed(digest)[0].get("digest") == digest

    def _surveyed(self, unless: int | None) -> tuple[dict[str, Any], bytes]:
        request = {"op": "survey", "unless": unless}
        reply, config = self._call(request, self._length, limit=MAX_CONFIG, processor=self._survey_processor())
        digest = reply.get("digest")
        self.digest = digest if type(digest) is int else None
        return reply, config

    def _survey_processor(self) -> int:
        size = min(self._length, self._filled)
        return SURVEY_PROCESSOR + (SURVEY_PROCESSOR_PER_MIB * size >> 20)

    def read(self, path: str, start: tuple[int, ...], shape: tuple[int, ...], nbytes: int) -> bytes:
        """The stored bytes of the box of `shape` at `start` of a dataset: C order, the dataset's byte order."""
        request = {"op": "read", "path": path, "start": start, "shape": shape, "nbytes": nbytes}
        _, data = self._call(request, nbytes, limit=nbytes)
        if len(data) != nbytes:
            raise FormatError(f"{self._shown}: {path!r} gave {len(data)} bytes where {nbytes} were expected")
        return data

    def write(self, path: str, start: tuple[int, ...], shape: tuple[int, ...], data: bytes | memoryview) -> None:
        """Write a box of values, given as `read` returns them. Raises OutputError if the disk is full."""
        self._unsaved = True
        self._call({"op": "write", "path": path, "start": start, "shape": shape}, len(data), data)

    def stored(self, path: str) -> str | None:
        """A digest of a dataset that is not read as numbers, by its stored values; None where these tell nothing."""
        reply, _ = self._call({"op": "stored", "path": path}, self._length)
        return stored_of(reply, self._shown)

    def close(self) -> None:
        """Flush what was written to the file, and end the worker. Raises OutputError or FormatError if that fails."""
        try:
            if self._unsaved:
                self._unsaved = False
                self._call({"op": "close"}, self._length)
        finally:
            self._worker.close()

    def abandon(self) -> None:
        """End the worker without saving what was written."""
        self._unsaved = False
        self.close()

    def _call(
        self,
        request: dict[str, Any],
        size: int,
        payload: bytes | memoryview = b"",
        limit: int = 0,
        processor: int = CPU_SECONDS,
    ) -> tuple[dict[str, Any], bytes]:
        patience = min(MOST_PATIENCE, PATIENCE + size / (1 << 20))
        return self._worker.call(request, payload, deadline=patience, processor=processor, limit=limit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # An error while saving must not hide the first one.
            self._unsaved = False
        self.close()


def _nothing() -> None: ...
