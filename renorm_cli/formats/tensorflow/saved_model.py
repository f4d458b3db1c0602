"""SavedModel directories: the checkpoint inside is patched, every other file is carried over."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Checkpoint, Found, Sink
from renorm_cli.formats.folders import files_in, size_of
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming
from renorm_cli.formats.tensorflow.checkpoint import Graph, OpenBundle, TfCheckpoint, open_bundle
from renorm_cli.formats.tensorflow.fingerprint import with_checkpoint_hash
from renorm_cli.formats.tensorflow.graph import (
    SavedModelFacts,
    constants,
    read_saved_model,
    untrained_keys,
    variable_operations,
)
from renorm_cli.formats.tensorflow.keras_metadata import layer_facts, read_keras_metadata
from renorm_cli.formats.tensorflow.leveldb import crc32c
from renorm_cli.formats.tensorflow.locations import Prefix
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile, open_beside, read_parts, read_start
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    from renorm_cli.formats.tensorflow.graph_uses import GraphUses

_GRAPH = "saved_model.pb"
_METADATA = "keras_metadata.pb"
_FINGERPRINT = "fingerprint.pb"
_VARIABLES = "variables"

_OWN = (f"{_VARIABLES}.index", f"{_VARIABLES}.data-")

_SMALL_BYTES = 64 << 20


class SavedModel(TfCheckpoint):
    """A SavedModel directory; its output is a directory, published as a whole."""

    def __init__(
        self, found: Found, opened: OpenBundle, naming: Naming, carried: Sequence[Path], graph: Graph | None
    ) -> None:
        self._carried = tuple(carried)
        self._graph = graph
        super().__init__("saved-model", found, opened, naming, () if graph is None else (graph.file,))
        if graph is not None:
            self.notes = (*self.notes, *_constant_notes(self, graph))

    @property
    def size(self) -> int:
        return super().size + size_of(self.path, (name for name in self._carried if name != Path(_GRAPH)))

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        tree = staging.tree(output.path)
        carried = {name: self._carry(staging, tree, name) for name in self._carried}
        staging.folder(tree / _VARIABLES)
        fingerprint = carried.get(Path(_FINGERPRINT))

        def refresh(content: bytes) -> None:
            if fingerprint is not None:
                _refresh_fingerprint(fingerprint, content)

        return self.stage_bundle(staging, _prefix_in(tree), changing, refresh)

    def _carry(self, staging: Staging, tree: Path, name: Path) -> Staged | None:
        """Carry a file over, nothing of which stays open; only what is still to change is staged."""
        staging.folder(tree / name.parent)
        with self._open(name) as source:
            if name != Path(_FINGERPRINT):
                staging.carry(source, tree / name)
                return None
            staged = staging.copy(source, tree / name)
        staged.source = None  # `rest` looks at it
        return staged

    @contextmanager
    def _open(self, name: Path) -> Iterator[SourceFile]:
        """A carried file: the graph is open, the others may be too many."""
        if self._graph is not None and name == Path(_GRAPH):
            yield self._graph.file
            return
        with closing(open_beside(self.path / name)) as file:
            yield file

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for name in self._carried:
            if name != Path(_FINGERPRINT):
                yield str(name), self._parts(name)

    def context(self) -> dict[str, str | None]:
        return Checkpoint.context(self)  # the graph is one of the rest

    def _parts(self, name: Path) -> Iterator[bytes]:
        with self._open(name) as file:
            yield from read_parts(file, 0, file.size)


def open_saved_model(found: Found) -> SavedModel:
    """Open a SavedModel directory. Raises FormatError where it is frozen or damaged, or has links or special files."""
    path = found.path
    carried, own = _contents(path)
    with ExitStack() as files:
        graph = None
        if Path(_GRAPH) in carried:
            graph = Graph(open_beside(path / _GRAPH))
            files.callback(graph.file.close)
        if not own:
            raise FormatError(_without_variables(path, graph))
        prefix = _prefix_in(path)
        index = open_beside(prefix.index)
        files.callback(index.close)
        opened = open_bundle(prefix, index, open_beside, files)
        naming = _named(path, opened, graph, _METADATA if Path(_METADATA) in carried else None)
        model = SavedModel(found, opened, naming, carried, graph)
        files.pop_all()
    return model


def _prefix_in(folder: Path) -> Prefix:
    return Prefix(folder / _VARIABLES / _VARIABLES, _VARIABLES)


def _named(path: Path, opened: OpenBundle, graph: Graph | None, metadata: str | None) -> Naming:
    """The variables under the names that the object graph, `saved_model.pb` and `keras_metadata.pb` tell."""
    objects = opened.graph()
    facts = SavedModelFacts()  # there may be only its text form
    if graph is not None:
        with graph.content() as content:
            facts = read_saved_model(content, graph.file.shown)
    layers = {}
    if objects is not None:
        where = str(path / _METADATA)
        keras = {
            **facts.keras,
            **({} if metadata is None else read_keras_metadata(_small_file(path / metadata), where)),
        }
        layers = layer_facts(objects, keras, where)
    untrained = untrained_keys(facts, objects)
    uses = None if graph is None else partial(_uses, graph, objects, opened)
    return name_variables(opened.bundle, objects, layers, exported=True, untrained=untrained, uses=uses)


def _uses(graph: Graph, objects: ObjectGraph | None, opened: OpenBundle) -> GraphUses:
    from renorm_cli.formats.tensorflow.graph_uses import uses_in_saved_model  # not needed where a config tells it all

    with graph.content() as content:
        return uses_in_saved_model(content, graph.file.shown, objects, opened.bundle.shapes)


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a directory, relative to it: those to carry over, and those of the checkpoint itself."""
    carried: list[Path] = []
    own: list[Path] = []
    for name in files_in(folder, "a SavedModel"):
        is_own = name.parent == Path(_VARIABLES) and name.name.startswith(_OWN)
        (own if is_own else carried).append(name)
    return carried, own


def _without_variables(path: Path, graph: Graph | None) -> str:
    shown = str(path)
    if graph is not None:
        with graph.content() as content:
            if not variable_operations(content, graph.file.shown):
                return f"{shown!r} is a frozen model: its weights are constants in the graph; save it with variables"
    return f"{shown!r} has no variables/variables.index; a SavedModel with its variables was expected"


def _constant_notes(model: SavedModel, graph: Graph) -> tuple[Note, ...]:
    """A warning where the graph holds a constant that is the same as a variable: changing one leaves the other."""
    alike = _by_checksum(model)
    if not alike:
        return ()
    smallest = min(math.prod(shape) * FLOATS[dtype].nbytes for shape, dtype in alike)
    names: list[str] = []
    with graph.content() as content:
        for constant in constants(content, graph.file.shown, smallest):
            by_crc = alike.get((constant.shape, constant.dtype))
            if by_crc:
                # Each group of variables is named once, so that many constants of one value cost no more than one.
                names += by_crc.pop(crc32c(content[constant.offset : constant.offset + constant.size]), ())
    if not names:
        return ()
    text = "the graph also holds the same values as a constant, which is not bounded"
    return (Note(f"{some_names(list(dict.fromkeys(names)))}: {text}", warning=True),)


def _by_checksum(model: SavedModel) -> dict[tuple[tuple[int, ...], str], dict[int, list[str]]]:
    """The names of the matrices that have a checksum of their own, by shape and dtype and by that checksum."""
    found: dict[tuple[tuple[int, ...], str], dict[int, list[str]]] = {}
    for variable in model.variables:
        crc = model.entries[variable.key].crc
        if crc is not None and variable.dtype in FLOATS and len(variable.shape) >= 2 and variable.elements:
            found.setdefault((variable.shape, variable.dtype), {}).setdefault(crc, []).append(variable.name)
    return found


def _refresh_fingerprint(staged: Staged, index: bytes) -> None:
    """Make the checkpoint hash true again; a fingerprint that is none stays as it is."""
    size = os.fstat(staged.fd).st_size
    if size > _SMALL_BYTES:
        return
    found = with_checkpoint_hash(os.pread(staged.fd, size, 0), index, str(staged.target))
    if found is None:
        return
    staged.write(0, memoryview(found))
    try:
        os.ftruncate(staged.fd, len(found))
    except OSError as error:
        raise unwritten(error) from None


def _small_file(path: Path) -> bytes:
    with closing(open_beside(path)) as file:
        if file.size > _SMALL_BYTES:
            raise FormatError(f"{file.shown!r} is {file.size} bytes; at most {_SMALL_BYTES} were expected")
        return read_start(file, _SMALL_BYTES)
