"""The formats of Keras, told by a few bytes: HDF5 files, `.keras` archives and sharded weights."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.folders import files_with, map_of

if TYPE_CHECKING:
    from renorm_cli.formats.base import Begun, Checkpoint

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_WEIGHTS = "model.weights.h5"
_SHARD = re.compile(r"(.+)_[0-9]{5}\.weights\.h5", re.DOTALL)
_MAP_BYTES = 1 << 20
"""Bytes of a map in which the name of a shard is looked for."""


class Hdf5Format(Format):
    """HDF5 files, whatever is in them."""

    reads = "HDF5"
    endings = (".weights.h5", ".h5", ".hdf5", ".hdf")
    searched = (".h5", ".hdf5", ".hdf")

    def recognises(self, head: Head) -> bool:
        """Whether the signature stands at byte 0, or at 512 * 2**k after a user block (HDF5 specification, II.A).

        An archive may hold the signature of its weights at such a place.
        """
        if head.first.startswith(_ZIP):
            return False
        offset = 0
        while offset + len(_HDF5) <= head.size:
            if head.at(offset, len(_HDF5)) == _HDF5:
                return True
            offset = offset * 2 or 512
        return False

    def begin(self, found: Found) -> Begun:
        from renorm_cli.formats.keras.hdf5_files import begin_hdf5

        return begin_hdf5(found)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.keras.hdf5_files import open_hdf5  # each format alone needs its parser

        return open_hdf5(found)


class KerasArchiveFormat(Format):
    """Zip archives."""

    reads = ".keras"
    endings = (".keras",)
    searched = (".keras",)

    def recognises(self, head: Head) -> bool:
        """Whether it begins as a zip does, or has an end record where something was put before the archive."""
        return head.first.startswith(b"PK") or _ZIP_END in head.last

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.keras.archive import open_keras_zip

        return open_keras_zip(found)


class KerasShardsFormat(Format):
    """JSON maps of sharded weights."""

    reads = ".weights.json"
    endings = (".weights.json", ".json")
    searched = (".weights.json",)
    names_files = True

    def whole_of(self, path: Path) -> Path | None:
        """The map of a shard, beside it, if the map names the shard."""
        found = _SHARD.fullmatch(path.name)
        return found and map_of(path, path.with_name(f"{found[1]}.weights.json"), _MAP_BYTES)

    def naming(self, folder: Path, names: Collection[str]) -> Iterator[Path]:
        for index in files_with(self.searched, folder):
            from renorm_cli.formats.keras.shards import named_shards  # only where there is one

            if not set(names).isdisjoint(named_shards(index)):
                yield index

    def recognises(self, head: Head) -> bool:
        """Whether it is a JSON object with the key `weight_map`."""
        return head.first.lstrip().startswith(b"{") and b'"weight_map"' in head.first + head.last

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Each map with the shards that it names; the shards of a map that cannot be read are files of their own."""
        maps = super().among(folder, names)
        if not maps:
            return maps
        from renorm_cli.formats.keras.shards import named_shards

        return {name: (name, *named_shards(folder / name)) for name in maps}

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.keras.shards import open_keras_shards

        return open_keras_shards(found)


class UnpackedArchive(Format):
    """The folder that a `.keras` archive was unpacked to; not read."""

    is_read = False

    def locate(self, path: Path) -> None:
        if path.is_dir() and (path / _WEIGHTS).exists():
            raise FormatError(f"{str(path)!r} is an unzipped .keras folder; give {str(path / _WEIGHTS)!r}")

    def open(self, found: Found) -> NoReturn:
        raise AssertionError("never located")
