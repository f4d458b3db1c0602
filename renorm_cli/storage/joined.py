"""Files one behind the other, as if they were one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from renorm_cli.storage.files import Readable
from renorm_cli.storage.staged import Staged


class Stretch(NamedTuple):
    """`size` bytes from byte `offset` of the file number `file`."""

    file: int
    offset: int
    size: int


class Joined:
    """Files, of which each has the size at its place in `sizes`, to be read as one."""

    def __init__(self, files: Sequence[Readable], sizes: Sequence[int]) -> None:
        self.files = tuple(files)
        self.sizes = tuple(sizes)
        *self._starts, self.size = accumulate(sizes, initial=0)

    def stretches(self, offset: int, size: int) -> Iterator[Stretch]:
        """The parts of a range, in order, as they lie in the files; empty files have none."""
        end = offset + size
        number = bisect_right(self._starts, offset) - 1
        while offset < end:
            start = self._starts[number]
            count = min(end, start + self.sizes[number]) - offset
            if count > 0:
                yield Stretch(number, offset - start, count)
                offset += count
            number += 1

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset`, which are there by the sizes. Raises FormatError."""
        done = 0
        for number, at, size in self.stretches(offset, len(buffer)):
            self.files[number].read_into(at, buffer[done : done + size])
            done += size


class JoinedStaged(Joined):
    """Staged files, to be written as one."""

    def __init__(self, files: Sequence[Staged], sizes: Sequence[int]) -> None:
        super().__init__(files, sizes)
        self._staged = tuple(files)

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at `offset`, from any thread. Raises OutputError."""
        done = 0
        for number, at, size in self.stretches(offset, len(data)):
            self._staged[number].write(at, data[done : done + size])
            done += size
