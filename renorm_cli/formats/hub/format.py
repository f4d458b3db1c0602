"""The formats of Hugging Face: several files with an index, and the folder of a model, told by names in it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError, OutputError, Way, some_names
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.folders import files_in, files_with, map_of
from renorm_cli.formats.location import Folder, Location
from renorm_cli.formats.safetensors.format import CONFIG
from renorm_cli.storage.hub_cache import blob_of, name_of
from renorm_cli.storage.journal import journaled

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_PART = re.compile(r"(.+)-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)")
_MAP_BYTES = 64 << 20
_SHARD = re.compile(rb':\s*"[^"]*\.(?:safetensors|bin)"')
_FIRST = "model.safetensors"
_ENDINGS = (".safetensors.index.json", ".safetensors", "pytorch_model.bin", ".bin.index.json")
"""Endings of the files that stand for all weights in a folder, in the order in which a loader looks for them."""
_FILES = tuple(ending[ending.index(".") :] for ending in _ENDINGS)
"""The endings of such files, whatever they are called."""


@dataclass(frozen=True, slots=True)
class ModelFolder(Folder):
    """The folder of a model."""

    def check_output(self, output: Location) -> None:
        """Also where the output would replace a folder with files that it will not have: it may be one to work in.

        Raises FormatError for links and special files in either folder, of which there is no copy.
        """
        if output.path.name.endswith(_FILES) and not output.path.is_dir():
            inside = weights_in(self.path)
            raise OutputError(
                f"{str(output.path)!r} is named as a file of another kind than {str(inside)!r}",
                Way("output", "give the name of a folder"),
            )
        Folder.check_output(self, output)
        try:
            own = files_in(self.path, self.kind())
        except FormatError as error:
            raise FormatError(f"{error.text}; or give {str(weights_in(self.path))!r} alone") from None
        there = files_in(output.path, self.kind()) if output.path.is_dir() else []
        lost = sorted(set(there).difference(own))
        if lost:
            told = some_names([str(name) for name in lost])
            raise OutputError(
                f"{str(output.path)!r} holds {told}, which the output would not have", Way("output", "give another")
            )

    def is_such(self, folder: Path) -> bool:
        return weights_in(folder) is not None

    def kind(self) -> str:
        return "a model as Hugging Face lays it out"


class ModelFolderFormat(Format):
    """Folders of a model: weights, or their index with the shards, and what else belongs to the model."""

    places = ModelFolder
    names_files = True

    def locate(self, path: Path) -> ModelFolder | None:
        return None if weights_in(path) is None else ModelFolder(path, name_of(path))

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.hub.folder import open_model_folder  # each format alone needs its parser

        inside = weights_in(found.path)
        if inside is None:
            raise FormatError(
                f"{str(found.path)!r} held weights, and holds none now; run again when nothing writes to it"
            )
        return open_model_folder(found, inside)


class ShardIndexFormat(Format):
    """The `.index.json` beside several files: `weight_map` has one file name for each tensor.

    In a Keras `.weights.json` map, which has the same key, the values are lists of HDF5 files.
    """

    endings = (".safetensors.index.json", ".bin.index.json")
    searched = endings
    names_files = True

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

    def read_with(self, folder: Path, name: str, names: Collection[str]) -> Sequence[str]:
        return [CONFIG] if CONFIG in names and name.endswith(_ENDINGS[0]) else []

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


def weights_in(folder: Path) -> Path | None:
    """What a loader takes in a folder: its `model.safetensors`, else its one index, else its one file.

    An index that is being replaced counts. Raises FormatError for a link, which could lead out of the folder, and
    OSError.
    """
    if not folder.is_dir():
        return None
    names = {journaled(entry.name) for entry in os.scandir(folder)}
    inside = _first([name for name in names if name.endswith(_ENDINGS) and name[0] != "."])
    if inside is not None and (folder / inside).is_symlink() and blob_of(folder / inside) is None:
        raise FormatError(
            f"{str(folder / inside)!r} is a link, which could lead out of the folder; give what it leads to"
        )
    return None if inside is None else folder / inside


def _first(names: Sequence[str]) -> str | None:
    if _FIRST in names:
        return _FIRST
    for ending in _ENDINGS:
        found = [name for name in names if name.endswith(ending)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def weights_alone(folder: Path, output: Path | None, *, in_place: bool) -> Path | None:
    """The weights in the folder of a model where they alone are written: in place, and to a file that ends as theirs.

    Raises FormatError and OSError as `weights_in` does.
    """
    inside = weights_in(folder) if in_place or output is not None else None
    if inside is None or in_place:
        return inside
    ending = next(ending for ending in _FILES if inside.name.endswith(ending))
    return inside if output is not None and output.name.endswith(ending) and not output.is_dir() else None
