"""Checkpoints of arrays that NumPy saved, patched where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Extent, Found
from renorm_cli.formats.numpy.header import Array, parse_array
from renorm_cli.formats.plain import Extents, PlainData, PlainFile
from renorm_cli.formats.zip.archive import Member, read_archive
from renorm_cli.formats.zip.members import PackedZip, ZipCheckpoint
from renorm_cli.formats.zip.records import STORED
from renorm_cli.formats.zip.unpacked import unpack, unpacked_at
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.storage.files import LocalFile, Readable, SourceFile
from renorm_cli.untrusted import quoted

ENDING = ".npy"
ARRAY = "array"
"""The name of the one array in a `.npy` file."""


def open_npy(found: Found) -> PlainFile:
    """Open a `.npy` file. Raises FormatError where it is damaged."""
    file = found.only
    array = parse_array(file, 0, file.size, repr(file.shown))
    data = PlainData([file], _layout({ARRAY: array}))
    return PlainFile("npy", found, [file], [_variable(ARRAY, array)], data)


def open_npz(found: Found) -> ZipCheckpoint | PackedZip:
    """Open a `.npz` archive. Raises FormatError where it is damaged, or holds other files than arrays."""
    file = found.only
    archive = read_archive(file)
    for member in archive.members:
        if not member.name.endswith(ENDING):
            raise FormatError(f"{_where(file, member)} is no array of NumPy; a .npz archive was expected")
    if all(member.method == STORED for member in archive.members):
        places = [member.payload_offset for member in archive.members]
        variables, layout = _arrays(file, archive.members, places, file)
        return ZipCheckpoint("npz", found, file, archive, variables, layout, frameworks.notes(variables))
    unpacked = unpack(file, archive.members)
    try:
        image = LocalFile.of(Path(file.shown), unpacked.fileno())
        variables, layout = _arrays(file, archive.members, unpacked_at(archive.members), image)
        notes = frameworks.notes(variables)
        return PackedZip("npz", found, archive, archive.members, unpacked, variables, layout, notes)
    except BaseException:
        unpacked.close()
        raise


def _arrays(
    file: SourceFile, members: Sequence[Member], places: Sequence[int], image: Readable
) -> tuple[tuple[Variable, ...], Extents]:
    """The arrays of an archive, of which each lies at its place in the image."""
    arrays = {
        member.name.removesuffix(ENDING): parse_array(image, place, member.size, _where(file, member))
        for member, place in zip(members, places, strict=True)
    }
    return frameworks.described([_variable(name, array) for name, array in arrays.items()]), _layout(arrays)


def _where(file: SourceFile, member: Member) -> str:
    return f"{file.shown}: member {quoted(member.name)}"


def _variable(name: str, array: Array) -> Variable:
    return Variable(name, name, array.shape, array.dtype, Hint(order=array.order), untold=array.untold)


def _layout(arrays: Mapping[str, Array]) -> Extents:
    extents = {name: Extent(0, array.start, array.size) for name, array in arrays.items() if array.size is not None}
    return Extents(extents, orders={name: array.byte_order for name, array in arrays.items()})
