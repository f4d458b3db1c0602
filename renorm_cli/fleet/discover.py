"""Which checkpoints there are: below folders, and by their paths. One item is one checkpoint, not one file.

Told by names; of files only the maps of sharded weights are read, small models of ONNX, and both ends of a `.bin` or a
`.json`. What is half there is an item too: it fails when it is opened, so that it is not passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.registry import FORMATS
from renorm_cli.formats.safetensors.format import CONFIG
from renorm_cli.storage.temporaries import is_temporary

_FOLDERS = 16
"""Folders whose names are kept, for the paths that are given one by one."""
_OF_SEVERAL, _PART = (".json", ".index", ".onnx"), "-of-"
"""How the names of those end, and what is in the names of others, whose further files the names in the folder tell."""


class Item(NamedTuple):
    """A checkpoint: its path, the bytes of all its files, and a text that changes when one of them does.

    What cannot be looked at has no bytes.
    """

    path: str
    bytes: int
    identity: str


class Shard(NamedTuple):
    """Part `number` `of` so many, from 1: which part a checkpoint is in depends on its path alone."""

    number: int
    of: int

    def has(self, item: Item) -> bool:
        digest = hashlib.blake2b(os.fsencode(item.path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1


class Search:
    """Finds checkpoints; `passed` counts the files that are none, and the links to folders, which are not followed.
    `left_out` counts the checkpoints that are not taken.

    A path is taken if it, or its last part, matches one of `match`, where there are any, and none of `skip`. Patterns
    are shell-style, and `*` crosses `/`. Only a `recursive` search looks into folders, and not into hidden ones.
    """

    def __init__(self, match: Sequence[str] = (), skip: Sequence[str] = (), *, recursive: bool = False) -> None:
        self.passed = self.left_out = 0
        self._match, self._skip = _compiled(match), _compiled(skip)
        self._recursive = recursive

    def items(self, paths: Iterable[str]) -> Iterator[Item]:
        """The checkpoints at these paths, in their order, each once; those below a folder in the order of the bytes of
        their paths."""
        seen: set[str] = set()
        for path in map(_plain, paths):
            found = self._below(path) if self._recursive and os.path.isdir(path) else [_Place(path)]
            for one in found:
                if one.path in seen:
                    continue
                seen.add(one.path)
                if self._wants(one.path):
                    yield _item(one)
                else:
                    self.left_out += 1

    def _wants(self, path: str) -> bool:
        either = (path, os.path.basename(path))
        taken = self._match is None or any(map(self._match.match, either))
        return taken and not (self._skip is not None and any(map(self._skip.match, either)))

    def _below(self, top: str) -> Iterator[_Place]:
        """Depth first; of each folder on the way down, the names are listed once, and then closed."""
        levels = [iter(self._inside(top))]
        while levels:
            one = next(levels[-1], None)
            if one is None:
                levels.pop()
            elif one.is_folder:
                levels.append(iter(self._inside(one.path)))
            else:
                yield one

    def _inside(self, folder: str) -> list[_Place]:
        """The checkpoints in a folder, and its folders; the folder itself if it is one, or cannot be listed."""
        try:
            with os.scandir(folder) as entries:
                kinds = {entry.name: _kind(entry) for entry in entries if not is_temporary(entry.name)}
        except FileNotFoundError:  # it was there when the folder above was listed
            return []
        except OSError:
            return [_Place(folder)]
        if any(format.is_whole(kinds) for format in FORMATS):
            return [_Place(folder)]
        shown = {name: kind for name, kind in kinds.items() if not name.startswith(".")}
        files = {name for name, kind in shown.items() if kind == "file"}
        found = _among(folder, files)
        self.passed += len(files.difference(*found.values())) + sum(kind == "link" for kind in shown.values())
        places = [_Place(_inside(folder, name), tuple(own)) for name, own in found.items()]
        places += [_Place(_inside(folder, name), is_folder=True) for name, kind in shown.items() if kind == "folder"]
        return sorted(places, key=lambda one: os.fsencode(one.path + "/" * one.is_folder))


def item_at(path: str) -> Item:
    """The one checkpoint at a path, as it is now."""
    _listed.cache_clear()
    return _item(_Place(_plain(path)))


class _Place(NamedTuple):
    """A folder to look into, or a checkpoint; `files` are the names of its files beside it, where they are known."""

    path: str
    files: tuple[str, ...] | None = None
    is_folder: bool = False


def _plain(path: str) -> str:
    """A path as reports have it: without `./` and double slashes."""
    return str(Path(path)) if path else path


def _inside(folder: str, name: str) -> str:
    return name if folder == "." else os.path.join(folder, name)


def _compiled(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(translate, patterns))) if patterns else None


def _kind(entry: os.DirEntry[str]) -> str:
    """A folder, a link to one, or anything else, as what is neither will be an error of its own."""
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "link" if entry.is_symlink() and os.path.isdir(entry.path) else "file"


def _among(folder: str, names: Collection[str]) -> dict[str, Sequence[str]]:
    """The checkpoints among the files of a folder, and the files that each is read from; no part of another is one."""
    found = {name: (format, own) for format in FORMATS for name, own in format.among(Path(folder), names).items()}
    parts = {part for name, (_, own) in found.items() for part in own if part != name}
    return {
        name: tuple(dict.fromkeys((*own, *format.read_with(Path(folder), name, names))))
        for name, (format, own) in found.items()
        if name not in parts
    }


def _item(place: _Place) -> Item:
    folder = os.path.dirname(place.path)
    files = _files_of(place.path) if place.files is None else [os.path.join(folder, name) for name in place.files]
    size, digest = 0, hashlib.blake2b(digest_size=8)
    for path in sorted(files):
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # opening it will say what is wrong
            continue
        size += found.st_size
        digest.update(os.fsencode(f"{path.removeprefix(folder)}\0{found.st_size}\0{found.st_mtime_ns}\0"))
    return Item(place.path, size, digest.hexdigest())


def _files_of(path: str) -> Iterable[str]:
    """The files of the checkpoint at a path that someone gave."""
    folder, name = os.path.split(path)
    if os.path.isdir(path):
        return [os.path.join(at, file) for at, _, files in os.walk(path) for file in files if not is_temporary(file)]
    named = _named_by(path)
    if named is not None:
        return [path, *_files_of(named)]
    if os.path.isfile(path) and not name.endswith(_OF_SEVERAL) and _PART not in name:
        beside = (name, CONFIG, f"{name}.meta")
        found = _among(folder, {one for one in beside if os.path.lexists(os.path.join(folder, one))})
    else:
        found = _listed(folder or ".")
    own = found.get(name) or found.get(name.removesuffix(".index")) or (name, CONFIG)  # it may be of any format
    return [os.path.join(folder, one) for one in own]


def _named_by(path: str) -> str | None:
    """The checkpoint that a file names, and holds no weights of."""
    try:
        found = (format.named_by(Path(path)) for format in FORMATS)
        return next((str(one) for one in found if one is not None), None)
    except (FormatError, OSError, ValueError):  # opening it will say what is wrong
        return None


@lru_cache(_FOLDERS)
def _listed(folder: str) -> dict[str, Sequence[str]]:
    try:
        return _among(folder, {name for name in os.listdir(folder) if not is_temporary(name)})
    except (OSError, ValueError):
        return {}
