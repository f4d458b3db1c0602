"""A source file whose bytes are in no file of the system: nothing can reach them but `read_into`."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from renorm_cli.errors import FormatError


class MemoryFile:
    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self.shown = str(path)
        self.content = content
        self.size = len(content)
        self.opened = self.identity()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        part = self.content[offset : offset + len(buffer)]
        if len(part) != len(buffer):
            raise FormatError(f"{self.shown!r} ends before byte {offset + len(buffer)}")
        buffer[:] = part

    def identity(self) -> Hashable:
        return self.content

    def descriptor(self) -> int:
        raise FormatError(f"{self.shown!r} has no descriptor")

    def close(self) -> None: ...
