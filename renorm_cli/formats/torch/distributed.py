"""Distributed checkpoints of PyTorch: folders of files that hold an archive for each part of a tensor.

Source: torch/distributed/checkpoint/filesystem.py of PyTorch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Extent, Found, Head, Sink, digest
from renorm_cli.formats.folders import carry, contents, files_in, size_of
from renorm_cli.formats.location import Location
from renorm_cli.formats.numbers import stored_dtype
from renorm_cli.formats.plain import Layout, Part, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.torch.checkpoint import digests, pickled_tensors
from renorm_cli.formats.torch.format import METADATA, TorchZipFormat
from renorm_cli.formats.torch.metadata import Item, Metadata, Place, Stored, read_metadata
from renorm_cli.formats.torch.metadata import digests as metadata_digests
from renorm_cli.formats.torch.stack_machine import MOST_BYTES
from renorm_cli.formats.torch.tensors import Tensor
from renorm_cli.formats.torch.views import bytes_of
from renorm_cli.formats.zip.archive import Archive, Member, read_archive
from renorm_cli.formats.zip.members import Held
from renorm_cli.formats.zip.records import STORED
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.checksum import CRC32
from renorm_cli.storage.files import SourceFile, open_beside, read_parts, read_range, read_start
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted

_ZIP = b"PK\x03\x04"
_UNKNOWN = "its dtype is not known"


class Boxes(Layout):
    """Tensors in the boxes that they were saved in, by their keys; `orders` has the byte orders."""

    def __init__(self, parts: Mapping[str, Sequence[Part]], orders: Mapping[str, str]) -> None:
        self._parts, self._orders = parts, orders

    def parts(self, variable: Variable) -> Sequence[Part]:
        return self._parts.get(variable.key, ())

    def dtype(self, variable: Variable) -> np.dtype[Any]:
        return stored_dtype(variable.dtype, self._orders.get(variable.key, "<"))


class _Read(NamedTuple):
    """The content of all items: variables, where they lie, and the members that hold them, by file."""

    variables: Sequence[Variable]
    layout: Boxes
    members: Sequence[Sequence[Member]]


class DistributedCheckpoint(PlainCheckpoint):
    """Files are those that hold tensors and, last, the metadata; all others in the folder are carried over."""

    def __init__(
        self,
        found: Found,
        files: Sequence[SourceFile],
        carried: Sequence[Path],
        read: _Read,
        metadata: Metadata,
    ) -> None:
        data = PlainData(files[:-1], read.layout, CRC32)
        variables = frameworks.described(read.variables, "torch")
        super().__init__("torch-distributed", found, files, variables, data, frameworks.notes(variables))
        self._carried = tuple(carried)
        self._metadata = metadata
        extents = [part.extent for variable in variables for part in read.layout.parts(variable)]
        self._held = [
            Held(_archive_of(members), extents, number, unsummed=True) for number, members in enumerate(read.members)
        ]

    @property
    def size(self) -> int:
        return super().size + size_of(self.path, self._carried)

    @property
    def checksums(self) -> dict[str, int]:
        return {name: crc for held in self._held for name, crc in held.checksums.items()}

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        return tuple(name for held in self._held for name in held.damage(self.data, imap))

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield METADATA, read_parts(self.files[-1], 0, self.files[-1].size)
        yield from contents(self.path, self._carried)

    def context(self) -> dict[str, str | None]:
        """Of what the metadata tell, of all items but the numbers of tensors, and of files that have no items."""
        file, (_, ends, values, parts) = self.files[-1], self._metadata
        told = metadata_digests(read_start(file, MOST_BYTES), file.shown)
        found = {f"{METADATA}: {name}": value for name, value in told.items()}
        if sum(length for _, _, length in (*values.values(), *parts.values())) > self.size:
            raise FormatError(f"{file.shown!r} tells of items that overlap one another")
        for name, place in values.items():
            found |= _digests(name, self.path, place)
        for name, place in parts.items():
            found |= _digests(name, self.path, place, tensor=True)
        for path in map(str, self._carried):
            if path not in ends:
                found |= _digests(f"the file {path!r}", self.path, (path, 0, (self.path / path).stat().st_size))
        return found

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        tree = staging.tree(output.path)
        carry(self.path, self._carried, staging, tree)
        staging.carry(self.files[-1], tree / METADATA)
        staged = self.copies(staging, [tree / file.path.name for file in self.files[:-1]], changing)
        return PlainSink(self.data.staged(staged), staged, partial(self._patch, staged))

    def _patch(self, staged: Sequence[Staged], data: PlainData, imap: Imap) -> dict[str, int]:
        return {
            name: crc
            for one, held in zip(staged, self._held, strict=True)
            for name, crc in held.patch(one, data, imap).items()
        }


def open_distributed(found: Found) -> DistributedCheckpoint:
    """Open the checkpoint in a folder. Raises FormatError where it is damaged, or has links or special files."""
    folder = found.path
    inside = files_in(folder, "a distributed checkpoint of PyTorch")
    if Path(METADATA) not in inside:
        raise FormatError(f"{str(folder)!r} has no {METADATA!r}, which is written last; was it saved to the end?")
    with ExitStack() as opened:
        metadata = open_beside(folder / METADATA)
        opened.callback(metadata.close)
        if metadata.size > MOST_BYTES:
            raise FormatError(f"{metadata.shown!r} is {metadata.size} bytes; at most {MOST_BYTES} are read")
        told = read_metadata(read_start(metadata, MOST_BYTES), metadata.shown)
        tensors = told.tensors
        names = sorted({item.file for stored in tensors.values() for item in stored.items})
        files: list[SourceFile] = []
        for name in names:
            files.append(open_beside(folder / name))
            opened.callback(files[-1].close)
        known = dict(zip(names, files, strict=True))
        for name, end in told.ends.items():
            if name in known:
                _check_size(known[name], end)
            else:
                with closing(open_beside(folder / name)) as file:
                    _check_size(file, end)
        read = _read(tensors, dict(zip(names, enumerate(files), strict=True)))
        carried = [name for name in inside if str(name) not in known and str(name) != METADATA]
        checkpoint = DistributedCheckpoint(found, (*files, metadata), carried, read, told)
        opened.pop_all()
    return checkpoint


def _read(tensors: Mapping[str, Stored], files: Mapping[str, tuple[int, SourceFile]]) -> _Read:
    _refuse_overlap(tensors, files)
    variables: list[Variable] = []
    boxes: dict[str, Sequence[Part]] = {}
    orders: dict[str, str] = {}
    members: list[list[Member]] = [[] for _ in files]
    for name, stored in tensors.items():
        parts: list[Part] = []
        known = stored.dtype in DTYPES
        found = [(item, _part(name, item, *files[item.file])) for item in stored.items]
        locked = next((part.locked for _, part in found if part.locked), None if known else _UNKNOWN)
        for item, part in found:
            where = _where(files[item.file][1], name, item.offset)
            if part.dtype != stored.dtype:
                raise FormatError(f"{where} is {part.dtype}, the metadata tell {quoted(stored.dtype)}")
            if part.order != found[0][1].order:
                raise FormatError(f"{where} has another byte order than its first part; one order was expected")
            orders[name] = part.order
            if part.member is not None:
                members[files[item.file][0]].append(part.member)
                parts.append(Part(part.extent, item.start, item.shape))
        boxes[name] = () if locked else parts
        dtype = stored.dtype if known else "no number"
        variables.append(Variable(name, name, stored.shape, dtype, locked=locked))
    return _Read(variables, Boxes(boxes, orders), members)


class _Part(NamedTuple):
    """The tensor of an item; `member` has its bytes, which lie at `extent`."""

    dtype: str
    order: str
    extent: Extent
    member: Member | None
    locked: str | None


def _part(name: str, item: Item, number: int, file: SourceFile) -> _Part:
    """The one tensor in the archive of an item. Raises FormatError where it is damaged, or of another shape."""
    section = _Section(file, item.offset, item.length)
    archive = read_archive(section, colons=True)
    found, members, order = pickled_tensors(section, archive)
    where = _where(file, name, item.offset)
    if len(found) != 1 or found[0][1].size != item.shape:
        raise FormatError(f"{where} is not of the shape that the metadata tell")
    tensor = found[0][1]
    locked = _part_locked(tensor, order)
    if locked is not None:
        return _Part(tensor.dtype, order, Extent(number, 0, 0), None, locked)
    member = members.get(tensor.storage.key)
    width = DTYPES[tensor.dtype].nbytes
    if member is None or max(tensor.end * width, bytes_of(tensor.storage)) > member.size:
        raise FormatError(f"{where} needs more bytes than its storage has")
    if member.method != STORED:
        raise FormatError(f"{where} is compressed; save it without")
    at = item.offset + member.payload_offset + tensor.offset * width
    size = width * int(np.prod(item.shape, dtype=object))
    box = f"{name} from {list(item.start)}" if any(item.start) else name
    return _Part(tensor.dtype, order, Extent(number, at, size), _moved(member, item.offset, box), None)


def _part_locked(tensor: Tensor, order: str) -> str | None:
    """Why the bytes of a part cannot be read as they lie."""
    if tensor.odd is not None:
        return f"its bytes are {tensor.odd}, not its values"
    if tensor.dtype not in DTYPES or (order == ">" and tensor.dtype == "bfloat16"):
        return _UNKNOWN
    return None if tensor.order() == tuple(range(len(tensor.size))) else "its numbers do not lie one behind the other"


def _moved(member: Member, by: int, name: str) -> Member:
    """The member of an archive that lies in a file from a byte on, as a member of the file."""
    return replace(
        member,
        name=name,
        header_offset=member.header_offset + by,
        payload_offset=member.payload_offset + by,
        record_end=member.record_end + by,
        central_offset=member.central_offset + by,
    )


def _archive_of(members: Sequence[Member]) -> Archive:
    return Archive(tuple(members), 0, 0, 0, 0, 0, "")


def _refuse_overlap(tensors: Mapping[str, Stored], files: Mapping[str, tuple[int, SourceFile]]) -> None:
    """Raise FormatError where an item has bytes of another one, or the items of a file are no archives."""
    spans = [(item.file, item.offset, item.length, name) for name, stored in tensors.items() for item in stored.items]
    last, end = "", 0
    for name_of_file, offset, length, name in sorted(spans):
        file = files[name_of_file][1]
        if name_of_file != last:
            end = 0
            if read_range(file, offset, min(len(_ZIP), length)) != _ZIP:
                what = "is in no archive of torch.save; save it with SerializationFormat.TORCH_SAVE"
                raise FormatError(f"{_where(file, name, offset)} {what}")
        if offset < end:
            raise FormatError(f"{_where(file, name, offset)} overlaps another")
        last, end = name_of_file, offset + length


def _where(file: SourceFile, name: str, offset: int) -> str:
    """The beginning of what is said of the item of a tensor."""
    return f"{file.shown!r}: the tensor {quoted(name)} at byte {offset}"


def _check_size(file: SourceFile, end: int) -> None:
    if file.size < end:
        raise FormatError(f"{file.shown!r} is {file.size} bytes; its items end at byte {end}: it is cut short")


def _digests(name: str, folder: Path, place: Place, *, tensor: bool = False) -> dict[str, str | None]:
    """Of what a range of a file holds: of each member of an archive, but the numbers of a tensor."""
    path, offset, length = place
    with closing(open_beside(folder / path)) as file:
        section = _Section(file, offset, length)
        if not tensor and not TorchZipFormat().recognises(Head(section)):
            return {name: digest(read_parts(section, 0, length))}
        archive = read_archive(section, colons=True)
        held = set(pickled_tensors(section, archive).members.values()) if tensor else ()
        members = digests(section, archive, held)
        return {f"{name}: {member}": value for member, value in members.items()}


@dataclass(slots=True)
class _Section:
    """A range of an open file, read as a file of its own."""

    file: SourceFile
    start: int
    size: int

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def shown(self) -> str:
        return f"{self.file.shown} at byte {self.start}"

    @property
    def opened(self) -> object:
        return self.file.opened

    def identity(self) -> object:
        return self.file.identity()

    def descriptor(self) -> int:
        raise AssertionError("a range has no descriptor of its own")

    def close(self) -> None:
        raise AssertionError("the file closes it")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise FormatError(f"{self.shown!r} ends after {self.size} bytes, inside of what was expected there")
        self.file.read_into(self.start + offset, buffer)
