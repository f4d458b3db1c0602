"""How TensorFlow names checkpoints: prefixes of file names, folders, and files of the first version."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from renorm_cli.errors import FormatError, OutputError, Way, some_names
from renorm_cli.formats.location import Folder, Location
from renorm_cli.formats.tensorflow.state_file import NAME, is_state_file, newest_prefix
from renorm_cli.formats.tensorflow.v1.file_names import base_name
from renorm_cli.storage.journal import is_journaled, journaled
from renorm_cli.storage.temporaries import is_temporary

INDEX = ".index"
GRAPHS = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
_BESIDE_GRAPHS = ("fingerprint.pb", "keras_metadata.pb")
_VARIABLES = "variables"
_FIRST_DATA = ".data-00000-of-00001"
_PART = re.compile(r"(.+)(?:\.data-[0-9]{5}-of-[0-9]{5}|\.meta)", re.DOTALL)

_V1 = re.compile(r"[^.]*|.*ckpt[^.]*|.*[0-9]", re.DOTALL)
"""Names that checkpoints of version 1 may have where no graph is beside them: `model`, `model.ckpt-7`, `model.7`."""


@dataclass(frozen=True, slots=True)
class Prefix(Location):
    """A checkpoint `ckpt-7.index`, `ckpt-7.data-...`. Its `path` may be a folder, and its `name` then is empty."""

    @property
    def index(self) -> Path:
        return self.beside(self.name + INDEX)

    @property
    def folder(self) -> Path:
        return self.path.parent if self.name else self.path

    def output(self, path: Path) -> Location:
        """The location of an output that the user named; a folder that exists means a name in it."""
        if path.is_dir():
            return Prefix(path / self.name, self.name)
        name = path.name.removesuffix(INDEX)
        return Prefix(path.with_name(name) if name else path, name)


@dataclass(frozen=True, slots=True)
class V1File(Location):
    """A checkpoint of the first version; its output is a prefix."""

    def default_output(self) -> Location:
        return self._as_prefix().default_output()

    def output(self, path: Path) -> Location:
        return self._as_prefix().output(path)

    def resolved(self) -> Location:
        raise OutputError(
            f"{str(self.path)!r} is a V1 checkpoint, written out as V2", Way("output", "write it to another place")
        )

    def _as_prefix(self) -> Prefix:
        name = base_name(self.name)
        return Prefix(self.path.with_name(name), name)


@dataclass(frozen=True, slots=True)
class Directory(Folder):
    """A SavedModel."""

    def is_such(self, folder: Path) -> bool:
        return is_saved_model(folder)

    def kind(self) -> str:
        return "a SavedModel"


def is_saved_model(folder: Path) -> bool:
    """Whether a folder holds the graph of a SavedModel (tensorflow/cc/saved_model/constants.h)."""
    return any((folder / name).exists() for name in GRAPHS)


def saved_model_with(path: Path) -> Path | None:
    """The SavedModel that a file is a part of besides its graph; None if it is none."""
    if path.name in _BESIDE_GRAPHS:
        folder = path.parent
    elif path.parent.name == _VARIABLES and path.name.startswith(f"{_VARIABLES}."):
        folder = path.parent.parent
    else:
        return None
    return folder if is_saved_model(folder) else None


def prefix_with(path: Path) -> Path | None:
    """The checkpoint that a data file or a graph beside it is a part of, by its prefix or file; None if it is none.

    Raises FormatError for a data file whose index is missing.
    """
    found = _PART.fullmatch(path.name)
    if found is None:
        return None
    whole = path.with_name(found[1])
    if Path(f"{whole}{INDEX}").is_file() or whole.is_file():
        return whole
    if path.name.endswith(".meta"):
        return None
    raise _no_index(whole, path)


def prefix_in_state_file(path: Path) -> Path | None:
    """The newest checkpoint that the text file `checkpoint` names; None if it is another file. Raises FormatError."""
    if path.name != NAME or not is_state_file(path):
        return None
    found = _in_folder(path.parent)
    if found is None:
        raise FormatError(f"{str(path)!r} names checkpoints, and none of them is beside it")
    return found.path


def _no_index(whole: Path, part: Path) -> FormatError:
    return FormatError(
        f"{str(part)!r} is a part of the checkpoint {str(whole)!r}, whose {whole.name + INDEX!r} is not there;"
        " put it beside"
    )


def has_graph(names: Collection[str]) -> bool:
    """The same, told by the names in the folder."""
    return any(name in names for name in GRAPHS)


def prefixes_among(names: Collection[str]) -> dict[str, list[str]]:
    """The checkpoints whose files are among these names, each with its files.

    Each is called by its prefix, or by its index where a file has the name of the prefix. Data files without an index
    are called by the first of them.
    """
    indexes = {name.removesuffix(INDEX): [name] for name in names if name.endswith(INDEX)}
    alone: dict[str, list[str]] = {}
    for name in sorted(names):
        found = _PART.fullmatch(name)
        if found is not None and found[1] in indexes:
            indexes[found[1]].append(name)
        elif found is not None and not name.endswith(".meta"):
            alone.setdefault(found[1], []).append(name)
    called = {stem + INDEX if stem in names or not stem else stem: files for stem, files in indexes.items()}
    return called | {files[0]: files for files in alone.values()}


def v1_among(names: Collection[str], is_one: Callable[[str], bool]) -> dict[str, list[str]]:
    """The checkpoints of version 1 among the files of a folder, of those whose names allow it and `is_one` says so.

    One in several files is called by the first of them.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        stem = base_name(name)
        usual = f"{stem}.meta" in names or _V1.fullmatch(name) is not None
        if usual and stem + INDEX not in names and is_one(name):
            found.setdefault(stem, []).append(name)
    return {files[0]: [*files, *{f"{stem}.meta"} & set(names)] for stem, files in found.items()}


def prefix_of_index(path: Path) -> Prefix:
    """The prefix that a file `NAME.index` belongs to."""
    name = path.name.removesuffix(INDEX)
    return Prefix(path.with_name(name) if name else path.parent, name)


def find_prefix(path: Path) -> Prefix | None:
    """The prefix that `path` is or, if it is a folder, holds; None if there is none.

    An index that is being replaced counts. Raises FormatError where a folder holds several checkpoints and its state
    file names none of them, and OSError.
    """
    if path.is_dir():
        return _in_folder(path)
    index = Path(f"{path}{INDEX}")
    if path.exists():
        return None
    if index.is_file() or is_journaled(index):
        return Prefix(path, path.name)
    if Path(f"{path}{_FIRST_DATA}").is_file():
        raise _no_index(path, Path(f"{path}{_FIRST_DATA}"))
    return None


def _in_folder(folder: Path) -> Prefix | None:
    names = sorted({journaled(entry.name).removesuffix(INDEX) for entry in os.scandir(folder) if _is_index(entry.name)})
    if not names:
        return None
    name = newest_prefix(folder, names)
    if name is None:
        raise FormatError(
            f"{str(folder)!r} holds {len(names)} checkpoints and its state file names none of them;"
            f" give one of {some_names(names)}"
        )
    return Prefix(folder / name if name else folder, name)


def _is_index(name: str) -> bool:
    """Whether a file is an index, or the record of one that is being replaced."""
    return name.endswith(INDEX) and (journaled(name) != name or not is_temporary(name))
