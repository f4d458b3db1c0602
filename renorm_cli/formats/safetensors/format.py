"""The formats of safetensors, told by a few bytes, or by what a folder holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.shard_index import is_shard_index

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_LENGTH_BYTES = 8
_MOST_HEADER = 100_000_000


class Safetensors(Format):
    """One file: the size of its header as 8 bytes, little-endian, then the header, a JSON object."""

    reads = ".safetensors"
    endings = (".safetensors",)

    def recognises(self, head: Head) -> bool:
        length = int.from_bytes(head.first[:_LENGTH_BYTES], "little")
        fits = length <= min(_MOST_HEADER, head.size - _LENGTH_BYTES)
        return fits and head.first[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.safetensors.checkpoint import open_safetensors  # each format alone needs its parser

        return open_safetensors(found)


class SafetensorsIndex(Format):
    """The `.index.json` beside several files."""

    endings = (".safetensors.index.json",)

    def recognises(self, head: Head) -> bool:
        return is_shard_index(head.first, head.last)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.safetensors.checkpoint import open_safetensors_index

        return open_safetensors_index(found)
