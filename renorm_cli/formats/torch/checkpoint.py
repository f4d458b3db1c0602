"""Checkpoints of PyTorch: archives, of which TorchScript is one, and the stream that was written before 1.6.

Sources: torch/serialization.py 2.14, caffe2/serialize/inline_container.cc. An archive has the folder of its own name,
with `data.pkl`, and in `data/` a member for each storage; TorchScript has `constants.pkl` and `constants/` beside. An
exported program has no pickle of its weights, but a JSON file that tells of them. A stream has four pickles, of a mark,
a version, the system and the object, a pickled list of keys, and for each key the number of its elements and their
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Found, digest
from renorm_cli.formats.plain import Extents, PlainData, PlainFile
from renorm_cli.formats.torch.exported import CONFIG, FOLDER, GRAPHS, exported
from renorm_cli.formats.torch.stack_machine import MOST_BYTES, Damaged, Machine, Pairs
from renorm_cli.formats.torch.tensors import Storages, Tensor, call, tensors
from renorm_cli.formats.torch.views import Place, bytes_of, views
from renorm_cli.formats.zip.archive import Archive, Member, other_parts, read_archive, read_member, refuse_twins
from renorm_cli.formats.zip.members import PackedZip, ZipCheckpoint
from renorm_cli.formats.zip.records import STORED
from renorm_cli.formats.zip.unpacked import unpack, unpacked_at
from renorm_cli.storage.files import Readable, SourceFile, read_range, read_start

_T = TypeVar("_T")

_PICKLE = "/data.pkl"
_SAVE_ID = ".data/serialization_id"
_MOST_MEMBERS = 200_000
_DATA, _CONSTANTS = "data/", "constants/"
_LENGTH_BYTES = 8
_MARK = 0x1950A86A20F9469CFC6C


class _Content(NamedTuple):
    """What an archive tells: its tensors by name, and its members that have storages, by the keys of these."""

    tensors: Sequence[tuple[str, Tensor]]
    members: Mapping[str, Member]
    order: str


class TorchZip(ZipCheckpoint):
    """An archive whose storages are stored."""

    def context(self) -> dict[str, str | None]:
        return digests(self.files[0], self.archive, set(self._held.members))


class TorchPackedZip(PackedZip):
    """An archive whose storages are compressed."""

    def context(self) -> dict[str, str | None]:
        return digests(self.files[0], self._archive, set(self._members))


def digests(file: Readable, archive: Archive, held: Collection[Member] = ()) -> dict[str, str | None]:
    """Digests of all members but those that are `held`, and the one that has a number of each save.

    None for two of one name, of which one is in the folder of the archive and one in no folder.
    """
    folder = f"{archive.members[0].name.partition('/')[0]}/" if archive.members else ""
    others = other_parts(file, archive, held)
    found: dict[str, str | None] = {}
    for name, parts in others:
        own = name.removeprefix(folder)
        if name != folder + _SAVE_ID:
            found[own] = None if own in found else digest(parts)
    return found


def open_torch_zip(found: Found) -> TorchZip | TorchPackedZip:
    """Open an archive of PyTorch. Raises FormatError where it is damaged, or holds no pickle of tensors."""
    archive = read_archive(found.only, _MOST_MEMBERS, colons=True)
    refuse_twins(archive, found.only.shown, "PyTorch")
    return _opened(found, archive, pickled_tensors(found.only, archive))


def open_exported(found: Found) -> TorchZip | TorchPackedZip:
    """Open a program that `torch.export.save` wrote. Raises FormatError where it is damaged."""
    file = found.only
    archive = read_archive(file, _MOST_MEMBERS, colons=True)
    refuse_twins(archive, file.shown, "PyTorch")
    prefix = f"{archive.members[0].name.partition('/')[0]}/"
    inside = _inside(archive, prefix)
    configs = {
        name.removeprefix(FOLDER).removesuffix(CONFIG): _content(file, member)
        for name, member in inside.items()
        if name.startswith(FOLDER) and name.endswith(CONFIG)
    }
    graphs = {
        model: _content(file, member)
        for model in configs
        if (member := inside.get(f"{GRAPHS}{model}.json")) is not None and member.size <= MOST_BYTES
    }
    named = exported(configs, graphs, {name: member.size for name, member in inside.items()}, file.shown)
    members = {tensor.storage.key: inside[tensor.storage.key] for _, tensor in named}
    return _opened(found, archive, _Content(named, members, _byte_order(file, inside.get("byteorder"))))


def pickled_tensors(file: SourceFile, archive: Archive) -> _Content:
    """The tensors of the pickle in an archive, and those of the constants of TorchScript. Raises FormatError."""
    pickled, prefix = _pickle(archive, file.shown)
    inside = _inside(archive, prefix)
    values, storages = [], []
    for folder, member in ((_DATA, pickled), (_CONSTANTS, inside.get("constants.pkl"))):
        storages.append(Storages(folder))
        content = b"N." if member is None else _content(file, member)
        values.append(_told(file.shown, Machine(content, call, storages[-1]).load))
    named = _told(file.shown, lambda: tensors(*values))
    members = {key: inside[key] for told in storages for key in told.found if key in inside}
    return _Content(named, members, _byte_order(file, inside.get("byteorder")))


def _inside(archive: Archive, prefix: str) -> dict[str, Member]:
    """The members in the folder of an archive, by their names in it."""
    return {one.name.removeprefix(prefix): one for one in archive.members if one.name.startswith(prefix)}


def _opened(found: Found, archive: Archive, content: _Content) -> TorchZip | TorchPackedZip:
    """The checkpoint of an archive, of which the members that have storages may be compressed."""
    file, (named, members, order) = found.only, content
    held = sorted(members.values(), key=lambda member: member.central_offset)
    stored = all(member.method == STORED for member in held)
    starts = [member.payload_offset for member in held] if stored else unpacked_at(held)
    start_of = dict(zip(held, starts, strict=True))
    places = {key: Place(start_of[member], member.size) for key, member in members.items()}
    found_views = views(named, places, file.shown, order)
    notes = frameworks.notes(found_views.variables)
    layout = Extents(found_views.extents, order, others=found_views.others)
    if stored:
        return TorchZip("torch", found, file, archive, found_views.variables, layout, notes, unsummed=True)
    unpacked = unpack(file, held)
    return TorchPackedZip("torch", found, archive, held, unpacked, found_views.variables, layout, notes)


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
    data = PlainData([file], Extents(found_views.extents, order, others=found_views.others))
    notes = frameworks.notes(found_views.variables)
    return PlainFile("torch-legacy", found, [file], found_views.variables, data, notes)
