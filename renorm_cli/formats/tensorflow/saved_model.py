"""SavedModel directories: the checkpoint inside is patched, every other file is carried over."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Sink
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming
from renorm_cli.formats.tensorflow.bundle import Bundle
from renorm_cli.formats.tensorflow.checkpoint import TfCheckpoint, TfSink, graph_of, open_bundle, shard_suffix
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
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile, open_beside, read_exactly, reason
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging

_GRAPH = "saved_model.pb"
_METADATA = "keras_metadata.pb"
_FINGERPRINT = "fingerprint.pb"
_VARIABLES = "variables"

_MOST_FILES = 100_000
_SMALL_BYTES = 64 << 20
_PART_BYTES = 1 << 20
_SHOWN = 100


class SavedModel(TfCheckpoint):
    """A SavedModel directory; its output is a directory, published as a whole."""

    def __init__(
        self,
        path: Path,
        location: Location,
        data: Sequence[SourceFile],
        index: SourceFile,
        raw_index: bytes,
        bundle: Bundle,
        naming: Naming,
        carried: Sequence[Path],
    ) -> None:
        super().__init__("saved-model", path, location, data, (), index, raw_index, bundle, naming)
        self._carried = tuple(carried)

    @property
    def size(self) -> int:
        return super().size + sum((self.path / name).lstat().st_size for name in self._carried)

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        tree = staging.tree(output.path)
        carried = {name: self._carry(staging, tree, name) for name in self._carried}
        staging.folder(tree / _VARIABLES)
        data = [
            staging.copy(
                file,
                tree / _VARIABLES / f"{_VARIABLES}{shard_suffix(number, len(self.data))}",
                self.extents(changing, number),
            )
            for number, file in enumerate(self.data)
        ]
        index = staging.create(tree / _VARIABLES / f"{_VARIABLES}.index")
        fingerprint = carried.get(Path(_FINGERPRINT))

        def refresh(content: bytes) -> None:
            if fingerprint is not None:
                _refresh_fingerprint(fingerprint, content)

        return TfSink(self, data, index, refresh)

    def _carry(self, staging: Staging, tree: Path, name: Path) -> Staged | None:
        """Carry a file over, nothing of which stays open; only what is still to change is staged."""
        staging.folder(tree / name.parent)
        source = open_beside(self.path / name)
        try:
            if name != Path(_FINGERPRINT):
                staging.carry(source, tree / name)
                return None
            staged = staging.copy(source, tree / name)
        finally:
            source.close()
        staged.source = None  # `rest` looks at it
        return staged

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for name in self._carried:
            if name != Path(_FINGERPRINT):
                yield str(name), _parts(self.path / name)


def open_saved_model(path: Path) -> SavedModel:
    """Open a SavedModel directory. Raises FormatError where it is frozen or damaged, or has links or special files."""
    carried, own = _contents(path)
    location = Location("prefix", path / _VARIABLES / _VARIABLES, _VARIABLES)
    graph_file = path / _GRAPH if Path(_GRAPH) in carried else None
    if not own:
        raise FormatError(_without_variables(path, graph_file))
    files: list[SourceFile] = []
    try:
        raw, bundle = open_bundle(location, files)
        index, *data = files
        graph = graph_of(bundle, data, index.shown)
        facts = _facts(graph_file)
        layers = {}
        if graph is not None:
            where = str(path / _METADATA)
            content = _small_file(path / _METADATA) if Path(_METADATA) in carried else None
            objects = {**facts.keras, **({} if content is None else read_keras_metadata(content, where))}
            layers = layer_facts(graph, objects, where)
        naming = name_variables(bundle, graph, layers, exported=True, untrained=untrained_keys(facts, graph))
        model = SavedModel(path, location, data, index, raw, bundle, naming, carried)
        model.notes = (*model.notes, *_constant_notes(model, graph_file))
        return model
    except BaseException:
        for file in files:
            file.close()
        raise


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a directory, relative to it: those to carry over, and those of the checkpoint itself.

    Raises FormatError for a symbolic link or a special file: a checkpoint may name nothing outside itself.
    """
    carried: list[Path] = []
    own: list[Path] = []
    waiting = [folder]
    folders = 0
    while waiting:
        folders += 1
        with _listed(waiting.pop(), folder) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(folder)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    kind = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
                    raise FormatError(
                        f"{str(folder)!r} holds {str(name)!r}, {kind}; a checkpoint may name nothing outside itself"
                    )
                elif name.parent == Path(_VARIABLES) and name.name.startswith(
                    (f"{_VARIABLES}.index", f"{_VARIABLES}.data-")
                ):
                    own.append(name)
                else:
                    carried.append(name)
        if len(carried) + len(own) + len(waiting) + folders > _MOST_FILES:
            raise FormatError(f"{str(folder)!r} holds more than {_MOST_FILES} files; a SavedModel was expected")
    return sorted(carried), own


def _listed(path: Path, folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    try:
        return os.scandir(path)
    except OSError as error:
        shown = str(path.relative_to(folder))
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise FormatError(f"{str(folder)!r}: its folder {shown!r} cannot be listed: {reason(error)}") from None


def _without_variables(path: Path, graph_file: Path | None) -> str:
    shown = str(path)
    if graph_file is not None:
        with _mapped(graph_file) as content:
            if not variable_operations(content, str(graph_file)):
                return f"{shown!r} is a frozen model: its weights are constants in the graph; save it with variables"
    return f"{shown!r} has no variables/variables.index; a SavedModel with its variables was expected"


def _facts(graph_file: Path | None) -> SavedModelFacts:
    """What `saved_model.pb` tells; nothing where there is only its text form."""
    if graph_file is None:
        return SavedModelFacts()
    with _mapped(graph_file) as content:
        return read_saved_model(content, str(graph_file))


def _constant_notes(model: SavedModel, graph_file: Path | None) -> tuple[Note, ...]:
    """A warning where the graph holds a constant that is the same as a variable: changing one leaves the other."""
    if graph_file is None:
        return ()
    alike = _by_checksum(model)
    names: list[str] = []
    with _mapped(graph_file) as content:
        for constant in constants(content, str(graph_file)):
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


def _parts(path: Path) -> Iterator[bytes]:
    file = open_beside(path)
    try:
        for start in range(0, file.size, _PART_BYTES):
            part = bytearray(min(_PART_BYTES, file.size - start))
            read_exactly(file.fd, start, memoryview(part), file.shown)
            yield bytes(part)
    finally:
        file.close()


def _small_file(path: Path) -> bytes:
    file = open_beside(path)
    try:
        if file.size > _SMALL_BYTES:
            raise FormatError(f"{file.shown!r} is {file.size} bytes; at most {_SMALL_BYTES} were expected")
        return file.read(_SMALL_BYTES)
    finally:
        file.close()


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """The content of a file of any size, mapped and not read; it goes with the last view of it."""
    file = open_beside(path)
    try:
        yield memoryview(mmap.mmap(file.fd, file.size, access=mmap.ACCESS_READ) if file.size else b"")
    finally:
        file.close()
