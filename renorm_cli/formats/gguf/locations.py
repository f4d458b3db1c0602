"""How the files of a split model are called: `model-00001-of-00003.gguf` (llama.cpp, `llama_split_path`)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from renorm_cli.errors import OutputError, Way
from renorm_cli.formats.location import Location
from renorm_cli.storage.journal import is_journaled

_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)
_ENDING = ".gguf"


@dataclass(frozen=True, slots=True)
class Split(Location):
    """A model in `count` files, given by the first. Without that one there is no model, so it is published last."""

    count: int = 1

    @property
    def stem(self) -> str:
        found = _PART.fullmatch(self.name)
        return self.name.removesuffix(_ENDING) if found is None else found[1]

    @property
    def parts(self) -> tuple[Path, ...]:
        """The paths of all files, in their order."""
        return tuple(self.beside(_part(self.stem, number, self.count)) for number in range(1, self.count + 1))

    def default_output(self) -> Location:
        return self._first(self.beside(f"{self.stem}-renorm{_ENDING}"))

    def output(self, path: Path) -> Location:
        """The first file of an output that the user named, with the numbers of its part or without.

        Raises OutputError for a folder.
        """
        if path.is_dir():
            raise OutputError(f"{str(path)!r} is a directory", Way("output", "name a file"))
        return self._first(replace(self, path=path, name=path.name).path)

    def _first(self, path: Path) -> Self:
        stem = replace(self, path=path, name=path.name).stem
        name = _part(stem, 1, self.count)
        return replace(self, path=path.with_name(name), name=name)


def _part(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05}-of-{count:05}{_ENDING}"


def first_of(path: Path) -> Path | None:
    """The first file of the model that a later file is a part of; None for any other file."""
    found = _PART.fullmatch(path.name)
    if found is None or int(found[2]) < 2:
        return None
    first = path.with_name(_part(found[1], 1, int(found[3])))
    return first if first.is_file() else None


def split_at(path: Path) -> Split | None:
    """The split model whose first file is at `path`, or is being replaced; None for any other file."""
    found = _PART.fullmatch(path.name)
    if found is None or int(found[2]) != 1 or int(found[3]) < 2 or not (path.is_file() or is_journaled(path)):
        return None
    return Split(path, path.name, count=int(found[3]))


def models_among(names: Collection[str]) -> dict[str, list[str]]:
    """The models among these names, each with its files; what is there of one without a first file is one, too."""
    found: dict[str, list[str]] = {}
    for name in sorted(name for name in names if name.endswith(_ENDING)):
        part = _PART.fullmatch(name)
        found.setdefault(name if part is None else f"{part[1]}-of-{part[3]}", []).append(name)
    return {own[0]: own for own in found.values()}
