"""Protobuf wire format, read without a library: checks each length before use, and keeps positions for patching."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from renorm_cli.errors import FormatError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The wire types in use. No message that we read has groups (3 and 4)."""

_KINDS = {VARINT: "a varint", FIXED64: "a fixed64", BYTES: "a length and bytes", FIXED32: "a fixed32"}
_MAX_FIELD_NUMBER = (1 << 29) - 1
MAX_FIELDS = 4_000_000
"""Fields in all messages of one budget. A stored field may have only two bytes, but takes some 200 bytes of memory."""
_MAX_HELD = 500_000
_MAX_NUMBERS = 10_000


class Bytes(Protocol):
    """What is walked: bytes, a memoryview, or a file of which a part is in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any:
        """The byte at an index, or the bytes of a slice without a step."""


class Field(NamedTuple):
    """A stored field. `value` is an unsigned int or, for wire type 2, bytes.

    `start` and `end` bound the value itself (after tag and length) in the given buffer.
    """

    number: int
    wire_type: int
    value: int | bytes
    start: int
    end: int


@dataclass(slots=True)
class Budget:
    """The number of fields that may still be read from the messages that share this budget."""

    fields: int = MAX_FIELDS


def damaged(shown: str, found: str) -> FormatError:
    """The error for content that no writer produces; `shown` names the file, `found` says what is wrong and where."""
    return FormatError(f"{shown}: {found}; the file is damaged, use an intact copy")


def read_varint(data: Bytes, at: int, end: int, shown: str) -> tuple[int, int]:
    """The unsigned varint at `at`, and the position after it.

    Raises FormatError if it is cut off at `end`, is longer than 10 bytes, or is not below 2**64.
    """
    if at < end and data[at] < 128:
        return data[at], at + 1
    value = 0
    for count in range(min(10, end - at)):
        byte = data[at + count]
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            if value >> 64:
                raise damaged(shown, f"expected a number below 2**64 at byte {at}, found {value}")
            return value, at + count + 1
    fault = "it is cut off" if end - at < 10 else "it is longer than 10 bytes"
    raise damaged(shown, f"expected a varint at byte {at}, but {fault}")


def write_varint(value: int) -> bytes:
    """`value` (0 <= value < 2**64) as the shortest varint."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> int:
    """The int64 of an unsigned varint: negative numbers are stored as two's complement."""
    return value - (1 << 64) if value >> 63 else value


def read_fields(
    data: bytes | memoryview, shown: str, start: int = 0, end: int | None = None, budget: Budget | None = None
) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`, in stored order; nested messages stay bytes.

    Raises FormatError for a field that is cut off, extends beyond `end` or has no valid tag, and for more fields than
    `budget` has left (MAX_FIELDS without a budget).
    """
    budget = budget or Budget()
    at, stop = start, len(data) if end is None else end
    if not 0 <= at <= stop <= len(data):
        raise damaged(shown, f"expected a message in bytes {at} to {stop}, found {len(data)} bytes")
    while at < stop:
        tag_at = at
        budget.fields -= 1
        if budget.fields < 0:
            raise damaged(shown, f"expected at most {MAX_FIELDS} fields, found more at byte {at}")
        tag, at = (data[at], at + 1) if data[at] < 128 else read_varint(data, at, stop, shown)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise damaged(shown, f"expected a field number from 1 to 2**29 - 1 at byte {tag_at}, found {number}")
        value: int | bytes
        if kind == VARINT:
            value, after = read_varint(data, at, stop, shown)
        elif kind == BYTES:
            short = at < stop and data[at] < 128
            size, at = (data[at], at + 1) if short else read_varint(data, at, stop, shown)
            after = _within(at + size, stop, number, shown)
            value = bytes(data[at:after])
        elif kind in (FIXED32, FIXED64):
            after = _within(at + (4 if kind == FIXED32 else 8), stop, number, shown)
            value = int.from_bytes(data[at:after], "little")
        else:
            raise damaged(shown, f"expected wire type 0, 1, 2 or 5 at byte {tag_at}, found {kind}")
        yield Field(number, kind, value, at, after)
        at = after


def read_message(
    data: bytes | memoryview, shown: str, start: int = 0, end: int | None = None, budget: Budget | None = None
) -> Message:
    """The fields of a message by number; see `Message`.

    Raises FormatError as `read_fields` does, and for more than 500,000 fields, because all are held in memory.
    """
    found: dict[int, list[Field]] = {}
    for count, field in enumerate(read_fields(data, shown, start, end, budget)):
        if count == _MAX_HELD:
            raise damaged(shown, f"expected at most {_MAX_HELD} fields in a message, found more")
        found.setdefault(field.number, []).append(field)
    return Message(found, shown)


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of a message. An absent field has its zero value, as in proto3. Unknown fields are ignored.

    Every accessor raises FormatError if the field has another wire type, or if a single field occurs twice: protobuf
    lets the last one win, but no writer does that.
    """

    found: dict[int, list[Field]]
    shown: str

    def integer(self, number: int) -> int:
        """A single int32, int64, bool or enum."""
        field = self._single(number, VARINT)
        return 0 if field is None else signed(_int(field))

    def fixed32(self, number: int) -> tuple[int, int | None]:
        """A single fixed32, and the position of its 4 bytes; 0 and None if it is absent."""
        field = self._single(number, FIXED32)
        return (0, None) if field is None else (_int(field), field.start)

    def blob(self, number: int) -> bytes | None:
        """A single bytes, string or message field; None if it is absent."""
        field = self._single(number, BYTES)
        return None if field is None else _bytes(field)

    def text(self, number: int) -> str:
        """A single string. Bytes that are not UTF-8 become surrogates, so that encoding restores them."""
        return (self.blob(number) or b"").decode("utf-8", "surrogateescape")

    def blobs(self, number: int) -> list[bytes]:
        """All values of a repeated bytes, string or message field."""
        return [_bytes(self._typed(field, BYTES)) for field in self.found.get(number, ())]

    def integers(self, number: int) -> list[int]:
        """All values of a repeated int32, int64, bool or enum, packed or not. Raises FormatError beyond 10,000."""
        values: list[int] = []
        for field in self.found.get(number, ()):
            if field.wire_type != BYTES:
                values.append(signed(_int(self._typed(field, VARINT))))
                continue
            packed, at = _bytes(field), 0
            while at < len(packed) and len(values) <= _MAX_NUMBERS:
                value, at = read_varint(packed, at, len(packed), self.shown)
                values.append(signed(value))
        if len(values) > _MAX_NUMBERS:
            raise damaged(self.shown, f"expected at most {_MAX_NUMBERS} numbers in field {number}, found more")
        return values

    def has(self, number: int) -> bool:
        return number in self.found

    def _single(self, number: int, wire_type: int) -> Field | None:
        fields = self.found.get(number)
        if fields is None:
            return None
        if len(fields) > 1:
            raise damaged(self.shown, f"expected field {number} once, found it {len(fields)} times")
        return self._typed(fields[0], wire_type)

    def _typed(self, field: Field, wire_type: int) -> Field:
        if field.wire_type != wire_type:
            raise damaged(
                self.shown, f"expected field {field.number} as {_KINDS[wire_type]}, found {_KINDS[field.wire_type]}"
            )
        return field


def _within(after: int, stop: int, number: int, shown: str) -> int:
    if after > stop:
        raise damaged(shown, f"expected field {number} to end by byte {stop}, found its end at byte {after}")
    return after


def _int(field: Field) -> int:
    assert isinstance(field.value, int)
    return field.value


def _bytes(field: Field) -> bytes:
    assert isinstance(field.value, bytes)
    return field.value
