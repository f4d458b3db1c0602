"""What a path on the command line means: a file, a TensorFlow prefix, or a SavedModel directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from renorm_cli.errors import FormatError, OutputError, some_names
from renorm_cli.formats.tensorflow.state_file import newest_prefix
from renorm_cli.formats.tensorflow.v1.file_names import base_name
from renorm_cli.storage.files import reason
from renorm_cli.storage.journal import is_journaled, journaled
from renorm_cli.storage.temporaries import PREFIX

INDEX = ".index"
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
"""The last eight bytes of every LevelDB table: index files and V1 checkpoints alike."""

SUFFIXES = (".weights.h5", ".weights.json", ".keras", ".h5", ".hdf5", ".hdf", ".json")
"""Endings before which `-renorm` is put in a default output name."""

_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
_ORBAX = ("orbax.checkpoint", "pytree.orbax-checkpoint", "checkpoint_metadata", "_CHECKPOINT_METADATA", "_METADATA")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a checkpoint is: `path` is the file, the TensorFlow prefix (also `folder/`), or the directory.

    A TensorFlow V1 file is written out as a V2 checkpoint, so its output is a prefix.
    """

    kind: Literal["file", "v1", "prefix", "directory"]
    path: Path
    name: str
    """The last part of the path; "" for a prefix that is nothing but its folder."""

    @property
    def index(self) -> Path:
        """The file or directory without which there is no checkpoint."""
        return self.beside(self.name + INDEX) if self.kind == "prefix" else self.path

    @property
    def folder(self) -> Path:
        return self.path if self.kind == "prefix" and not self.name else self.path.parent

    def beside(self, name: str) -> Path:
        return self.folder / name

    def default_output(self) -> Location:
        """`model-renorm.h5` beside `model.h5`, `ckpt-7-renorm` beside `ckpt-7`, `export-renorm` beside `export`."""
        if self.kind == "v1":
            return self._as_v2().default_output()
        stem, suffix = (self.name, "") if self.kind != "file" else _split(self.name)
        name = f"{stem}-renorm{suffix}" if self.name else "renorm"
        return Location(self.kind, self.beside(name), name)

    def output(self, path: Path) -> Location:
        """The location of an output that the user named; for a prefix, a folder that exists means a name in it.

        Raises OutputError where a file would be a directory.
        """
        if self.kind == "v1":
            return self._as_v2().output(path)
        if path.is_dir() and self.kind == "prefix":
            return Location("prefix", path / self.name, self.name)
        if path.is_dir() and self.kind == "file":
            raise OutputError(f"{str(path)!r} is a directory; name a file with -o")
        name = path.name.removesuffix(INDEX) if self.kind == "prefix" else path.name
        return Location(self.kind, path.with_name(name) if name else path, name)

    def resolved(self) -> Location:
        """The same place with all links followed: what --in-place replaces. Raises OutputError for a V1 file."""
        if self.kind == "v1":
            raise OutputError(f"{str(self.path)!r} is a V1 checkpoint, written out as V2; give -o, not --in-place")
        real = Path(os.path.realpath(self.path))
        return Location(self.kind, real, real.name if self.name else "")

    def _as_v2(self) -> Location:
        name = base_name(self.name)
        return Location("prefix", self.path.with_name(name), name)

    def report(self) -> Path:
        """`model-renorm.report.json` for the output `model-renorm.h5`."""
        stem = self.name if self.kind != "file" else _split(self.name)[0]
        return self.beside(f"{stem or 'renorm'}.report.json")


def refuse_folders(source: Location, output: Location) -> None:
    """Raise OutputError where an output folder lies in the input, or would replace what is no SavedModel.

    A folder is replaced as a whole, with all that is in it.
    """
    if output.kind != "directory":
        return
    shown, real = str(output.path), Path(os.path.realpath(output.path))
    if Path(os.path.realpath(source.path)) in real.parents:
        raise OutputError(f"{shown!r} lies in the input; give another -o")
    if not real.is_dir() or any((real / name).exists() for name in _SAVED_MODELS):
        return
    with os.scandir(real) as entries:
        if any(entries):
            raise OutputError(f"{shown!r} is a folder that holds other things than a SavedModel; give another -o")


def locate(path: Path) -> Location:
    """Tell what `path` names, by what is there.

    Raises FormatError for a directory that is no checkpoint we read, and for what is no name of a file at all.
    """
    try:
        return _locate(path)
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise FormatError(f"{str(path)!r} cannot be opened: {reason(error)}") from None


def _locate(path: Path) -> Location:
    if path.is_dir():
        return _in_directory(path)
    if path.name.endswith(INDEX) and _is_table(path):
        name = path.name.removesuffix(INDEX)
        return Location("prefix", path.with_name(name) if name else path.parent, name)
    index = Path(f"{path}{INDEX}")
    if not path.exists() and (index.is_file() or is_journaled(index)):
        return Location("prefix", path, path.name)
    return Location("v1" if _is_table(path) else "file", path, path.name)


def _in_directory(folder: Path) -> Location:
    shown = str(folder)
    if any((folder / name).exists() for name in _SAVED_MODELS):
        return Location("directory", folder, folder.resolve().name)
    if any((folder / name).exists() for name in _ORBAX):
        raise FormatError(f"{shown!r} is an Orbax checkpoint, which is not supported yet; export the weights to HDF5")
    if (folder / "model.weights.h5").exists():
        raise FormatError(f"{shown!r} is an unzipped .keras folder; give the model.weights.h5 inside it")
    names = sorted({journaled(entry.name).removesuffix(INDEX) for entry in os.scandir(folder) if _is_index(entry.name)})
    if not names:
        raise FormatError(f"{shown!r} is a directory and no checkpoint: no saved_model.pb and no .index file in it")
    name = newest_prefix(folder, names)
    if name is None:
        raise FormatError(
            f"{shown!r} holds {len(names)} checkpoints and its state file names none of them;"
            f" give one of {some_names(names)}"
        )
    return Location("prefix", folder / name if name else folder, name)


def _is_index(name: str) -> bool:
    """Whether a file is an index, or the record of one that is being replaced."""
    return name.endswith(INDEX) and (journaled(name) != name or not name.startswith(PREFIX))


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), 8, max(0, size - 8)) == TABLE_MAGIC
    except OSError:
        return False


def _split(name: str) -> tuple[str, str]:
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix), suffix
    return name, ""
