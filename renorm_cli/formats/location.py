"""Where a checkpoint is, and how the names of an output and of its report follow from that."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from renorm_cli.errors import OutputError, Way

_ANOTHER = Way("output", "give another")


@dataclass(frozen=True, slots=True)
class Location:
    """The place of a checkpoint that is one file, or one file that names others beside it.

    Formats whose checkpoints are named otherwise (a prefix, a folder) have a subclass.
    """

    path: Path
    name: str
    """The last part of the path."""
    endings: tuple[str, ...] = ()
    """The endings of file names that formats use, longer ones first; `-renorm` is put before one of them."""

    @property
    def index(self) -> Path:
        """The file or folder without which there is no checkpoint; it is published last."""
        return self.path

    @property
    def folder(self) -> Path:
        return self.path.parent

    def beside(self, name: str) -> Path:
        return self.folder / name

    def default_output(self) -> Location:
        """`model-renorm.h5` beside `model.h5`."""
        stem, ending = self._split()
        name = f"{stem}-renorm{ending}" if self.name else "renorm"
        return replace(self, path=self.beside(name), name=name)

    def output(self, path: Path) -> Location:
        """The location of an output that the user named. Raises OutputError where a file would be a directory."""
        if path.is_dir():
            raise OutputError(f"{str(path)!r} is a directory", Way("output", "name a file"))
        return replace(self, path=path, name=path.name)

    def resolved(self) -> Location:
        """The same place with all links followed, to be replaced. Raises OutputError where it cannot be."""
        real = Path(os.path.realpath(self.path))
        return replace(self, path=real, name=real.name if self.name else "")

    def report(self) -> Path:
        """`model-renorm.h5.report.json` for the output `model-renorm.h5`."""
        return self.beside(f"{self.name or 'renorm'}.report.json")

    def check_output(self, output: Location) -> None:
        """Raise OutputError where `output` lies inside this checkpoint, or would replace something else than one."""

    def _split(self) -> tuple[str, str]:
        ending = next((one for one in self.endings if self.name.endswith(one) and self.name != one), "")
        return self.name.removesuffix(ending), ending


@dataclass(frozen=True, slots=True)
class Folder(Location):
    """A checkpoint that is a folder; its output is a folder, published as a whole."""

    @property
    def folder(self) -> Path:
        """Where it lies, also where it is given as `.` or `..`."""
        return self.path / ".." if self.path.name in ("", "..") else self.path.parent

    def output(self, path: Path) -> Self:
        if path.name in ("", ".."):  # temporaries beside it are named after it
            path = Path(os.path.realpath(path))
        return replace(self, path=path, name=path.name)

    def check_output(self, output: Location) -> None:
        """Raise OutputError where the output lies in the input, or would replace a folder of another kind."""
        shown, real = str(output.path), Path(os.path.realpath(output.path))
        if Path(os.path.realpath(self.path)) in real.parents:
            raise OutputError(f"{shown!r} lies in the input", _ANOTHER)
        if not real.is_dir() or self.is_such(real):
            return
        with os.scandir(real) as entries:
            if any(entries):
                raise OutputError(f"{shown!r} is a folder that holds other things than {self.kind()}", _ANOTHER)

    def is_such(self, folder: Path) -> bool:
        """Whether a folder is a checkpoint of this kind."""
        raise NotImplementedError

    def kind(self) -> str:
        """What users call such a checkpoint, with its article."""
        raise NotImplementedError
