"""Formats that are told apart, so that the message names them, and not read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head

_ORBAX = ("orbax.checkpoint", "pytree.orbax-checkpoint", "checkpoint_metadata", "_CHECKPOINT_METADATA", "_METADATA")
_LENGTH_BYTES = 8
_MOST_HEADER = 100_000_000
"""Bytes of the header of a safetensors file, at most: the limit of the safetensors library."""
_SHARD = re.compile(rb':\s*"[^"]*\.(?:safetensors|bin)"')


class Unread(Format):
    """A format that is not read."""

    is_read = False

    def open(self, found: Found) -> NoReturn:
        raise AssertionError("never located")


class Orbax(Unread):
    """Orbax checkpoints: folders of a certain content."""

    def locate(self, path: Path) -> None:
        if path.is_dir() and any((path / name).exists() for name in _ORBAX):
            raise FormatError(
                f"{str(path)!r} is an Orbax checkpoint, which is not supported yet; export the weights to HDF5"
            )


class Safetensors(Unread):
    """A safetensors file: the size of its header as 8 bytes, little-endian, then the header, a JSON object."""

    def recognises(self, head: Head) -> bool:
        length = int.from_bytes(head.first[:_LENGTH_BYTES], "little")
        fits = length <= min(_MOST_HEADER, head.size - _LENGTH_BYTES)
        return fits and head.first[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"

    def open(self, found: Found) -> NoReturn:
        raise _unread(found, "a safetensors file")


class SafetensorsIndex(Unread):
    """The `.index.json` beside shards of safetensors or PyTorch files: `weight_map` has one file name for each name.

    In a Keras `.weights.json` map, which has the same key, the values are lists of HDF5 files.
    """

    def recognises(self, head: Head) -> bool:
        is_map = head.first.lstrip().startswith(b"{") and b'"weight_map"' in head.first + head.last
        return is_map and _SHARD.search(head.first + head.last) is not None

    def open(self, found: Found) -> NoReturn:
        raise _unread(found, "an index of safetensors or PyTorch files")


def _unread(found: Found, what: str) -> FormatError:
    return FormatError(f"{found.only.shown!r} is {what}, which is not read yet; save the weights as HDF5")
