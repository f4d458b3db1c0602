"""Checkpoints whose variables lie in members of a zip: patched there, or packed again where they are compressed."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import Layout, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.zip.archive import Archive, Content, Member, crc_places, other_parts, repack_members
from renorm_cli.formats.zip.records import STORED
from renorm_cli.formats.zip.unpacked import staged_apart, unpacked_at
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.checksum import CRC32
from renorm_cli.storage.files import LocalFile, SourceFile
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging


class Held:
    """The stored members of an archive that hold variables, and their checksums.

    `number` is that of its file among those that extents refer to. With `unsummed`, a checksum of 0 was not computed,
    and stays.
    """

    def __init__(self, archive: Archive, extents: Iterable[Extent], number: int = 0, *, unsummed: bool = False) -> None:
        self._number, self._unsummed = number, unsummed
        stored = sorted((one for one in archive.members if one.method == STORED), key=lambda one: one.payload_offset)
        starts = [one.payload_offset for one in stored]
        places = {bisect_right(starts, one.offset) - 1 for one in extents if one.size and one.file == number}
        self.members = [stored[place] for place in sorted(places)]
        self._starts = [member.payload_offset for member in self.members]

    @property
    def checksums(self) -> dict[str, int]:
        return {member.name: member.crc for member in self.members}

    def damage(self, data: PlainData, imap: Imap) -> tuple[str, ...]:
        """The names of the members that have another checksum than their headers tell."""
        told = [member for member in self.members if not self._is_unsummed(member)]
        found = data.checksums(map(self._payload, told), imap)
        return tuple(member.name for member, crc in zip(told, found, strict=True) if member.crc != crc)

    def patch(self, staged: Staged, data: PlainData, imap: Imap) -> dict[str, int]:
        """Put the new checksums of the members that were written to in their headers."""
        written = [extent for extent in data.written if extent.file == self._number]
        places = sorted({bisect_right(self._starts, extent.offset) - 1 for extent in written})
        changed = [self.members[place] for place in places if not self._is_unsummed(self.members[place])]
        sums = dict(zip(changed, data.checksums(map(self._payload, changed), imap), strict=True))
        for member, crc in sums.items():
            for place in crc_places(staged, member):
                staged.write(place, memoryview(crc.to_bytes(4, "little")))
        return {member.name: crc for member, crc in sums.items()}

    def _is_unsummed(self, member: Member) -> bool:
        return self._unsummed and member.crc == 0

    def _payload(self, member: Member) -> Extent:
        return Extent(self._number, member.payload_offset, member.size)


class ZipCheckpoint(PlainCheckpoint):
    """A zip of which some stored members hold variables; `unsummed` is that of `Held`."""

    def __init__(
        self,
        format: str,
        found: Found,
        file: SourceFile,
        archive: Archive,
        variables: Sequence[Variable],
        layout: Layout,
        notes: Sequence[Note] = (),
        *,
        unsummed: bool = False,
    ) -> None:
        super().__init__(format, found, [file], variables, PlainData([file], layout, CRC32), notes)
        self.archive = archive
        extents = [extent for variable in variables if (extent := self.extent(variable)) is not None]
        self._held = Held(archive, extents, unsummed=unsummed)

    @property
    def checksums(self) -> dict[str, int]:
        return self._held.checksums

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        return self._held.damage(self.data, imap)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        return other_parts(self.files[0], self.archive, set(self._held.members))

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        (staged,) = self.copies(staging, [output.path], changing)
        return PlainSink(self.data.staged([staged]), [staged], partial(self._held.patch, staged))


class PackedZip(PlainCheckpoint):
    """A zip of which some members hold variables and are compressed: `unpacked` has the contents of all of them.

    `members` are those that hold variables, in the order in which they are unpacked.
    """

    def __init__(
        self,
        format: str,
        found: Found,
        archive: Archive,
        members: Sequence[Member],
        unpacked: IO[bytes],
        variables: Sequence[Variable],
        layout: Layout,
        notes: Sequence[Note] = (),
    ) -> None:
        self._image = LocalFile.of(Path(found.only.shown), unpacked.fileno())
        super().__init__(format, found, [found.only], variables, PlainData([self._image], layout), notes)
        self._archive, self._unpacked = archive, unpacked
        self._starts = unpacked_at(members)
        self._members = tuple(members)

    def extent(self, variable: Variable) -> None:
        return None

    @property
    def checksums(self) -> dict[str, int]:
        return {member.name: member.crc for member in self._members}

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        return other_parts(self.files[0], self._archive, set(self._members))

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        """The contents lie beside the output; they are packed into a new archive once they are changed."""
        image = self._image
        staged, contents = staged_apart(staging, self.files[0], output.path, image.fd, 0, image.size)
        return PlainSink(PlainData([contents], self.data.layout), [staged], partial(self._pack, contents, staged))

    def _pack(self, contents: Staged, staged: Staged, data: PlainData, imap: Imap) -> dict[str, int]:
        if not data.changed:
            return {}
        os.ftruncate(staged.fd, 0)
        numbers = {bisect_right(self._starts, extent.offset) - 1 for extent in data.written}
        changed = {
            self._members[number]: Content(
                contents, self._starts[number], self._members[number].size, self._members[number].method
            )
            for number in sorted(numbers)
        }
        return repack_members(self.files[0], self._archive, changed, staged.fd)

    def close(self) -> None:
        super().close()
        self._unpacked.close()
