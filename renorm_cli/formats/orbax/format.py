"""The format of Orbax, told by the names in a folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found
from renorm_cli.formats.location import Location
from renorm_cli.formats.orbax.locations import OrbaxFolder, find_folder, folder_named_by, folder_with, is_marked

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint


class OrbaxFormat(Format):
    """Folders of steps, of one step, and of arrays."""

    reads = "Orbax checkpoints"
    places = OrbaxFolder
    names_files = True

    def named_by(self, path: Path) -> Path | None:
        return folder_named_by(path)

    def whole_of(self, path: Path) -> Path | None:
        return folder_with(path)

    def locate(self, path: Path) -> Location | None:
        return find_folder(path)

    def is_whole(self, names: Collection[str]) -> bool:
        return is_marked(names)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.orbax.checkpoint import open_orbax  # each format alone needs its parser

        return open_orbax(found)
