"""How Orbax names checkpoints: a folder of steps, the folder of one step, and the folder of its arrays.

Sources: orbax.checkpoint 0.12 (`path/step.py`, `path/temporary_paths.py`): a step is called by its number, which may
have zeros and a prefix before it; what is not finished has `.orbax-checkpoint-tmp` in its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.location import Folder, Location
from renorm_cli.storage.hub_cache import name_of

MANIFEST, METADATA, OF_STEP = "manifest.ocdbt", "_METADATA", "_CHECKPOINT_METADATA"
_NAMING = (OF_STEP, METADATA, MANIFEST)
"""Files that stand for the folder they are in, but for the part of a database that one process saved."""
_PARTS = ("_sharding", "_strings.json", ".zarray", "zarr.json")
_DATA = "d"
"""Other files of a checkpoint, and the folder of the data files of a database."""
_CHUNK = re.compile(r"c|[0-9]{1,18}(?:\.[0-9]{1,18})*")
_ARRAY = (".zarray", "zarr.json")
_MOST_AXES = 32
"""Files of an array of zarr: its chunks lie in folders below its metadata, one for each axis at most."""
_DATABASE = "ocdbt"
_DEEPEST = 4
_MARKS = frozenset((*_NAMING, "orbax.checkpoint", "pytree.orbax-checkpoint", "checkpoint_metadata"))
_ITEMS = frozenset(("default", "state", "params"))
_UNFINISHED = ".orbax-checkpoint-tmp"
_STEP = re.compile(r"(?:.*[_.-])?([0-9]{1,18})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class OrbaxFolder(Folder):
    """A checkpoint of Orbax: one `step` in a folder of steps, or (`step` empty) the folder of a step or of arrays.

    The output of a folder of steps is such a folder, which holds that step alone.
    """

    step: str = ""

    def within(self, path: Path) -> Path:
        """The folder of the checkpoint, if this place is at `path`."""
        return path / self.step if self.step else path

    def resolved(self) -> OrbaxFolder:
        """The step alone, so that in place no other step is lost."""
        real = Path(os.path.realpath(self.within(self.path)))
        return replace(self, path=real, name=real.name, step="")

    def is_such(self, folder: Path) -> bool:
        return len(steps_in(folder)) == (0 if is_marked(_names(folder)) else 1)

    def kind(self) -> str:
        return "one step of an Orbax checkpoint"


def is_marked(names: Collection[str]) -> bool:
    """Whether a folder that holds these names is a checkpoint, with all that lies in it."""
    return not _MARKS.isdisjoint(names)


def is_of_database(name: Path) -> bool:
    """Whether a file, told by its path in an item, is of the OCDBT database, of which each process has a part."""
    return name.parts[0] in (MANIFEST, _DATA) or name.parts[0].startswith(_DATABASE)


def folder_named_by(path: Path) -> Path | None:
    """The folder that a file stands for; None for any other file."""
    stands = path.name in _NAMING and not path.parent.name.startswith(_DATABASE)
    return path.parent if stands and path.is_file() else None


def folder_with(path: Path) -> Path | None:
    """The checkpoint that a file is a part of, told by its name and the folders above; None if it is none."""
    if not (path.name in (*_NAMING, *_PARTS) or path.parent.name == _DATA):
        array = _array_with(path)
        if array is None:
            return None
        path = array
    marked = [above for above in list(path.parents)[:_DEEPEST] if above.is_dir() and is_marked(_names(above))]
    return marked[-1] if marked else None


def _array_with(path: Path) -> Path | None:
    """The metadata of the array of zarr that a file is a chunk of, told by names; None if it is none."""
    above = list(path.parents)[: _MOST_AXES + 2] if _CHUNK.fullmatch(path.name) else []
    return next((folder / name for folder in above for name in _ARRAY if (folder / name).is_file()), None)


def find_folder(path: Path) -> Location | None:
    """The checkpoint at `path`, of several steps the newest; None if there is none.

    Raises FormatError for one that was not finished, and OSError.
    """
    if not path.is_dir():
        return None
    name = name_of(path)
    if _is_step(path):
        if _UNFINISHED in name:
            raise FormatError(f"{str(path)!r} is an Orbax checkpoint that was not finished; give another step")
        return OrbaxFolder(path, name)
    steps = steps_in(path)
    return OrbaxFolder(path, name, step=steps[-1]) if steps else None


def steps_in(folder: Path) -> list[str]:
    """The names of the finished steps in a folder, the newest last. Raises OSError."""
    with os.scandir(folder) as entries:
        numbered = [
            (int(found[1]), entry.name)
            for entry in entries
            if (found := _STEP.fullmatch(entry.name)) is not None and entry.is_dir(follow_symlinks=False)
        ]
    return [name for _, name in sorted(numbered) if _UNFINISHED not in name and _is_step(folder / name)]


def _is_step(folder: Path) -> bool:
    """Whether a folder is marked; steps of older versions alone hold what is marked, by the usual names of items."""
    try:
        names = _names(folder)
        if is_marked(names):
            return True
        usual = _ITEMS & names if _STEP.fullmatch(folder.name) else ()
        return any(is_marked(_names(folder / name)) for name in usual if (folder / name).is_dir())
    except OSError:  # opening it will say what is wrong
        return False


def _names(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}
