"""Checksums of ranges of open files, the parts of large ones side by side.

The checksum of two parts together follows from those of the parts: a CRC is the remainder of a polynomial over GF(2),
so n bytes behind a part multiply its remainder by x**(8n), and remainders add by exclusive or.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from renorm_cli.buffers import reuse
from renorm_cli.formats.disk.files import read_exactly
from renorm_cli.spread import Imap

_PART_BYTES = 4 << 20
_ONE = 1 << 31
"""The polynomial 1: the bits of a remainder stand in reverse, the constant term highest."""


@dataclass(frozen=True, slots=True)
class Crc:
    """A checksum of 32 bits: `extend(data, crc)` goes on from `crc`; `polynomial` has its bits in reverse."""

    extend: Callable[[memoryview, int], int]
    polynomial: int

    def join(self, first: int, second: int, length: int) -> int:
        """The checksum of two parts together, `length` bytes in the second."""
        return _product(first, _power(length, self.polynomial), self.polynomial) ^ second


CRC32 = Crc(zlib.crc32, 0xEDB88320)
"""That of zip archives."""


class Range(NamedTuple):
    """Bytes of an open file; `shown` names it in errors."""

    fd: int
    offset: int
    size: int
    shown: str


def checksums(ranges: Sequence[Range], crc: Crc, imap: Imap = map) -> Iterator[int]:
    """The checksum of each range, in order. Raises FormatError where a file ends too soon or cannot be read."""
    parts = (part for done in imap(partial(_sums, crc), _tasks(ranges)) for part in done)
    for span in ranges:
        joined = 0
        for start in range(0, span.size, _PART_BYTES):
            joined = crc.join(joined, next(parts), min(_PART_BYTES, span.size - start))
        yield joined


def _tasks(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """All parts in order, small ones together: handing over many of them would cost more than doing them."""
    task: list[Range] = []
    size = 0
    for span in ranges:
        for start in range(0, span.size, _PART_BYTES):
            part = span._replace(offset=span.offset + start, size=min(_PART_BYTES, span.size - start))
            task.append(part)
            size += part.size
            if size >= _PART_BYTES:
                yield task
                task, size = [], 0
    if task:
        yield task


def _sums(crc: Crc, parts: Iterable[Range]) -> list[int]:
    found = []
    for part in parts:
        data = reuse("checksum", part.size).data
        read_exactly(part.fd, part.offset, data, part.shown)
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
