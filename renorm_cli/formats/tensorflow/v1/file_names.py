"""The names of the files of a TensorFlow V1 checkpoint."""

from __future__ import annotations

import re

_SHARD = re.compile(r"(.+)-([0-9]{5,9})-of-([0-9]{5,9})", re.DOTALL)


def base_name(name: str) -> str:
    """The name without the "-00000-of-00002" of a checkpoint in several files."""
    found = _SHARD.fullmatch(name)
    return found[1] if found is not None and int(found[2]) < int(found[3]) else name


def shard_name(name: str, shard: int) -> str | None:
    """The name of file number `shard` of the checkpoint that the file `name` belongs to; None after the last file."""
    found = _SHARD.fullmatch(name)
    if found is None or base_name(name) == name:
        return name if shard == 0 else None
    return f"{found[1]}-{shard:05}-of-{found[3]}" if shard < int(found[3]) else None
