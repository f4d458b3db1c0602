"""Models of ONNX, patched where the tensors lie: in the model, and in the files beside it that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from renorm_cli.conventions.graph.uses import Use
from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.node_graph import told_use, use_notes
from renorm_cli.formats.onnx.graph import Uses, uses_in
from renorm_cli.formats.onnx.model import Model, read_model
from renorm_cli.formats.onnx.renaming import Moved, renamed
from renorm_cli.formats.onnx.tensors import Outside, Tensor, numbers
from renorm_cli.formats.plain import SHARED, Extents, Layout, PlainCheckpoint, PlainData, PlainSink, overlapping
from renorm_cli.formats.walk import Pages, Span, Walk
from renorm_cli.model.blocks import Block
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import Role
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.files import Readable, SourceFile, read_parts
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer

_MOST_FILES = 1_000
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")
_GIVEN = re.compile(r"onnx::[A-Za-z0-9]+_[0-9]+|val_[0-9]+|[0-9]+")
"""Names that exporters of PyTorch give to what they fold, as weights of linear layers that they transpose."""


class OnnxModel(PlainCheckpoint):
    """Files are those that the model names, and the model last: without it there is no checkpoint."""

    def __init__(self, found: Found, beside: Mapping[str, SourceFile], model: Model, walk: Walk) -> None:
        self._main = found.only
        self._names = tuple(beside)
        files = [*beside.values(), self._main]
        self._outside = [one for tensor in model.tensors.values() if (one := tensor.outside) is not None]
        self._told: dict[str, list[tuple[str, Span]]] = {name: [] for name in beside}
        """What tensors tell of the checksum of each file, and where."""
        for one in self._outside:
            if one.checksum is not None:
                self._told[one.location].append(one.checksum)
        places = _places(model.tensors, self._names, files)
        uses = uses_in(model, walk, places.same)
        self._extents = places.extents
        self._fixed = {
            key: tensor for key, tensor in model.tensors.items() if tensor.fixed is not None and not tensor.carried
        }
        self._numbers = lru_cache(1)(self._read_fixed)
        data = PlainData(files, Extents(places.extents))
        variables = _variables(model.tensors, places, uses)
        super().__init__("onnx", found, files, variables, data, _notes(variables, uses))

    def read_block(self, variable: Variable, block: Block, into: Buffer | None) -> npt.NDArray[Any]:
        if variable.key not in self._fixed:
            return super().read_block(variable, block, into)
        self._refuse_closed()
        whole = np.frombuffer(self._numbers(variable.key), self.data.layout.dtype(variable)).reshape(variable.shape)
        return whole[block.box].copy()

    def _read_fixed(self, key: str) -> bytes:
        shown = self._main.shown
        return numbers(Walk(Pages(self._main), shown), self._fixed[key], f"{shown!r}: the tensor {quoted(key)}")

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield "what lies beside the tensors", self._beside()

    def _beside(self) -> Iterator[bytes]:
        """The model without its tensors, the names of files, the lengths that depend on them, and checksums."""
        places = [one.place for one in self._outside]
        edits = renamed(Pages(self._main), places, dict.fromkeys(self._names, b""))
        cuts = [(edit.start, edit.end) for edit in edits]
        cuts += [(place.start, place.end) for told in self._told.values() for _, place in told]
        cuts += [(at, at + size) for file, at, size in self._extents.values() if file == len(self._names)]
        at = 0
        for start, end in sorted((*cuts, (self._main.size, self._main.size))):
            yield from read_parts(self._main, at, start - at)
            at = max(at, end)

    @property
    def checksums(self) -> dict[str, int]:
        """SHA-1 by the numbers of files, whose names an output changes."""
        return {
            _numbered(number): int(told, 16)
            for number, name in enumerate(self._names)
            for told, _ in self._told[name]
            if _SHA1.fullmatch(told)
        }

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        damaged: list[str] = []
        for number, name in enumerate(self._names):
            told = {checksum.lower() for checksum, _ in self._told[name]}
            if told and told != {_sha1(self.files[number], self.files[number].size)}:
                damaged.append(name)
        return tuple(damaged)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        names = self._output_names(output)
        spans = self.data.spans(changing)
        staged = [
            staging.copy(file, output.beside(name), own)
            for file, name, own in zip(self.files[:-1], names.values(), spans, strict=False)
        ]
        moved, layout = Moved(()), self.data.layout
        if names == {name: name for name in names}:
            staged.append(staging.copy(self._main, output.path, spans[-1]))
        else:
            encoded = {old: new.encode("utf-8", "surrogateescape") for old, new in names.items()}
            moved = Moved(renamed(Pages(self._main), [one.place for one in self._outside], encoded))
            staged.append(staging.create(output.path))
            at = 0
            for part in moved.content(self._main, self._main.size):
                staged[-1].write(at, memoryview(part))
                at += len(part)
            layout = self._moved(moved)
        return PlainSink(PlainData(staged, layout), staged, partial(self._seal, staged, moved))

    def _moved(self, moved: Moved) -> Layout:
        main = len(self._names)
        return Extents(
            {
                key: extent._replace(offset=moved.place(extent.offset)) if extent.file == main else extent
                for key, extent in self._extents.items()
            }
        )

    def _output_names(self, output: Location) -> dict[str, str]:
        """The names of the files of an output by those of the input; the same where the model keeps its name."""
        if output.name == self._main.path.name:
            return {name: name for name in self._names}
        if len(self._names) == 1:
            return {self._names[0]: f"{output.name}.data"}
        return {name: f"{output.name}.{number:05}.data" for number, name in enumerate(self._names, 1)}

    def _seal(self, staged: Sequence[Staged], moved: Moved, data: PlainData, imap: Imap) -> dict[str, int]:
        """Make the checksums of files that were written to true."""
        sealed: dict[str, int] = {}
        for number in sorted({extent.file for extent in data.written} - {len(self._names)}):
            told = self._told[self._names[number]]
            if told:
                found = _sha1(staged[number], self.files[number].size)
                sealed[_numbered(number)] = int(found, 16)
                for _, place in told:
                    staged[-1].write(moved.place(place.start), memoryview(found.encode()))
        return sealed


def open_onnx(found: Found) -> OnnxModel:
    """Open a model and all files that it names. Raises FormatError where one is missing, damaged or a link."""
    main = found.only
    walk = Walk(Pages(main), main.shown)
    model = read_model(walk, main.shown)
    names = dict.fromkeys(one.outside.location for one in model.tensors.values() if one.outside is not None)
    if len(names) > _MOST_FILES:
        raise FormatError(f"{main.shown!r} names {len(names)} files; at most {_MOST_FILES} are read")
    with ExitStack() as opened:
        beside: dict[str, SourceFile] = {}
        for name in names:
            if name == main.path.name:
                raise FormatError(f"{main.shown!r} names itself as a file of tensors; another one was expected")
            beside[name] = found.beside(main.path.with_name(name))
            opened.callback(beside[name].close)
            if os.fstat(beside[name].descriptor()).st_nlink > 1:
                raise FormatError(
                    f"{beside[name].shown!r} has several names (hard links); copy it to a file of its own"
                )
        checkpoint = OnnxModel(found, beside, model, walk)
        opened.pop_all()
    return checkpoint


def _numbered(number: int) -> str:
    return f"file {number + 1}"


def _sha1(file: Readable, size: int) -> str:
    import hashlib  # few models tell checksums

    found = hashlib.sha1(usedforsecurity=False)
    for part in read_parts(file, 0, size, 16 << 20):
        found.update(part)
    return found.hexdigest()


class _Places(NamedTuple):
    """Where tensors lie, by key. Of those that are one, `same` has the key of the first by those of the others."""

    extents: Mapping[str, Extent]
    same: Mapping[str, str]
    overlapping: frozenset[str]


def _places(tensors: Mapping[str, Tensor], names: Sequence[str], files: Sequence[SourceFile]) -> _Places:
    """Raises FormatError where a tensor runs over its file."""
    numbers = {name: number for number, name in enumerate(names)}
    extents: dict[str, Extent] = {}
    first: dict[object, str] = {}
    same: dict[str, str] = {}
    for key, tensor in tensors.items():
        if tensor.outside is not None:
            number = numbers[tensor.outside.location]
            extent = _outside(key, tensor, tensor.outside, number, files[number])
        elif tensor.place is not None:
            extent = Extent(len(names), tensor.place.start, tensor.nbytes)
        else:
            continue
        if tensor.odd is not None:
            continue
        original = first.setdefault((extent, tensor.shape, tensor.dtype, tensor.carried), key) if extent.size else key
        if original == key:
            extents[key] = extent
        else:
            same[key] = original
    shared = overlapping({key: extent for key, extent in extents.items() if extent.file < len(names)})
    return _Places(extents, same, shared)


def _outside(key: str, tensor: Tensor, told: Outside, number: int, file: SourceFile) -> Extent:
    length = file.size - told.offset if told.length is None else told.length
    where = f"{file.shown!r}: the tensor {quoted(key)}"
    if tensor.odd is None and length != tensor.nbytes:
        raise FormatError(f"{where} needs {tensor.nbytes} bytes by its shape, {length} are told")
    if length < 0 or told.offset + length > file.size:
        raise FormatError(f"{where} ends at byte {told.offset + length}, the file at {file.size}; it is cut short")
    return Extent(number, told.offset, length)


def _variables(tensors: Mapping[str, Tensor], places: _Places, uses: Uses) -> tuple[Variable, ...]:
    aliases: dict[str, list[str]] = {}
    for key, original in places.same.items():
        aliases.setdefault(original, []).append(key)
    variables: list[Variable] = []
    for key, tensor in tensors.items():
        if key in places.same:
            continue
        use, title = uses.uses.get(key), uses.places.get(key, "")
        given = [title] if title and title != key and _GIVEN.fullmatch(key) else []
        variables.append(
            Variable(
                key,
                key,
                tensor.shape,
                tensor.dtype,
                Hint("onnx"),
                _state(tensor, use),
                locked=SHARED if key in places.overlapping else tensor.odd,
                fixed=tensor.fixed,
                use=told_use(use),
                aliases=(*aliases.get(key, ()), *given),
            )
        )
    return tuple(variables)


def _state(tensor: Tensor, use: Use | None) -> Role | None:
    """A weight of few bits that the graph uses is quantized, as are scales of quantizations; attributes are state."""
    if tensor.carried:
        return "state"
    if use is None or not (use.role == "quantized" or (use.ops and tensor.dtype not in FLOATS)):
        return None
    return "quantized"


def _notes(variables: Sequence[Variable], uses: Uses) -> tuple[Note, ...]:
    given = [
        variable.name
        for variable in variables
        if variable.use is not None and variable.use.unit_axes and variable.aliases and _GIVEN.fullmatch(variable.name)
    ]
    text = "an exporter gave it this name, and may have transposed it; its alias is the node that uses it"
    return (*use_notes(uses.uses, uses.spent), *([Note(f"{some_names(given)}: {text}")] if given else []))
