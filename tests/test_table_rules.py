from __future__ import annotations

import struct
import tracemalloc

import pytest
import raw_tables as raw

from renorm_cli.errors import FormatError
from renorm_cli.formats.tf import table as table_index
from renorm_cli.formats.tf.snappy import Unpacking
from renorm_cli.formats.tf.table import read_table, write_table


def content(index: bytes) -> list[tuple[bytes, bytes]]:
    return [(entry.key, entry.value) for entry in read_table(index, "shown").entries]


GOOD = [(b"", b"\x08\x01"), (b"a", b"1"), (b"b", b"2")]


def _sealed(entries: bytes, restarts: list[int]) -> bytes:
    return raw.sealed(entries + struct.pack(f"<{len(restarts)}II", *restarts, len(restarts)))


def _one(block: bytes, last: bytes = b"\xff") -> bytes:
    return raw.assemble([block], [(last, raw.handle(0, len(block) - 5))])


def _footer(index: bytes, footer: bytes) -> bytes:
    return index[: -table_index.FOOTER_BYTES] + footer.ljust(40, b"\0") + raw.MAGIC


def _twice() -> bytes:
    block = raw.sealed(raw.plain_block(GOOD))
    handle = raw.handle(0, len(block) - 5)
    return raw.assemble([block], [(b"b", handle), (b"c", handle)])


def _blocks(index_keys: list[bytes], *groups: list[bytes]) -> bytes:
    blocks = [raw.sealed(raw.plain_block([(key, b"") for key in group])) for group in groups]
    return raw.assemble(blocks, list(zip(index_keys, raw.handles(blocks), strict=False)))


def _entry(shared: int, key: bytes, value: bytes = b"") -> bytes:
    return raw.varint(shared) + raw.varint(len(key)) + raw.varint(len(value)) + key + value


A, B = _entry(0, b"a"), _entry(0, b"b")

BAD = {
    "empty file": (b"", "at least 48 bytes"),
    "magic of another file": (raw.table(GOOD)[:-1] + b"\0", "mark of a TensorFlow index"),
    "handle outside the file": (
        _footer(raw.table(GOOD), raw.handle(0, 8) + raw.handle(1 << 40, 8)),
        "outside the file",
    ),
    "handle over the end": (_footer(raw.table(GOOD), raw.handle(0, 8) + raw.handle(0, 1 << 63)), "outside the file"),
    "handle into the footer": (
        _footer(raw.table(GOOD), raw.handle(0, 8) + raw.handle(0, len(raw.table(GOOD)) - 48)),
        "outside the file",
    ),
    "handle with no end": (_footer(raw.table(GOOD), b"\x80" * 40), "longer than 10 bytes"),
    "footer with more than handles": (raw.table(GOOD)[:-9] + b"\1" + raw.MAGIC, "expected zeros"),
    "unknown compression": (_one(raw.sealed(raw.plain_block(GOOD), 2)), "raw or snappy"),
    "snappy bomb": (_one(raw.sealed(raw.varint(1 << 31) + b"\0a", 1)), "compressed block"),
    "block used twice": (_twice(), "overlap or miss"),
    "block not in the index": (_blocks([b"a"], [b"a"], [b"b"]), "overlap or miss"),
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
        _footer(raw.table(GOOD)[:-48] + b"secret" + raw.table(GOOD)[-48:], raw.table(GOOD)[-48:-8]),
        "blocks to end",
    ),
    "index entry with more than a handle": (
        raw.assemble([_sealed(A, [0])], [(b"a", raw.handle(0, 12) + b"\0")]),
        "only a block handle",
    ),
    "index entry cut off": (raw.assemble([_sealed(A, [0])], [(b"a", b"\0")]), "cut off"),
    "entry in the metaindex": (
        raw.assemble([_sealed(A, [0])], [(b"a", raw.handle(0, 12))], _sealed(A, [0])),
        "empty metaindex",
    ),
    "key twice": (_one(_sealed(A + A, [0])), "ascending keys"),
    "keys that descend": (_one(_sealed(B + A, [0])), "ascending keys"),
    "key twice over blocks": (_blocks([b"a", b"b"], [b"a"], [b"a", b"b"]), "first key above"),
    "keys that descend over blocks": (_blocks([b"b", b"c"], [b"b"], [b"a", b"c"]), "first key above"),
    "separator below its block": (_blocks([b"a", b"d"], [b"a", b"b"], [b"c"]), "up to its separator"),
    "separator not below the next block": (_blocks([b"c", b"d"], [b"a", b"b"], [b"c"]), "first key above"),
    "separators that descend": (_blocks([b"z", b"d"], [b"a", b"b"], [b"c"]), "ascending keys"),
    "prefix longer than the key before": (_one(_sealed(A + _entry(2, b"b"), [0])), "reaching out"),
    "first key with a prefix": (_one(_sealed(_entry(1, b"a"), [0])), "reaching out"),
    "entry over the end": (_one(_sealed(raw.varint(0) + raw.varint(9) + raw.varint(0) + b"a", [0])), "reaching out"),
    "value over the end": (
        _one(_sealed(raw.varint(0) + raw.varint(1) + raw.varint(1 << 62) + b"a", [0])),
        "reaching out",
    ),
    "entry cut off": (_one(_sealed(A + b"\0", [0])), "cut off"),
    "empty data block": (_one(_sealed(b"", [0])), "expected entries"),
    "block without restart points": (_one(_sealed(A, [])), "expected restart points at the end"),
    "block of no bytes": (_one(raw.sealed(b"")), "expected restart points at the end"),
    "more restart points than bytes": (
        _one(raw.sealed(A + struct.pack("<II", 0, 1 << 30))),
        "expected restart points at the end",
    ),
    "first restart point not 0": (_one(_sealed(A + B, [4])), "ascend from 0"),
    "restart points that descend": (_one(_sealed(A + B, [0, 4, 4])), "ascend from 0"),
    "restart point inside an entry": (_one(_sealed(A + B, [0, 2])), "whole key"),
    "restart point outside": (_one(_sealed(A + B, [0, 8])), "restart points below"),
    "restart point behind the last entry": (_one(_sealed(A + B, [0, 7])), "whole key"),
    "restart point at a shortened key": (_one(_sealed(A + _entry(1, b"b"), [0, 4])), "whole key"),
}


@pytest.mark.parametrize(("index", "fault"), BAD.values(), ids=BAD)
def test_a_table_against_the_rules_is_an_error_of_one_line(index: bytes, fault: str) -> None:
    with pytest.raises(FormatError, match=f"^shown: [^\n]*{fault}[^\n]*; the file is damaged, use an intact copy$"):
        read_table(index, "shown")


def test_the_tables_made_by_hand_are_right_where_nothing_is_changed() -> None:
    assert content(raw.table(GOOD)) == content(raw.table(GOOD, compress=True)) == GOOD
    assert content(_one(_sealed(A + B, [0, 4]))) == [(b"a", b""), (b"b", b"")]
    assert content(_one(_sealed(A + _entry(1, b"b"), [0]))) == [(b"a", b""), (b"ab", b"")]
    assert content(_blocks([b"b", b"c"], [b"a", b"b"], [b"c"])) == [(b"a", b""), (b"b", b""), (b"c", b"")]
    assert content(_blocks([])) == content(write_table([])) == []


@pytest.mark.parametrize(("name", "small"), [("MAX_ENTRIES", 4), ("MAX_TABLE_BYTES", 30), ("MAX_KEY_BYTES", 40)])
def test_a_table_over_its_budget_is_an_error(name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(b"a" * 9 + bytes([number]), b"") for number in range(5)]
    assert len(content(raw.table(pairs))) == 5
    monkeypatch.setattr(table_index, name, small)
    with pytest.raises(FormatError, match="at most"):
        read_table(raw.table(pairs), "shown")


@pytest.mark.parametrize("small", [Unpacking(70), Unpacking(1 << 20, 3)])
def test_all_compressed_blocks_have_one_budget(small: Unpacking, monkeypatch: pytest.MonkeyPatch) -> None:
    index = raw.table(*([(bytes([number]), b"a" * 20)] for number in range(4)), compress=True)
    assert len(content(index)) == 4
    monkeypatch.setattr(table_index, "Unpacking", lambda left: small)
    with pytest.raises(FormatError, match=r"compressed blocks?"):
        read_table(index, "shown")


def test_many_restart_points_cannot_fill_the_memory() -> None:
    count = 1_000_000
    block = _sealed(_entry(0, b"", bytes(count)), list(range(count)))
    tracemalloc.start()
    with pytest.raises(FormatError, match="restart points at the end"):
        read_table(_one(block), "shown")
    assert tracemalloc.get_traced_memory()[1] < 3 * len(block)
    tracemalloc.stop()


def test_keys_that_share_long_prefixes_cannot_fill_the_memory() -> None:
    long, place = b"k" * (1 << 20), raw.handle(0, 1)
    block = _sealed(_entry(0, long, place) + b"".join(_entry(len(long) + n, b"k", place) for n in range(200)), [0])
    with pytest.raises(FormatError, match="bytes of keys"):
        read_table(_one(block), "shown")
    meta = raw.sealed(raw.plain_block([]))
    footer = raw.handle(0, len(meta) - 5) + raw.handle(len(meta), len(block) - 5)
    with pytest.raises(FormatError, match=r"index block: .* bytes of keys"):
        read_table(meta + block + footer.ljust(40, b"\0") + raw.MAGIC, "shown")
