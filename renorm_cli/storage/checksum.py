"""Checksums of ranges of open files; large ranges are split and their parts computed in parallel.

The checksums of two adjacent parts give the checksum of both: a CRC is the remainder of a polynomial over GF(2), so
appending n bytes multiplies the remainder by x**(8n), and remainders add by exclusive or.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import NamedTuple

from renorm_cli.parallel.memory import Purpose, reuse
from renorm_cli.parallel.threads import Imap, parcels
from renorm_cli.storage.files import Readable

_PART_BYTES = 4 << 20
_WORTH_KEEPING = 1 << 18
"""Bytes. Reading a smaller piece again for its checksum takes less time than joining it."""

_ONE = 1 << 31
"""The polynomial 1; the bits of a remainder are reversed, so the constant term is the highest bit."""


@dataclass(frozen=True, slots=True)
class Crc:
    """A CRC of 32 bits: `extend(data, crc)` continues from `crc`; the bits of `polynomial` are reversed."""

    extend: Callable[[memoryview, int], int]
    polynomial: int

    def join(self, first: int, second: int, length: int) -> int:
        """The checksum of two adjacent parts; the second has `length` bytes."""
        if not first:
            return second
        return _product(first, _power(length, self.polynomial), self.polynomial) ^ second


def _crc32(data: memoryview, crc: int) -> int:
    """With ISA-L if it is installed (it is not built for every machine): it is several times faster than zlib."""
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32
    return crc32(data, crc)


CRC32 = Crc(_crc32, 0xEDB88320)
"""The checksum of zip archives."""


class Tally:
    """Checksums of pieces of a file, computed when the pieces are read for something else, so each is read only once.

    Safe from any thread, as long as no piece is read while it is written.
    """

    def __init__(self, crc: Crc) -> None:
        self._crc = crc
        self._found: dict[int, tuple[int, int]] = {}
        self._order: list[int] | None = None

    def add(self, offset: int, data: memoryview) -> None:
        """Compute the checksum of the data that was read at `offset`, unless it is known."""
        if len(data) >= _WORTH_KEEPING and self._found.get(offset, (0, 0))[0] != len(data):
            self._found[offset] = len(data), self._crc.extend(data, 0)
            self._order = None

    def forget(self, offset: int) -> None:
        """Drop the checksum of the piece at `offset`, because it was written."""
        if self._found.pop(offset, None) is not None:
            self._order = None

    def complete(self, file: Readable, start: int, size: int) -> None:
        """Read the large pieces of a range that are not known, and compute their checksums. Raises FormatError."""
        for part in list(_cut(Range(file, start, size, self))):
            if part.crc is None and part.range.size >= _WORTH_KEEPING:
                data = reuse(Purpose.CHECKSUM, part.range.size).data
                file.read_into(part.range.offset, data)
                self.add(part.range.offset, data)

    @property
    def found(self) -> Mapping[int, tuple[int, int]]:
        """Size and checksum of each known piece by its offset."""
        return self._found

    def take(self, found: Mapping[int, tuple[int, int]]) -> None:
        """Take over what another one of the same file found."""
        self._found.update(found)
        self._order = None

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Offset, size and checksum of the known pieces between two offsets, in order, without overlap."""
        if self._order is None:
            self._order = sorted(self._found)
        for offset in islice(self._order, bisect_left(self._order, start), None):
            size, crc = self._found[offset]
            if offset + size > end:
                return
            if offset >= start:
                yield offset, size, crc
                start = offset + size


class Range(NamedTuple):
    """A range of an open file; `tally` knows the checksums of some of its parts."""

    file: Readable
    offset: int
    size: int
    tally: Tally | None = None


class _Part(NamedTuple):
    """Part of a range; `crc` is None if the part must be read."""

    range: Range
    crc: int | None = None


def checksums(ranges: Sequence[Range], crc: Crc, imap: Imap = map) -> Iterator[int]:
    """The checksum of each range, in order. Raises FormatError if a file ends too soon or cannot be read."""
    cut = [tuple(_cut(span)) for span in ranges]
    unknown = (part.range for parts in cut for part in parts if part.crc is None)
    found = (
        one for done in imap(partial(_sums, crc), parcels(unknown, lambda part: part.size, _PART_BYTES)) for one in done
    )
    for parts in cut:
        joined = 0
        for part in parts:
            joined = crc.join(joined, next(found) if part.crc is None else part.crc, part.range.size)
        yield joined


def _cut(span: Range) -> Iterator[_Part]:
    at, end = span.offset, span.offset + span.size
    for offset, size, crc in span.tally.pieces(at, end) if span.tally is not None else ():
        yield from _unread(span, at, offset)
        yield _Part(span._replace(offset=offset, size=size), crc)
        at = offset + size
    yield from _unread(span, at, end)


def _unread(span: Range, start: int, end: int) -> Iterator[_Part]:
    for at in range(start, end, _PART_BYTES):
        yield _Part(span._replace(offset=at, size=min(_PART_BYTES, end - at)))


def _sums(crc: Crc, parts: Iterable[Range]) -> list[int]:
    found = []
    for part in parts:
        data = reuse(Purpose.CHECKSUM, part.size).data
        part.file.read_into(part.offset, data)
        found.append(crc.extend(data, 0))
    return found


@cache
def _power(nbytes: int, polynomial: int) -> int:
    """x ** (8 * nbytes), by squaring."""
    result, square, exponent = _ONE, _ONE >> 1, 8 * nbytes
    while exponent:
        if exponent & 1:
            result = _product(result, square, polynomial)
        square = _product(square, square, polynomial)
        exponent >>= 1
    return result


def _product(one: int, other: int, polynomial: int) -> int:
    """The product of two remainders, again a remainder."""
    result = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            result ^= other
        other = other >> 1 ^ (polynomial if other & 1 else 0)
    return result
