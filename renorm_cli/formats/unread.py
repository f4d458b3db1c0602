"""Formats that are told apart, so that the message names them, and not read."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found

_DISTRIBUTED = ".distcp"


class Unread(Format):
    """A format that is not read."""

    is_read = False

    def open(self, found: Found) -> NoReturn:
        raise AssertionError("never located")


class TorchDistributed(Unread):
    """Distributed checkpoints of PyTorch: folders of `.distcp` files."""

    def is_whole(self, names: Collection[str]) -> bool:
        return any(name.endswith(_DISTRIBUTED) for name in names)

    def locate(self, path: Path) -> None:
        if path.is_dir() and any(entry.name.endswith(_DISTRIBUTED) for entry in os.scandir(path)):
            raise FormatError(
                f"{str(path)!r} is a distributed checkpoint of PyTorch, which is not read yet; save the weights as HDF5"
            )
