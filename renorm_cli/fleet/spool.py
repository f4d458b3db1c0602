"""What processes answer, in a file without a name: memory does not grow with it."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, overload

from renorm_cli.errors import OutputError
from renorm_cli.storage.bytes import write_all
from renorm_cli.storage.files import reason

_Kept = TypeVar("_Kept")


class Spool(Sequence[_Kept], Generic[_Kept]):
    """A list of `count` answers, which are pickles of our own processes; each is read when it is asked for."""

    def __init__(self, count: int) -> None:
        """Raises OutputError where there is no room for a temporary file."""
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _no_room(error) from None
        self._starts, self._sizes = array("q", bytes(8 * count)), array("q", bytes(8 * count))
        self._end = 0

    def close(self) -> None:
        self._file.close()

    def put(self, at: int, pickled: bytes) -> None:
        """Take the answer with that number. Raises OutputError."""
        try:
            write_all(self._file.fileno(), self._end, memoryview(pickled))
        except OSError as error:
            raise _no_room(error) from None
        self._starts[at], self._sizes[at] = self._end, len(pickled)
        self._end += len(pickled)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> _Kept: ...
    @overload
    def __getitem__(self, at: slice) -> list[_Kept]: ...
    def __getitem__(self, at: int | slice) -> _Kept | list[_Kept]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        found: _Kept = pickle.loads(os.pread(self._file.fileno(), self._sizes[at], self._starts[at]))
        return found

    def __iter__(self) -> Iterator[_Kept]:
        return (self[at] for at in range(len(self)))


def _no_room(error: OSError) -> OutputError:
    return OutputError(f"a temporary file cannot be written: {reason(error)}; make room, or name a folder in TMPDIR")
