"""Files as another process reaches them: by their names, on a disk that both see; and the plain bytes in them.

What is sent is a few hundred bytes for each file and variable, no header is read again, and any format will do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.base import Extent
from renorm_cli.formats.plain import Extents, Layout, Part, PlainData, PlainSink
from renorm_cli.model.variable import Variable
from renorm_cli.storage.bytes import Span
from renorm_cli.storage.checksum import Crc
from renorm_cli.storage.files import LocalFile, SourceFile, open_source, reason
from renorm_cli.storage.staged import Staged, unwritten

if TYPE_CHECKING:
    import numpy as np


class SentFile(NamedTuple):
    """An input file, and its staged copy if there is one: absolute names, and what tells that it is still the same."""

    path: Path
    size: int
    modified: int
    temporary: Path | None = None
    target: Path | None = None

    @classmethod
    def of(cls, source: SourceFile, staged: Staged | None = None) -> SentFile:
        found = os.fstat(source.descriptor())
        places = (None, None) if staged is None else (staged.temporary.absolute(), staged.target)
        return cls(source.path.absolute(), found.st_size, found.st_mtime_ns, *places)

    def open(self) -> LocalFile:
        """Open the input. Raises FormatError where it is not there, or another one by now."""
        file = open_source(self.path)
        found = os.fstat(file.fd)
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            file.close()
            raise FormatError(f"{str(self.path)!r} is not what it was, or not the same on all machines; run again")
        return file

    def open_staged(self, source: LocalFile, holes: Sequence[Span]) -> Staged | None:
        """Open the staged copy, if there is one, of which `holes` are to be written or copied.

        Raises OutputError where it cannot be reached.
        """
        if self.temporary is None or self.target is None:
            return None
        try:
            fd = os.open(self.temporary, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise OutputError(
                f"the folder {str(self.target.parent)!r} is not the same on all machines: {reason(error)};"
                " give one that they share"
            ) from None
        return _Theirs(fd, self.temporary, self.target, source, tuple(holes))


class _Theirs(Staged):
    """The staged copy of another process.

    It is written only while it has its temporary name: who was given up, and lives, does not write into an output.
    """

    def write(self, offset: int, data: memoryview) -> None:
        if not self.temporary.exists():
            raise OutputError(f"{str(self.target)!r} was finished, or given up, by the run that began it")
        super().write(offset, data)


class Places(Layout):
    """The places of some variables, by their keys, with nothing else that a format knows."""

    def __init__(self, layout: Layout, variables: Sequence[Variable]) -> None:
        self._parts = {one.key: tuple(layout.parts(one)) for one in variables}
        self._dtypes = {one.key: layout.dtype(one) for one in variables}

    def parts(self, variable: Variable) -> Sequence[Part]:
        return self._parts[variable.key]

    def dtype(self, variable: Variable) -> np.dtype[Any]:
        return self._dtypes[variable.key]


class SentData(NamedTuple):
    """Plain bytes: the files that are needed, by their numbers, the places of the variables, and the `extents` that
    are written or copied where there is an output."""

    files: Mapping[int, SentFile]
    layout: Layout
    crc: Crc | None
    extents: tuple[Extent, ...]

    @classmethod
    def of(cls, file: SentFile) -> SentData:
        """One file, to be read alone."""
        return cls({0: file}, Extents({}), None, ())

    @contextmanager
    def opened(self) -> Iterator[tuple[PlainData, PlainSink | None]]:
        """The input, and the staged copy if there is one; what was written to it is on the disk afterwards.

        Raises FormatError and OutputError.
        """
        with ExitStack() as closing:
            sources: dict[int, LocalFile] = {}
            staged: dict[int, Staged] = {}
            for number, file in self.files.items():
                sources[number] = file.open()
                closing.callback(sources[number].close)
                holes = sorted((one.offset, one.offset + one.size) for one in self.extents if one.file == number)
                copy = file.open_staged(sources[number], holes)
                if copy is not None:
                    staged[number] = copy
                    closing.callback(os.close, copy.fd)
            data = PlainData(_numbered(sources), self.layout, self.crc)
            sink = PlainSink(PlainData(_numbered(staged), self.layout, self.crc), list(staged.values()))
            yield data, sink if staged else None
            try:
                for one in staged.values():
                    os.fsync(one.fd)
            except OSError as error:
                raise unwritten(error) from None


def _numbered(files: Mapping[int, Any]) -> list[Any]:
    """Files at their numbers; nothing at those that no extent refers to."""
    return [files.get(number) for number in range(max(files, default=-1) + 1)]
