from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import crc32c as wheel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import raw_tables as raw
from support.effort import examples

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.bundle import (
    ITEM_BYTES,
    OBJECT_GRAPH_KEY,
    Bundle,
    Entry,
    decode_slice_key,
    read_bundle,
    with_crc,
)
from renorm_cli.formats.tensorflow.leveldb import read_table, unmask, write_table

pytestmark = pytest.mark.slow

HEADER = b"\x08\x01\x1a\x02\x08\x01"


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def proto() -> Any:
    from tensorflow.core.protobuf import tensor_bundle_pb2

    return tensor_bundle_pb2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


def grid(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(math.prod(shape)).astype(dtype).reshape(shape)


def save(tf: Any, prefix: Path, *tensors: tuple[str, str, Any]) -> Path:
    """Write (name, slice, tensor) as one checkpoint; slice is "" for a whole tensor."""
    names, slices, values = zip(*tensors, strict=True)
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=slices, tensors=values)
    return prefix


@pytest.fixture(scope="module")
def saver(tf: Any, folder: Path) -> Path:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, shape in {"dense/kernel": (3, 5), "dense/bias": (5,), "dense/kernel/Adam": (3, 5)}.items():
            tf.compat.v1.get_variable(name, initializer=grid(*shape), use_resource=True)
        tf.compat.v1.get_variable("global_step", initializer=np.int64(7), use_resource=True)
        session.run(tf.compat.v1.global_variables_initializer())
        return Path(tf.compat.v1.train.Saver().save(session, str(folder / "saver"), write_meta_graph=False))


@pytest.fixture(scope="module", params=[0, 1])
def partitioned(tf: Any, folder: Path, request: pytest.FixtureRequest) -> Path:
    """A variable in three uneven parts along one axis."""
    axis: int = request.param
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        cut = tf.compat.v1.fixed_size_partitioner(3, axis)
        with tf.compat.v1.variable_scope("emb", partitioner=cut):
            tf.compat.v1.get_variable("table", initializer=lambda s, **_: tf.random.normal(s), shape=[200, 400])
        tf.compat.v1.get_variable("bias", initializer=grid(3))
        session.run(tf.compat.v1.global_variables_initializer())
        return Path(tf.compat.v1.train.Saver().save(session, str(folder / f"part{axis}"), write_meta_graph=False))


@pytest.fixture(scope="module")
def sharded(tf: Any, folder: Path) -> Path:
    """An object-based checkpoint that a callback cut into slices and data files."""
    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=600)
    root = tf.train.Checkpoint(big=tf.Variable(grid(24, 16)), small=tf.Variable(grid(4)), step=tf.Variable(3))
    return Path(root.write(str(folder / "sharded"), tf.train.CheckpointOptions(experimental_sharding_callback=policy)))


@pytest.fixture(scope="module")
def crossed(tf: Any, folder: Path) -> Path:
    """Parts along two axes, whole axes without numbers, long axes, a part of no elements, and a name with odd bytes."""
    big, long = grid(6, 4), grid(2, 20000)
    return save(
        tf, folder / "crossed",
        *(("grid", f"6 4 {a},{m}:{b},{n}", big[a : a + m, b : b + n])
          for a, m, b, n in [(0, 2, 0, 4), (2, 4, 0, 1), (2, 3, 1, 3), (5, 1, 1, 3)]),
        *(("long", f"2 20000 -:{at},{n}", long[:, at : at + n]) for at, n in [(0, 70), (70, 8930), (9000, 11000)]),
        *(("odd\u00e9", f"4 {at},{n}", grid(4)[at : at + n]) for at, n in [(0, 1), (1, 3)]),
        ("whole", "", grid(2)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def exotic(tf: Any, folder: Path) -> Path:
    casts = ["float16", "bfloat16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
             "bool", "complex64", "complex128", "float8_e5m2", "float8_e4m3fn"]  # fmt: skip
    tensors = [(name, "", tf.cast(tf.constant([[1.0, 0.0, 1.0]]), name)) for name in casts]
    tensors += [(name, "", tf.cast(tf.constant([[1, 0, 1]], name[:-1] + "8"), name)) for name in ("int4", "uint4")]
    for name in ("qint8", "quint8", "qint16", "quint16", "qint32"):
        tensors.append((name, "", tf.bitcast(tf.constant([[1, 0, 1]], name[1:]), name)))
    tensors += [("empty", "", tf.zeros([3, 0])), ("scalar", "", tf.constant(2.0)), ("odd", "", tf.constant([True] * 3))]
    tensors += [("after_odd", "", tf.constant([1.0, 2.0])), ("cube", "", tf.zeros([2, 3, 4, 5]))]
    tensors += [("text", "", tf.constant(["", "a" * 300, "\u00e9"])), ("no text", "", tf.constant([], tf.string))]
    return save(tf, folder / "exotic", *tensors)


@pytest.fixture(params=["saver", "sharded", "crossed", "exotic"])
def sample(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def shard_path(prefix: Path, shard: int, shards: int) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")


def open_bundle(prefix: Path) -> Bundle:
    index = prefix.with_name(prefix.name + ".index").read_bytes()
    return read_bundle(index, lambda shard, shards: shard_path(prefix, shard, shards).stat().st_size, "shown")


def bytes_of(prefix: Path, bundle: Bundle, entry: Entry) -> bytes:
    data = shard_path(prefix, entry.shard, bundle.num_shards).read_bytes()
    return data[entry.offset : entry.offset + entry.size]


def assembled(prefix: Path, bundle: Bundle, entry: Entry, dtype: Any) -> Any:
    """The tensor of an entry, from its parts if it has parts."""
    stored = np.dtype(dtype).newbyteorder(bundle.order)
    if not entry.slices:
        return np.frombuffer(bytes_of(prefix, bundle, entry), stored).astype(dtype).reshape(entry.shape)
    whole = np.full(entry.shape, 99, dtype)
    for part in entry.slices:
        place = tuple(slice(a, a + n) for a, n in zip(part.start, part.entry.shape, strict=True))
        whole[place] = assembled(prefix, bundle, part.entry, dtype)
    return whole


def check_against_tensorflow(tf: Any, prefix: Path) -> None:
    bundle, reader = open_bundle(prefix), tf.train.load_checkpoint(str(prefix))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    assert {entry.key: list(entry.shape) for entry in bundle.entries} == shapes
    assert {entry.key: entry.dtype.replace("float16", "half") for entry in bundle.entries} == {
        key: dtype.name.replace("float16", "half") for key, dtype in dtypes.items()
    }
    for entry in bundle.entries:
        expected = reader.get_tensor(entry.key)
        if entry.dtype in ITEM_BYTES:
            native = np.asarray(expected).dtype
            assert assembled(prefix, bundle, entry, native).tobytes() == np.asarray(expected).tobytes()
    for entry in bundle.stored:
        if entry.dtype != "string":
            assert entry.crc == wheel.crc32c(bytes_of(prefix, bundle, entry))


def test_names_dtypes_shapes_and_bytes_are_those_that_tensorflow_reads(tf: Any, sample: Path) -> None:
    check_against_tensorflow(tf, sample)


def test_partitioned_variables_are_assembled_as_tensorflow_does(tf: Any, partitioned: Path) -> None:
    check_against_tensorflow(tf, partitioned)
    table = next(entry for entry in open_bundle(partitioned).entries if entry.key == "emb/table")
    assert len(table.slices) == 3
    assert (table.size, table.crc) == (0, None)


def test_a_sharded_object_checkpoint_has_slices_in_several_files(sharded: Path) -> None:
    bundle = open_bundle(sharded)
    parts = next(entry for entry in bundle.entries if entry.key.startswith("big/")).slices
    assert bundle.num_shards > 1
    assert len({part.entry.shard for part in parts}) > 1


def test_all_samples_hold_what_their_tests_need(exotic: Path, crossed: Path) -> None:
    assert {entry.dtype for entry in open_bundle(exotic).entries} >= {"int4", "string", "qint16", "float8_e5m2", "bool"}
    assert sum(len(entry.slices) for entry in open_bundle(crossed).entries) == 9


def test_a_crc_stands_at_its_position_in_the_index(sample: Path) -> None:
    index = sample.with_name(sample.name + ".index").read_bytes()
    for entry in open_bundle(sample).stored:
        assert entry.crc_position is not None
        assert unmask(struct.unpack_from("<I", index, entry.crc_position)[0]) == entry.crc


def test_a_tensor_patched_at_its_extent_and_crc_is_what_tensorflow_reads(
    tf: Any, crossed: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(crossed)
    pairs = {entry.key: entry.value for entry in bundle.table.entries}
    data = bytearray(shard_path(crossed, 0, 1).read_bytes())
    part = next(entry for entry in bundle.entries if entry.key == "grid").slices[1]
    new = np.full(part.entry.shape, -5, "float32").tobytes()
    data[part.entry.offset : part.entry.offset + part.entry.size] = new
    key = part.entry.key.encode("utf-8", "surrogateescape")
    pairs[key] = with_crc(pairs[key], wheel.crc32c(new), "shown")
    (tmp_path / "c.data-00000-of-00001").write_bytes(data)
    (tmp_path / "c.index").write_bytes(write_table(pairs.items()))
    expected = grid(6, 4)
    expected[2:6, 0:1] = -5
    assert tf.train.load_checkpoint(str(tmp_path / "c")).get_tensor("grid").tolist() == expected.tolist()


def test_a_crc_that_is_left_out_because_it_is_zero_is_known_and_can_be_set(tf: Any, tmp_path: Path) -> None:
    """Four bytes can be chosen to give any CRC-32C, so one tensor has the CRC whose stored form is 0."""
    wanted, state = unmask(0), wheel.crc32c(b"\0\0\0\0")
    basis = [wheel.crc32c((1 << bit).to_bytes(4, "little")) ^ state for bit in range(32)]
    chosen = solve(basis, wanted ^ state).to_bytes(4, "little")
    assert wheel.crc32c(chosen) == wanted
    prefix = save(tf, tmp_path / "zero", ("x", "", tf.constant(np.frombuffer(chosen, "int32"))))
    entry = open_bundle(prefix).entries[0]
    assert (entry.crc, entry.crc_position) == (wanted, None)
    assert entry.block == 0
    value = read_table(prefix.with_suffix(".index").read_bytes(), "shown").entries[1].value
    data = shard_path(prefix, 0, 1)
    data.write_bytes(struct.pack("<i", 5))
    crc = wheel.crc32c(data.read_bytes())
    prefix.with_suffix(".index").write_bytes(write_table([(b"", HEADER), (b"x", with_crc(value, crc, "shown"))]))
    assert tf.train.load_checkpoint(str(prefix)).get_tensor("x").tolist() == [5]
    assert open_bundle(prefix).entries[0].crc == crc


def solve(basis: list[int], wanted: int) -> int:
    """The combination of `basis` (bits of the result) that is `wanted`, over GF(2)."""
    reduced: list[tuple[int, int]] = []
    for bit, value in enumerate(basis):
        mark = 1 << bit
        for pivot, used in reduced:
            if value ^ pivot < value:
                value, mark = value ^ pivot, mark ^ used
        reduced.append((value, mark))
        reduced.sort(reverse=True)
    result = 0
    for pivot, used in reduced:
        if wanted ^ pivot < wanted:
            wanted, result = wanted ^ pivot, result ^ used
    assert wanted == 0
    return result


@pytest.mark.parametrize("compress", [False, True])
def test_a_big_endian_checkpoint_is_read_as_tensorflow_reads_it(
    tf: Any, proto: Any, tmp_path: Path, compress: bool
) -> None:
    arrays = {"a": grid(3, 4), "b": grid(5, dtype="int64"), "c": grid(2, dtype="float16")}
    pairs, data = [(b"", proto.BundleHeaderProto(num_shards=1, endianness=1, version={"producer": 1}))], b""
    for name, array in arrays.items():
        swapped = array.astype(array.dtype.newbyteorder(">")).tobytes()
        entry = proto.BundleEntryProto(
            dtype=tf.as_dtype(array.dtype).as_datatype_enum,
            offset=len(data),
            size=len(swapped),
            crc32c=raw.masked(swapped),
        )
        for size in array.shape:
            entry.shape.dim.add(size=size)
        pairs.append((name.encode(), entry))
        data += swapped
    (tmp_path / "big.data-00000-of-00001").write_bytes(data)
    (tmp_path / "big.index").write_bytes(
        raw.table([(key, message.SerializeToString()) for key, message in pairs], compress=compress)
    )
    bundle = open_bundle(tmp_path / "big")
    assert bundle.order == ">"
    assert [entry.crc_position is None for entry in bundle.entries] == [compress] * 3
    check_against_tensorflow(tf, tmp_path / "big")
    for entry in bundle.entries:
        assert (
            assembled(tmp_path / "big", bundle, entry, arrays[entry.key].dtype).tolist() == arrays[entry.key].tolist()
        )


def test_six_thousand_variables_are_read_from_an_index_of_many_blocks(tf: Any, tmp_path: Path) -> None:
    names = [f"layer_{number:05d}/with/a/long/name/so/that/blocks/fill/kernel" for number in range(6000)]
    save(tf, tmp_path / "many", *((name, "", np.float32([[number]])) for number, name in enumerate(names)))
    bundle = open_bundle(tmp_path / "many")
    assert len(bundle.table.blocks) > 1
    listed = sorted((name, tuple(shape)) for name, shape in tf.train.list_variables(str(tmp_path / "many")))
    assert [(entry.key, entry.shape) for entry in bundle.entries] == listed
    assert [entry.offset for entry in bundle.entries] == [4 * number for number in range(6000)]


def test_the_graph_of_a_keras_checkpoint_is_a_scalar_string(tf: Any, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(4)])
    model.compile("adam")
    prefix = Path(tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / "keras")))
    check_against_tensorflow(tf, prefix)
    graph = next(entry for entry in open_bundle(prefix).entries if entry.key == OBJECT_GRAPH_KEY)
    assert (graph.dtype, graph.shape) == ("string", ())


def test_a_variant_has_an_entry_although_tensorflow_cannot_return_it(tf: Any, tmp_path: Path) -> None:
    handle = tf.raw_ops.TensorListFromTensor(tensor=tf.constant([[1.0], [2.0]]), element_shape=[1])
    prefix = save(tf, tmp_path / "variant", ("list", "", handle), ("w", "", tf.constant([1.0])))
    entry = open_bundle(prefix).entries[0]
    assert (entry.key, entry.dtype, entry.shape) == ("list", "variant", ())
    assert entry.size > 5


def test_a_v1_checkpoint_is_told_from_a_v2_index(tf: Any, tmp_path: Path) -> None:
    tf.raw_ops.Save(filename=str(tmp_path / "v1"), tensor_names=["w"], data=[tf.constant([1.0])])
    with pytest.raises(FormatError, match="found one of format V1"):
        read_bundle((tmp_path / "v1").read_bytes(), [0], "shown")


def test_a_changed_byte_anywhere_in_the_index_is_an_error_or_changes_nothing(crossed: Path) -> None:
    index = crossed.with_name(crossed.name + ".index").read_bytes()
    size = shard_path(crossed, 0, 1).stat().st_size
    expected = read_bundle(index, [size], "shown").entries
    for position in range(len(index)):
        damaged = bytearray(index)
        damaged[position] ^= 1 + position % 255
        assert entries_or_none(bytes(damaged), [size]) in (expected, None)


@given(st.data())
@settings(deadline=None, max_examples=examples(400))
def test_values_damaged_under_true_checksums_raise_nothing_but_format_errors(
    crossed: Path, data: st.DataObject
) -> None:
    index = crossed.with_name(crossed.name + ".index").read_bytes()
    pairs = [(entry.key, bytearray(entry.value)) for entry in read_table(index, "shown").entries]
    for _ in range(data.draw(st.integers(1, 3))):
        value = pairs[data.draw(st.integers(0, len(pairs) - 1))][1]
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    size = shard_path(crossed, 0, 1).stat().st_size
    entries_or_none(raw.table([(key, bytes(value)) for key, value in pairs]), [size])


def entries_or_none(index: bytes, sizes: list[int]) -> tuple[Entry, ...] | None:
    try:
        return read_bundle(index, sizes, "shown").entries
    except FormatError:
        return None


def test_keys_that_tensorflow_wrote_decode_to_the_slices_that_it_was_given(crossed: Path) -> None:
    index = crossed.with_name(crossed.name + ".index").read_bytes()
    keys = [entry.key for entry in read_table(index, "shown").entries if entry.key.startswith(b"\0")]
    assert {decode_slice_key(key) for key in keys} == {
        *(("grid", extents) for extents in
          [((0, 2), (0, 4)), ((2, 4), (0, 1)), ((2, 3), (1, 3)), ((5, 1), (1, 3))]),
        *(("long", ((0, -1), extent)) for extent in [(0, 70), (70, 8930), (9000, 11000)]),
        ("odd\u00e9", ((0, 1),)),
        ("odd\u00e9", ((1, 3),)),
    }  # fmt: skip
