"""Checkpoints of GGUF, in one file or split: floating tensors are patched where they lie. There are no checksums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.gguf.header import Header, Tensor, read_header
from renorm_cli.formats.gguf.locations import Split
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import Extents, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.storage.files import SourceFile, read_parts
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted

_SWAPPED = "its bfloat16 numbers are big-endian"
_UNKNOWN = "its type is not known"
_COUNT, _NUMBER = "split.count", "split.no"


class GgufFile(PlainCheckpoint):
    """One or more files, each with a header of its own."""

    def __init__(self, format: str, found: Found, files: Sequence[SourceFile], headers: Sequence[Header]) -> None:
        self._headers = tuple(headers)
        extents: dict[str, Extent] = {}
        variables: list[Variable] = []
        for number, (file, header) in enumerate(zip(files, headers, strict=True)):
            for name, tensor in header.tensors.items():
                if name in extents:
                    raise FormatError(f"{file.shown!r}: {quoted(name)} is in another file too; each tensor has one")
                extents[name] = Extent(number, tensor.start, tensor.size)
                variables.append(_variable(name, tensor, header.order))
        data = PlainData(files, Extents(extents, headers[0].order))
        super().__init__(format, found, files, variables, data)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for number, (file, header) in enumerate(zip(self.files, self._headers, strict=True), 1):
            yield f"the header of file {number}", read_parts(file, 0, header.end)


class GgufSplit(GgufFile):
    """A model in several files. The first comes last where files get their names: without it there is no model."""

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        assert isinstance(output, Split)
        spans = self.data.spans(changing)
        targets = list(zip(self.files, output.parts, spans, strict=True))
        copies = [staging.copy(*each) for each in (*targets[1:], targets[0])]
        staged = [copies[-1], *copies[:-1]]
        return PlainSink(self.data.staged(staged), staged)


def open_gguf(found: Found) -> GgufFile:
    """Open one file. Raises FormatError where it is damaged."""
    return GgufFile("gguf", found, [found.only], [read_header(found.only)])


def open_split(found: Found) -> GgufSplit:
    """Open all files of a split model. Raises FormatError for one that is missing, damaged or of another model."""
    location = found.location
    assert isinstance(location, Split)
    with ExitStack() as opened:
        files: list[SourceFile] = []
        for part in location.parts:
            files.append(found.beside(part))
            opened.callback(files[-1].close)
        headers = [read_header(file) for file in files]
        for number, (file, header) in enumerate(zip(files, headers, strict=True)):
            if (header.values.get(_NUMBER), header.values.get(_COUNT)) != (number, len(files)):
                raise FormatError(
                    f"{file.shown!r} says that it is another part; give the files of one model their names"
                )
        if len({header.order for header in headers}) > 1:
            raise FormatError(f"{files[0].shown!r} and its other parts are of different byte orders")
        model = GgufSplit("gguf-split", found, files, headers)
        opened.pop_all()
    return model


def _variable(name: str, tensor: Tensor, order: str) -> Variable:
    locked = None
    if tensor.dtype == "bfloat16" and order == ">":
        locked = _SWAPPED
    elif not tensor.is_plain and not tensor.size:
        locked = _UNKNOWN
    known = Variable(name, name, tensor.shape, tensor.dtype, Hint("gguf"), locked=locked)
    return known if tensor.is_plain else replace(known, state="quantized")
