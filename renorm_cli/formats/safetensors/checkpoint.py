"""Checkpoints of one safetensors file, and of several with an index: patched where the tensors lie."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import Extents, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.safetensors.format import CONFIG
from renorm_cli.formats.safetensors.header import METADATA, Header, read_header
from renorm_cli.formats.safetensors.ranks import refuse_part
from renorm_cli.formats.shard_index import ShardIndex, staged_shards
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted

_FRAMEWORKS = {"pt": "torch", "tf": "keras", "flax": "flax", "mlx": "mlx"}
"""What the metadata call frameworks, under `format`."""


class SafetensorsFile(PlainCheckpoint):
    """A safetensors file. There are no checksums in it."""

    def __init__(self, found: Found, file: SourceFile, header: Header) -> None:
        self._metadata = header.metadata
        variables, extents = _variables([header], [file])
        variables, told, self.beside = _told(found, variables)
        notes = (*frameworks.notes(variables), *told)
        super().__init__("safetensors", found, [file], variables, PlainData([file], Extents(extents)), notes)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield METADATA, iter([_canonical(self._metadata)])


class SafetensorsShards(PlainCheckpoint):
    """Files are the shards and, last, the index: without the index there is no checkpoint."""

    def __init__(self, found: Found, shards: Sequence[SourceFile], file: SourceFile, index: ShardIndex) -> None:
        self._index = index
        headers = [read_header(shard) for shard in shards]
        for shard, header in zip(shards, headers, strict=True):
            refuse_part(shard, header, found.beside)
        self._metadata = [header.metadata for header in headers]
        variables, extents = _variables(headers, shards)
        variables, told, self.beside = _told(found, variables)
        notes, data = (*frameworks.notes(variables), *told), PlainData(shards, Extents(extents))
        super().__init__("safetensors-index", found, (*shards, file), variables, data, notes)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        staged = staged_shards(self, self._index, staging, output, changing)
        return PlainSink(self.data.staged(staged), staged)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for number, metadata in enumerate(self._metadata, 1):
            yield f"{METADATA} of shard {number}", iter([_canonical(metadata)])
        yield from self._index.told()


def open_safetensors(found: Found) -> SafetensorsFile:
    """Open a safetensors file. Raises FormatError where it is damaged, or holds parts of weights."""
    file = found.only
    header = read_header(file)
    refuse_part(file, header, found.beside)
    return SafetensorsFile(found, file, header)


def open_safetensors_index(found: Found, index: ShardIndex) -> SafetensorsShards:
    """Open all files that an index names. Raises FormatError for a file that is missing or damaged."""
    file = found.only
    with ExitStack() as opened:
        shards: list[SourceFile] = []
        for name in index.names:
            shards.append(found.beside(file.path.with_name(name)))
            opened.callback(shards[-1].close)
        checkpoint = SafetensorsShards(found, shards, file, index)
        opened.pop_all()
    return checkpoint


def _variables(
    headers: Sequence[Header], files: Sequence[SourceFile]
) -> tuple[tuple[Variable, ...], Mapping[str, Extent]]:
    """The tensors of all files as variables, and where they lie; each name may be in one of the files."""
    extents: dict[str, Extent] = {}
    variables: list[Variable] = []
    for number, (header, file) in enumerate(zip(headers, files, strict=True)):
        for name, tensor in header.tensors.items():
            if name in extents:
                raise FormatError(f"{file.shown!r}: {quoted(name)} is in another shard too; each tensor has one place")
            extents[name] = Extent(number, tensor.start, tensor.end - tensor.start)
            variables.append(Variable(name, name, tensor.shape, tensor.dtype))
    told = {_FRAMEWORKS.get(header.metadata.get("format", "")) for header in headers} - {None}
    framework = next(iter(told)) if len(told) == 1 else None
    return _with_aliases(frameworks.described(variables, framework), headers), extents


def _told(
    found: Found, variables: tuple[Variable, ...]
) -> tuple[tuple[Variable, ...], tuple[Note, ...], tuple[Path, ...]]:
    """The variables with what `config.json` beside the file tells, and that file; of an output, with what it told of
    the input."""
    if found.like is None:
        config = found.only.path.with_name(CONFIG)
        if not os.path.lexists(config):
            return variables, (), ()
        from renorm_cli.formats.model_config import told_by_config  # few files have one beside them

        return *told_by_config(variables, config), (config,)
    known = found.like.variables
    alike = [(one.key, one.shape, one.dtype) for one in variables] == [(one.key, one.shape, one.dtype) for one in known]
    return known if alike else variables, (), ()


def _with_aliases(variables: Sequence[Variable], headers: Sequence[Header]) -> tuple[Variable, ...]:
    """The variables with the names that `save_model` of safetensors left out as ties, and wrote into the metadata."""
    names = {variable.key for variable in variables}
    aliases: dict[str, list[str]] = {}
    for header in headers:
        for alias, name in header.metadata.items():
            if name in names and alias not in names:
                aliases.setdefault(name, []).append(alias)
    return frameworks.with_aliases(variables, aliases)


def _canonical(metadata: Mapping[str, str]) -> bytes:
    return json.dumps(metadata, sort_keys=True).encode()
