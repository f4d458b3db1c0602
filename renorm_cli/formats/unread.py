"""Formats that are told apart, so that the message names them, and not read."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found

_ORBAX = ("orbax.checkpoint", "pytree.orbax-checkpoint", "checkpoint_metadata", "_CHECKPOINT_METADATA", "_METADATA")


class Unread(Format):
    """A format that is not read."""

    is_read = False

    def open(self, found: Found) -> NoReturn:
        raise AssertionError("never located")


class Orbax(Unread):
    """Orbax checkpoints: folders of a certain content."""

    def locate(self, path: Path) -> None:
        if path.is_dir() and any((path / name).exists() for name in _ORBAX):
            raise FormatError(
                f"{str(path)!r} is an Orbax checkpoint, which is not supported yet; export the weights to HDF5"
            )
