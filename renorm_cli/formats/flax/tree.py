"""The arrays in a msgpack file of flax, and where their bytes lie: what is between them is read, they are skipped.

Sources: msgpack/spec.md; flax/serialization.py 0.12: a tree of maps, an array is the extension 1, which holds a list of
shape, name of the dtype and bytes in C order; a scalar of NumPy is the extension 3, with the same content.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Head
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.storage.files import Readable, read_range

_WINDOW = 1 << 16
_MOST_VALUES = 2_000_000
_MOST_FIRST = 1_000
"""Values before the first array by which a file is recognised."""
_DEPTH = 64
_LONGEST_DTYPE = 64
_LONGEST = 1 << 16
_ARRAYS = (1, 3)
_CHUNKED = "__msgpack_chunked_array__"

_TEXT, _BYTES, _EXTENSION, _LIST, _MAP, _NUMBER, _OTHER = range(7)
_LENGTHS = {
    **{0xC4 + step: (_BYTES, 1 << step) for step in range(3)},
    **{0xC7 + step: (_EXTENSION, 1 << step) for step in range(3)},
    **{0xD9 + step: (_TEXT, 1 << step) for step in range(3)},
    **{0xDC + step: (_LIST, 2 << step) for step in range(2)},
    **{0xDE + step: (_MAP, 2 << step) for step in range(2)},
}
"""What stands behind a code, and the bytes of its length."""
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
"""Bytes behind each code of another value."""


class Leaf(NamedTuple):
    """An array of the tree: its path, shape and dtype, and where its bytes are."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    size: int


class _Value(NamedTuple):
    """A value: how many items or bytes it has, or which number it is, and where what is behind its head begins."""

    kind: int
    length: int
    start: int


@dataclass(slots=True)
class _Level:
    """A map or a list that is being read, with the number of its items that are left."""

    is_map: bool
    left: int
    path: str
    keys: set[str] = field(default_factory=set)


class Damaged(Exception):
    """Says why a file is no tree of flax."""


def read_leaves(file: Readable, size: int, shown: str) -> list[Leaf]:
    """The arrays of a file of `size` bytes, in its order. Raises FormatError where it is no such tree, or damaged."""
    try:
        scanner = Scanner(file, size)
        found = list(iter(scanner.next_leaf, None))
        if scanner.at != size:
            raise Damaged(f"its tree ends at byte {scanner.at}, the file at {size}")
        return found
    except Damaged as problem:
        raise FormatError(f"{shown!r} is no sound msgpack file of flax: {problem}") from None


def begins_a_tree(head: Head) -> bool:
    """Whether a file begins as a tree does, down to its first array."""
    try:
        return Scanner(_Start(head), head.size, _MOST_FIRST).next_leaf() is not None
    except Damaged:
        return False


class _Start:
    """A file that is only looked at."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._head.at(offset, len(buffer))


class Scanner:
    """Reads a file of `size` bytes from `at` on, and at most so many values."""

    def __init__(self, file: Readable, size: int, most: int = _MOST_VALUES) -> None:
        self.at = 0
        self._most = most
        self._file, self._size = file, size
        self._window, self._window_start = b"", 0
        self._values = 0
        top = self._value()
        if top.kind != _MAP:
            raise Damaged("it does not begin with a map")
        self._levels = [_Level(True, top.length, "")]

    def next_leaf(self) -> Leaf | None:
        """The next array; None at the end of the tree."""
        while self._levels:
            level = self._levels[-1]
            if not level.left:
                self._levels.pop()
                continue
            level.left -= 1
            path = self._path(level)
            value = self._value()
            if value.kind in (_MAP, _LIST):
                if len(self._levels) >= _DEPTH:
                    raise Damaged(f"it is nested deeper than {_DEPTH} levels")
                self._levels.append(_Level(value.kind == _MAP, value.length, path))
            elif value.kind == _EXTENSION and self._bytes(value.start - 1, 1)[0] in _ARRAYS:
                return self._leaf(path, value)
            elif value.kind in (_TEXT, _BYTES, _EXTENSION):
                self._skip(value)
        return None

    def _path(self, level: _Level) -> str:
        """The path of the next value of a map, whose key is read, or of a list."""
        if level.is_map:
            value = self._value()
            if value.kind == _TEXT and value.length <= _LONGEST:
                key = self._bytes(value.start, value.length).decode("utf-8", "backslashreplace")
                self._skip(value)
            elif value.kind == _NUMBER:
                key = str(value.length)
            else:
                raise Damaged("a key is no text of a usual length")
            if key == _CHUNKED:
                raise Damaged("it holds an array of more than a gigabyte in chunks, which is not read")
        else:
            key = str(len(level.keys))
        if key in level.keys:
            raise Damaged("a key comes twice in one map")
        level.keys.add(key)
        return f"{level.path}/{key}" if level.path else key

    def _leaf(self, path: str, value: _Value) -> Leaf:
        end = value.start + value.length
        head = self._value()
        if (head.kind, head.length) != (_LIST, 3):
            raise Damaged("an array is no list of shape, dtype and bytes")
        dims = self._value()
        if dims.kind != _LIST or dims.length > MOST_AXES:
            raise Damaged("an array has no shape")
        sizes = [self._value() for _ in range(dims.length)]
        if any(size.kind != _NUMBER for size in sizes):
            raise Damaged("an array has a shape that is no list of sizes")
        name = self._value()
        if name.kind != _TEXT or name.length > _LONGEST_DTYPE:
            raise Damaged("an array has no dtype")
        dtype = self._bytes(name.start, name.length).decode("ascii", "replace")
        self._skip(name)
        content = self._value()
        self._skip(content)
        if content.kind != _BYTES or self.at != end:
            raise Damaged("the bytes of an array are not what its extension holds")
        shape = tuple(size.length for size in sizes)
        known = DTYPES.get(dtype)
        if known is not None and math.prod(shape) * known.nbytes != content.length:
            raise Damaged(f"an array has {content.length} bytes, {math.prod(shape) * known.nbytes} by its shape")
        return Leaf(path, shape, "no number" if known is None else dtype, content.start, content.length)

    def _value(self) -> _Value:
        """The value at the place, which is then behind its head: for text, bytes and extensions before the content."""
        self._values += 1
        if self._values > self._most:
            raise Damaged(f"it holds more than {self._most} values")
        code = self._bytes(self.at, 1)[0]
        at = self.at + 1
        length = code
        if code <= 0x7F:
            kind = _NUMBER
        elif code <= 0x9F:
            kind, length = (_MAP if code <= 0x8F else _LIST), code & 0x0F
        elif code <= 0xBF:
            kind, length = _TEXT, code & 0x1F
        elif 0xCC <= code <= 0xCF:
            kind, width = _NUMBER, 1 << code - 0xCC
            length, at = int.from_bytes(self._bytes(at, width), "big"), at + width
        elif code in _LENGTHS:
            kind, width = _LENGTHS[code]
            length, at = int.from_bytes(self._bytes(at, width), "big"), at + width + (kind == _EXTENSION)
        elif code in _FIXED or code >= 0xE0:
            kind, at = _OTHER, at + _FIXED.get(code, 0)
        else:
            raise Damaged(f"the byte at {self.at} begins no value")
        if kind in (_TEXT, _BYTES, _EXTENSION, _LIST, _MAP) and length > self._size - at:
            raise Damaged(f"a value at byte {self.at} is longer than what is left of the file")
        self.at = at
        return _Value(kind, length, at)

    def _skip(self, value: _Value) -> None:
        self.at = value.start + value.length

    def _bytes(self, at: int, count: int) -> bytes:
        if at + count > self._size:
            raise Damaged("it is cut short")
        inside = at - self._window_start
        if inside < 0 or inside + count > len(self._window):
            self._window = read_range(self._file, at, min(max(count, _WINDOW), self._size - at))
            self._window_start, inside = at, 0
        return self._window[inside : inside + count]
