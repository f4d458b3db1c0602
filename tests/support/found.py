"""What a path leads to, for tests that open a format by its own function."""

from __future__ import annotations

from pathlib import Path

from renorm_cli.formats.base import Found
from renorm_cli.formats.location import Location
from renorm_cli.storage.files import SourceFile, open_beside, open_source


def file_at(path: Path, file: SourceFile | None = None) -> Found:
    """An open file; `file` if it is open already."""
    return Found(path, Location(path, path.name), open_beside, file=file or open_source(path))


def folder_at(path: Path) -> Found:
    return Found(path, Location(path, path.name), open_beside)
