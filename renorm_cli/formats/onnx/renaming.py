"""A model whose tensors get other files: every message around a name that changes has another length then."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from renorm_cli.formats.onnx.tensors import Chain
from renorm_cli.formats.protobuf import Bytes, write_varint
from renorm_cli.formats.walk import Span
from renorm_cli.storage.files import Readable, read_parts

_LENGTH_BYTES = 10
_PART_BYTES = 16 << 20


class Edit(NamedTuple):
    """The bytes of a file from `start` to `end`, and what comes in their place."""

    start: int
    end: int
    new: bytes


def renamed(data: Bytes, places: Iterable[Chain], names: Mapping[str, bytes]) -> list[Edit]:
    """The edits that give the texts at `places` their new `names`, in the order of the file; all of them have one.

    The lengths of the messages around them are written anew, as short as they can be, also where they stay the same.
    """
    texts: dict[int, bytes] = {}
    messages: dict[int, Span] = {}
    around: dict[int, int] = {}
    for place in places:
        old = bytes(data[place.span.start : place.span.end])
        texts[place.span.start] = names[old.decode("utf-8", "surrogateescape")]
        inner: Chain | None = place
        while inner is not None and inner.span.start not in messages:
            messages[inner.span.start] = inner.span
            if inner.above is not None:
                around[inner.span.start] = inner.above.span.start
            inner = inner.above
    grown = dict.fromkeys(messages, 0)
    edits: list[Edit] = []
    for start in sorted(messages, reverse=True):  # a message begins before all that is in it
        span, text = messages[start], texts.get(start)
        if text is not None:
            edits.append(Edit(start, span.end, text))
            grown[start] = len(text) - (span.end - start)
        length = write_varint(span.end - start + grown[start])
        before = _length_bytes(data, start)
        edits.append(Edit(start - before, start, length))
        if start in around:
            grown[around[start]] += grown[start] + len(length) - before
    return edits[::-1]


def _length_bytes(data: Bytes, start: int) -> int:
    """How many bytes before the content of a field are its length: of a varint all but the last are above 127."""
    before = data[max(0, start - _LENGTH_BYTES) : start]
    count = 1
    while count < len(before) and before[-count - 1] >= 128:
        count += 1
    return count


class Moved:
    """Where bytes are after edits."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits = sorted(edits)
        self._ends = [edit.end for edit in self._edits]
        self._shifts = [0, *accumulate(len(new) - (end - start) for start, end, new in self._edits)]

    def place(self, offset: int) -> int:
        """The new place of a byte that no edit replaces."""
        return offset + self._shifts[bisect_right(self._ends, offset)]

    def content(self, file: Readable, size: int) -> Iterator[bytes]:
        """The new content of a file of `size` bytes, in parts."""
        at = 0
        for start, end, new in self._edits:
            yield from read_parts(file, at, start - at, _PART_BYTES)
            yield new
            at = end
        yield from read_parts(file, at, size - at, _PART_BYTES)
