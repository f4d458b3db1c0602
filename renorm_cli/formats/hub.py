"""Checkpoints as Hugging Face lays them out: several files with an index, and the folder of a model."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Format, Found, Head

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_SHARD = re.compile(rb':\s*"[^"]*\.(?:safetensors|bin)"')
_FIRST = "model.safetensors"
"""What loaders take before an index beside it."""
_ENDINGS = (".safetensors.index.json", ".safetensors")


class ShardIndexFormat(Format):
    """The `.index.json` beside several files: `weight_map` has one file name for each tensor.

    In a Keras `.weights.json` map, which has the same key, the values are lists of HDF5 files.
    """

    endings = (".safetensors.index.json",)

    def recognises(self, head: Head) -> bool:
        is_map = head.first.lstrip().startswith(b"{") and b'"weight_map"' in head.first + head.last
        return is_map and _SHARD.search(head.first + head.last) is not None

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.safetensors.checkpoint import open_safetensors_index  # each alone needs its parser

        return open_safetensors_index(found)


def weights_in(folder: Path) -> Path | None:
    """The checkpoint in a folder; None if there is none. Raises FormatError where several are as good, and OSError."""
    names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(_ENDINGS) and entry.name[0] != "."]
    if _FIRST in names:
        return folder / _FIRST
    for ending in _ENDINGS:
        found = sorted(name for name in names if name.endswith(ending))
        if len(found) > 1:
            raise FormatError(f"{str(folder)!r} holds {len(found)} checkpoints; name one of {some_names(found)}")
        if found:
            return folder / found[0]
    return None
