"""The fields of a model's graph, found in place: messages of a file of up to 2 GiB, of which little is looked at.

Source: tensorflow/core/protobuf/{saved_model,meta_graph}.proto and tensorflow/core/framework/{graph,function}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Budget,
    Message,
    damaged,
    read_message,
    read_varint,
)

MAX_FIELDS = 3_000_000
"""Fields visited while searching one file."""
MAX_COPIED = 32 << 20
"""Bytes of the messages that are copied into memory: variables, Keras layers, collections."""

META_GRAPHS, GRAPH, COLLECTIONS, OBJECTS = 2, 2, 4, 7
GRAPH_NODE, LIBRARY, FUNCTION, FUNCTION_NODE = 1, 2, 1, 3
_SKIPPED = {FIXED64: 8, FIXED32: 4}


class Span(NamedTuple):
    """A field: start and end of its value (after tag and length) in the file."""

    number: int
    wire_type: int
    start: int
    end: int


class Walk:
    """Finds the fields of nested messages without copying (the file may have 2 GiB), up to MAX_FIELDS."""

    def __init__(self, data: bytes | memoryview, shown: str) -> None:
        self._data = data
        self._shown = shown
        self._left = MAX_FIELDS
        self._copies = MAX_COPIED
        self._budget = Budget()

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

    def graphs(self) -> Iterator[Span]:
        """The MetaGraphDefs, one per set of tags."""
        none = True
        for graph in self.parts(self.whole, META_GRAPHS):
            none = False
            yield graph
        if none:
            raise self.damaged("expected a SavedModel with a graph, found none")

    def operations(self) -> Iterator[Span]:
        """The NodeDefs of every graph and of every function in its library."""
        for graph in self.graphs():
            for part in self.parts(graph, GRAPH):
                for item in self.inside(part):
                    if item.number == GRAPH_NODE:
                        yield item
                    elif item.number == LIBRARY:
                        for function in self.parts(item, FUNCTION):
                            yield from self.parts(function, FUNCTION_NODE)

    def bytes_of(self, span: Span, limit: int | None = None) -> bytes:
        """The bytes of the value, at most `limit`."""
        end = span.end if limit is None else min(span.end, span.start + limit)
        return bytes(self._data[span.start : end])

    def text(self, span: Span) -> str:
        """A string. Bytes that are no UTF-8 are kept as surrogates, so encoding gives them back."""
        return self.bytes_of(span).decode("utf-8", "surrogateescape")

    def integer(self, span: Span) -> int:
        """The varint, unsigned."""
        if span.wire_type != VARINT:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a number, found bytes")
        return read_varint(self._data, span.start, span.end, self._shown)[0]

    def message(self, span: Span) -> Message:
        """A small message, copied into memory."""
        if span.wire_type != BYTES:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a message, found a number")
        self._copies -= span.end - span.start
        if self._copies < 0:
            raise self.damaged(f"expected at most {MAX_COPIED} bytes about variables and layers, found more")
        return read_message(self._data, self._shown, span.start, span.end, self._budget)

    def message_of(self, encoded: bytes) -> Message:
        """A message nested in a small message."""
        return read_message(encoded, self._shown, budget=self._budget)

    def damaged(self, found: str) -> FormatError:
        return damaged(self._shown, found)
