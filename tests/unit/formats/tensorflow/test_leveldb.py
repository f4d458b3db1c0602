from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import crc32c as wheel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import raw_tables as raw
from support import tf_recorded
from support.effort import examples

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow import leveldb as table_index
from renorm_cli.formats.tensorflow.leveldb import crc32c, mask, read_table, reseal_block, unmask, write_table
from renorm_cli.formats.tensorflow.snappy import Unpacking, snappy_decompress

MANY = 6000


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def many(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix of 6,000 variables: the index has several blocks."""
    prefix = tmp_path_factory.mktemp("many") / "ckpt"
    names = [f"model/layer_{number:05d}/some/deep/scope/kernel/.ATTRIBUTES/VALUE" for number in range(MANY)]
    save(tf, prefix, {name: tf.constant([float(number)]) for number, name in enumerate(names)})
    return prefix


@pytest.fixture(scope="module")
def few(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("few") / "ckpt"
    save(tf, prefix, {name: tf.ones([2, 3]) for name in ("dense/bias", "dense/kernel", "dense_1/kernel")})
    return prefix


def save(tf: Any, prefix: Path, tensors: dict[str, Any]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )


@pytest.fixture(scope="module")
def recorded() -> Path:
    """A prefix of two variables."""
    return tf_recorded.FOLDER / tf_recorded.FILES["prefix"]


def index_of(prefix: Path) -> bytes:
    return prefix.with_name(prefix.name + ".index").read_bytes()


def put_index(prefix: Path, index: bytes, to: Path) -> Path:
    """A copy of a checkpoint under another index."""
    for file in prefix.parent.glob(prefix.name + ".data*"):
        (to / file.name).write_bytes(file.read_bytes())
    (to / (prefix.name + ".index")).write_bytes(index)
    return to / prefix.name


def content(index: bytes) -> list[tuple[bytes, bytes]]:
    return [(entry.key, entry.value) for entry in read_table(index, "shown").entries]


def content_or_none(index: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return content(index)
    except FormatError:
        return None


@pytest.mark.slow
def test_an_index_of_many_blocks_has_the_keys_that_tensorflow_lists(tf: Any, many: Path) -> None:
    table = read_table(index_of(many), "shown")
    assert len(table.blocks) > 1
    listed = [name.encode() for name, _ in tf.train.list_variables(str(many))]
    assert [entry.key for entry in table.entries] == [b"", *sorted(listed)]


@pytest.mark.slow
def test_every_value_stands_at_its_position(many: Path) -> None:
    index = index_of(many)
    for entry in read_table(index, "shown").entries:
        assert entry.position is not None
        assert index[entry.position : entry.position + len(entry.value)] == entry.value


@pytest.mark.slow
def test_a_table_is_written_byte_for_byte_as_tensorflow_writes_it(many: Path, few: Path) -> None:
    for prefix in (many, few):
        assert write_table(content(index_of(prefix))) == index_of(prefix)


@pytest.mark.slow
def test_tensorflow_reads_a_table_of_keys_that_share_and_do_not_share_prefixes(tf: Any, tmp_path: Path) -> None:
    names = [
        "a",
        "a/b",
        "ab",
        "b\u00e9",
        "\u00ff" * 40,
        *(f"{number * 7919 % 100003:06d}" * 30 for number in range(5000)),
    ]
    save(tf, tmp_path / "c", {name: tf.constant(1.0) for name in names})
    assert write_table(content(index_of(tmp_path / "c"))) == index_of(tmp_path / "c")


@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=3000), max_size=60))
@settings(deadline=None)
def test_what_is_written_is_read_again(entries: dict[bytes, bytes]) -> None:
    pairs = sorted(entries.items())
    assert content(write_table(pairs)) == pairs


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=200, unique=True), st.integers(1, 100))
@settings(deadline=None)
def test_separators_between_small_blocks_lead_to_every_key(keys: list[bytes], block_bytes: int) -> None:
    pairs = [(key, b"value") for key in sorted(keys)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_index, "_BLOCK_BYTES", block_bytes)
        index = write_table(pairs)
    assert content(index) == pairs


def test_keys_that_do_not_ascend_are_not_written() -> None:
    for keys in ([b"b", b"a"], [b"a", b"a"]):
        with pytest.raises(ValueError, match="ascend"):
            write_table([(key, b"") for key in keys])


@pytest.mark.slow
def test_tensorflow_and_we_read_a_snappy_index_alike(tf: Any, many: Path, tmp_path: Path) -> None:
    pairs = content(index_of(many))
    index = raw.table(pairs[:3000], pairs[3000:], compress=True)
    assert len(index) < len(index_of(many)) / 2
    assert content(index) == pairs
    assert {entry.position for entry in read_table(index, "shown").entries} == {None}
    assert not any(block.raw for block in read_table(index, "shown").blocks)
    prefix = put_index(many, index, tmp_path)
    assert tf.train.list_variables(str(prefix)) == tf.train.list_variables(str(many))
    assert tf.train.load_checkpoint(str(prefix)).get_tensor(pairs[-1][0].decode()).tolist() == [MANY - 1]


@given(st.lists(st.tuples(st.binary(max_size=90), st.integers(0, 300)), max_size=8))
def test_snappy_gives_back_what_was_packed(runs: list[tuple[bytes, int]]) -> None:
    data = b"".join(part * times for part, times in runs)
    assert snappy_decompress(raw.snappy(data), Unpacking(len(data), len(data)), "shown") == data


def test_snappy_reads_every_kind_of_element() -> None:
    far = bytes(number * 7919 % 251 for number in range(70000))
    assert snappy_decompress(raw.snappy(far + far[:64]), Unpacking(1 << 20, 9999), "shown") == far + far[:64]
    by_hand = bytes([10, 1 << 2]) + b"ab" + bytes([1 | 4 << 2, 2])
    assert snappy_decompress(by_hand, Unpacking(10, 2), "shown") == b"ababababab"


@given(st.binary(max_size=60))
def test_snappy_noise_is_an_error_or_as_long_as_promised(data: bytes) -> None:
    try:
        out = snappy_decompress(data, Unpacking(1 << 20, 9999), "shown")
    except FormatError:
        return
    assert raw.varint(len(out))[:1] == data[:1] or data[0] & 128


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "empty"),
        (raw.varint(1 << 40) + b"\0a", "more than it can hold"),
        (raw.varint(5) + b"\0a", "shorter than promised"),
        (raw.varint(1) + b"\4ab", "longer than promised"),
        (raw.varint(4) + bytes([3 << 2]) + b"abc", "a cut-off literal"),
        (raw.varint(70) + bytes([60 << 2]), "a cut-off literal length"),
        (raw.varint(80) + bytes([63 << 2]) + b"\xff\xff\xff\xff" + b"a" * 8, "a huge literal"),
        (raw.varint(5) + b"\0a" + bytes([1]), "a cut-off near copy"),
        (raw.varint(5) + b"\0a" + bytes([2 | 3 << 2, 1]), "a cut-off copy"),
        (raw.varint(5) + b"\0a" + bytes([3 | 3 << 2, 1, 0, 0]), "a cut-off far copy"),
        (raw.varint(5) + b"\0a" + bytes([1, 0]), "a copy from here"),
        (raw.varint(5) + b"\0a" + bytes([1, 2]), "a copy from before the start"),
    ],
)
def test_a_bad_snappy_stream_is_an_error(stream: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=r"compressed block|inside the block|varint"):
        snappy_decompress(stream, Unpacking(100, 100), "shown")


def test_a_changed_byte_anywhere_is_an_error_or_changes_nothing(recorded: Path) -> None:
    index = index_of(recorded)
    pairs = content(index)
    for position in range(len(index)):
        for flip in (1, 128, 255):
            damaged = bytearray(index)
            damaged[position] ^= flip
            assert content_or_none(bytes(damaged)) in (pairs, None)


def test_a_changed_byte_in_a_block_is_always_an_error(recorded: Path) -> None:
    index = index_of(recorded)
    for position in range(len(index) - table_index.FOOTER_BYTES):
        damaged = bytearray(index)
        damaged[position] ^= 4
        with pytest.raises(FormatError, match=r"checksum|outside|compression"):
            read_table(bytes(damaged), "shown")


def test_a_cut_index_is_an_error_at_every_length(recorded: Path) -> None:
    index = index_of(recorded)
    for length in range(len(index)):
        with pytest.raises(FormatError):
            read_table(index[:length], "shown")
        with pytest.raises(FormatError):
            read_table(index[length + 1 :], "shown")


@pytest.mark.slow
def test_a_damaged_block_that_tensorflow_skips_in_silence_is_an_error(tf: Any, many: Path, tmp_path: Path) -> None:
    index = bytearray(index_of(many))
    block = read_table(bytes(index), "shown").blocks[0]
    index[block.offset + block.size // 2] ^= 1
    assert len(tf.train.list_variables(str(put_index(many, bytes(index), tmp_path)))) < MANY
    with pytest.raises(FormatError, match="checksum of the block"):
        read_table(bytes(index), "shown")


@given(st.data())
@settings(deadline=None, max_examples=examples(300))
def test_damage_under_a_true_checksum_raises_nothing_but_format_errors(data: st.DataObject) -> None:
    pairs = [(f"layer_{number:03d}/kernel".encode(), bytes([8, number])) for number in range(40)]
    index = bytearray(write_table(pairs))
    block = read_table(bytes(index), "shown").blocks[0]
    for _ in range(data.draw(st.integers(1, 4))):
        index[block.offset + data.draw(st.integers(0, block.size - 1))] = data.draw(st.integers(0, 255))
    reseal_block(index, block)
    found = content_or_none(bytes(index)) or []
    assert [key for key, _ in found] == sorted({key for key, _ in found})


@given(st.binary(max_size=200))
def test_a_block_of_noise_under_a_true_checksum_raises_nothing_but_format_errors(noise: bytes) -> None:
    for kind in (0, 1):
        block = raw.sealed(noise, kind)
        content_or_none(raw.assemble([block], [(b"\xff" * 300, raw.handle(0, len(noise)))]))


@pytest.mark.slow
def test_a_value_patched_and_resealed_is_what_tensorflow_reads(tf: Any, few: Path, tmp_path: Path) -> None:
    new = struct.pack("<6f", *range(6))
    index = bytearray(index_of(few))
    table = read_table(bytes(index), "shown")
    entry = table.entries[1]
    stored = struct.pack("<I", raw.masked(struct.pack("<6f", *[1.0] * 6)))
    assert entry.position is not None
    at = index.index(stored, entry.position)
    struct.pack_into("<I", index, at, mask(crc32c(new)))
    unsealed = bytes(index)
    with pytest.raises(FormatError, match="checksum"):
        read_table(unsealed, "shown")
    reseal_block(index, table.blocks[entry.block])
    prefix = put_index(few, bytes(index), tmp_path)
    data = next(tmp_path.glob("*.data*"))
    patched = bytearray(data.read_bytes())
    patched[: len(new)] = new
    data.write_bytes(patched)
    reader = tf.train.load_checkpoint(str(prefix))
    assert reader.get_tensor(entry.key.decode()).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_only_a_raw_block_inside_the_buffer_is_resealed() -> None:
    index = bytearray(raw.table([(b"a", b"")], compress=True))
    packed = read_table(bytes(index), "shown").blocks[0]
    for block in (packed, packed._replace(raw=True), packed._replace(raw=True, offset=len(index))):
        with pytest.raises(ValueError, match="no raw block"):
            reseal_block(index, block)


@given(st.binary(max_size=300), st.binary(max_size=30))
def test_the_crc_goes_on_from_that_of_what_was_before(first: bytes, second: bytes) -> None:
    assert crc32c(memoryview(second), crc32c(bytearray(first))) == wheel.crc32c(first + second)


def test_the_crc_of_the_check_string_is_the_published_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.integers(0, 2**32 - 1))
def test_mask_and_unmask_undo_each_other(crc: int) -> None:
    assert unmask(mask(crc)) == mask(unmask(crc)) == crc
