"""Checkpoints whose variables lie in their files as plain bytes: reading, staging and writing, written once.

A format of this kind parses its header to variables and a `Layout`, and passes a function that makes its checksums
true again, if it has any.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Checkpoint, Extent, Found, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.numbers import item_bytes, room_for, stored_dtype
from renorm_cli.model.blocks import Block, Slices
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.bytes import Span
from renorm_cli.storage.checksum import Crc, Range, Tally, checksums
from renorm_cli.storage.files import Readable, SourceFile, read_parts
from renorm_cli.storage.joined import JoinedStaged
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer

_PART_BYTES = 16 << 20


class Part(NamedTuple):
    """A box of a variable, from `start`, whose numbers lie at one extent in C order."""

    extent: Extent
    start: tuple[int, ...]
    shape: tuple[int, ...]


class Told(NamedTuple):
    """What tells all of a variable whose numbers do not lie plainly: how they lie, as a text, and where."""

    how: bytes
    extents: tuple[Extent, ...]


class Layout(ABC):
    """Where the numbers of variables lie, and in what form."""

    @abstractmethod
    def parts(self, variable: Variable) -> Sequence[Part]:
        """The parts that a variable is stored in; none where its bytes are not plain."""

    @abstractmethod
    def dtype(self, variable: Variable) -> np.dtype[Any]:
        """The NumPy dtype of its stored numbers, with their byte order."""

    def told(self, variable: Variable) -> Told | None:
        """What tells all of a variable that has no parts, if it is known."""
        return None


class Extents(Layout):
    """Each variable, by its key, at one extent, or nowhere.

    `order` is the byte order of all numbers, but for the variables whose own is in `orders`. `others` tell of those
    that are nowhere.
    """

    def __init__(
        self,
        extents: Mapping[str, Extent],
        order: str = "<",
        orders: Mapping[str, str] = MappingProxyType({}),
        others: Mapping[str, Told] = MappingProxyType({}),
    ) -> None:
        self._extents, self._others = extents, others
        self._order = order
        self._orders = orders

    def parts(self, variable: Variable) -> Sequence[Part]:
        extent = self._extents.get(variable.key)
        return () if extent is None else (Part(extent, (0,) * len(variable.shape), variable.shape),)

    def dtype(self, variable: Variable) -> np.dtype[Any]:
        return stored_dtype(variable.dtype, self._orders.get(variable.key, self._order))

    def told(self, variable: Variable) -> Told | None:
        return self._others.get(variable.key)


class Piece(NamedTuple):
    """The common part of a block and of box number `number`: as a block of that box, and as slices of the block."""

    number: int
    block: Block
    where: Slices


def pieces(boxes: Iterable[tuple[tuple[int, ...], tuple[int, ...]]], block: Block) -> Iterator[Piece]:
    """What a block has in common with each box, given by start and shape. The block is whole after its cut axis."""
    for number, (begin, size) in enumerate(boxes):
        first = [max(at, start) for at, start in zip(block.start, begin, strict=True)]
        last = [
            min(at + length, start + edge)
            for at, length, start, edge in zip(block.start, block.shape, begin, size, strict=True)
        ]
        if all(one < other for one, other in zip(first, last, strict=True)):
            inner = Block(
                tuple(one - start for one, start in zip(first, begin, strict=True)),
                tuple(other - one for one, other in zip(first, last, strict=True)),
            )
            where = tuple(slice(one - at, other - at) for one, other, at in zip(first, last, block.start, strict=True))
            yield Piece(number, inner, where)


class Known(NamedTuple):
    """What was found while plain bytes were read and written: the extents that were written to, and the checksums of
    pieces, by the number of the file and their offsets."""

    written: frozenset[Extent]
    checksums: Mapping[int, Mapping[int, tuple[int, int]]]


class PlainData:
    """The plain bytes of a checkpoint, or of its staged copy, in `files`, to which the extents of `layout` refer.

    With `crc`, checksums of large pieces are taken when they are read, so that `checksums` need not read them again.
    """

    def __init__(self, files: Sequence[Readable], layout: Layout, crc: Crc | None = None) -> None:
        self.files = tuple(files)
        self.layout = layout
        self.crc = crc
        self.changed = False
        """Whether anything was written."""
        self.written: set[Extent] = set()
        """The extents in which something was written."""
        self._tallies = [None if crc is None else Tally(crc) for _ in files]

    def staged(self, files: Sequence[Staged]) -> PlainData:
        """The same in staged copies of the files, to be written."""
        return PlainData(files, self.layout, self.crc)

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        """A block in stored dtype and byte order, in `into` if that is given. Raises FormatError."""
        dtype = self.layout.dtype(variable)
        values = room_for(block.shape, dtype, into)
        for extent, at, shape, where in self._places(variable, block, dtype.itemsize):
            target = values if shape == block.shape else np.empty(shape, dtype=dtype)
            raw = _bytes_of(target)
            self.files[extent.file].read_into(at, raw)
            tally = self._tallies[extent.file]
            if tally is not None:
                tally.add(at, raw)
            if target is not values:
                values[where] = target
        return values

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        """Write a block of stored dtype and byte order to staged files. Raises OutputError."""
        dtype = self.layout.dtype(variable)
        if values.dtype != dtype or values.shape != block.shape:
            raise AssertionError(
                f"{variable.key!r}: {dtype} {block.shape} expected, {values.dtype} {values.shape} given"
            )
        for extent, at, _, where in self._places(variable, block, dtype.itemsize):
            file = self.files[extent.file]
            if not isinstance(file, Staged | JoinedStaged):
                raise AssertionError("an input is never written")
            file.write(at, _bytes_of(np.ascontiguousarray(values[where])))
            tally = self._tallies[extent.file]
            if tally is not None:
                tally.forget(at)
            self.written.add(extent)
            self.changed = True

    def spans(self, variables: Iterable[Variable]) -> list[list[Span]]:
        """The ranges of bytes in which variables lie, for each file."""
        found: list[list[Span]] = [[] for _ in self.files]
        for variable in variables:
            for (file, offset, size), _, _ in self.layout.parts(variable):
                if size:
                    found[file].append((offset, offset + size))
        return found

    def extents(self, variable: Variable, block: Block) -> Iterator[Extent]:
        """Where the bytes of a block lie."""
        item_bytes = self.layout.dtype(variable).itemsize
        for extent, at, shape, _ in self._places(variable, block, item_bytes):
            yield Extent(extent.file, at, math.prod(shape) * item_bytes)

    @property
    def known(self) -> Known:
        """What was found so far, for `take` of the same data in another process."""
        tallies = {number: tally.found for number, tally in enumerate(self._tallies) if tally is not None}
        return Known(frozenset(self.written), {number: found for number, found in tallies.items() if found})

    def take(self, known: Known) -> None:
        """Take over what another process found, and wrote."""
        self.written |= known.written
        self.changed = self.changed or bool(known.written)
        for number, found in known.checksums.items():
            tally = self._tallies[number]
            if tally is not None:
                tally.take(found)

    def sum_up(self, extents: Iterable[Extent]) -> None:
        """Take the checksums of all large pieces of the extents, if there are any. Raises FormatError."""
        for file, offset, size in extents:
            tally = self._tallies[file]
            if tally is not None:
                tally.complete(self.files[file], offset, size)

    def checksums(self, extents: Iterable[Extent], imap: Imap = map) -> Iterator[int]:
        """The checksum of each extent, in order. Raises FormatError where a file ends too soon or cannot be read."""
        assert self.crc is not None
        ranges = [Range(self.files[one.file], one.offset, one.size, self._tallies[one.file]) for one in extents]
        return checksums(ranges, self.crc, imap)

    def settle(self) -> None:
        """Have everything that was written in the files. Raises OutputError."""

    def close(self) -> None:
        """End what serves reads and writes besides the files themselves. Raises OutputError."""

    def _places(
        self, variable: Variable, block: Block, item_bytes: int
    ) -> Iterator[tuple[Extent, int, tuple[int, ...], Slices]]:
        """Where a block lies: the extent, the first byte in its file, and the shape and the place in the block."""
        parts = self.layout.parts(variable)
        if len(parts) == 1 and parts[0].shape == variable.shape:  # for many small variables, sooner told
            extent = parts[0].extent
            at = extent.offset + block.first_element(variable.shape) * item_bytes
            yield extent, at, block.shape, (slice(None),) * len(block.shape)
            return
        for piece in pieces(((part.start, part.shape) for part in parts), block):
            part = parts[piece.number]
            at = part.extent.offset + piece.block.first_element(part.shape) * item_bytes
            yield part.extent, at, piece.block.shape, piece.where


def _bytes_of(values: npt.NDArray[Any]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _turned(size: int, content: bytes) -> bytes:
    """Items of so many bytes in the other byte order."""
    return np.frombuffer(content, np.uint8).reshape(-1, size)[:, ::-1].tobytes()


class PlainCheckpoint(Checkpoint):
    """A checkpoint whose variables are read as `data`. The first of its files are those that extents refer to."""

    def __init__(
        self,
        format: str,
        found: Found,
        files: Sequence[SourceFile],
        variables: Sequence[Variable],
        data: PlainData,
        notes: Sequence[Note] = (),
    ) -> None:
        super().__init__(format, found, files, variables, notes)
        self.data = data
        self._closed = False

    def read_block(self, variable: Variable, block: Block, into: Buffer | None) -> npt.NDArray[Any]:
        self._refuse_closed()
        return self.data.read(variable, block, into)

    def extent(self, variable: Variable) -> Extent | None:
        parts = self.data.layout.parts(variable)
        return parts[0].extent if len(parts) == 1 and parts[0].shape == variable.shape else None

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        self._refuse_closed()
        parts = self.data.layout.parts(variable)
        if len(parts) != 1 or parts[0].shape != variable.shape:
            told = self.data.layout.told(variable)
            return None if told is None else self._bytes_of(told)
        extent = parts[0].extent
        found = read_parts(self.data.files[extent.file], extent.offset, extent.size, _PART_BYTES)
        if item_bytes(variable.dtype) is None:
            return found
        dtype = self.data.layout.dtype(variable)
        return map(partial(_turned, dtype.itemsize), found) if dtype.byteorder == ">" else found

    def _bytes_of(self, told: Told) -> Iterator[bytes]:
        yield told.how
        for file, offset, size in told.extents:
            yield from read_parts(self.data.files[file], offset, size, _PART_BYTES)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        """A staged copy of a checkpoint of one file; formats of several name each, and call `copies`."""
        copies = self.copies(staging, [output.path], changing)
        return PlainSink(self.data.staged(copies), copies)

    def copies(self, staging: Staging, targets: Sequence[Path], changing: Sequence[Variable]) -> list[Staged]:
        """Staged copies of the files that hold variables, one for each of the `targets`."""
        spans = self.data.spans(changing)
        files = self.files[: len(targets)]
        return [staging.copy(*each) for each in zip(files, targets, spans, strict=True)]

    def close(self) -> None:
        self._closed = True
        self.data.close()
        super().close()

    def _refuse_closed(self) -> None:
        """Raise FormatError once closed: the descriptors may be those of other files now."""
        if self._closed:
            raise FormatError(f"{str(self.path)!r} was closed; open it again")


class PlainFile(PlainCheckpoint):
    """A checkpoint that is one file, in which all that lies beside its variables tells what they are."""

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield "what lies beside the variables", self._beside()

    def _beside(self) -> Iterator[bytes]:
        (file,), at = self.files, 0
        extents = {extent for variable in self.variables if (extent := self.extent(variable)) is not None}
        for extent in sorted((*extents, Extent(0, file.size, 0))):
            yield from read_parts(file, at, extent.offset - at)
            at = max(at, extent.offset + extent.size)


Seal = Callable[[PlainData, Imap], dict[str, int]]
"""Makes the checksums of a staged copy true again, given its final bytes; returns those of what was written."""


class PlainSink(Sink):
    """A staged copy that is written as `data`; `files` are copies of which ranges are still missing."""

    def __init__(self, data: PlainData, files: Sequence[Staged], seal: Seal = lambda data, imap: {}) -> None:
        self.data = data
        self.files = tuple(files)
        self._seal = seal

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        self.data.write(variable, block, values)

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        return self.data.read(variable, block, into)

    def seal(self, imap: Imap = map) -> dict[str, int]:
        self.data.settle()
        for file in self.files:
            file.fill()
        try:
            return self._seal(self.data, imap)
        except OSError as error:
            raise unwritten(error) from None


SHARED = "it shares some of its bytes with another tensor"
"""Why a variable that is `overlapping` cannot change."""


def overlapping(extents: Mapping[str, Extent]) -> frozenset[str]:
    """The keys of extents that have bytes in common with another one."""
    found: set[str] = set()
    last, file, reach = "", -1, 0
    for extent, key in sorted((extent, key) for key, extent in extents.items() if extent.size):
        if extent.file == file and extent.offset < reach:
            found |= {key, last}
        if extent.file != file or extent.offset + extent.size > reach:
            last, file, reach = key, extent.file, extent.offset + extent.size
    return frozenset(found)
