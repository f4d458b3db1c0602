"""The text file `checkpoint` beside TensorFlow checkpoints, which names the newest one."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from renorm_cli.storage.files import open_beside, read_start

NAME = "checkpoint"

_MOST_BYTES = 1 << 20
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_LETTERS = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v", strict=True))
_NEWEST = re.compile(rb'^[ \t]*model_checkpoint_path\s*:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE | re.DOTALL)


def newest_prefix(folder: Path, names: Collection[str]) -> str | None:
    """The newest of the prefixes `names` in `folder`: the one the state file names, else the only one; else None.

    A state file may name nothing outside its folder: such paths (version 1 savers write absolute ones) are ignored. It
    is a protobuf in text form (tensorflow/python/training/checkpoint_state.proto).

    Raises FormatError if the state file is a link or no regular file.
    """
    found = _NEWEST.search(_content(folder / NAME))
    named = _ESCAPE.sub(_escaped, found[1]).decode("utf-8", "surrogateescape") if found else None
    if named is not None and named in names:
        return named
    return next(iter(names)) if len(names) == 1 else None


def is_state_file(path: Path) -> bool:
    """Whether the content of a file is that of a state file. Raises FormatError if it is a link or no regular file."""
    return path.is_file() and _NEWEST.search(_content(path)) is not None


def _content(path: Path) -> bytes:
    if not os.path.lexists(path):
        return b""
    with closing(open_beside(path)) as file:
        return read_start(file, _MOST_BYTES)


def _escaped(found: re.Match[bytes]) -> bytes:
    """The byte that an escape sequence in protobuf text stands for."""
    octal, hexadecimal, letter = found.groups()
    if letter is None:
        return bytes([int(octal, 8) & 255 if octal else int(hexadecimal, 16)])
    return bytes([_LETTERS.get(letter[0], letter[0])])


def state_text(name: str) -> bytes:
    """The content of a state file that names one checkpoint beside it."""
    escaped = "".join(f"\\{char}" if char in '\\"' else char if char >= " " else f"\\{ord(char):03o}" for char in name)
    lines = f'model_checkpoint_path: "{escaped}"\nall_model_checkpoint_paths: "{escaped}"\n'
    return lines.encode("utf-8", "surrogateescape")
