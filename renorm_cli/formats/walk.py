"""The fields of nested protobuf messages, found in place: of a large file only what is asked for is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import BYTES, FIXED32, FIXED64, VARINT, Bytes, damaged, read_varint, signed
from renorm_cli.storage.files import Sized, read_range

MAX_FIELDS = 3_000_000
"""Fields visited while searching one file."""

_SKIPPED = {FIXED64: 8, FIXED32: 4}
_PAGE_BITS = 13
_PAGE = 1 << _PAGE_BITS
_HELD_PAGES = 64


class Pages:
    """An open file as `Bytes`: what is looked at is read, a few kilobytes at a time, and a part of it is held."""

    def __init__(self, file: Sized) -> None:
        self._file = file
        self._size = file.size
        self._page = lru_cache(_HELD_PAGES)(self._read)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: Any, /) -> Any:
        if isinstance(key, int):
            return self._page(key >> _PAGE_BITS)[key & (_PAGE - 1)]
        start, end, _ = key.indices(self._size)
        first = start >> _PAGE_BITS
        if start < end and (end - 1) >> _PAGE_BITS == first:
            at = first << _PAGE_BITS
            return self._page(first)[start - at : end - at]
        return read_range(self._file, start, max(0, end - start))

    def _read(self, number: int) -> bytes:
        at = number << _PAGE_BITS
        return read_range(self._file, at, min(_PAGE, self._size - at))


class Span(NamedTuple):
    """A field: start and end of its value (after tag and length) in the file."""

    number: int
    wire_type: int
    start: int
    end: int


class Walk:
    """Finds the fields of nested messages without copying, at most `MAX_FIELDS` of them; `shown` names the file."""

    def __init__(self, data: Bytes, shown: str) -> None:
        self._data = data
        self._shown = shown
        self._left = MAX_FIELDS

    @property
    def whole(self) -> Span:
        """The message that the file is."""
        return Span(0, BYTES, 0, len(self._data))

    def inside(self, span: Span) -> Iterator[Span]:
        """The fields of a message; the span of a number is its varint."""
        if span.wire_type != BYTES:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a message, found a number")
        data, at, end = self._data, span.start, span.end
        while at < end:
            tag_at = at
            tag = data[at]
            at += 1
            if tag >= 128:
                tag, at = read_varint(data, tag_at, end, self._shown)
            kind = tag & 7
            if kind == BYTES:
                if at < end and data[at] < 128:
                    size = data[at]
                    at += 1
                else:
                    size, at = read_varint(data, at, end, self._shown)
            elif kind == VARINT:
                size = read_varint(data, at, end, self._shown)[1] - at
            elif kind in _SKIPPED:
                size = _SKIPPED[kind]
            else:
                raise self.damaged(f"expected wire type 0, 1, 2 or 5 at byte {tag_at}, found {kind}")
            if not 0 < tag >> 3 < 1 << 29 or at + size > end:
                raise self.damaged(f"expected a field that ends by byte {end} at byte {tag_at}, found none")
            self._left -= 1
            if self._left < 0:
                raise self.too_many()
            yield Span(tag >> 3, kind, at, at + size)
            at += size

    def too_many(self) -> Exception:
        """The error for more fields than may be searched."""
        return self.damaged(f"expected at most {MAX_FIELDS} fields, found more")

    def parts(self, span: Span, number: int) -> Iterator[Span]:
        """The fields of one number in a message."""
        return (item for item in self.inside(span) if item.number == number)

    def bytes_of(self, span: Span, limit: int | None = None) -> bytes:
        """The bytes of the value, at most `limit`."""
        end = span.end if limit is None else min(span.end, span.start + limit)
        return bytes(self._data[span.start : end])

    def text(self, span: Span) -> str:
        """A string. Bytes that are no UTF-8 are kept as surrogates, so encoding gives them back."""
        return self.bytes_of(span).decode("utf-8", "surrogateescape")

    def string(self, span: Span, number: int) -> str:
        """The string of that number in a message, "" if there is none."""
        return next((self.text(item) for item in self.parts(span, number)), "")

    def integer(self, span: Span) -> int:
        """The varint, unsigned."""
        if span.wire_type != VARINT:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a number, found bytes")
        return read_varint(self._data, span.start, span.end, self._shown)[0]

    def numbers(self, span: Span) -> Iterator[int]:
        """The signed numbers of a field, which is one of a repeated field or holds several, packed."""
        if span.wire_type == VARINT:
            yield signed(self.integer(span))
            return
        at = span.start
        while at < span.end:
            value, at = read_varint(self._data, at, span.end, self._shown)
            yield signed(value)

    def entry(self, span: Span) -> tuple[str, Span | None]:
        """Key and value of an entry of a map."""
        key, value = "", None
        for item in self.inside(span):
            if item.number == 1:
                key = self.text(item)
            elif item.number == 2:
                value = item
        return key, value

    def damaged(self, found: str) -> FormatError:
        return damaged(self._shown, found)
