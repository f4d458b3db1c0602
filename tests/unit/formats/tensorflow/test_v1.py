"""V1 checkpoints that TensorFlow writes: it says what is in them, and reads what is written out."""

from __future__ import annotations

import math
import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import keras_zoo, oracle
from support import raw_tables as raw
from support.files import agrees, bound
from support.found import file_at

from renorm_cli.api.verbs import diff
from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.numbers import stored_dtype
from renorm_cli.formats.tensorflow.locations import Prefix
from renorm_cli.formats.tensorflow.v1 import checkpoint as tf_v1
from renorm_cli.formats.tensorflow.v1 import tensors
from renorm_cli.formats.tensorflow.v1.checkpoint import V1Checkpoint, open_v1
from renorm_cli.formats.tensorflow.v1.file_names import base_name
from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.steps import Work, run
from renorm_cli.storage.files import open_source
from renorm_cli.storage.staging import Staging

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

LIMIT = 1.0
TEXT = ((b"ab", b"", b"\0\xff" * 300), (b"\xc3\xa9", b"x", bytes(range(256)) * 40))
DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "bool", "complex64", "complex128")


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("v1")


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def save(tf: Any, path: Path, arrays: dict[str, Any], sharded: bool = False, axis: int | None = None) -> Path:
    """Variables saved by TensorFlow's Saver, every second one on another device; cut in three along `axis`."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        for number, (name, values) in enumerate(arrays.items()):
            cut = v1.fixed_size_partitioner(3, axis) if axis is not None and np.ndim(values) > axis else None
            with tf.device(f"/cpu:{number % 2}"), v1.variable_scope("", partitioner=cut):
                if cut is None:
                    v1.get_variable(name, initializer=tf.constant(values), use_resource=False)
                else:
                    v1.get_variable(name, values.shape, values.dtype, _piece_of(values), use_resource=False)
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver(write_version=1, sharded=sharded).save(session, str(path))
    return path


def _piece_of(values: Any) -> Any:
    def piece(shape: Any, dtype: Any, partition_info: Any) -> Any:
        box = tuple(slice(at, at + n) for at, n in zip(partition_info.var_offset, shape, strict=True))
        return values[box]

    return piece


WEIGHTS = {
    "dense/kernel": normal(7, 5),
    "dense/bias": normal(5),
    "dense/kernel/Adam": normal(7, 5, seed=1),
    "conv/kernel": normal(3, 3, 2, 4, seed=2),
    "wide/kernel": normal(6, 9, dtype="float64", seed=3),
    "half/kernel": normal(9, 70, dtype="float16", seed=4),
    "global_step": np.int64(-7),
}


@pytest.fixture(scope="module", params=["one file", "two files", "cut along 0", "cut along 1", "cut, two files"])
def checkpoint(tf: Any, folder: Path, request: pytest.FixtureRequest) -> Path:
    """The path that a user gives; `pattern` is what TensorFlow takes."""
    cut = request.param.startswith("cut")
    axis = int(request.param.endswith("1")) if cut else None
    sharded = request.param.endswith("two files")
    path = save(tf, folder / request.param.replace(" ", "-").replace(",", ""), WEIGHTS, sharded, axis)
    return path.with_name(f"{path.name}-00001-of-00002") if sharded else path


@pytest.fixture(scope="module")
def exotic(tf: Any, folder: Path) -> Path:
    arrays: dict[str, Any] = {f"x/{name}": np.arange(-2, 3).astype(name) for name in DTYPES}
    arrays |= {"s/text": TEXT, "s/one": b"only"}
    arrays |= {"empty": np.zeros((3, 0), "f4"), "no text": np.zeros((0, 2), object), "scalar": np.float16(-0.0)}
    arrays |= {"long": np.array([2**63 - 1, -(2**63), -1, 127, 128], "i8"), "odd\u00e9 name": normal(3)}
    arrays |= {"bits": np.array([0x7C00, 0x7E01, 0x8000, 1, 0xFFFF], "u2").view("f2"), "nan": np.float32("nan")}
    path = folder / "exotic"
    tensors = [tf.constant(values) if np.size(values) else tf.zeros(np.shape(values), _tf_type(tf, values))
               for values in arrays.values()]  # fmt: skip
    names = [*arrays, "qint8", "quint8", "qint32"]
    tensors += [tf.bitcast(tf.constant([1, 0, 127], name[1:]), name) for name in names[len(arrays) :]]
    tf.raw_ops.Save(filename=str(path), tensor_names=names, data=tensors)
    return path


def _tf_type(tf: Any, values: Any) -> Any:
    return tf.string if values.dtype == object else tf.as_dtype(values.dtype)


def pattern(path: Path) -> str:
    """What TensorFlow calls a checkpoint of several files."""
    return str(path).replace("-00001-of-", "-?????-of-")


def restored(tf: Any, prefix: str) -> dict[str, Any]:
    """Every tensor as TensorFlow restores it."""
    dtypes = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    return {name: restored_one(tf, prefix, name, dtype) for name, dtype in dtypes.items()}


def restored_one(tf: Any, prefix: str, name: str, dtype: Any) -> Any:
    (tensor,) = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=[name], shape_and_slices=[""], dtypes=[dtype])
    return (tf.bitcast(tensor, dtype.name[1:]) if dtype.name.startswith("q") else tensor).numpy()


def opened(path: Path) -> V1Checkpoint:
    return open_v1(file_at(path))


def whole(source: V1Checkpoint, variable: Variable) -> Any:
    return source.read(variable, Block((0,) * len(variable.shape), variable.shape))


def write(path: Path, prefix: Path, limit: float | None = None, block_bytes: int = 1 << 20) -> None:
    """What `apply` does."""
    with opened(path) as source:
        steps = make_plan(source.variables, (), Request(OneBound(Constraint(limit)))).steps if limit is not None else ()
        with Staging(protected=[file.path for file in source.files]) as staging:
            sink = source.stage(staging, Prefix(prefix, prefix.name), [step.variable for step in steps])
            run(steps, Work(source, NumpyEngine(), bound=True, sink=sink, block_bytes=block_bytes))
            sink.seal()


def equal(one: Any, other: Any) -> bool:
    """Whether dtype, shape and bytes are the same; strings have none, and one alone is no array."""
    one, other = np.asarray(one), np.asarray(other)
    same = np.array_equal(one, other) if one.dtype.hasobject else one.tobytes() == other.tobytes()
    return bool(same) and (one.shape, one.dtype) == (other.shape, other.dtype)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.integers(1, 700))
def test_every_block_of_a_float_variable_is_what_tensorflow_restores(tf: Any, checkpoint: Path, elements: int) -> None:
    with opened(checkpoint) as source:
        assert source.format == "tf-checkpoint-v1"
        for variable in source.variables:
            if variable.dtype != "int64":
                stored = whole(source, variable)
                assert equal(stored, WEIGHTS[variable.key])
                for block in partition(variable.shape, elements):
                    box = tuple(slice(at, at + n) for at, n in zip(block.start, block.shape, strict=True))
                    assert equal(source.read(variable, block), stored[box])


def test_the_weights_of_these_tests_are_what_tensorflow_restores(tf: Any, checkpoint: Path) -> None:
    found = restored(tf, pattern(checkpoint))
    assert found.keys() == WEIGHTS.keys()
    assert all(equal(values, WEIGHTS[name]) for name, values in found.items())


def test_names_shapes_dtypes_and_roles_are_told(checkpoint: Path) -> None:
    with opened(checkpoint) as source:
        told = {v.key: (v.name, v.shape, v.dtype) for v in source.variables}
        assert told == {name: (name, np.shape(values), values.dtype.name) for name, values in WEIGHTS.items()}
        states = {v.key: v.state for v in source.variables if v.state}
        assert states == {"dense/kernel/Adam": "optimizer", "global_step": "optimizer"}
        note = source.notes[0]
        assert len(source.notes) == 1 + checkpoint.name.startswith("cut")  # with the one on joined halves
        assert "V1 checkpoint" in note.text
        assert not note.warning


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_the_v2_output_is_bounded_as_the_oracle_says_and_identical_elsewhere(
    tf: Any, checkpoint: Path, tmp_path: Path, block_bytes: int
) -> None:
    write(checkpoint, tmp_path / "out", LIMIT, block_bytes)
    found = restored(tf, str(tmp_path / "out"))
    assert found.keys() == WEIGHTS.keys()
    for name, values in WEIGHTS.items():
        if name.endswith("/kernel"):
            assert oracle.over(values, (values.ndim - 1,), LIMIT).any()
            agrees(values, found[name], (values.ndim - 1,), LIMIT)
        else:
            assert equal(found[name], values)


def test_the_v2_output_has_the_bytes_that_tensorflow_writes_for_the_same_tensors(
    tf: Any, checkpoint: Path, tmp_path: Path
) -> None:
    """For one SaveV2 of whole tensors in the order of the keys."""
    written_as_by_tensorflow(tf, checkpoint, tmp_path)


def test_the_v2_output_has_the_bytes_that_tensorflow_writes_for_tensors_of_every_dtype(
    tf: Any, exotic: Path, tmp_path: Path
) -> None:
    written_as_by_tensorflow(tf, exotic, tmp_path)


def written_as_by_tensorflow(tf: Any, path: Path, folder: Path) -> None:
    dtypes = tf.train.load_checkpoint(pattern(path)).get_variable_to_dtype_map()
    names = sorted(dtypes, key=str.encode)
    whole = [""] * len(names)
    tensors = tf.raw_ops.RestoreV2(
        prefix=pattern(path), tensor_names=names, shape_and_slices=whole, dtypes=[dtypes[name] for name in names]
    )
    tf.raw_ops.SaveV2(prefix=str(folder / "theirs"), tensor_names=names, shape_and_slices=whole, tensors=tensors)
    write(path, folder / "ours")
    for suffix in (".data-00000-of-00001", ".index"):
        assert (folder / f"ours{suffix}").read_bytes() == (folder / f"theirs{suffix}").read_bytes()


@pytest.mark.parametrize("copied", [16, 4 << 20])
def test_every_dtype_and_string_is_restored_from_the_v2_output(
    tf: Any, exotic: Path, tmp_path: Path, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf_v1, "_COPY_BYTES", copied)
    write(exotic, tmp_path / "out")
    before, after = restored(tf, str(exotic)), restored(tf, str(tmp_path / "out"))
    assert len(before) == len(DTYPES) + 12
    assert before.keys() == after.keys()
    assert [name for name in before if not equal(before[name], after[name])] == []


def test_an_output_is_proven_to_be_the_renorm_of_its_checkpoint_texts_too(tf: Any, tmp_path: Path) -> None:
    arrays = {"dense/kernel": 9 * normal(7, 5), "words": np.array([b"a", b"bc"], object)}
    bound(save(tf, tmp_path / "in", arrays), tmp_path / "out")
    proof = diff(tmp_path / "in", tmp_path / "out", expect_renorm=True, max_norm=1.0)
    assert (proof.exit_code, proof.totals["pure renorm"], proof.totals["identical"]) == (0, 1, 1)
    bound(save(tf, tmp_path / "other", arrays | {"words": np.array([b"ab", b"c"], object)}), tmp_path / "out 2")
    found = diff(tmp_path / "in", tmp_path / "out 2", expect_renorm=True, max_norm=1.0)
    assert (found.exit_code, found.totals["pure renorm"], found.totals["other"]) == (1, 1, 1)


@pytest.mark.parametrize("dtype", ["float16", "uint16", "object"])
def test_parts_of_types_that_tensorflow_joins_in_no_v2_checkpoint_are_joined(
    tf: Any, tmp_path: Path, dtype: str
) -> None:
    words = [[f"{row}" * column + f"{row * column}" for column in range(1, 4)] for row in range(4)]
    values = np.array(words).astype(dtype)
    tf.raw_ops.SaveSlices(
        filename=str(tmp_path / "in"),
        tensor_names=["words"] * 3,
        shapes_and_slices=["4 3 0,1:-", "4 3 1,3:0,1", "4 3 1,3:1,2"],
        data=[tf.constant(values[:1]), tf.constant(values[1:, :1]), tf.constant(values[1:, 1:])],
    )
    with opened(tmp_path / "in") as source:
        assert [note.text for note in source.notes[1:]] == [
            "'words': joined from its parts in the V2 checkpoint, and TensorFlow restores such a tensor only whole"
        ]
    write(tmp_path / "in", tmp_path / "out")
    found = restored(tf, str(tmp_path / "out"))["words"]
    np.testing.assert_array_equal(found.astype(str), values.astype(str))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not supported"):
        tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "out"), tensor_names=["words"], shape_and_slices=["4 3 1,3:-"],
            dtypes=[tf.as_dtype(found.dtype)],
        )  # fmt: skip


@pytest.mark.parametrize(("sharded", "axis"), [(False, None), (True, None), (False, 1), (True, 0)])
def test_the_graph_beside_a_checkpoint_is_carried_over_and_its_saver_restores_the_output(
    tf: Any, tmp_path: Path, sharded: bool, axis: int | None
) -> None:
    arrays = {name: values for name, values in WEIGHTS.items() if values.dtype != "float16"}
    save(tf, tmp_path / "in", arrays, sharded, axis)
    (tmp_path / "checkpoint").unlink()
    write(tmp_path / f"in{'-00000-of-00002' * sharded}", tmp_path / "out")
    assert (tmp_path / "out.meta").read_bytes() == (tmp_path / "in.meta").read_bytes()
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        saver = tf.compat.v1.train.import_meta_graph(str(tmp_path / "out.meta"), clear_devices=True)
        saver.restore(session, tf.train.latest_checkpoint(str(tmp_path)))
        parts = session.run(graph.get_collection("variables"))
    assert sum(np.size(part) for part in parts) == sum(np.size(values) for values in arrays.values())
    assert {value for part in parts for value in part.ravel().tolist()} == {
        value for values in arrays.values() for value in values.ravel().tolist()
    }


def v2_strings(*strings: bytes) -> bytes:
    """A string tensor as V2 checkpoints store it."""
    lengths = b"".join(struct.pack("<I", len(each)) for each in strings)
    return (
        b"".join(raw.varint(len(each)) for each in strings) + struct.pack("<I", raw.masked(lengths)) + b"".join(strings)
    )


def test_raw_strings_are_those_of_a_v2_checkpoint_so_that_an_output_can_be_compared(exotic: Path) -> None:
    with opened(exotic) as source:
        found = {v.key: b"".join(source.raw(v) or ()) for v in source.variables if v.dtype == "string"}
    assert found == {
        "s/text": v2_strings(*(word for row in TEXT for word in row)),
        "s/one": v2_strings(b"only"),
        "no text": v2_strings(),
    }


def test_numbers_are_read_in_the_dtypes_that_all_formats_have_for_them(exotic: Path) -> None:
    with opened(exotic) as source:
        for variable in source.variables:
            if variable.dtype != "string":
                assert whole(source, variable).dtype == stored_dtype(variable.dtype, "<")


def test_an_existing_state_file_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("mine")
    write(checkpoint, tmp_path / "out")
    assert (tmp_path / "checkpoint").read_text() == "mine"
    with pytest.raises(OutputError, match="exists"):
        write(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint", "out.data-00000-of-00001", "out.index", "out.meta"
    ]  # fmt: skip


def test_numbers_that_need_many_segments_are_found(tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_SEGMENT_BYTES", 16)
    values = normal(11, 13, dtype="float16")
    numbers = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 50) >> np.arange(50)
    path = save(tf, tmp_path / "in", {"half/kernel": values, "numbers": numbers})
    with opened(path) as source:
        (half,) = [variable for variable in source.variables if variable.dtype == "float16"]
        for elements in (1, 5, 13, 100, 1000):
            for block in partition(half.shape, elements):
                box = tuple(slice(at, at + n) for at, n in zip(block.start, block.shape, strict=True))
                assert equal(source.read(half, block), values[box])
    write(path, tmp_path / "out")
    assert equal(restored(tf, str(tmp_path / "out"))["numbers"], numbers)


def test_compressed_blocks_are_read(tf: Any, checkpoint: Path, tmp_path: Path) -> None:
    """TensorFlow writes none, but reads them too."""
    if checkpoint.name.endswith("-of-00002"):
        pytest.skip("one file will do")
    pairs = entries(checkpoint.read_bytes())
    (tmp_path / "in").write_bytes(raw.table(pairs[:3], pairs[3:], compress=True))
    assert all(equal(values, WEIGHTS[name]) for name, values in restored(tf, str(tmp_path / "in")).items())
    write(tmp_path / "in", tmp_path / "out")
    assert all(equal(values, WEIGHTS[name]) for name, values in restored(tf, str(tmp_path / "out")).items())


def entries(table: bytes) -> list[tuple[bytes, bytes]]:
    from renorm_cli.formats.tensorflow.leveldb import read_table

    return [(entry.key, entry.value) for entry in read_table(table, "shown").entries]


def test_a_missing_shard_is_an_error_and_any_present_one_names_the_checkpoint(tf: Any, tmp_path: Path) -> None:
    save(tf, tmp_path / "in", WEIGHTS, sharded=True)
    names = [f"in-{number:05}-of-00002" for number in range(2)]
    for name in names:
        with opened(tmp_path / name) as source:
            assert [file.path.name for file in source.files] == [*names, "in.meta"]
    (tmp_path / names[0]).rename(tmp_path / "aside")
    with pytest.raises(FormatError, match=r"in-00000-of-00002': no such file\Z"):
        opened(tmp_path / names[1])
    (tmp_path / names[0]).symlink_to(tmp_path / "aside")
    with pytest.raises(FormatError, match="cannot be opened"):
        opened(tmp_path / names[1])
    shutil.copy(tmp_path / names[1], tmp_path / "alone-00001-of-00002")
    shutil.copy(tmp_path / names[1], tmp_path / "alone-00000-of-00002")
    with pytest.raises(FormatError, match="found one twice"):
        opened(tmp_path / "alone-00000-of-00002")


def test_a_shard_of_a_checkpoint_with_partitioned_variables_alone_is_an_error(tf: Any, tmp_path: Path) -> None:
    table = normal(4, 3)
    for number, rows in enumerate((slice(0, 1), slice(1, 4))):
        tf.raw_ops.SaveSlices(
            filename=str(tmp_path / f"in-{number:05}-of-00002"),
            tensor_names=["emb/kernel"],
            shapes_and_slices=[f"4 3 {rows.start},{rows.stop - rows.start}:-"],
            data=[tf.constant(table[rows])],
        )
    with opened(tmp_path / "in-00000-of-00002") as source:
        assert equal(whole(source, source.variables[0]), table)
    (tmp_path / "in-00001-of-00002").rename(tmp_path / "alone")
    with pytest.raises(FormatError, match="cover it exactly"):
        opened(tmp_path / "alone")


@pytest.mark.parametrize(
    ("name", "base"),
    [("a-00000-of-00002", "a"), ("a-00002-of-00002", None), ("a-0-of-2", None), ("-00000-of-00001", None), ("a", None)],
)
def test_the_name_of_a_checkpoint_is_that_of_its_files_without_their_number(name: str, base: str | None) -> None:
    assert base_name(name) == (base or name)


def content(path: Path) -> dict[str, bytes]:
    """Every tensor as it would be read and written out."""
    with opened(path) as source:
        return {
            entry.key: source.tensors.values[entry.slices[0].entry.key].strings().tobytes()
            if entry.dtype == "string"
            else source.values(entry, Block((0,) * len(entry.shape), entry.shape)).tobytes()
            for entry in source.entries.values()
        }


def test_a_file_cut_off_anywhere_is_an_error(exotic: Path, tmp_path: Path) -> None:
    whole_file = exotic.read_bytes()
    places = {*range(0, len(whole_file), 97), *range(600), *range(len(whole_file) - 600, len(whole_file))}
    for place in sorted(places):
        (tmp_path / "cut").write_bytes(whole_file[:place])
        file = open_source(tmp_path / "cut")
        with pytest.raises(FormatError, match=r"\A[^\n]*\Z"):
            open_v1(file_at(file.path, file))
        file.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.data())
def test_a_flipped_byte_is_an_error_or_changes_nothing(exotic: Path, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(exotic.read_bytes())
    near_the_end = st.integers(len(damaged) - 120, len(damaged) - 1)
    damaged[data.draw(st.integers(0, len(damaged) - 1) | near_the_end)] ^= data.draw(st.integers(1, 255))
    (tmp_path / "flipped").write_bytes(damaged)
    file = open_source(tmp_path / "flipped")
    try:
        open_v1(file_at(file.path, file))
    except FormatError:
        return
    finally:
        file.close()
    assert content(tmp_path / "flipped") == content(exotic)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tf: Any, tmp_path: Path) -> None:
    sizes = {"float32": 24 << 20, "float16": 12 << 20, "int32": 4 << 20}
    arrays = {f"{name}/kernel": tf.cast(tf.random.uniform([size >> 8, 256]) * 9, name) for name, size in sizes.items()}
    tf.raw_ops.Save(filename=str(tmp_path / "big"), tensor_names=list(arrays), data=list(arrays.values()))
    assert (tmp_path / "big").stat().st_size > 130 << 20
    tracemalloc.start()
    write(tmp_path / "big", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
    assert math.isclose((tmp_path / "out.data-00000-of-00001").stat().st_size, 4 * (28 << 20) + 2 * (12 << 20))
    for name, values in arrays.items():
        assert equal(restored_one(tf, str(tmp_path / "out"), name, values.dtype), values.numpy())
