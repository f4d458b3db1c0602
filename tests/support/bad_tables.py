"""Tables of LevelDB that break one rule each, with true checksums: name -> bytes, and what the error says."""

from __future__ import annotations

import struct

from support import raw_tables as raw

FOOTER_BYTES = 48
GOOD = [(b"", b"\x08\x01"), (b"a", b"1"), (b"b", b"2")]


def with_restarts(entries: bytes, restarts: list[int]) -> bytes:
    return raw.sealed(entries + struct.pack(f"<{len(restarts)}II", *restarts, len(restarts)))


def one_block(block: bytes, last: bytes = b"\xff") -> bytes:
    return raw.assemble([block], [(last, raw.handle(0, len(block) - 5))])


def with_footer(index: bytes, footer: bytes) -> bytes:
    return index[:-FOOTER_BYTES] + footer.ljust(40, b"\0") + raw.MAGIC


def used_twice() -> bytes:
    block = raw.sealed(raw.plain_block(GOOD))
    handle = raw.handle(0, len(block) - 5)
    return raw.assemble([block], [(b"b", handle), (b"c", handle)])


def blocks_of(index_keys: list[bytes], *groups: list[bytes]) -> bytes:
    blocks = [raw.sealed(raw.plain_block([(key, b"") for key in group])) for group in groups]
    return raw.assemble(blocks, list(zip(index_keys, raw.handles(blocks), strict=False)))


def entry_of(shared: int, key: bytes, value: bytes = b"") -> bytes:
    return raw.varint(shared) + raw.varint(len(key)) + raw.varint(len(value)) + key + value


A, B = entry_of(0, b"a"), entry_of(0, b"b")

BAD = {
    "empty file": (b"", "at least 48 bytes"),
    "magic of another file": (raw.table(GOOD)[:-1] + b"\0", "mark of a TensorFlow index"),
    "handle outside the file": (
        with_footer(raw.table(GOOD), raw.handle(0, 8) + raw.handle(1 << 40, 8)),
        "outside the file",
    ),
    "handle over the end": (
        with_footer(raw.table(GOOD), raw.handle(0, 8) + raw.handle(0, 1 << 63)),
        "outside the file",
    ),
    "handle into the footer": (
        with_footer(raw.table(GOOD), raw.handle(0, 8) + raw.handle(0, len(raw.table(GOOD)) - 48)),
        "outside the file",
    ),
    "handle with no end": (with_footer(raw.table(GOOD), b"\x80" * 40), "longer than 10 bytes"),
    "footer with more than handles": (raw.table(GOOD)[:-9] + b"\1" + raw.MAGIC, "expected zeros"),
    "unknown compression": (one_block(raw.sealed(raw.plain_block(GOOD), 2)), "raw or snappy"),
    "snappy bomb": (one_block(raw.sealed(raw.varint(1 << 31) + b"\0a", 1)), "compressed block"),
    "block used twice": (used_twice(), "overlap or miss"),
    "block not in the index": (blocks_of([b"a"], [b"a"], [b"b"]), "overlap or miss"),
    "blocks in another order": (
        raw.assemble(
            [raw.sealed(raw.plain_block([(key, b"")])) for key in (b"b", b"a")],
            [(b"a", b"\x11\x0c"), (b"b", b"\x00\x0c")],
        ),
        "overlap or miss",
    ),
    "block that overlaps the next": (
        raw.assemble([raw.sealed(raw.plain_block(GOOD))], [(b"b", raw.handle(0, 4))]),
        "overlap or miss",
    ),
    "bytes in no block": (
        raw.assemble(
            [raw.sealed(raw.plain_block(GOOD)), b"secret"], [(b"b", raw.handle(0, len(raw.plain_block(GOOD))))]
        ),
        "overlap or miss",
    ),
    "bytes before the footer": (
        with_footer(raw.table(GOOD)[:-48] + b"secret" + raw.table(GOOD)[-48:], raw.table(GOOD)[-48:-8]),
        "blocks to end",
    ),
    "index entry with more than a handle": (
        raw.assemble([with_restarts(A, [0])], [(b"a", raw.handle(0, 12) + b"\0")]),
        "only a block handle",
    ),
    "index entry cut off": (raw.assemble([with_restarts(A, [0])], [(b"a", b"\0")]), "cut off"),
    "entry in the metaindex": (
        raw.assemble([with_restarts(A, [0])], [(b"a", raw.handle(0, 12))], with_restarts(A, [0])),
        "empty metaindex",
    ),
    "key twice": (one_block(with_restarts(A + A, [0])), "ascending keys"),
    "keys that descend": (one_block(with_restarts(B + A, [0])), "ascending keys"),
    "key twice over blocks": (blocks_of([b"a", b"b"], [b"a"], [b"a", b"b"]), "first key above"),
    "keys that descend over blocks": (blocks_of([b"b", b"c"], [b"b"], [b"a", b"c"]), "first key above"),
    "separator below its block": (blocks_of([b"a", b"d"], [b"a", b"b"], [b"c"]), "up to its separator"),
    "separator not below the next block": (blocks_of([b"c", b"d"], [b"a", b"b"], [b"c"]), "first key above"),
    "separators that descend": (blocks_of([b"z", b"d"], [b"a", b"b"], [b"c"]), "ascending keys"),
    "prefix longer than the key before": (one_block(with_restarts(A + entry_of(2, b"b"), [0])), "reaching out"),
    "first key with a prefix": (one_block(with_restarts(entry_of(1, b"a"), [0])), "reaching out"),
    "entry over the end": (
        one_block(with_restarts(raw.varint(0) + raw.varint(9) + raw.varint(0) + b"a", [0])),
        "reaching out",
    ),
    "value over the end": (
        one_block(with_restarts(raw.varint(0) + raw.varint(1) + raw.varint(1 << 62) + b"a", [0])),
        "reaching out",
    ),
    "entry cut off": (one_block(with_restarts(A + b"\0", [0])), "cut off"),
    "empty data block": (one_block(with_restarts(b"", [0])), "expected entries"),
    "block without restart points": (one_block(with_restarts(A, [])), "expected restart points at the end"),
    "block of no bytes": (one_block(raw.sealed(b"")), "expected restart points at the end"),
    "more restart points than bytes": (
        one_block(raw.sealed(A + struct.pack("<II", 0, 1 << 30))),
        "expected restart points at the end",
    ),
    "first restart point not 0": (one_block(with_restarts(A + B, [4])), "ascend from 0"),
    "restart points that descend": (one_block(with_restarts(A + B, [0, 4, 4])), "ascend from 0"),
    "restart point inside an entry": (one_block(with_restarts(A + B, [0, 2])), "whole key"),
    "restart point outside": (one_block(with_restarts(A + B, [0, 8])), "restart points below"),
    "restart point behind the last entry": (one_block(with_restarts(A + B, [0, 7])), "whole key"),
    "restart point at a shortened key": (one_block(with_restarts(A + entry_of(1, b"b"), [0, 4])), "whole key"),
}
