"""Checkpoints of GGUF, in one file or split: floating tensors are patched where they lie. There are no checksums.

Quantized tensors are read through the package gguf, where it is installed, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Extent, Found, Sink
from renorm_cli.formats.gguf.blocks import Blocks, can_dequantize, dequantized
from renorm_cli.formats.gguf.header import Header, Tensor, read_header
from renorm_cli.formats.gguf.locations import Split
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import Extents, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.model.blocks import Block
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.storage.files import SourceFile, read_parts, read_range
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import quoted

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer

_SWAPPED = "its bfloat16 numbers are big-endian"
_UNKNOWN = "its type is not known"
_WEIGHT, _SCALE = ".weight", ".scale"
"""The ends of the names of a weight and of what llama.cpp multiplies its product by (BitNet, NVFP4)."""
_COUNT, _NUMBER = "split.count", "split.no"


class GgufFile(PlainCheckpoint):
    """One or more files, each with a header of its own."""

    def __init__(self, format: str, found: Found, files: Sequence[SourceFile], headers: Sequence[Header]) -> None:
        self._headers = tuple(headers)
        self._places: dict[str, Extent] = {}
        self._blocks: dict[str, Blocks] = {}
        sized: dict[str, Extent] = {}
        variables: list[Variable] = []
        for number, (file, header) in enumerate(zip(files, headers, strict=True)):
            for name, tensor in header.tensors.items():
                if name in self._places:
                    raise FormatError(f"{file.shown!r}: {quoted(name)} is in another file too; each tensor has one")
                self._places[name] = Extent(number, tensor.start, tensor.size)
                if tensor.is_plain or tensor.blocks is not None:
                    sized[name] = self._places[name]
                if tensor.blocks is not None:
                    self._blocks[name] = tensor.blocks
                variables.append(_variable(name, tensor, header.order))
        data = PlainData(files, Extents(sized, headers[0].order))
        super().__init__(format, found, files, variables, data, _notes(variables, self._blocks))

    def read_block(self, variable: Variable, block: Block, into: Buffer | None) -> npt.NDArray[Any]:
        blocks = self._blocks.get(variable.key)
        if blocks is None or not block.elements:
            return super().read_block(variable, block, into)
        self._refuse_closed()
        at, place = block.first_element(variable.shape), self._places[variable.key]
        first, last = at // blocks.numbers, -(-(at + block.elements) // blocks.numbers)
        size = (last - first) * blocks.nbytes
        stored = read_range(self.files[place.file], place.offset + first * blocks.nbytes, size)
        skipped = at - first * blocks.numbers
        return dequantized(stored, blocks)[skipped : skipped + block.elements].reshape(block.shape)

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
    hint, shape, blocks = Hint("gguf"), tensor.shape, tensor.blocks
    if tensor.is_plain:
        locked = _SWAPPED if tensor.dtype == "bfloat16" and order == ">" else None
        return Variable(name, name, shape, tensor.dtype, hint, locked=locked)
    if blocks is None:
        return Variable(name, name, shape, tensor.dtype, hint, "quantized", locked=_UNKNOWN)
    if not blocks.known or order == ">" or not can_dequantize():
        return Variable(name, name, shape, tensor.dtype, hint, "quantized")
    fixed = f"its numbers are quantized ({blocks.name})"
    return Variable(name, name, shape, "float32", hint, fixed=fixed, quantization=blocks.name)


def _notes(variables: Sequence[Variable], quantized: Mapping[str, Blocks]) -> tuple[Note, ...]:
    notes: list[Note] = []
    unread = sum(blocks.known for blocks in quantized.values())
    if unread and not can_dequantize():
        text = "quantized and not measured, as the package gguf is not installed; pip install 'renorm-ckpt[gguf]'"
        notes.append(Note(f"{unread} of its tensors are {text}", warning=True))
    known = {variable.name for variable in variables}
    scaled = [name for name in known if name.endswith(_WEIGHT) and name.removesuffix(_WEIGHT) + _SCALE in known]
    if scaled:
        text = f"what they compute is multiplied by the {_SCALE!r} beside them, which their norms do not have"
        notes.append(Note(f"{some_names(sorted(scaled))}: {text}", warning=True))
    return tuple(notes)
