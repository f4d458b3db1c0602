"""A file of an output before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from renorm_cli.errors import OutputError
from renorm_cli.storage.bytes import Span, copy_range, without, write_all
from renorm_cli.storage.files import LocalFile, SourceFile, read_exactly, reason

_PART_BYTES = 32 << 20


@dataclass(slots=True)
class Staged:
    """A file being prepared: open for reading and writing as `fd`, to be named `target`.

    `holes` are the ranges that were not copied from `source` because the caller will probably write them; `fill`
    copies those that were not written. `rewritten` means that something other than `write` wrote to the file, so its
    values, not its bytes, can be compared with the source.
    """

    fd: int
    temporary: Path
    target: Path
    source: SourceFile | None = None
    holes: tuple[Span, ...] = ()
    written: list[Span] = field(default_factory=list)
    rewritten: bool = False

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` as they are now. Raises FormatError."""
        read_exactly(self.fd, offset, buffer, str(self.target))

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at `offset`, from any thread. Raises OutputError."""
        try:
            write_all(self.fd, offset, data)
        except OSError as error:
            raise unwritten(error) from None
        self.written.append((offset, offset + len(data)))

    def fill(self) -> None:
        """Copy the ranges of the source that are still missing. May be called again. Raises OutputError."""
        if self.source is None:
            return
        try:
            for start, end in without(self.holes, self.written):
                copy_range(self.source.descriptor(), start, self.fd, start, end - start)
        except OSError as error:
            raise unwritten(error) from None
        self.holes = ()

    def copied(self) -> Iterator[Span]:
        """The ranges that must equal the source, in parts; none without a source, or if the file was rewritten."""
        if self.source is None or self.rewritten:
            return
        for start, end in without([(0, max(self.source.size, os.fstat(self.fd).st_size))], self.written):
            for at in range(start, end, _PART_BYTES):
                yield at, min(at + _PART_BYTES, end)

    def reopened(self) -> LocalFile:
        """The file opened as an input, under the name it will have. Raises OutputError."""
        try:
            return LocalFile.of(self.target, os.dup(self.fd))
        except OSError as error:
            raise unwritten(error) from None


def unwritten(error: OSError) -> OutputError:
    """The error to raise where the system refuses a write."""
    return OutputError(f"the output cannot be written: {reason(error)}; no unfinished output was left")
