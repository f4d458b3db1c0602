"""The header of a GGUF file: what is said of the model, and where each tensor lies. No tensor is read.

Source: `docs/gguf.md` of ggml, versions 2 and 3. Numbers are little-endian, or all big-endian where the version reads
so.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.gguf.blocks import BLOCKS, Blocks
from renorm_cli.model.blocks import is_shape
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.storage.files import SourceFile, read_range
from renorm_cli.untrusted import quoted

_WINDOW = 1 << 20
_MOST_VALUES = 5_000_000
_MOST_STRING, _MOST_NAME = 1 << 24, 1 << 16
_MOST_AXES = 8
_DEPTH = 4
_MOST_ALIGNMENT = 1 << 20
_ALIGNMENT = "general.alignment"
_VERSIONS = (2, 3)

_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
"""Types of values, and how `struct` calls them."""
_PLAIN = {
    0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64", 30: "bfloat16",
}  # fmt: skip


class Tensor(NamedTuple):
    """A tensor, its shape with the axes in C order, and the bytes it takes. Of an unknown type `size` is 0.

    `blocks` are those in which its numbers lie, None of plain numbers and of an unknown type.
    """

    shape: tuple[int, ...]
    dtype: str
    start: int
    size: int
    blocks: Blocks | None = None

    @property
    def is_plain(self) -> bool:
        return self.dtype in DTYPES


class Header(NamedTuple):
    """What stands before the tensors: `order` is the byte order of all numbers, `end` where the header ends."""

    tensors: dict[str, Tensor]
    values: dict[str, object]
    order: str
    end: int


class _DamagedError(Exception):
    """Says why a file is no GGUF."""


def read_header(file: SourceFile) -> Header:
    """The header of a file. Raises FormatError where it is damaged, or its tensors overlap or lie outside of it."""
    try:
        return _Reader(file).header()
    except _DamagedError as problem:
        raise FormatError(f"{file.shown!r} is no sound GGUF file: {problem}") from None


class _Reader:
    def __init__(self, file: SourceFile) -> None:
        self._file, self._size = file, file.size
        self._at = 0
        self._window, self._start = b"", 0
        self._order = "<"
        self._left = _MOST_VALUES

    def header(self) -> Header:
        self._skip(4)
        self._read_version()
        tensors, keys = self._number("Q"), self._number("Q")
        self._spend(tensors + keys)
        values: dict[str, object] = {}
        for _ in range(keys):
            key = self._text(_MOST_NAME)
            if key in values:
                raise _DamagedError(f"the key {quoted(key)} comes twice")
            values[key] = self._value(self._number("I"))
        infos = [self._info() for _ in range(tensors)]
        end = self._at
        return Header(self._placed(infos, values.get(_ALIGNMENT, 32)), values, self._order, end)

    def _read_version(self) -> None:
        version = self._number("I")
        if version & 0xFFFF == 0:
            self._order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in _VERSIONS:
            raise _DamagedError(f"its version is {version}; 2 or 3 was expected")

    def _info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, axes = self._text(_MOST_NAME), self._number("I")
        if axes > _MOST_AXES:
            raise _DamagedError(f"{quoted(name)} has {axes} axes; at most {_MOST_AXES} were expected")
        dims = tuple(self._number("Q") for _ in range(axes))
        return name, dims[::-1], self._number("I"), self._number("Q")

    def _placed(self, infos: list[tuple[str, tuple[int, ...], int, int]], alignment: object) -> dict[str, Tensor]:
        """The tensors at their places, which must be apart and in the file."""
        if type(alignment) is not int or not 0 < alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
            raise _DamagedError(f"its alignment is {str(alignment)[:20]}; a power of 2 was expected")
        base = -(-self._at // alignment) * alignment
        found: dict[str, Tensor] = {}
        for name, shape, kind, offset in infos:
            if name in found:
                raise _DamagedError(f"the tensor {quoted(name)} comes twice")
            dtype, size = _stored(name, shape, kind)
            if offset % alignment or base + offset + size > self._size:
                raise _DamagedError(f"{quoted(name)} is not where a tensor can be, or runs over the end of the file")
            found[name] = Tensor(shape, dtype, base + offset, size, BLOCKS.get(kind))
        last = base
        for name, tensor in sorted(found.items(), key=lambda item: (item[1].start, item[1].size)):
            if tensor.size and tensor.start < last:
                raise _DamagedError(f"{quoted(name)} overlaps another tensor")
            last = max(last, tensor.start + tensor.size)
        return found

    def _value(self, kind: int, depth: int = 0) -> object:
        """A value; of an array, how many values it has."""
        self._spend(1)
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._text(_MOST_STRING)
        if kind != _ARRAY or depth >= _DEPTH:
            raise _DamagedError(f"a value has the type {kind}, or arrays lie {_DEPTH} deep in others")
        inner, count = self._number("I"), self._number("Q")
        if inner in _NUMBERS:
            self._skip(count * struct.calcsize("=" + _NUMBERS[inner]))
        else:
            self._spend(count)
            for _ in range(count):
                if inner == _STRING:
                    self._skip(self._number("Q"))
                else:
                    self._value(inner, depth + 1)
        return ("an array", inner, count)

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _DamagedError(f"it claims more than {_MOST_VALUES} values, no model has so many")

    def _text(self, most: int) -> str:
        length = self._number("Q")
        if length > most:
            raise _DamagedError(f"a text has {length} bytes; at most {most} were expected")
        return self._bytes(length).decode("utf-8", "backslashreplace")

    def _number(self, code: str) -> int:
        (found,) = struct.unpack(self._order + code, self._bytes(struct.calcsize("=" + code)))
        return found  # type: ignore[no-any-return]

    def _skip(self, count: int) -> None:
        if count > self._size - self._at:
            raise _DamagedError("it is cut short")
        self._at += count

    def _bytes(self, count: int) -> bytes:
        at = self._at
        self._skip(count)
        inside = at - self._start
        if inside < 0 or inside + count > len(self._window):
            self._window = read_range(self._file, at, min(max(count, _WINDOW), self._size - at))
            self._start, inside = at, 0
        return self._window[inside : inside + count]


def _stored(name: str, shape: tuple[int, ...], kind: int) -> tuple[str, int]:
    """The dtype of a tensor, and its bytes."""
    if not is_shape(shape):
        raise _DamagedError(f"{quoted(name)} has a shape that is too large for any array")
    if kind in _PLAIN:
        return _PLAIN[kind], math.prod(shape) * DTYPES[_PLAIN[kind]].nbytes
    blocks = BLOCKS.get(kind)
    if blocks is None:
        return f"type {kind}", 0
    if not shape or shape[-1] % blocks.numbers:
        raise _DamagedError(
            f"{quoted(name)} has rows that are no whole blocks of {blocks.numbers} numbers, as {blocks.name} has them"
        )
    return blocks.name, math.prod(shape) // blocks.numbers * blocks.nbytes
