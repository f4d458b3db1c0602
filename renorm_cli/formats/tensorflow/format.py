"""The formats of TensorFlow: SavedModels, and checkpoints of both versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.location import Location
from renorm_cli.formats.tensorflow.locations import (
    GRAPHS,
    INDEX,
    Directory,
    Prefix,
    V1File,
    find_prefix,
    has_graph,
    is_saved_model,
    prefix_in_state_file,
    prefix_of_index,
    prefix_with,
    prefixes_among,
    saved_model_with,
    v1_among,
)
from renorm_cli.storage.files import open_source
from renorm_cli.storage.hub_cache import name_of

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_TABLE = bytes.fromhex("57fb808b247547db")
"""The last eight bytes of every LevelDB table (leveldb/table/format.h): indexes and V1 checkpoints alike."""


class SavedModelFormat(Format):
    """SavedModel directories."""

    reads = "SavedModels"
    places = Directory
    names_files = True

    def named_by(self, path: Path) -> Path | None:
        return path.parent if path.name in GRAPHS and path.is_file() else None

    def whole_of(self, path: Path) -> Path | None:
        return saved_model_with(path)

    def locate(self, path: Path) -> Location | None:
        return Directory(path, name_of(path)) if path.is_dir() and is_saved_model(path) else None

    def is_whole(self, names: Collection[str]) -> bool:
        return has_graph(names)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.tensorflow.saved_model import open_saved_model  # each format alone needs its parser

        return open_saved_model(found)


class TfCheckpointFormat(Format):
    """Checkpoints of version 2: by their prefix, their folder, or their index file."""

    reads = "TensorFlow checkpoints"
    places = Prefix

    def named_by(self, path: Path) -> Path | None:
        return prefix_in_state_file(path)

    def whole_of(self, path: Path) -> Path | None:
        return prefix_with(path)

    def locate(self, path: Path) -> Location | None:
        return find_prefix(path)

    def recognises(self, head: Head) -> bool:
        return head.path.name.endswith(INDEX) and head.last.endswith(_TABLE)

    def location(self, path: Path) -> Location:
        return prefix_of_index(path)

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        return prefixes_among(names)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.tensorflow.checkpoint import open_tf_checkpoint

        return open_tf_checkpoint(found)


class TfV1Format(Format):
    """Checkpoints of version 1."""

    places = V1File
    names_files = True

    def recognises(self, head: Head) -> bool:
        return head.last.endswith(_TABLE)

    def location(self, path: Path) -> Location:
        return V1File(path, path.name)

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Told by their content where their names leave it open: they have no ending, or that of a step."""
        return v1_among(names, lambda name: self._is_one(folder / name))

    def _is_one(self, path: Path) -> bool:
        try:
            with closing(open_source(path)) as file:
                return self.recognises(Head(file))
        except FormatError:  # nothing tells that it is one
            return False

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.tensorflow.v1.checkpoint import open_v1

        return open_v1(found)
