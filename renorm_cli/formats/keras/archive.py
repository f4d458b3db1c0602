"""`.keras` archives: the weights member is patched where it lies, or packed again where it cannot be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import IO

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.base import Checkpoint, Sink
from renorm_cli.formats.hdf5.store import Hdf5Store
from renorm_cli.formats.keras import v3_names
from renorm_cli.formats.keras.config import LayerNode, parse_config
from renorm_cli.formats.keras.hdf5_files import Hdf5Checkpoint, Hdf5Sink, Place, same_image, survey_image
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming
from renorm_cli.formats.zip.archive import (
    Archive,
    Member,
    crc_places,
    inflate,
    read_archive,
    read_member,
    repack,
    stored_parts,
)
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.bytes import copy_range
from renorm_cli.storage.checksum import CRC32, Range, Tally, checksums
from renorm_cli.storage.files import SourceFile, reason
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging

WEIGHTS = "model.weights.h5"
CONFIG = "config.json"

_CONFIG_BYTES = 64 << 20
_STORED = 0


class KerasZip(Hdf5Checkpoint):
    """A `.keras` archive; `unpacked` holds the weights where the archive has them compressed."""

    def __init__(
        self,
        file: SourceFile,
        archive: Archive,
        member: Member,
        store: Hdf5Store,
        places: Mapping[str, Place],
        naming: Naming,
        links: Mapping[str, str],
        unpacked: IO[bytes] | None,
    ) -> None:
        super().__init__("keras-zip", file.path, [file], [store], places, naming, links)
        self._archive = archive
        self._member = member
        self._unpacked = unpacked

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        """The weights, if they are stored as they are and not with the crc of the headers; unpacking sees to others."""
        if self._member.method != _STORED:
            return ()
        (crc,) = checksums([self._weights(self.files[0].fd, self.stores[0].tally)], CRC32, imap)
        return () if crc == self._member.crc else (WEIGHTS,)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        (store,) = self.stores
        paths = self.paths(changing, 0)
        if self._member.method == _STORED and store.all_plain(paths):
            staged = staging.copy(self.files[0], output.path, store.extents(paths))
            tally = Tally(CRC32)
            finish = partial(self._patch_crc, staged, tally)
            return Hdf5Sink([store.staged(staged, store.base, tally)], [staged], self.places, finish)
        return self._stage_repacked(staging, output)

    def _stage_repacked(self, staging: Staging, output: Location) -> Sink:
        """Unpack the weights beside the output; they are packed into a new archive once they are changed."""
        (store,) = self.stores
        staged = staging.copy(self.files[0], output.path)
        staged.rewritten = True
        weights = staging.scratch(output.path)
        try:
            copy_range(store.fd, store.base, weights.fd, 0, store.length)
        except OSError as error:
            raise unwritten(error) from None
        finish = partial(self._repack, weights.fd, staged.fd)
        return Hdf5Sink([store.staged(weights, 0)], [staged], self.places, finish)

    def _patch_crc(self, staged: Staged, tally: Tally, imap: Imap) -> dict[str, int]:
        """Make the crc of the weights true again, after they were changed in place."""
        (crc,) = checksums([self._weights(staged.fd, tally)], CRC32, imap)
        for place in crc_places(staged.fd, self._archive, self._member):
            staged.write(place, memoryview(crc.to_bytes(4, "little")))
        return {WEIGHTS: crc}

    def _weights(self, fd: int, tally: Tally | None) -> Range:
        """Where the weights lie in an open copy of the archive."""
        return Range(fd, self._member.payload_offset, self._member.size, self.files[0].shown, tally)

    @property
    def checksums(self) -> dict[str, int]:
        return {member.name: member.crc for member in self._archive.members}

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for member in self._archive.members:
            if member is not self._member:
                yield member.name, stored_parts(self.files[0].fd, member, self.files[0].shown)

    def _repack(self, weights: int, output: int, imap: Imap) -> dict[str, int]:
        os.ftruncate(output, 0)
        length = os.fstat(weights).st_size
        crc = repack(self.files[0].fd, self._archive, self._member, weights, length, output, self._member.method)
        return {WEIGHTS: crc}

    def close(self) -> None:
        super().close()
        if self._unpacked is not None:
            self._unpacked.close()


def open_keras_zip(file: SourceFile, like: Checkpoint | None = None) -> KerasZip:
    """Open a `.keras` archive. Raises FormatError where it is damaged, hostile or holds no HDF5 weights.

    A copy of `like` whose weights are the same datasets in the same places shares what is known of them.
    """
    archive = read_archive(file.fd, file.size, file.shown)
    members = {member.name: member for member in archive.members}
    if WEIGHTS not in members:
        raise FormatError(_no_weights(file.shown, members))
    member = members[WEIGHTS]
    config = _config(file, members) if not isinstance(like, KerasZip) else None
    unpacked = None
    try:
        fd, base = file.fd, member.payload_offset
        if member.method != _STORED:
            unpacked = _unpack(file, member)
            fd, base = unpacked.fileno(), 0
        tally = Tally(CRC32) if member.method == _STORED else None
        shown = f"{file.shown}: {WEIGHTS}"
        if isinstance(like, KerasZip):
            known = same_image(fd, shown, base, member.size, like.stores[0], tally)
            if known is not None:
                return KerasZip(file, archive, member, known, like.places, like.naming, like.links, unpacked)
            config = _config(file, members)
        store, survey = survey_image(fd, shown, base, member.size, tally)
        naming = v3_names.name_variables(survey, config)
        places = {variable.key: (0, variable.key) for variable in naming.variables}
        return KerasZip(file, archive, member, store, places, naming, survey.soft_links, unpacked)
    except BaseException:
        if unpacked is not None:
            unpacked.close()
        raise


def _config(file: SourceFile, members: Mapping[str, Member]) -> LayerNode | None:
    if CONFIG not in members:
        return None
    where = f"{file.shown}: {CONFIG}"
    raw = read_member(file.fd, members[CONFIG], file.shown, _CONFIG_BYTES)
    try:
        return parse_config(raw.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise FormatError(f"{where!r} is not UTF-8 text; the archive is damaged") from None


def _unpack(file: SourceFile, member: Member) -> IO[bytes]:
    """The inflated weights, in an unnamed temporary file that no one else sees and no crash leaves behind."""
    try:
        unpacked = tempfile.TemporaryFile(prefix=".renorm-")  # noqa: SIM115  (lives as long as the checkpoint)
    except OSError as error:
        raise _no_room(file, error) from None
    try:
        inflate(file.fd, member, unpacked.fileno(), file.shown)
    except OSError as error:
        unpacked.close()
        raise _no_room(file, error) from None
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _no_room(file: SourceFile, error: OSError) -> OutputError:
    return OutputError(
        f"{file.shown!r} cannot be unpacked to a temporary file: {reason(error)}; name a folder with room in TMPDIR"
    )


def _no_weights(shown: str, members: Mapping[str, Member]) -> str:
    if any(name.endswith(".npz") for name in members):
        return f"{shown!r} keeps its weights as pickled npz, which is never unpickled; save it again with HDF5 weights"
    return f"{shown!r} is a zip archive without {WEIGHTS}; a .keras file was expected"
