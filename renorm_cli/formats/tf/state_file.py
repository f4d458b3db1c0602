"""The text file `checkpoint` beside TensorFlow checkpoints, which names the newest of them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

NAME = "checkpoint"

_MOST_BYTES = 1 << 20
_NEWEST = re.compile(rb'^\s*model_checkpoint_path\s*:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)


def newest_prefix(folder: Path, names: Collection[str]) -> str | None:
    """The newest of the prefixes `names` in `folder`: the one the state file names, else the only one; else None.

    A state file may name nothing outside its folder: paths that do (version 1 savers write absolute ones) count for
    nothing. It is a protobuf in text form (tensorflow/python/training/checkpoint_state.proto).
    """
    try:
        with (folder / NAME).open("rb") as file:
            text = file.read(_MOST_BYTES)
    except OSError:
        text = b""
    found = _NEWEST.search(text)
    named = found[1].decode("utf-8", "surrogateescape") if found else None
    if named is not None and named in names:
        return named
    return next(iter(names)) if len(names) == 1 else None


def state_text(name: str) -> bytes:
    """A state file that names one checkpoint beside it."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    lines = f'model_checkpoint_path: "{escaped}"\nall_model_checkpoint_paths: "{escaped}"\n'
    return lines.encode("utf-8", "surrogateescape")
