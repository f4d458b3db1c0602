"""Table files made byte by byte, without the code under test: good ones, and bad ones with true checksums."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

import crc32c

MAGIC = bytes.fromhex("57fb808b247547db")
Pairs = Sequence[tuple[bytes, bytes]]


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def masked(data: bytes) -> int:
    crc = crc32c.crc32c(data)
    return ((crc // 2**15 + crc * 2**17) % 2**32 + 0xA282EAD8) % 2**32


def plain_block(pairs: Pairs) -> bytes:
    """Whole keys only, one restart point."""
    entries = b"".join(b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
    return entries + struct.pack("<II", 0, 1)


def snappy(content: bytes) -> bytes:
    """A valid snappy stream with literals of every header and, where 4 bytes repeat, copies of every kind."""
    out, at, literal = varint(len(content)), 0, b""
    seen: dict[bytes, int] = {}
    while at < len(content):
        back = at - seen.get(content[at : at + 4], at)
        seen[content[at : at + 4]] = at
        if not back or len(content) - at < 4:
            literal += content[at : at + 1]
            at += 1
            continue
        length = 4
        while length < 64 and at + length < len(content) and content[at + length] == content[at + length - back]:
            length += 1
        out, literal = out + literal_element(literal), b""
        if length <= 11 and back < 2048:
            out += bytes([1 | (length - 4) << 2 | back >> 8 << 5, back & 255])
        elif back < 65536:
            out += bytes([2 | (length - 1) << 2]) + struct.pack("<H", back)
        else:
            out += bytes([3 | (length - 1) << 2]) + struct.pack("<I", back)
        at += length
    return out + literal_element(literal)


def literal_element(literal: bytes) -> bytes:
    if not literal:
        return b""
    size = len(literal) - 1
    if size < 60:
        return bytes([size << 2]) + literal
    width = (size.bit_length() + 7) // 8
    return bytes([(59 + width) << 2]) + size.to_bytes(width, "little") + literal


def sealed(content: bytes, kind: int = 0) -> bytes:
    """A block with its trailer."""
    return content + bytes([kind]) + struct.pack("<I", masked(content + bytes([kind])))


def assemble(blocks: Sequence[bytes], index: Pairs, meta: bytes | None = None) -> bytes:
    """A file of sealed blocks, with an index block that says what `index` says."""
    body = b"".join(blocks)
    meta = sealed(plain_block([])) if meta is None else meta
    tail = sealed(plain_block(index))
    footer = handle(len(body), len(meta) - 5) + handle(len(body) + len(meta), len(tail) - 5)
    return body + meta + tail + footer.ljust(40, b"\0") + MAGIC


def handle(offset: int, size: int) -> bytes:
    return varint(offset) + varint(size)


def handles(blocks: Sequence[bytes]) -> list[bytes]:
    found, at = [], 0
    for block in blocks:
        found.append(handle(at, len(block) - 5))
        at += len(block)
    return found


def table(*groups: Pairs, compress: bool = False) -> bytes:
    """A file of one block for each group of pairs."""
    contents = [plain_block(group) for group in groups]
    blocks = [sealed(snappy(content), 1) if compress else sealed(content) for content in contents]
    return assemble(blocks, [(group[-1][0], place) for group, place in zip(groups, handles(blocks), strict=True)])


def signed_ordered(value: int) -> bytes:
    """OrderedCode for signed numbers, by its definition: header bits over a sign-extended big-endian number."""
    size = next(n for n in range(1, 11) if -(2 ** (7 * n - 1)) <= value < 2 ** (7 * n - 1))
    header = ((1 << size) - 1) << (8 * size - size)
    return ((value % (1 << 8 * size)) ^ header).to_bytes(size, "big")


def slice_key(name: bytes, *extents: tuple[int, int]) -> bytes:
    escaped = re.sub(rb"[\0\xff]", lambda found: {b"\0": b"\0\xff", b"\xff": b"\xff\0"}[found[0]], name)
    rank = bytes([1, len(extents)]) if extents else b"\0"
    numbers = b"".join(signed_ordered(number) for extent in extents for number in extent)
    return b"\0" + escaped + b"\0\1" + rank + numbers
