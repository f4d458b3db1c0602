"""Models of TensorFlow.js, patched where the numbers lie, also of a weight that lies in two files. No checksums."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming, from_names, unique_names
from renorm_cli.formats.plain import Extents, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.tfjs.manifest import Model, Spec, places, read_model
from renorm_cli.formats.tfjs.names import name_weights
from renorm_cli.formats.tfjs.renaming import output_names, renamed
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile, read_range
from renorm_cli.storage.joined import Joined, JoinedStaged
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

_MOST_INTEGERS = 64


class _Group(NamedTuple):
    """The files of a group as one; `first` is the number of the first of them."""

    first: int
    data: Joined


class _Weights(NamedTuple):
    """Where weights lie: in one file, or in `joined` files, whose numbers come after those of all files."""

    extents: Mapping[str, Extent]
    joined: Sequence[_Group]


class TfjsCheckpoint(PlainCheckpoint):
    """Files are those of the weights and, last, the model: without it there is no checkpoint."""

    def __init__(self, found: Found, shards: Sequence[SourceFile], model: Model) -> None:
        self._model = model
        weights = _weights(model, shards, found.only.shown)
        self._joined = weights.joined
        data = PlainData([*shards, *(one.data for one in self._joined)], Extents(weights.extents))
        naming = _named(model, data, weights.extents)
        super().__init__("tfjs", found, (*shards, found.only), naming.variables, data, naming.notes)

    def extent(self, variable: Variable) -> Extent | None:
        found = super().extent(variable)
        return found if found is not None and found.file < len(self.files) - 1 else None

    def extents(self, variable: Variable) -> tuple[Extent, ...]:
        return tuple(one for part in self.data.layout.parts(variable) for one in self._apart(part.extent))

    def _apart(self, extent: Extent) -> Iterator[Extent]:
        """An extent as it lies in the files."""
        number = extent.file - (len(self.files) - 1)
        if number < 0:
            yield extent
            return
        first, data = self._joined[number]
        for file, offset, size in data.stretches(extent.offset, extent.size):
            yield Extent(first + file, offset, size)

    def copies(self, staging: Staging, targets: Sequence[Path], changing: Sequence[Variable]) -> list[Staged]:
        holes: list[list[tuple[int, int]]] = [[] for _ in targets]
        for variable in changing:
            for file, offset, size in self.extents(variable):
                holes[file].append((offset, offset + size))
        files = self.files[: len(targets)]
        return [staging.copy(*each) for each in zip(files, targets, holes, strict=True)]

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        *shards, own = self.files
        names = output_names(self._model, own.path.name, output.name)
        staged = self.copies(staging, [output.beside(names[shard.path.name]) for shard in shards], changing)
        joined = [
            JoinedStaged(staged[one.first : one.first + len(one.data.files)], one.data.sizes) for one in self._joined
        ]
        staging.write(output.path, renamed(self._model, names, output.name, own.shown))
        return PlainSink(PlainData([*staged, *joined], self.data.layout), staged)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        return self._model.rest()


def open_tfjs(found: Found) -> TfjsCheckpoint:
    """Open a model and the files that it names. Raises FormatError for one that is missing, damaged or elsewhere."""
    file = found.only
    model = read_model(file)
    with ExitStack() as opened:
        shards: list[SourceFile] = []
        for name in (name for group in model.groups for name in group.names):
            shards.append(found.beside(file.path.with_name(name)))
            opened.callback(shards[-1].close)
        checkpoint = TfjsCheckpoint(found, shards, model)
        opened.pop_all()
    return checkpoint


def _weights(model: Model, shards: Sequence[SourceFile], shown: str) -> _Weights:
    extents: dict[str, Extent] = {}
    joined: list[_Group] = []
    first = 0
    for number, group in enumerate(model.groups, 1):
        files = shards[first : first + len(group.names)]
        data = Joined(files, [file.size for file in files])
        found = zip(group.specs, places(group, data, f"{shown!r}: group {number}:"), strict=True)
        apart: dict[str, Extent] = {}
        for spec, (at, size) in found:
            file, offset, there = next(data.stretches(at, size), (0, 0, 0))
            if there < size:
                apart[spec.name] = Extent(len(shards) + len(joined), at, size)
            elif size:
                extents[spec.name] = Extent(first + file, offset, size)
        if apart:
            extents |= apart
            joined.append(_Group(first, data))
        first += len(files)
    return _Weights(extents, joined)


def _named(model: Model, data: PlainData, extents: Mapping[str, Extent]) -> Naming:
    """The weights in the order of the model: by its graph, or by the layers of its config."""
    variables = [_variable(spec) for group in model.groups for spec in group.specs]
    if "node" not in model.topology:
        return name_weights(variables, model.topology)
    from renorm_cli.formats.node_graph import told_use, use_notes  # models of layers have no graph
    from renorm_cli.formats.tfjs.graph import uses_in

    def numbers(variable: Variable) -> tuple[int, ...] | None:
        if variable.dtype != "int32" or not 0 < variable.elements <= _MOST_INTEGERS:
            return None
        file, offset, size = extents[variable.key]
        return struct.unpack(f"<{variable.elements}i", read_range(data.files[file], offset, size))

    found = uses_in(model.topology, variables, numbers)
    named = unique_names((from_names(one, one.name) for one in variables), lambda one: one.key)
    used = tuple(replace(one, use=told_use(found.uses.get(one.key))) for one in named)
    return Naming(used, notes=use_notes(found.uses, found.spent))


def _variable(spec: Spec) -> Variable:
    state: Role | None = "optimizer" if spec.optimizer else "quantized" if spec.scaling else None
    return Variable(spec.name, spec.name, spec.shape, spec.dtype, state=state, scaling=spec.scaling)
