"""Checkpoints of Orbax: what is in the folder is listed, arrays are read by the worker, an output is a new folder."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Checkpoint, Found
from renorm_cli.formats.folders import contents, files_in
from renorm_cli.formats.keras.config import LayerNode, parse_config
from renorm_cli.formats.location import Location
from renorm_cli.formats.numbers import room_for, stored_dtype
from renorm_cli.formats.orbax import metadata
from renorm_cli.formats.orbax.arrays import MOST_FILES, OTHER, ZARR, Array, Item
from renorm_cli.formats.orbax.locations import MANIFEST, METADATA, OF_STEP, OrbaxFolder, is_of_database, steps_in
from renorm_cli.formats.orbax.names import Stored, name_arrays
from renorm_cli.formats.orbax.worker import OrbaxWorker
from renorm_cli.model.blocks import Block
from renorm_cli.model.plan import Note
from renorm_cli.model.readers import Readers
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import open_beside, read_start
from renorm_cli.storage.permissions import readers_of
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import JsonError, parse_json

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.formats.orbax.sink import OrbaxSink
    from renorm_cli.parallel.memory import Buffer

_KIND = "an Orbax checkpoint"
_STRINGS = Path("model_config/_strings.json")
_CONFIG_BYTES = 64 << 20
_OF_A_SAVE = (OF_STEP, "_sharding", "commit_success.txt")
"""Files that tell when and from where a checkpoint was saved; so does the folder `array_metadatas`."""
_LOCKED = "its dtype is none whose numbers are read"


class Content(NamedTuple):
    """The files below `folder`, each with what changes when it is written to, and the items among them."""

    folder: Path
    files: Mapping[Path, Hashable]
    size: int
    items: tuple[Item, ...]
    trees: tuple[metadata.Tree, ...]

    def own(self, number: int) -> list[Path]:
        """The files in which an item's arrays are stored."""
        item = self.items[number]
        inside = [name for name in self.files if name.is_relative_to(item.path)]
        if item.ocdbt:
            return [name for name in inside if is_of_database(name.relative_to(item.path))]
        arrays = {name.parent for name in inside if name.name in ZARR}
        return [name for name in inside if not arrays.isdisjoint(name.parents)]

    def carried(self) -> list[Path]:
        """The files besides those of arrays."""
        arrays = {name for number in range(len(self.items)) for name in self.own(number)}
        return [name for name in self.files if name not in arrays]


class OrbaxCheckpoint(Checkpoint):
    """A folder of Orbax; the worker that reads its arrays starts when the first of them is read."""

    location: OrbaxFolder

    def __init__(
        self,
        found: Found,
        content: Content,
        arrays: Mapping[str, Array],
        variables: Sequence[Variable],
        notes: Sequence[Note],
    ) -> None:
        super().__init__("orbax", found, (), variables, notes)
        self.content = content
        self.arrays = arrays
        self._worker: OrbaxWorker | None = None
        self._lock = Lock()
        self._closed = False

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def paths(self) -> list[Path]:
        return [
            self.content.folder / name for number in range(len(self.content.items)) for name in self.content.own(number)
        ]

    @property
    def readers(self) -> Readers:
        folder = self.content.folder
        return readers_of([folder, *(folder / name for name in self.content.files)])

    def read_block(self, variable: Variable, block: Block, into: Buffer | None) -> npt.NDArray[Any]:
        values = room_for(block.shape, stored_dtype(variable.dtype, "<"), into)
        raw = values.reshape(-1).view(np.uint8).data
        if len(raw):
            raw[:] = self._reader().read(self.arrays[variable.key], block.start, block.shape, len(raw))
        return values

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        return iter((self._reader().stored(self.arrays[variable.key]),))

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> OrbaxSink:
        from renorm_cli.formats.orbax.sink import OrbaxSink  # few runs write

        assert isinstance(output, OrbaxFolder)
        return OrbaxSink(self, staging, output)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield from contents(self.content.folder, self.content.carried())
        yield from self._zarr()

    def context(self) -> dict[str, str | None]:
        return {
            name: digest
            for name, digest in super().context().items()
            if Path(name).name not in _OF_A_SAVE and "array_metadatas" not in Path(name).parts
        }

    def check_unchanged(self) -> None:
        if self.content.files != _listed(self.content.folder)[0]:
            raise FormatError(f"{str(self.path)!r} changed while it was read; run again when nothing writes to it")

    def close(self) -> None:
        self._closed = True
        self.let_go()

    def let_go(self) -> None:
        """End the worker, with the chunks that it keeps; the next read starts another."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _zarr(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """What says how each array is stored."""
        for key, array in self.arrays.items():
            yield f"{key}: its metadata of zarr", iter((array.digest.encode(),))

    def _reader(self) -> OrbaxWorker:
        with self._lock:
            if self._closed:
                raise FormatError(f"{str(self.path)!r} was closed; open it again")
            if self._worker is None:
                self._worker = self.worker()
            return self._worker

    def worker(self, *, writable: bool = False) -> OrbaxWorker:
        """A new worker with room for the largest chunk; the caller closes it."""
        chunk = max((array.chunk_bytes for array in self.arrays.values()), default=0)
        return OrbaxWorker(self.content.folder, self.content.items, chunk=chunk, writable=writable)


def open_orbax(found: Found) -> OrbaxCheckpoint:
    """Open a folder of Orbax.

    Raises FormatError where it is damaged or not finished, has links or special files, or tensorstore is not there.
    """
    location = found.location
    assert isinstance(location, OrbaxFolder)
    content = _content(location.within(found.path), found.path)
    worker = OrbaxWorker(content.folder, content.items)
    try:
        arrays = worker.survey(content.size)
    finally:
        worker.close()
    _check_complete(content, arrays)
    keyed = {_key(content.items[array.item], array.name): array for array in arrays}
    naming = name_arrays([_stored(key, array, content) for key, array in keyed.items()], _config(content))
    return OrbaxCheckpoint(found, content, keyed, naming.variables, (*naming.notes, *_step_notes(found.path, location)))


def _content(folder: Path, given: Path) -> Content:
    files, size = _listed(folder)
    folders = sorted({str(name.parent) for name in files if name.name in (MANIFEST, METADATA)}, key=len)
    folders = [name for name in folders if len(Path(name).parts) <= 1 and _holds_arrays(Path(name), files)]
    if Path(OF_STEP) in files:
        known = metadata.read_items(_small(folder / OF_STEP, _CONFIG_BYTES), str(folder / OF_STEP))
        folders = [name for name in folders if known is None or name in known]
    if "." in folders:
        folders = ["."]
    if not folders:
        raise FormatError(f"{str(given)!r} holds no arrays of an Orbax checkpoint; {METADATA} and arrays were expected")
    trees = tuple(_tree(folder / name / METADATA, Path(name) / METADATA in files) for name in folders)
    items = tuple(
        Item("" if name == "." else name, Path(name) / MANIFEST in files, tree.fills)
        for name, tree in zip(folders, trees, strict=True)
    )
    return Content(folder, files, size, items, trees)


def _listed(folder: Path) -> tuple[dict[Path, Hashable], int]:
    found: dict[Path, Hashable] = {}
    size = 0
    for name in files_in(folder, _KIND, MOST_FILES):
        try:
            status = (folder / name).stat()
        except OSError:  # removed meanwhile
            found[name] = None
            continue
        found[name] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        size += status.st_size
    return found, size


def _holds_arrays(folder: Path, files: Mapping[Path, Hashable]) -> bool:
    if folder / MANIFEST in files:
        return True
    return any(name.name in ZARR and name.is_relative_to(folder) for name in files)


def _tree(path: Path, is_there: bool) -> metadata.Tree:
    return metadata.read_tree(_small(path, metadata.MOST_BYTES), str(path)) if is_there else metadata.Tree()


def _small(path: Path, most: int) -> bytes:
    with closing(open_beside(path)) as file:
        if file.size > most:
            raise FormatError(f"{file.shown!r} is {file.size} bytes; at most {most} were expected")
        return read_start(file, most)


def _check_complete(content: Content, arrays: Sequence[Array]) -> None:
    """Raise FormatError where an array is missing that `_METADATA` names."""
    for number, tree in enumerate(content.trees):
        missing = sorted(tree.arrays - {array.name for array in arrays if array.item == number})
        if missing:
            raise FormatError(
                f"{str(content.folder)!r} has no array {some_names(missing)}, which its {METADATA} names;"
                " the checkpoint is damaged or not finished"
            )


def _key(item: Item, name: str) -> str:
    return f"{item.path}/{name}" if item.path else name


def _stored(key: str, array: Array, content: Content) -> Stored:
    path = content.trees[array.item].paths.get(array.name) or tuple(array.name.split("."))
    item = content.items[array.item].path
    many = len(content.items) > 1
    variable = Variable(key, key, array.shape, array.dtype, locked=_LOCKED if array.dtype == OTHER else None)
    return Stored(variable, (item, *path) if many else path)


def _config(content: Content) -> LayerNode | None:
    """The config of a Keras model, which it stores as the string `config`."""
    if _STRINGS not in content.files:
        return None
    path = content.folder / _STRINGS
    try:
        found = parse_json(_small(path, _CONFIG_BYTES), depth=2)
    except JsonError as problem:
        raise FormatError(f"{str(path)!r} {problem}; the checkpoint is damaged") from None
    config = found.get("config") if isinstance(found, dict) else None
    return parse_config(config, str(path)) if isinstance(config, str) else None


def _step_notes(path: Path, location: OrbaxFolder) -> tuple[Note, ...]:
    if not location.step or not os.path.isdir(path):  # noqa: PTH112
        return ()
    others = [name for name in steps_in(path) if name != location.step]
    if not others:
        return ()
    return (Note(f"the step {location.step!r} is read, the newest; beside it are {some_names(others)}, left alone"),)
