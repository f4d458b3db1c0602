"""The folder of a model as Hugging Face lays it out: which of its files is the checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from renorm_cli.errors import FormatError, some_names

_FIRST = "model.safetensors"
"""What loaders take before an index beside it."""
_ENDINGS = (".safetensors.index.json", ".safetensors")


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
