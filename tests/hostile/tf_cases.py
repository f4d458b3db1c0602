"""Hostile TensorFlow V2 checkpoints: the table that is the index, its entries, names and slices."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from support import raw_tables as raw

from hostile import tf_build as build
from hostile.frame import Case, later

Make = Callable[[Path], Path]

BASE = build.draft()
KERNEL = build.Entry((4, 3), 12, 48, raw.masked(build.weights().tobytes()))
"""As it stands in BASE: behind the bias, which fills bytes 0 to 12."""
ONCE = ("inspect",)
"""The commands for cases that take a second: what they reach is the same for all."""
EMPTY = build.Entry((0,), 0, 0, None).encode()


def _draft(draft: Callable[[], build.Draft]) -> Make:
    return lambda inside: draft().write(inside / "ckpt")


def _with(key: bytes, value: Callable[[], bytes] | bytes) -> Make:
    """The good checkpoint with another value under a key."""
    return _draft(lambda: BASE.changed(key, value() if callable(value) else value))


def _kernel(**changes: Any) -> Make:
    return _with(b"dense/kernel", replace(KERNEL, **changes).encode())


def _index(index: Callable[[], bytes]) -> Make:
    """The good data file with an index made byte by byte."""
    return lambda inside: BASE.write(inside / "ckpt", index())


def _one_block(content: bytes, kind: int = 0) -> bytes:
    block = raw.sealed(content, kind)
    return raw.assemble([block], [(b"\xff", raw.handle(0, len(block) - 5))])


def _entries(*entries: bytes, restarts: bytes = struct.pack("<II", 0, 1)) -> bytes:
    return b"".join(entries) + restarts


def _entry(shared: int, key: bytes, value: bytes) -> bytes:
    return raw.varint(shared) + raw.varint(len(key)) + raw.varint(len(value)) + key + value


def _header(*fields: bytes) -> Make:
    return _with(b"", b"".join(fields))


def _bad_versions() -> Make:
    return _header(build.number(1, 1), build.text(3, build.number(1, 1) + build.text(3, bytes(60_000_000))))


_VERSION = build.text(3, build.number(1, 1))

FIELDS = (
    Case("tf-offset-negative", "an offset of -1 reads before the file", _kernel(offset=-1), "error", "offset and size"),
    Case("tf-size-negative", "a size of -48 passes a check of the upper end", _kernel(size=-48), "error", "offset and"),
    Case("tf-offset-outside", "a tensor behind the end of its data file", _kernel(offset=1000), "error",
         "found 60 bytes"),
    Case("tf-offset-overflow", "offset + size is 2**63 + 40 and overflows", _kernel(offset=(1 << 63) - 8), "error",
         "found 60 bytes"),
    Case("tf-size-not-shape", "fewer bytes than the shape needs, so the reader runs over the end", _kernel(size=44),
         "error", "expected 48 bytes"),
    Case("tf-shape-huge", "a shape of 2**40 elements, so a reader allocates 4 TiB", _kernel(sizes=(1 << 20, 1 << 20)),
         "error", "expected 4398046511104 bytes"),
    Case("tf-shape-overflow", "a shape whose number of elements is 0 modulo 2**64", _kernel(sizes=(1 << 32, 1 << 32)),
         "error", "less than 2**63 elements"),
    Case("tf-shape-zero-overflow", "a zero hides that the other axes overflow", _kernel(sizes=(0, 1 << 62, 1 << 62),
         size=0),
         "error", "less than 2**63 elements"),
    Case("tf-shape-negative", "two negative axes whose product is right", _kernel(sizes=(-4, -3)), "error",
         "length 0 or"),
    Case("tf-rank-unknown", "a shape of unknown rank",
         _with(b"dense/kernel", replace(KERNEL, more=b"").encode().replace(build.text(2, build.shape(4, 3)),
                                                                         build.text(2, build.number(3, 1)))),
         "error", "unknown rank"),
    Case("tf-rank-255", "more axes than TensorFlow has", _kernel(sizes=(1,) * 255, size=4), "error",
         "at most 254 axes"),
    Case("tf-rank-10000", "a shape of a megabyte",
         later(lambda: _kernel(sizes=(1,) * 200_000, size=4)), "error", "at most 254 axes"),
    Case("tf-overlap", "a kernel that lies over the bias, so that changing one changes the other", _kernel(offset=4),
         "error", "are also those of"),
    Case("tf-overlap-same", "two names for the same bytes, clipped twice", _with(b"dense/kernel2", KERNEL.encode()),
         "error", "are also those of"),
    Case("tf-dtype-unknown", "a dtype that is not known yet", _kernel(dtype=99), "error", "expected a known dtype"),
    Case("tf-dtype-zero", "no dtype at all", _kernel(dtype=0), "error", "expected a known dtype"),
    Case("tf-dtype-ref", "a reference to a float", _kernel(dtype=101), "error", "expected a known dtype"),
    Case("tf-dtype-negative", "a negative dtype indexes from the end of a list", _kernel(dtype=-1), "error",
         "known dtype"),
    Case("tf-shard-outside", "the second of one data files", _kernel(shard=1), "error", "a data file from 0 to 0"),
    Case("tf-shard-negative", "data file -1 indexes from the end of a list", _kernel(shard=-1), "error", "a data file"),
    Case("tf-field-twice", "two offsets: one is checked, the other used", _kernel(more=build.number(4, 0)), "error",
         "found it 2 times"),
    Case("tf-field-type", "an offset that is a string", _with(b"dense/kernel", build.number(1, 1) + build.text(4,
         b"a")),
         "error", "found a length and bytes"),
    Case("tf-group", "a group, in which a parser may recurse", _kernel(more=b"\x53" * 10_000), "error", "wire type"),
    Case("tf-varint-long", "a number without an end", _kernel(more=b"\x50" + b"\x80" * 1000), "error", "10 bytes"),
    Case("tf-length-lies", "a string of 2**63 bytes in an entry", _kernel(more=b"\x52" + raw.varint(1 << 63)), "error",
         "expected field 10 to end"),
    Case("tf-fields-bomb", "an entry of five million fields, each an object in memory",
         later(lambda: _kernel(more=b"\x50\0" * 5_000_000)),
         "error", "fields in a message", commands=ONCE),
    Case("tf-boxes-bomb", "an entry of five million slices",
         later(lambda: _kernel(more=b"\x3a\0" * 5_000_000)), "error",
         "fields in a message", commands=ONCE),
    Case("tf-header-missing", "no header", _draft(lambda: BASE.changed(b"", None)), "error", "expected a header"),
    Case("tf-header-shards-negative", "-1 data files", _header(build.number(1, -1), _VERSION), "error",
         "1 to 1048576 shards"),
    Case("tf-header-shards-huge", "2**31 data files", _header(build.number(1, 1 << 31), _VERSION), "error",
         "1 to 1048576"),
    Case("tf-header-shards-missing", "a million data files, of which one is there", _header(build.number(1, 1 << 20),
         _VERSION),
         "error", "no such file"),
    Case("tf-header-order", "byte order 2", _header(build.number(1, 1), build.number(2, 2), _VERSION), "error",
         "byte order"),
    Case("tf-header-future", "only for readers of version 9",
         _header(build.number(1, 1), build.text(3, build.number(1, 9) + build.number(2, 9))), "error",
         "older TensorFlow"),
    Case("tf-header-numbers", "60 million versions that are no good, in one packed field",
         later(_bad_versions),
         "error",
         "at most 10000 numbers", commands=ONCE),
)  # fmt: skip


# The table


def _twice() -> bytes:
    block = raw.sealed(raw.plain_block(BASE.pairs))
    return raw.assemble([block], [(key, raw.handle(0, len(block) - 5)) for key in (b"y", b"z")])


def _gap() -> bytes:
    blocks = [raw.sealed(raw.plain_block(BASE.pairs)), b"hidden" + raw.sealed(raw.plain_block([(b"z", b"")]))]
    return raw.assemble(blocks, [(b"y", raw.handle(0, len(blocks[0]) - 5))])


def _footer(footer: bytes) -> bytes:
    return raw.table(BASE.pairs)[:-48] + footer.ljust(40, b"\0") + raw.MAGIC


def _flipped() -> bytes:
    index = bytearray(raw.table(BASE.pairs))
    index[20] ^= 1
    return bytes(index)


def _shared_names() -> bytes:
    """Half a megabyte that stands for 500 names of a megabyte each."""
    many = [_entry(1_000_000 + 1000 * n, b"k" * 1000, EMPTY) for n in range(500)]
    return _one_block(_entries(_entry(0, b"", build.HEADER), _entry(0, b"k" * 1_000_000, EMPTY), *many))


def _many_entries() -> bytes:
    entries = (_entry(0, b"%07d" % n, b"") for n in range(300_000))
    return _one_block(_entries(_entry(0, b"", build.HEADER), *entries))


def _restarts() -> bytes:
    count = 5_000_000
    points = struct.pack(f"<{count}I", *range(count))
    return _one_block(_entries(_entry(0, b"", bytes(count)), restarts=points + struct.pack("<I", count)))


def _bomb() -> bytes:
    size = 1 << 30
    return _one_block(raw.varint(size) + raw.literal_element(b"a") + b"\xfe\1\0" * 6_000_000, 1)


def _pieces() -> bytes:
    size = 8 << 20
    return _one_block(raw.varint(size) + b"\0a" * size, 1)


def _name(name: bytes) -> Make:
    """A tensor of that name behind the good ones."""
    more = build.Entry((2, 2), 60, 16, raw.masked(bytes(16)))
    return _draft(lambda: build.Draft(BASE.changed(name, more.encode()).pairs, BASE.data + bytes(16)))


def _long_names(part: bytes) -> Make:
    names = (b"%03d" % n + part * (60_000 // len(part)) for n in range(100))
    return _draft(lambda: build.Draft(tuple(sorted([*BASE.pairs, *((name, EMPTY) for name in names)])), BASE.data))


def _tail_kept(given: Path, output: Path) -> None:
    """The bytes behind kernel and bias are those of the input."""
    kept = given.with_name(f"{given.name}.data-00000-of-00001").read_bytes()[60:]
    assert kept
    assert output.with_name(f"{output.name}.data-00000-of-00001").read_bytes()[60:] == kept


TABLES = (
    Case("tf-index-empty", "an empty index", _index(bytes), "error", "at least 48 bytes"),
    Case("tf-index-cut", "an index without its first half", _index(lambda: raw.table(BASE.pairs)[60:]), "error",
         "damaged"),
    Case("tf-block-crc", "a changed bit in a block", _index(_flipped), "error", "checksum of the block"),
    Case("tf-block-twice", "one block under two separators, so that its tensors are there twice", _index(_twice),
         "error",
         "blocks overlap or miss"),
    Case("tf-block-gap", "bytes between the blocks, in which anything may hide", _index(_gap), "error",
         "blocks overlap"),
    Case("tf-block-outside", "a block at 2**63", _index(lambda: _footer(raw.handle(1 << 63, 8) + raw.handle(0, 8))),
         "error", "damaged"),
    Case("tf-block-size-overflow", "a block of 2**64 - 1 bytes",
         _index(lambda: _footer(raw.handle(0, 8) + raw.handle(0, (1 << 64) - 1))), "error", "outside the file"),
    Case("tf-footer-junk", "bytes behind the handles of the footer",
         _index(lambda: _footer(raw.handle(0, 8) + raw.handle(0, 8) + b"junk")), "error", "expected zeros"),
    Case("tf-compression-unknown", "a block of compression 4", _index(lambda: _one_block(b"", 4)), "error",
         "compression 4"),
    Case("tf-keys-twice", "a key twice: one is checked, the other used",
         _index(lambda: raw.table([*BASE.pairs, BASE.pairs[-1]])), "error", "ascending keys"),
    Case("tf-keys-unordered", "keys out of order, which a search does not find",
         _index(lambda: raw.table([BASE.pairs[0], *reversed(BASE.pairs[1:])])), "error", "ascending keys"),
    Case("tf-separator", "a separator below the keys of its block",
         _index(lambda: _one_block(raw.plain_block(BASE.pairs)).replace(b"\xff", b"a")), "error", "damaged"),
    Case("tf-entry-outside", "an entry whose value reaches over the end of its block",
         _index(lambda: _one_block(_entries(b"\0\0" + raw.varint(1 << 62)))), "error", "reaching out"),
    Case("tf-prefix-outside", "a key that shares more than there is",
         _index(lambda: _one_block(_entries(_entry(0, b"", build.HEADER), _entry(1 << 40, b"a", b"")))), "error",
         "reaching out"),
    Case("tf-restarts-bomb", "five million restart points, each an object in memory", _index(_restarts), "error",
         "restart points", commands=ONCE),
    Case("tf-restarts-zero", "a block without restart points", _index(lambda: _one_block(bytes(4))), "error",
         "restart points"),
    Case("tf-entries-bomb", "300,000 empty entries", _index(_many_entries), "error", "at most 200000 entries",
         commands=ONCE),
    Case("tf-prefix-bomb", "half a megabyte of shared prefixes that stands for half a gigabyte of names",
         _index(_shared_names), "error", "bytes of keys", commands=ONCE),
    Case("tf-meta-entry", "an entry in the block that no reader looks at",
         _index(lambda: raw.assemble([raw.sealed(raw.plain_block(BASE.pairs))],
                                     [(b"z", raw.handle(0, len(raw.plain_block(BASE.pairs))))],
                                     raw.sealed(raw.plain_block([(b"a", b"b")])))), "error", "empty metaindex"),
    Case("tf-snappy-bomb", "18 MB of snappy that promises a gigabyte", _index(_bomb), "error", "compressed block",
         commands=ONCE),
    Case("tf-snappy-pieces", "16 MB of snappy in 8 million pieces of one byte", _index(_pieces), "error",
         "at most 2000000 pieces", commands=ONCE),
    Case("tf-snappy-cut", "a snappy stream that ends inside of an element",
         _index(lambda: _one_block(raw.varint(64) + bytes([63 << 2]) + b"\xff\xff\xff\xff", 1)), "error",
         "compressed block"),
    Case("tf-snappy-before", "a snappy stream that copies from before its start",
         _index(lambda: _one_block(raw.varint(64) + b"\0a" + b"\xfe\xff\xff", 1)), "error", "copy from inside"),
    Case("tf-names-long", "6 MB of slashes as names", _long_names(b"/"), "handled"),
    Case("tf-names-numbers", "names with three million numbers, each an object in a sort key", _long_names(b"1a"),
         "handled"),
    Case("tf-name-megabyte", "a name of a megabyte",
         later(lambda: _name(b"/" * (1 << 20))), "error", "a name of at most 65536 bytes"),
    Case("tf-name-path", "a name that is a path out of the folder", _name(b"../../outside/secret.txt"), "handled",
         untouched=_tail_kept),
    Case("tf-name-absolute", "a name that is an absolute path", _name(b"/etc/passwd"), "handled", untouched=_tail_kept),
    Case("tf-name-escape", "a name that clears the screen and sets the clipboard",
         _name(b"a\x1b[2J\x1b]52;c;eA==\x07\r\nb"),
         "handled", untouched=_tail_kept),
    Case("tf-name-c1", "control characters of eight bits, and bytes that are no text",
         _name(b"a\xc2\x9b31m\xff\xfe\x80"),
         "handled", untouched=_tail_kept),
    Case("tf-name-surrogate", "a surrogate, which cannot be printed", _name(b"a\xed\xa0\x80b"), "handled",
         untouched=_tail_kept),
    Case("tf-name-bidi", "a name that reads backwards", _name("a\u202eb\u2066c".encode()), "handled",
         untouched=_tail_kept),
    Case("tf-name-markup", "markup that a printer could obey", _name(b"x[/nope][link=http://a]"), "handled",
         untouched=_tail_kept),
    Case("tf-name-command", "a command to a CI runner", _name(b"\n::error::##[error]owned"), "handled",
         untouched=_tail_kept),
    Case("tf-name-formula", "a formula for a spreadsheet", _name(b"=cmd|' /C calc'!A0"), "handled",
         untouched=_tail_kept,
         commands=("csv", "apply")),
    Case("tf-name-nul", "a NUL inside of a name", _name(b"a\0b"), "handled", untouched=_tail_kept, commands=("json",
         "apply")),
    Case("tf-name-not-utf8", "a report in JSON of bytes that are no text", _name(b"\xff\xfe"), "handled",
         untouched=_tail_kept, commands=("json", "apply")),
)  # fmt: skip


# Slices

Box = tuple[tuple[int, int], ...]
HALVES: tuple[Box, Box] = (((0, 2), (0, -1)), ((2, 2), (0, -1)))


def _sliced(
    listed: tuple[Box, ...] = HALVES, stored: dict[Box, build.Entry] | None = None, sizes: tuple[int, ...] = (4, 3)
) -> Make:
    """A partitioned kernel "cut/kernel" behind the good tensors: 48 bytes in two parts unless said otherwise."""
    if stored is None:
        stored = {box: build.Entry((2, 3), 60 + 24 * n, 24, raw.masked(bytes(24))) for n, box in enumerate(HALVES)}

    def draft() -> build.Draft:
        boxes = tuple(build.box(*each) for each in listed)
        found = BASE.changed(b"cut/kernel", build.Entry(sizes, 0, 0, None, boxes=boxes).encode())
        for box, entry in stored.items():
            found = found.changed(raw.slice_key(b"cut/kernel", *box), entry.encode())
        return build.Draft(found.pairs, found.data + bytes(48))

    return _draft(draft)


def _half(number: int, **changes: Any) -> dict[Box, build.Entry]:
    """Both halves, one of them changed."""
    found = {box: build.Entry((2, 3), 60 + 24 * n, 24, raw.masked(bytes(24))) for n, box in enumerate(HALVES)}
    found[HALVES[number]] = replace(found[HALVES[number]], **changes)
    return found


_MIDDLE: Box = ((1, 2), (0, -1))
_AXES = 18


def _corners(inside: Path) -> Path:
    """Tensors of two slices that are cut along 18 axes: 2**18 corners each."""
    boxes: tuple[Box, Box] = (((0, 1),) * _AXES, ((1, 1),) * _AXES)
    pairs = [(b"", build.HEADER)]
    for number in range(12):
        name = b"cut%02d" % number
        listed = tuple(build.box(*box) for box in boxes)
        pairs.append((name, build.Entry((2,) * _AXES, 0, 0, None, boxes=listed).encode()))
        for half, box in enumerate(boxes):
            entry = build.Entry((1,) * _AXES, 4 * (2 * number + half), 4)
            pairs.append((raw.slice_key(name, *box), entry.encode()))
    return build.Draft(tuple(sorted(pairs)), bytes(96)).write(inside / "ckpt")


def _slice_names(part: bytes) -> Make:
    key = [(raw.slice_key(b"%03d" % n + part * 30_000, (0, 1)), EMPTY) for n in range(100)]
    return _draft(lambda: build.Draft(tuple(sorted([*BASE.pairs, *key])), BASE.data))


SLICES = (
    Case("tf-slices-good", "a partitioned kernel is clipped as the whole it is", _sliced(), "handled"),
    Case("tf-slices-missing", "a slice that is listed and not stored", _sliced(stored={HALVES[0]: _half(0)[HALVES[0]]}),
         "error", "an entry for its slice"),
    Case("tf-slices-unlisted", "a slice that is stored and not listed", _sliced(listed=HALVES[:1]), "error",
         "expected slices that cover it exactly"),
    Case("tf-slices-orphan", "a slice of a tensor that is not there",
         _with(raw.slice_key(b"nothing", (0, 1)), build.Entry((1,), 0, 4).encode()), "error",
         "has no entry that lists it"),
    Case("tf-slices-twice", "a slice that is listed twice", _sliced(listed=(HALVES[0], *HALVES)), "error",
         "an entry for its"),
    Case("tf-slices-overlap", "two slices that overlap by a row",
         _sliced(listed=(HALVES[0], _MIDDLE), stored={HALVES[0]: _half(0)[HALVES[0]], _MIDDLE: _half(1)[HALVES[1]]}),
         "error", "a gap or an overlap"),
    Case("tf-slices-gap", "two slices that leave a row out, which would be memory that was never written",
         _sliced(sizes=(5, 3)), "error", "a gap or an overlap"),
    Case("tf-slices-small", "a slice with fewer bytes than its box", _sliced(stored=_half(1, size=12)), "error",
         "expected 24 bytes"),
    Case("tf-slices-shape", "a slice of another shape than its box", _sliced(stored=_half(1, sizes=(1, 3), size=12)),
         "error",
         "in float32 and in that shape"),
    Case("tf-slices-dtype", "a slice of another dtype than its tensor", _sliced(stored=_half(1, dtype=build.INT32)),
         "error",
         "in float32 and in that shape"),
    Case("tf-slices-outside", "a slice that ends behind its tensor", _sliced(sizes=(3, 3)), "error",
         "inside its shape"),
    Case("tf-slices-negative", "a slice from -1 on",
         _sliced(listed=(((-1, 2), (0, -1)),), stored={((-1, 2), (0, -1)): _half(0)[HALVES[0]]}), "error",
         "inside its shape"),
    Case("tf-slices-rank", "a slice of three axes in a tensor of two",
         _sliced(listed=((*HALVES[0], (0, -1)),), stored={(*HALVES[0], (0, -1)): _half(0)[HALVES[0]]}), "error",
         "of 2 axes"),
    Case("tf-slices-nested", "a slice that is partitioned itself",
         _sliced(stored=_half(1, boxes=(build.box((0, 2)),))), "error", "found slices"),
    Case("tf-slices-corners", "tensors whose slices have 2**18 corners each", _corners, "error", "damaged"),
    Case("tf-slices-key", "a key that is no slice's", _with(b"\0\1\2", EMPTY), "error", "the key of a slice"),
    Case("tf-slices-names", "names of six million escaped zeros", _slice_names(b"\0"), "error", "damaged",
         commands=ONCE),
)  # fmt: skip


_DEEP = build.Draft(
    BASE.changed(b"odd/kernel", build.Entry((1,) * 100, 60, 4, raw.masked(bytes(4))).encode()).pairs,
    BASE.data + bytes(4),
)
_ODD = (
    Case("tf-rank-100", "more axes than NumPy has: the tensor is refused where it is selected", _draft(lambda: _DEEP),
         "error",
         "more than 32 axes", commands=("apply",)),
    Case("tf-rank-100-left", "more axes than NumPy has: the tensor is carried over where it is not selected",
         _draft(lambda: _DEEP), "handled", "more than 32 axes", commands=("inspect",)),
    Case("tf-rank-100-excluded", "the same, left out by name", _draft(lambda: _DEEP), "handled", untouched=_tail_kept,
         commands=("apply",), options=("-x", "odd/*")),
)  # fmt: skip

CASES: tuple[Case, ...] = (*FIELDS, *TABLES, *SLICES, *_ODD)
