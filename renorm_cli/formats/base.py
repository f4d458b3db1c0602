"""What every format offers: variables, blocks to read, and a staged copy to write blocks into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from renorm_cli.formats.location import Location
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.files import SourceFile
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.model.blocks import Block
    from renorm_cli.parallel.memory import Buffer


class Sink(ABC):
    """A staged copy of a checkpoint. Disjoint blocks may be written from any thread."""

    @abstractmethod
    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        """Put a block in place; `values` has the block's shape and the stored dtype. Raises OutputError."""

    @abstractmethod
    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        """A block that was written, as it is in the staged copy now; see `Checkpoint.read`."""

    @abstractmethod
    def seal(self, imap: Imap = map) -> dict[str, int]:
        """Make checksums and archives true again, once all blocks are written; the checksums of what was written.

        Raises OutputError.
        """


class Checkpoint(ABC):
    """An open checkpoint. `format` is its name in reports, `files` all it consists of, in the order of publication."""

    __module__ = "renorm_cli"

    def __init__(
        self,
        format: str,
        path: Path,
        files: Sequence[SourceFile],
        variables: Sequence[Variable],
        notes: Sequence[Note] = (),
    ) -> None:
        self.format = format
        self.path = path
        self.files = tuple(files)
        self.variables = tuple(variables)
        self.notes = tuple(notes)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @abstractmethod
    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        """A block of a variable in its stored dtype and byte order; may be called from any thread.

        With `into`, memory of at least that many bytes, the block may lie there. Served are all dtypes that
        `stored.item_bytes` knows. Raises FormatError where the file is cut short or its
        data do not decode.
        """

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        """The stored bytes of a variable that `read` does not serve, in parts; None where there is no way to them.

        Raises FormatError as `read` does.
        """
        return None

    @abstractmethod
    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        """A copy of the checkpoint that will become `output`, in which the variables in `changing` may be written."""

    def extent(self, variable: Variable) -> tuple[int, int] | None:
        """The number of the file and the byte where the plain bytes of a variable begin; None where it has no such."""
        return None

    @property
    def checksums(self) -> dict[str, int]:
        """The checksums that the checkpoint tells, under the names of what they are of."""
        return {}

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """What the checkpoint carries besides its variables and is no file in `files`: names, and bytes in parts."""
        return iter(())

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        """Names of the tensors whose bytes do not match the checksum the checkpoint has for them."""
        return ()

    def check_unchanged(self) -> None:
        """Raise FormatError if any of the files was written to since it was opened."""
        for file in self.files:
            file.check_unchanged()

    def close(self) -> None:
        for file in self.files:
            file.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
