"""The format of safetensors, told by a few bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

LENGTH_BYTES = 8
MOST_HEADER = 100_000_000
"""Bytes of a header, at most: the limit of the safetensors library."""
CONFIG = "config.json"
"""The file beside the weights that may tell of them."""


class Safetensors(Format):
    """One file: the size of its header as 8 bytes, little-endian, then the header, a JSON object."""

    reads = ".safetensors"
    endings = (".safetensors",)
    searched = (".safetensors",)
    names_files = True

    def read_with(self, folder: Path, name: str, names: Collection[str]) -> Sequence[str]:
        return [CONFIG] if CONFIG in names else []

    def recognises(self, head: Head) -> bool:
        length = int.from_bytes(head.first[:LENGTH_BYTES], "little")
        fits = length <= min(MOST_HEADER, head.size - LENGTH_BYTES)
        return fits and head.first[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.safetensors.checkpoint import open_safetensors  # each format alone needs its parser

        return open_safetensors(found)
