"""Checkpoints of several files of PyTorch with an index: each patched as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Extent, Found, Head, Sink, digest
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import Extents, PlainCheckpoint, PlainData, PlainSink, Told
from renorm_cli.formats.shard_index import ShardIndex, staged_shards
from renorm_cli.formats.torch.checkpoint import open_torch_stream, open_torch_zip
from renorm_cli.formats.torch.format import TorchStreamFormat, TorchZipFormat
from renorm_cli.formats.zip.archive import other_parts
from renorm_cli.formats.zip.members import Held, PackedZip, ZipCheckpoint
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.checksum import CRC32
from renorm_cli.storage.files import SourceFile
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted


class TorchShards(PlainCheckpoint):
    """Files are the shards and, last, the index: without the index there is no checkpoint."""

    def __init__(self, found: Found, shards: Sequence[PlainCheckpoint], index: ShardIndex) -> None:
        self._index, self._shards = index, tuple(shards)
        files = [shard.files[0] for shard in shards]
        extents: dict[str, Extent] = {}
        orders: dict[str, str] = {}
        others: dict[str, Told] = {}
        variables: list[Variable] = []
        for number, shard in enumerate(shards):
            for variable in shard.variables:
                extent = shard.extent(variable)
                if extent is not None:
                    extents[variable.key] = extent._replace(file=number)
                    orders[variable.key] = shard.data.layout.dtype(variable).str[0].replace("|", "<")
                told = shard.data.layout.told(variable)
                if told is not None:
                    places = (place._replace(file=number) for place in told.extents)
                    others[variable.key] = told._replace(extents=tuple(places))
                variables.append(variable)
        data = PlainData(files, Extents(extents, orders=orders, others=others), CRC32)
        self._held = {
            number: Held(shard.archive, extents.values(), number, unsummed=True)
            for number, shard in enumerate(shards)
            if isinstance(shard, ZipCheckpoint)
        }
        notes = frameworks.notes(variables)
        super().__init__("torch-index", found, (*files, found.only), variables, data, notes)

    @property
    def checksums(self) -> dict[str, int]:
        return {
            _named(number, name): crc for number, held in self._held.items() for name, crc in held.checksums.items()
        }

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        return tuple(
            _named(number, name) for number, held in self._held.items() for name in held.damage(self.data, imap)
        )

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for number, held in self._held.items():
            shard = self._shards[number]
            assert isinstance(shard, ZipCheckpoint)
            for name, content in other_parts(self.files[number], shard.archive, set(held.members)):
                yield _named(number, name.partition("/")[2]), content
        yield from self._index.told()

    def context(self) -> dict[str, str | None]:
        shards = {
            _named(number, name): value
            for number, shard in enumerate(self._shards)
            for name, value in shard.context().items()
        }
        return shards | {name: digest(parts) for name, parts in self._index.told()}

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        staged = staged_shards(self, self._index, staging, output, changing)
        return PlainSink(self.data.staged(staged), staged, partial(self._patch, staged))

    def _patch(self, staged: Sequence[Staged], data: PlainData, imap: Imap) -> dict[str, int]:
        return {
            _named(number, name): crc
            for number, held in self._held.items()
            for name, crc in held.patch(staged[number], data, imap).items()
        }


def open_torch_index(found: Found, index: ShardIndex) -> TorchShards:
    """Open all files that an index names. Raises FormatError for one that is missing, damaged, or compressed."""
    with ExitStack() as opened:
        shards: list[PlainCheckpoint] = []
        names: set[str] = set()
        for name in index.names:
            shard = _open(found, found.beside(found.only.path.with_name(name)), opened)
            for variable in shard.variables:
                if variable.key in names:
                    shown = quoted(variable.key)
                    raise FormatError(f"{name!r}: {shown} is in another shard too; each tensor has one place")
                names.add(variable.key)
            shards.append(shard)
        checkpoint = TorchShards(found, shards, index)
        opened.pop_all()
    return checkpoint


def _open(found: Found, file: SourceFile, opened: ExitStack) -> PlainCheckpoint:
    opened.callback(file.close)
    alone = Found(file.path, Location(file.path, file.path.name), found.beside, file=file)
    head = Head(file)
    if TorchStreamFormat().recognises(head):
        return open_torch_stream(alone)
    if not TorchZipFormat().recognises(head):
        raise FormatError(f"{file.shown!r} is no file of PyTorch; the index names it as one")
    shard = open_torch_zip(alone)
    if isinstance(shard, PackedZip):
        opened.callback(shard.close)
        raise FormatError(f"{file.shown!r} is compressed; load its tensors and save them with torch.save")
    return shard


def _named(shard: int, name: str) -> str:
    """A member of a shard, whatever the shard is called."""
    return f"{shard + 1}: {name}"
