"""Checkpoints whose variables lie in members of a zip: patched there, or packed again where they are compressed."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import IO

from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import Layout, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.zip.archive import Archive, Content, Member, crc_places, repack_members, stored_parts
from renorm_cli.formats.zip.records import STORED
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.bytes import copy_range
from renorm_cli.storage.checksum import CRC32
from renorm_cli.storage.files import LocalFile, SourceFile
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging


class ZipCheckpoint(PlainCheckpoint):
    """A zip of which some members hold variables. With `unsummed`, a checksum of 0 was not computed, and stays."""

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
        self._unsummed = unsummed
        holding = {extent.offset for variable in variables if (extent := self.extent(variable)) and extent.size}
        stored = sorted((one for one in archive.members if one.method == STORED), key=lambda one: one.payload_offset)
        starts = [one.payload_offset for one in stored]
        numbers = {bisect_right(starts, offset) - 1 for offset in holding}
        self._holding = [stored[number] for number in sorted(numbers)]
        held = set(self._holding)
        self._rest = [one for one in archive.members if one not in held]

    @property
    def checksums(self) -> dict[str, int]:
        return {member.name: member.crc for member in self._holding}

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        told = [member for member in self._holding if not self._is_unsummed(member)]
        found = self.data.checksums(map(_payload, told), imap)
        return tuple(member.name for member, crc in zip(told, found, strict=True) if member.crc != crc)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for member in self._rest:
            yield member.name, stored_parts(self.files[0], member)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        (staged,) = self.copies(staging, [output.path], changing)
        return PlainSink(self.data.staged([staged]), [staged], partial(self._patch, staged))

    def _is_unsummed(self, member: Member) -> bool:
        return self._unsummed and member.crc == 0

    def _patch(self, staged: Staged, data: PlainData, imap: Imap) -> dict[str, int]:
        """Put the new checksums of the members that were written to in their headers."""
        starts = [member.payload_offset for member in self._holding]
        numbers = {bisect_right(starts, extent.offset) - 1 for extent in data.written}
        changed = [self._holding[number] for number in sorted(numbers)]
        changed = [member for member in changed if not self._is_unsummed(member)]
        sums = dict(zip(changed, data.checksums(map(_payload, changed), imap), strict=True))
        for member, crc in sums.items():
            for place in crc_places(staged, member):
                staged.write(place, memoryview(crc.to_bytes(4, "little")))
        return {member.name: crc for member, crc in sums.items()}


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
        self._starts = list(accumulate((member.size for member in members), initial=0))
        self._members = tuple(members)

    def extent(self, variable: Variable) -> None:
        return None

    @property
    def checksums(self) -> dict[str, int]:
        return {member.name: member.crc for member in self._members}

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        held = set(self._members)
        for member in self._archive.members:
            if member not in held:
                yield member.name, stored_parts(self.files[0], member)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        """The contents lie beside the output; they are packed into a new archive once they are changed."""
        staged = staging.copy(self.files[0], output.path)
        staged.rewritten = True
        contents = staging.scratch(output.path)
        try:
            copy_range(self._image.fd, 0, contents.fd, 0, self._image.size)
        except OSError as error:
            raise unwritten(error) from None
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


def _payload(member: Member) -> Extent:
    return Extent(0, member.payload_offset, member.size)
