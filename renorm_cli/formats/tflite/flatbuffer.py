"""A flatbuffer read where it lies: each offset is checked against the file before it is followed.

Source: flatbuffers' internals.md: a table is an offset back to its vtable, which has for each field the offset from the
table, 0 where it is absent; vectors and strings begin with their number of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import Bytes, damaged

_MOST_ELEMENTS = 3_000_000
"""Elements of vectors, and fields, that are looked at in one file."""
_LONGEST_TEXT = 1 << 20


class Vector(NamedTuple):
    """Where the elements of a vector begin, and how many there are."""

    start: int
    size: int


class Flatbuffer:
    """The bytes of a flatbuffer; `shown` names the file."""

    def __init__(self, data: Bytes, shown: str) -> None:
        self._data = data
        self._size = len(data)
        self._shown = shown
        self._left = _MOST_ELEMENTS

    def number(self, at: int, width: int, *, signed: bool = False) -> int:
        """The integer of `width` bytes at a byte."""
        if not 0 <= at <= self._size - width:
            raise self.damaged(f"expected {width} bytes at byte {at}, the file has {self._size}")
        return int.from_bytes(self._data[at : at + width], "little", signed=signed)

    def root(self) -> int:
        """The table that the file is."""
        return self.number(0, 4)

    def field(self, table: int, number: int) -> int:
        """Where a field of a table is; 0 where it is absent."""
        self._spend(1)
        vtable = table - self.number(table, 4, signed=True)
        size = self.number(vtable, 2)
        if 6 + 2 * number > size:
            return 0
        offset = self.number(vtable + 4 + 2 * number, 2)
        return table + offset if offset else 0

    def scalar(self, table: int, number: int, width: int, default: int = 0, *, signed: bool = False) -> int:
        at = self.field(table, number)
        return self.number(at, width, signed=signed) if at else default

    def table(self, table: int, number: int) -> int:
        """The table, vector or string that a field refers to; 0 where it is absent."""
        at = self.field(table, number)
        return at + self.number(at, 4) if at else 0

    def vector(self, table: int, number: int, width: int) -> Vector:
        """The vector of a field, whose elements have `width` bytes; an empty one where it is absent."""
        at = self.table(table, number)
        if not at:
            return Vector(0, 0)
        count = self.number(at, 4)
        if count * width > self._size - at - 4:
            raise self.damaged(f"expected a vector within the file at byte {at}, found {count} elements")
        return Vector(at + 4, count)

    def tables(self, table: int, number: int) -> list[int]:
        """The tables in a vector."""
        start, count = self.vector(table, number, 4)
        self._spend(count)
        return [at + self.number(at, 4) for at in range(start, start + 4 * count, 4)]

    def integers(self, table: int, number: int, most: int | None = None) -> Sequence[int] | None:
        """The int32s in a vector; None where there are more than `most`."""
        start, count = self.vector(table, number, 4)
        if most is not None and count > most:
            return None
        self._spend(count)
        return [self.number(at, 4, signed=True) for at in range(start, start + 4 * count, 4)]

    def stored(self, table: int, number: int, width: int) -> bytes:
        """The elements of a vector, whose elements have `width` bytes, as they lie."""
        start, count = self.vector(table, number, width)
        self._spend(1 + count * width // 64)  # compared to a table it costs next to nothing
        return bytes(self._data[start : start + count * width])

    def text(self, table: int, number: int) -> str:
        start, count = self.vector(table, number, 1)
        if count > _LONGEST_TEXT:
            raise self.damaged(f"expected a text of at most {_LONGEST_TEXT} bytes at byte {start}, found {count}")
        return bytes(self._data[start : start + count]).decode("utf-8", "surrogateescape")

    def damaged(self, found: str) -> FormatError:
        return damaged(self._shown, found)

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise self.damaged(f"expected at most {_MOST_ELEMENTS} fields and elements, found more")
