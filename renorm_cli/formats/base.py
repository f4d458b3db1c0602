"""What every format offers: how its checkpoints are found and opened, blocks to read, and a staged copy to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from renorm_cli.errors import FormatError, SelectionError
from renorm_cli.formats.location import Location
from renorm_cli.model.blocks import Block, is_shape, partition
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.model.plan import Note
from renorm_cli.model.readers import Readers
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.files import Opener, SourceFile, check_unchanged, read_range
from renorm_cli.storage.permissions import readers_of
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer


REACH = (64 << 10) + 22
"""Bytes of a file that formats see at each end: the end record of a zip, and the longest comment after it, fit."""

_ZIP = b"PK\x03\x04"
_NAME_LENGTH, _NAME = 26, 30

_READ_BYTES = 4 << 20
"""Bytes of a variable that are read at once."""


class Head:
    """The start and the end of an open file, each read once. A format recognises its files by these bytes alone."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self.path = file.path
        self.size = file.size

    @cached_property
    def first(self) -> bytes:
        """The first `REACH` bytes, or all of a smaller file."""
        return self.at(0, REACH)

    @cached_property
    def last(self) -> bytes:
        """The last `REACH` bytes, or all of a smaller file."""
        return self.first if self.size <= REACH else self.at(self.size - REACH, REACH)

    @property
    def first_member(self) -> bytes:
        """The name of the first member of a zip; nothing where the file does not begin as one (APPNOTE 4.3.7)."""
        if not self.first.startswith(_ZIP):
            return b""
        length = int.from_bytes(self.first[_NAME_LENGTH : _NAME_LENGTH + 2], "little")
        return self.first[_NAME : _NAME + length]

    def at(self, offset: int, count: int) -> bytes:
        """Bytes from `offset`, at most `count` and as far as there are any."""
        return read_range(self._file, offset, max(0, min(count, self.size - offset)))


class Begun(Protocol):
    """Work of another process on a file."""

    def close(self) -> None:
        """Give it up."""


@dataclass(slots=True)
class Found:
    """What a path leads to. `path` is as the user gave it, and where the checkpoint is now; `location` names its place.

    `file` is the file at `path`, opened once, where the format is told by its content, until a checkpoint takes it
    over; the `with` statement closes it. `beside` opens other files of the checkpoint.
    """

    path: Path
    location: Location
    beside: Opener
    format: Format | None = None
    """None where nothing is there, or nothing that can be opened."""
    file: SourceFile | None = None
    like: Checkpoint | None = None
    """The input, where this is its output: names that come from the same headers are not made again."""
    link: Path | None = None
    """The link that was followed to `path`."""
    folder: Location | None = None
    """The folder of a model that was given, where the weights in it, at `path`, stand for it."""
    begun: Begun | None = None
    """What `begin` began, until a checkpoint takes it over."""

    @property
    def only(self) -> SourceFile:
        """The file at `path`, for formats that are told by its content."""
        assert self.file is not None
        return self.file

    def open(self) -> Checkpoint:
        """Open the checkpoint, which takes the file over. Raises FormatError."""
        assert self.format is not None
        checkpoint = self.format.open(self)
        self.begun = self.file = None
        return checkpoint

    def begin(self) -> None:
        """Begin, in another process, what opening takes; this one has time for something else meanwhile."""
        if self.format is not None and self.file is not None:
            self.begun = self.format.begin(self)

    def close(self) -> None:
        if self.begun is not None:
            self.begun.close()
        if self.file is not None:
            self.file.close()
        self.begun = self.file = None

    def __enter__(self) -> Found:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Format(ABC):
    """A checkpoint format: found by `locate` from what is there, or by `recognises` from the content of a file."""

    reads: str = ""
    """What users call its checkpoints; "" for what is recognised and not read."""
    endings: tuple[str, ...] = ()
    """Usual endings of its files: names of outputs are formed with them. They never decide what a file is."""
    is_read: bool = True
    """False for what is told apart, so that the message names it, and not read."""
    searched: tuple[str, ...] = ()
    """Endings of the files that are looked at where a folder is searched for checkpoints."""
    names_files: bool = False
    """Whether a checkpoint may have files that only the open checkpoint tells, not their names."""
    places: type[Location] = Location
    """The class of its locations; a format with one of its own is found by `locate`."""

    def named_by(self, path: Path) -> Path | None:
        """The checkpoint of this format that a file names, and holds no weights of; None if it is no such file.

        Told by names of files, and by the content of the file. Raises FormatError and OSError.
        """
        return None

    def whole_of(self, path: Path) -> Path | None:
        """The checkpoint of this format that a file is a part of, told by names of files; None if it is none."""
        return None

    def naming(self, folder: Path, names: Collection[str]) -> Iterator[Path]:
        """The checkpoints of this format in a folder that name one of these files beside them, told by their content.

        Of very many or very large ones, the first are looked at. Raises FormatError and OSError.
        """
        return iter(())

    def locate(self, path: Path) -> Location | None:
        """The checkpoint of this format that `path` names, told by names of files and folders; None if it is none.

        Raises FormatError where something is there that is no checkpoint we read, and OSError.
        """
        return None

    def recognises(self, head: Head) -> bool:
        """Whether a file of this content is of this format."""
        return False

    def location(self, path: Path) -> Location | None:
        """The place of a file that this format recognised; None where its outputs are files like it."""
        return None

    def is_whole(self, names: Collection[str]) -> bool:
        """Whether a folder that holds these names is one checkpoint of this format, with all that lies in it."""
        return False

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """The checkpoints of this format among the files of a folder, told by their names: what names each in the
        folder, and its files there. One of which a file is missing counts."""
        return {name: (name,) for name in names if name.endswith(self.searched)} if self.searched else {}

    def read_with(self, folder: Path, name: str, names: Collection[str]) -> Sequence[str]:
        """Other files of a folder, among these names, with which the checkpoint `name` there is read.

        They may be checkpoints themselves."""
        return ()

    def begin(self, found: Found) -> Begun | None:
        """What `Found.begin` begins; None where nothing takes long."""
        return None

    @abstractmethod
    def open(self, found: Found) -> Checkpoint:
        """Open what was found; `found.file` is one of the checkpoint's files then.

        Raises FormatError where it is damaged, or names files outside itself, and leaves `found.file` open.
        """


class Extent(NamedTuple):
    """`size` bytes from byte `offset` of the file number `file` of a checkpoint."""

    file: int
    offset: int
    size: int


class Sink(ABC):
    """A staged copy of a checkpoint. Disjoint blocks may be written from any thread."""

    @abstractmethod
    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        """Write a block; `values` has the block's shape and the stored dtype. Raises OutputError."""

    @abstractmethod
    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        """A block as it is in the staged copy now; see `Checkpoint.read`."""

    @abstractmethod
    def seal(self, imap: Imap = map) -> dict[str, int]:
        """Update checksums and archives, once all blocks are written; returns the checksums of what was written.

        Raises OutputError.
        """


def digest(parts: Iterable[bytes]) -> str:
    """The SHA-256 of bytes that come in parts."""
    import hashlib  # only a proof asks for digests

    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


class Checkpoint(ABC):
    """An open checkpoint. `format` is its name in reports, `files` all it consists of, in the order of publication.

    `path` is where it was opened, as the user gave it. Raises FormatError for a variable that could be read, but for a
    shape that no array can have.
    """

    __module__ = "renorm_cli"

    beside: Sequence[Path] = ()
    """Files of which it does not consist, and that told of its variables; nothing may replace these either."""

    def __init__(
        self,
        format: str,
        found: Found,
        files: Sequence[SourceFile],
        variables: Sequence[Variable],
        notes: Sequence[Note] = (),
    ) -> None:
        for variable in variables:
            if not variable.locked and variable.dtype in DTYPES and not is_shape(variable.shape):
                raise FormatError(f"{str(found.path)!r}: {quoted(variable.name)} has a shape that no array can have")
        self.format = format
        self.path = found.path
        self.location = found.location
        self.files = tuple(files)
        self.variables = tuple(variables)
        self.notes = tuple(notes)
        self.said: Mapping[str, str] = {}
        """What `take_dtypes` took."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files that it consists of, which nothing else may replace."""
        return [file.path for file in self.files]

    @property
    def readers(self) -> Readers:
        """Who may read all of it."""
        return readers_of([self.location.index, *self.paths])

    @property
    def output_format(self) -> str:
        """The format of the copies that `stage` makes."""
        return self.format

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    def read(self, variable: Variable, block: Block | None = None, into: Buffer | None = None) -> npt.NDArray[Any]:
        """The array of a variable, or a block of it, in its stored dtype and byte order, from any thread.

        Supports every dtype of `numbers.item_bytes`; those that NumPy has not are the bits as unsigned integers, and so
        are booleans. A block may use the memory of `into`, which has at least its size. Raises FormatError for
        truncated or corrupt data; and without a block, where the variable cannot be read, and SelectionError where it
        is not one of `variables`.
        """
        return self._whole(variable) if block is None else self.read_block(variable, block, into)

    @abstractmethod
    def read_block(self, variable: Variable, block: Block, into: Buffer | None) -> npt.NDArray[Any]:
        """See `read`."""

    def _whole(self, variable: Variable) -> npt.NDArray[Any]:
        import numpy as np

        own = self._by_key.get(variable.key)
        if own is None or (own.shape, own.dtype) != (variable.shape, variable.dtype):
            raise SelectionError(f"{str(self.path)!r} has no variable {variable.key!r} of that shape and dtype")
        if own.locked or own.dtype not in DTYPES:
            raise FormatError(f"{own.name!r} is not readable as an array: {own.locked or own.dtype}")
        first, *others = partition(own.shape, _READ_BYTES // DTYPES[own.dtype].nbytes)
        found = self.read_block(own, first, None)
        if not others:
            return found
        whole = np.empty(own.shape, found.dtype)
        whole[first.box] = found
        for block in others:
            whole[block.box] = self.read_block(own, block, None)
        return whole

    @cached_property
    def _by_key(self) -> dict[str, Variable]:
        return {variable.key: variable for variable in self.variables}

    def take_dtypes(self, dtypes: Mapping[str, str]) -> None:
        """Take variables whose dtype the file does not tell, by key, as of the dtypes that are said."""
        self.said = dict(dtypes)
        self.variables = tuple(
            replace(one, dtype=dtypes[one.key]) if one.key in dtypes else one for one in self.variables
        )
        self.__dict__.pop("_by_key", None)

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        """The bytes of a variable that is locked or of a dtype that `read` does not support; None if there is no way.

        They come in parts, as stored, but in little-endian order, or a digest stands for them; the same ones mean the
        same in a format. Raises FormatError as `read` does.
        """
        return None

    @abstractmethod
    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        """A copy of the checkpoint that will become `output`, in which the variables in `changing` may be written."""

    def extent(self, variable: Variable) -> Extent | None:
        """Where all bytes of a variable lie as they are, in C order; None where they lie otherwise, or apart."""
        return None

    def extents(self, variable: Variable) -> tuple[Extent, ...]:
        """Where all bytes of a variable lie as they are, also of one that lies apart; none where they lie otherwise."""
        extent = self.extent(variable)
        return () if extent is None else (extent,)

    @property
    def checksums(self) -> dict[str, int]:
        """The checksums that the checkpoint states, by the names of tensors or members."""
        return {}

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The content besides the variables that is no file in `files`: names, and bytes in parts."""
        return iter(())

    def context(self) -> dict[str, str | None]:
        """Digests of all that tells a loader what the variables mean, by name: config, attributes, graph, assets.

        None for what cannot be read. Names do not depend on the checkpoint's own name.
        """
        return {name: digest(parts) for name, parts in self.rest()}

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        """Names of the tensors whose bytes do not match the checksum that the checkpoint states."""
        return ()

    def check_unchanged(self) -> None:
        """Raise FormatError if any of the files was written to since it was opened."""
        for file in self.files:
            check_unchanged(file)

    def close(self) -> None:
        for file in self.files:
            file.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
