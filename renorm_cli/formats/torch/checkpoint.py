"""Checkpoints of PyTorch: archives, of which TorchScript is one, and the stream that was written before 1.6.

Sources: torch/serialization.py 2.14, caffe2/serialize/inline_container.cc. An archive has the folder of its own name,
with `data.pkl`, and in `data/` a member for each storage. A stream has four pickles, of a mark, a version, the system
and the object, a pickled list of keys, and for each key the number of its elements and their bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Found
from renorm_cli.formats.plain import Extents, PlainData, PlainFile
from renorm_cli.formats.torch.stack_machine import MOST_BYTES, Damaged, Machine, Pairs
from renorm_cli.formats.torch.tensors import Storages, call, tensors
from renorm_cli.formats.torch.views import Place, bytes_of, views
from renorm_cli.formats.zip.archive import Archive, Member, read_archive, read_member
from renorm_cli.formats.zip.members import PackedZip, ZipCheckpoint
from renorm_cli.formats.zip.records import STORED
from renorm_cli.formats.zip.unpacked import unpack, unpacked_at
from renorm_cli.storage.files import SourceFile, read_range, read_start
from renorm_cli.untrusted import quoted

_T = TypeVar("_T")

_PICKLE = "/data.pkl"
_MOST_MEMBERS = 200_000
_LENGTH_BYTES = 8
_MARK = 0x1950A86A20F9469CFC6C


def open_torch_zip(found: Found) -> ZipCheckpoint | PackedZip:
    """Open an archive of PyTorch. Raises FormatError where it is damaged, or holds no pickle of tensors."""
    file = found.only
    archive = read_archive(file, _MOST_MEMBERS, colons=True)
    _refuse_twins(archive, file.shown)
    members = {member.name: member for member in archive.members}
    (pickled, prefix), folder = _pickle(archive, file.shown), "data/"
    storages = Storages()
    content = _content(file, pickled)
    value = _told(file.shown, Machine(content, call, storages).load)
    order = _byte_order(file, members.get(f"{prefix}byteorder"))
    named = _told(file.shown, lambda: tensors(value))
    held = [member for member in archive.members if member.name.startswith(prefix + folder)]
    held = [member for member in held if member.name.removeprefix(prefix + folder) in storages.found]
    keys = [member.name.removeprefix(prefix + folder) for member in held]
    if all(member.method == STORED for member in held):
        places = {key: Place(one.payload_offset, one.size) for key, one in zip(keys, held, strict=True)}
        found_views = views(named, places, file.shown, order)
        layout = Extents(found_views.extents, order)
        notes = frameworks.notes(found_views.variables)
        return ZipCheckpoint("torch", found, file, archive, found_views.variables, layout, notes, unsummed=True)
    starts = unpacked_at(held)
    places = {key: Place(start, one.size) for key, start, one in zip(keys, starts, held, strict=True)}
    found_views = views(named, places, file.shown, order)
    notes = frameworks.notes(found_views.variables)
    unpacked = unpack(file, held)
    layout = Extents(found_views.extents, order)
    return PackedZip("torch", found, archive, held, unpacked, found_views.variables, layout, notes)


def _refuse_twins(archive: Archive, shown: str) -> None:
    """PyTorch finds a member whatever the case of its name: of two such members it reads one, and we the other."""
    seen: dict[str, str] = {}
    for name in (member.name for member in archive.members):
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise FormatError(f"{shown!r}: members {quoted(other)} and {quoted(name)} differ only in case to PyTorch")


def _pickle(archive: Archive, shown: str) -> tuple[Member, str]:
    """The one pickle of an archive, and the folder that it is in."""
    found = [member for member in archive.members if member.name.endswith(_PICKLE) and member.name.count("/") == 1]
    if len(found) != 1:
        raise FormatError(f"{shown!r} has {len(found)} pickles {_PICKLE!r}; one was expected in an archive of PyTorch")
    return found[0], found[0].name.removesuffix("data.pkl")


def _content(file: SourceFile, member: Member) -> bytes:
    """The content of a small member; a checksum of 0 was not computed."""
    if member.method == STORED and member.crc == 0 and member.size <= MOST_BYTES:
        return read_range(file, member.payload_offset, member.size)
    return read_member(file, member, MOST_BYTES)


def _byte_order(file: SourceFile, member: Member | None) -> str:
    told = b"little" if member is None else _content(file, member)
    if told not in (b"little", b"big"):
        raise FormatError(f"{file.shown!r} has a byte order that is neither little nor big")
    return "<" if told == b"little" else ">"


def _told(shown: str, read: Callable[[], _T]) -> _T:
    """What is read of a pickle. Raises FormatError, which names the file, where it is damaged."""
    try:
        return read()
    except Damaged as problem:
        raise FormatError(f"{shown!r}: {problem.text}") from None


def open_torch_stream(found: Found) -> PlainFile:
    """Open a file that PyTorch wrote before 1.6. Raises FormatError where it is damaged."""
    file = found.only
    shown = file.shown
    storages = Storages()
    machine = Machine(read_start(file, MOST_BYTES), call, storages)
    mark, version, system, value = (_told(shown, machine.load) for _ in range(4))
    if mark != _MARK or version != 1001:
        raise FormatError(f"{shown!r} is no file of PyTorch of version 1001, which was expected by its first bytes")
    keys = _told(shown, machine.load)
    if not isinstance(keys, list) or not all(isinstance(key, str | bytes) for key in keys):
        raise FormatError(f"{shown!r} has no list of storages behind its object")
    told = system.items if isinstance(system, Pairs) else []
    order = ">" if any(key in ("little_endian", b"little_endian") and value is False for key, value in told) else "<"
    places: dict[str, Place] = {}
    at = machine.at
    for key in (key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key for key in keys):
        storage = storages.found.get(key)
        if storage is None or key in places or file.size - at < _LENGTH_BYTES:
            raise FormatError(f"{shown!r} has a storage that no tensor tells of, or is cut short at byte {at}")
        numbers = int.from_bytes(read_range(file, at, _LENGTH_BYTES), "little" if order == "<" else "big")
        if numbers != storage.numbers:
            raise FormatError(f"{shown!r}: the storage at byte {at} has {numbers} numbers, {storage.numbers} are told")
        places[key] = Place(at + _LENGTH_BYTES, bytes_of(storage))
        at += _LENGTH_BYTES + bytes_of(storage)
    if at != file.size:
        raise FormatError(f"{shown!r} is {file.size} bytes; {at} were expected from its pickles")
    found_views = views(_told(shown, lambda: tensors(value)), places, shown, order)
    data = PlainData([file], Extents(found_views.extents, order))
    notes = frameworks.notes(found_views.variables)
    return PlainFile("torch-legacy", found, [file], found_views.variables, data, notes)
