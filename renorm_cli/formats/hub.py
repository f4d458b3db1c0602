"""Checkpoints as Hugging Face lays them out: several files with an index, and the folder of a model."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head, map_of
from renorm_cli.formats.folders import files_with

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_PART = re.compile(r"(.+)-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)")
_MAP_BYTES = 64 << 20
_SHARD = re.compile(rb':\s*"[^"]*\.(?:safetensors|bin)"')
_FIRST = "model.safetensors"
_ENDINGS = (".safetensors.index.json", ".safetensors", ".bin.index.json")


class ShardIndexFormat(Format):
    """The `.index.json` beside several files: `weight_map` has one file name for each tensor.

    In a Keras `.weights.json` map, which has the same key, the values are lists of HDF5 files.
    """

    endings = (".safetensors.index.json", ".bin.index.json")
    searched = endings
    names_files = True

    def named_by(self, path: Path) -> Path | None:
        """The checkpoint in a folder: a link in it could lead out of the folder, and is not followed."""
        inside = _weights_in(path) if path.is_dir() else None
        if inside is not None and inside.is_symlink():
            raise FormatError(f"{str(inside)!r} is a link, which could lead out of the folder; give what it leads to")
        return inside

    def whole_of(self, path: Path) -> Path | None:
        """The index of a shard, beside it, if it names the shard."""
        found = _PART.fullmatch(path.name)
        return found and map_of(path, path.with_name(f"{found[1]}.{found[2]}.index.json"), _MAP_BYTES)

    def naming(self, folder: Path, names: Collection[str]) -> Iterator[Path]:
        for index in files_with(self.searched, folder):
            from renorm_cli.formats.shard_index import named_shards  # only where there is one

            if not set(names).isdisjoint(named_shards(index)):
                yield index

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Each index with the files beside it that are called as its shards are."""
        indexes = super().among(folder, names)
        shards: dict[str, list[str]] = {}
        for name in names if indexes else ():
            found = _PART.fullmatch(name)
            if found is not None:
                shards.setdefault(f"{found[1]}.{found[2]}.index.json", []).append(name)
        return {name: (name, *shards.get(name, ())) for name in indexes}

    def recognises(self, head: Head) -> bool:
        is_map = head.first.lstrip().startswith(b"{") and b'"weight_map"' in head.first + head.last
        return is_map and _SHARD.search(head.first + head.last) is not None

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.shard_index import read_shard_index  # each format alone needs its parser

        index = read_shard_index(found.only)
        if any(name.endswith(".bin") for name in index.names):
            from renorm_cli.formats.torch.shards import open_torch_index

            return open_torch_index(found, index)
        from renorm_cli.formats.safetensors.checkpoint import open_safetensors_index

        return open_safetensors_index(found, index)


def _weights_in(folder: Path) -> Path | None:
    """What a loader takes in a folder: its `model.safetensors`, else its one index, else its one file."""
    names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(_ENDINGS) and entry.name[0] != "."]
    if _FIRST in names:
        return folder / _FIRST
    for ending in _ENDINGS:
        found = [name for name in names if name.endswith(ending)]
        if found:
            return folder / found[0] if len(found) == 1 else None
    return None
