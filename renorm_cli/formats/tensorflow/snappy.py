"""Snappy streams, read with every check (google/snappy, format_description.txt)."""

from __future__ import annotations

from dataclasses import dataclass

from renorm_cli.formats.protobuf import damaged, read_varint

MAX_ELEMENTS = 2_000_000
"""Literals and copies in all compressed blocks together. Each takes time, and may hold no more than a single byte."""
_MAX_RATIO = 32  # the densest element turns 3 bytes into 64


@dataclass(slots=True)
class Unpacking:
    """The bytes and elements that may still be decompressed."""

    bytes: int
    elements: int = MAX_ELEMENTS


def snappy_decompress(data: bytes, left: Unpacking, shown: str) -> bytes:
    """The content of a raw snappy stream; its bytes and elements are subtracted from `left`.

    Raises FormatError if the stream declares more bytes than are left or than snappy can pack into it, refers to bytes
    before its start, is cut off, has another size than declared, or has more elements than are left.
    """
    size, at = read_varint(data, 0, len(data), shown)
    limit = left.bytes
    if size > min(limit, _MAX_RATIO * len(data)):
        raise damaged(
            shown, f"expected at most {limit} bytes in a compressed block, found {len(data)} bytes for {size}"
        )
    out = bytearray()
    while at < len(data):
        tag = data[at]
        left.elements -= 1
        if left.elements < 0:
            raise damaged(shown, f"expected at most {MAX_ELEMENTS} pieces in compressed blocks, found more")
        if tag & 3 == 0:
            length, at = _literal_length(data, at)
            piece = data[at : at + length]
            at += length
        else:
            length, back, at = _copy_element(data, at)
            if not 0 < back <= len(out):
                raise damaged(shown, f"expected a copy from inside the block, found one from {back} bytes back")
            source = bytes(out[len(out) - back : len(out) - back + length])
            piece = (source * (length // len(source) + 1))[:length]  # a copy may overlap its own output
        if at > len(data) or len(out) + length > size:
            raise damaged(shown, f"expected {size} bytes in a compressed block, found it cut off or longer")
        out += piece
    if len(out) != size:
        raise damaged(shown, f"expected {size} bytes in a compressed block, found {len(out)}")
    left.bytes -= size
    return bytes(out)


def _literal_length(data: bytes, at: int) -> tuple[int, int]:
    length = data[at] >> 2
    if length < 60:
        return length + 1, at + 1
    stop = at + length - 58
    return int.from_bytes(data[at + 1 : stop], "little") + 1, stop


def _copy_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Length, distance and the position after the element; a cut-off element ends after the end of `data`."""
    tag = data[at]
    if tag & 3 == 1:
        low = data[at + 1] if at + 1 < len(data) else 0
        return (tag >> 2 & 7) + 4, (tag >> 5) << 8 | low, at + 2
    stop = at + (3 if tag & 3 == 2 else 5)
    return (tag >> 2) + 1, int.from_bytes(data[at + 1 : stop], "little"), stop
