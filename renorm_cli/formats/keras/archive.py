"""`.keras` archives: the weights member is patched where it lies, or packed again where it cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.hdf5.store import Hdf5Data
from renorm_cli.formats.keras import v3_names
from renorm_cli.formats.keras.config import LayerNode, parse_config
from renorm_cli.formats.keras.hdf5_files import Contents, Hdf5Checkpoint, in_one_image, same_image, survey_image
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import PlainData, PlainSink
from renorm_cli.formats.zip.archive import (
    Archive,
    Member,
    crc_places,
    other_parts,
    read_archive,
    read_member,
    refuse_twins,
    repack,
)
from renorm_cli.formats.zip.unpacked import staged_apart, unpack
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.checksum import CRC32, Crc
from renorm_cli.storage.files import LocalFile, Readable, SourceFile
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

WEIGHTS = "model.weights.h5"
CONFIG = "config.json"

_CONFIG_BYTES = 64 << 20
_STORED = 0


class KerasZip(Hdf5Checkpoint):
    """A `.keras` archive; `unpacked` holds the weights if the archive has them compressed."""

    def __init__(
        self,
        found: Found,
        archive: Archive,
        weights: Member,
        data: Hdf5Data,
        contents: Contents,
        unpacked: IO[bytes] | None,
    ) -> None:
        self._archive = archive
        self._weights = weights
        self._unpacked = unpacked
        super().__init__("keras-zip", found, [found.only], data, contents)

    def extent(self, variable: Variable) -> Extent | None:
        return super().extent(variable) if self._unpacked is None else None

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        """The weights, if they are not compressed and have another crc than the headers; unpacking checks others."""
        if self._unpacked is not None:
            return ()
        return () if self._crc(self.data, imap) == self._weights.crc else (WEIGHTS,)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        if self._unpacked is None and all(self.extent(variable) is not None for variable in changing):
            (staged,) = self.copies(staging, [output.path], changing)
            return PlainSink(self.data.staged([staged]), [staged], partial(self._patch_crc, staged))
        return self._stage_repacked(staging, output)

    def _stage_repacked(self, staging: Staging, output: Location) -> Sink:
        """Unpack the weights beside the output; they are packed into a new archive once they are changed."""
        (store,) = self.data.stores
        staged, weights = staged_apart(staging, self.files[0], output.path, store.fd, store.base, store.length)
        data = Hdf5Data([weights], [store.staged(weights, 0)], self.data.places)
        return PlainSink(data, [staged], partial(self._repack, weights, staged))

    def _crc(self, data: PlainData, imap: Imap) -> int:
        (crc,) = data.checksums([Extent(0, self._weights.payload_offset, self._weights.size)], imap)
        return crc

    def _patch_crc(self, staged: Staged, data: PlainData, imap: Imap) -> dict[str, int]:
        """Put the new crc of the weights in the headers."""
        if not data.changed:
            return {}
        crc = self._crc(data, imap)
        for place in crc_places(staged, self._weights):
            staged.write(place, memoryview(crc.to_bytes(4, "little")))
        return {WEIGHTS: crc}

    def _repack(self, weights: Staged, staged: Staged, data: PlainData, imap: Imap) -> dict[str, int]:
        """Replace the member in a new archive."""
        if not data.changed:
            return {}
        os.ftruncate(staged.fd, 0)
        length = os.fstat(weights.fd).st_size
        method = self._weights.method
        return {WEIGHTS: repack(self.files[0], self._archive, self._weights, weights, length, staged.fd, method)}

    @property
    def checksums(self) -> dict[str, int]:
        return {member.name: member.crc for member in self._archive.members}

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        return other_parts(self.files[0], self._archive, [self._weights])

    def close(self) -> None:
        super().close()
        if self._unpacked is not None:
            self._unpacked.close()


def open_keras_zip(found: Found) -> KerasZip:
    """Open a `.keras` archive. Raises FormatError where it is damaged, hostile or holds no HDF5 weights."""
    file = found.only
    archive = read_archive(file)
    refuse_twins(archive, file.shown, "some file systems")
    members = {member.name: member for member in archive.members}
    if WEIGHTS not in members:
        raise FormatError(_no_weights(file.shown, members))
    member = members[WEIGHTS]
    shown = f"{file.shown}: {WEIGHTS}"
    unpacked = None
    try:
        image: Readable = file
        fd, base = file.descriptor(), member.payload_offset
        crc: Crc | None = CRC32
        if member.method != _STORED:
            unpacked = unpack(file, [member])
            fd, base, crc = unpacked.fileno(), 0, None
            image = LocalFile.of(Path(shown), fd)
        like = found.like if isinstance(found.like, KerasZip) else None
        same = None if like is None else same_image(fd, shown, base, member.size, like.data.stores[0])
        if like is not None and same is not None:
            data = Hdf5Data([image], [same], like.data.places, crc)
            return KerasZip(found, archive, member, data, like.contents, unpacked)
        store, survey = survey_image(fd, shown, base, member.size)
        naming = v3_names.name_variables(survey, _config(file, members))
        data = Hdf5Data([image], [store], in_one_image(naming), crc)
        return KerasZip(found, archive, member, data, Contents(naming, survey.soft_links), unpacked)
    except BaseException:
        if unpacked is not None:
            unpacked.close()
        raise


def _config(file: SourceFile, members: Mapping[str, Member]) -> LayerNode | None:
    if CONFIG not in members:
        return None
    where = f"{file.shown}: {CONFIG}"
    raw = read_member(file, members[CONFIG], _CONFIG_BYTES)
    try:
        return parse_config(raw.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise FormatError(f"{where!r} is not UTF-8 text; the archive is damaged") from None


def _no_weights(shown: str, members: Mapping[str, Member]) -> str:
    if any(name.endswith(".npz") for name in members):
        return f"{shown!r} keeps its weights as pickled npz, which is never unpickled; save it again with HDF5 weights"
    from renorm_cli.formats.mistaken import why_no_archive  # says of what else is zipped what it is

    return f"{shown!r} is a zip archive without {WEIGHTS}: {why_no_archive(members)}"
