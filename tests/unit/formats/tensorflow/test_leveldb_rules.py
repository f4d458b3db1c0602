from __future__ import annotations

import tracemalloc

import pytest
from support import raw_tables as raw
from support.bad_tables import BAD, GOOD, A, B, blocks_of, entry_of, one_block, with_restarts

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow import leveldb as table_index
from renorm_cli.formats.tensorflow.leveldb import read_table, write_table
from renorm_cli.formats.tensorflow.snappy import Unpacking


def content(index: bytes) -> list[tuple[bytes, bytes]]:
    return [(entry.key, entry.value) for entry in read_table(index, "shown").entries]


@pytest.mark.parametrize(("index", "fault"), BAD.values(), ids=BAD)
def test_a_table_against_the_rules_is_an_error_of_one_line(index: bytes, fault: str) -> None:
    with pytest.raises(FormatError, match=f"^shown: [^\n]*{fault}[^\n]*; the file is damaged, use an intact copy$"):
        read_table(index, "shown")


def test_the_tables_made_by_hand_are_right_where_nothing_is_changed() -> None:
    assert content(raw.table(GOOD)) == content(raw.table(GOOD, compress=True)) == GOOD
    assert content(one_block(with_restarts(A + B, [0, 4]))) == [(b"a", b""), (b"b", b"")]
    assert content(one_block(with_restarts(A + entry_of(1, b"b"), [0]))) == [(b"a", b""), (b"ab", b"")]
    assert content(blocks_of([b"b", b"c"], [b"a", b"b"], [b"c"])) == [(b"a", b""), (b"b", b""), (b"c", b"")]
    assert content(blocks_of([])) == content(write_table([])) == []


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
    block = with_restarts(entry_of(0, b"", bytes(count)), list(range(count)))
    tracemalloc.start()
    with pytest.raises(FormatError, match="restart points at the end"):
        read_table(one_block(block), "shown")
    assert tracemalloc.get_traced_memory()[1] < 3 * len(block)
    tracemalloc.stop()


def test_keys_that_share_long_prefixes_cannot_fill_the_memory() -> None:
    long, place = b"k" * (1 << 20), raw.handle(0, 1)
    block = with_restarts(
        entry_of(0, long, place) + b"".join(entry_of(len(long) + n, b"k", place) for n in range(200)), [0]
    )
    with pytest.raises(FormatError, match="bytes of keys"):
        read_table(one_block(block), "shown")
    meta = raw.sealed(raw.plain_block([]))
    footer = raw.handle(0, len(meta) - 5) + raw.handle(len(meta), len(block) - 5)
    with pytest.raises(FormatError, match=r"index block: .* bytes of keys"):
        read_table(meta + block + footer.ljust(40, b"\0") + raw.MAGIC, "shown")
