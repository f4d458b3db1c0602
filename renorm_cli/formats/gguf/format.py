"""The format of GGUF, told by its first bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.gguf.locations import Split, first_of, models_among, split_at
from renorm_cli.formats.location import Location

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

MAGIC = b"GGUF"


class GgufFormat(Format):
    """One file."""

    reads = ".gguf"
    endings = (".gguf",)
    searched = (".gguf",)

    def recognises(self, head: Head) -> bool:
        return head.first.startswith(MAGIC)

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        return models_among(names)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.gguf.checkpoint import open_gguf  # each format alone needs its parser

        return open_gguf(found)


class GgufSplitFormat(Format):
    """Several files, each of them a whole one by itself."""

    places = Split

    def whole_of(self, path: Path) -> Path | None:
        return first_of(path)

    def locate(self, path: Path) -> Location | None:
        return split_at(path)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.gguf.checkpoint import open_split

        return open_split(found)
