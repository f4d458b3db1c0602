"""An output of Orbax: a new folder, in which no bytes of what was changed are left.

Numbers of arrays that change are kept plainly in a temporary file until all are known. Then a new database is made: it
gets the keys of the old one, but of these arrays new chunks alone. A database that is only added to would keep the old
ones, which anyone could restore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from renorm_cli.formats.base import Sink
from renorm_cli.formats.folders import files_in
from renorm_cli.formats.numbers import item_bytes, room_for, stored_dtype
from renorm_cli.formats.orbax.arrays import MOST_FILES, ZARR, Array, Item
from renorm_cli.formats.orbax.locations import METADATA, OrbaxFolder
from renorm_cli.formats.orbax.server import AT_ONCE_BYTES
from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.files import open_beside
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.formats.orbax.checkpoint import OrbaxCheckpoint
    from renorm_cli.parallel.memory import Buffer

_PART_BYTES = 4 << 20
_AT_ONCE = 1000
"""Arrays that are written at once: each commit writes nodes of the database anew."""


class OrbaxSink(Sink):
    """A staged folder; nothing but the numbers that change is in it before it is sealed."""

    def __init__(self, source: OrbaxCheckpoint, staging: Staging, output: OrbaxFolder) -> None:
        self._source = source
        self._staging = staging
        self._target = output.path
        self._folder = output.within(staging.tree(output.path))
        self._values: Staged | None = None
        self._places: dict[str, int] = {}
        self._end = 0
        self._lock = Lock()

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        with self._lock:
            if variable.key not in self._places:
                self._places[variable.key] = self._unpacked(variable)
        self._put(self._places[variable.key], variable, block, values)

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        place = self._places.get(variable.key)
        if place is None or self._values is None:
            return self._source.read(variable, block, into)
        values = room_for(block.shape, stored_dtype(variable.dtype, "<"), into)
        self._values.read_into(_at(place, variable, block), values.reshape(-1).view(np.uint8).data)
        return values

    def seal(self, imap: Imap = map) -> dict[str, int]:
        content = self._source.content
        changed = [self._source.arrays[key] for key in self._places]
        carried = content.carried()
        for number, item in enumerate(content.items):
            own = {f"{item.path}/{array.name}".lstrip("/") for array in changed if array.item == number}
            if not own:
                carried += content.own(number)
            elif not item.ocdbt:
                carried += (name for name in content.own(number) if not _is_chunk(name, own))
        for name in carried:
            self._carry(name)
        if changed:
            self._write_anew(changed)
            self._adopt(set(carried))
        return {}

    def _write_anew(self, changed: Sequence[Array]) -> None:
        content, arrays = self._source.content, self._source.arrays
        assert self._values is not None
        self._source.let_go()
        with closing(self._source.worker(writable=True)) as worker:
            for number, item in enumerate(content.items):
                own = [array for array in changed if array.item == number]
                if own and item.ocdbt:
                    worker.write(number, self._at(item), [one for one in arrays.values() if one.item == number], own)
            places = dict(zip(changed, self._places.values(), strict=True))
            for group in _groups(changed):
                target = self._at(content.items[group[0].item])
                worker.put(group, target, self._values.temporary, [places[array] for array in group])

    def _at(self, item: Item) -> Path:
        """Where an item is in the output. tensorstore takes no path that is not whole."""
        return (self._folder / item.path).resolve()

    def _adopt(self, carried: Collection[Path]) -> None:
        """The files that tensorstore has made."""
        for name in files_in(self._folder, "an Orbax checkpoint", MOST_FILES):
            if name not in carried:
                self._staging.adopt(self._folder / name)

    def _carry(self, name: Path) -> None:
        """Carry a file over, nothing of which stays open."""
        path = self._folder / name
        self._staging.folder(path.parent)
        with closing(open_beside(self._source.content.folder / name)) as file:
            if name.name == METADATA:  # one of the parts of the output, as it names all arrays
                self._staging.copy(file, path).source = None
            else:
                self._staging.carry(file, path)

    def _unpacked(self, variable: Variable) -> int:
        """Where the numbers of a variable are in the temporary file, to which they are copied."""
        if self._values is None:
            self._values = self._staging.scratch(self._target)
        place = self._end
        self._end += -(-variable.elements * (item_bytes(variable.dtype) or 1) // 64) * 64
        for block in partition(variable.shape, _PART_BYTES):
            self._put(place, variable, block, self._source.read(variable, block))
        return place

    def _put(self, place: int, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        assert self._values is not None
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        self._values.write(_at(place, variable, block), raw)


def _groups(arrays: Sequence[Array]) -> Iterator[list[Array]]:
    """Arrays of one item that are written as one: each array alone that is larger than a group may be."""
    group: list[Array] = []
    size = 0
    for array in sorted(arrays, key=lambda one: one.item):
        size += array.nbytes
        if group and (array.item != group[0].item or size > AT_ONCE_BYTES or len(group) >= _AT_ONCE):
            yield group
            group, size = [], array.nbytes
        group.append(array)
    yield group


def _is_chunk(name: Path, arrays: Collection[str]) -> bool:
    """Whether a file is a chunk of one of these arrays."""
    return name.name not in ZARR and any(str(above) in arrays for above in name.parents)


def _at(place: int, variable: Variable, block: Block) -> int:
    return place + block.first_element(variable.shape) * (item_bytes(variable.dtype) or 1)
