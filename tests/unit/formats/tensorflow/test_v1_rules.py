"""V1 checkpoints that no TensorFlow writes: each an error of one line. Made with TensorFlow's own messages."""

from __future__ import annotations

import contextlib
import functools
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import keras_zoo
from support import raw_tables as raw
from support.bad_tables import BAD, GOOD
from support.effort import examples
from support.found import file_at

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.leveldb import read_table
from renorm_cli.formats.tensorflow.snappy import Unpacking
from renorm_cli.formats.tensorflow.v1 import table
from renorm_cli.formats.tensorflow.v1.checkpoint import open_v1
from renorm_cli.formats.tensorflow.v1.table import TableBudget, read_runs
from renorm_cli.model.blocks import Block
from renorm_cli.storage.files import open_source

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

FLOAT, DOUBLE, INT8, STRING, BOOL, HALF = 1, 2, 6, 7, 10, 19
Box = tuple[tuple[int, int], ...]
WHOLE: Box = ((0, -1),)


@functools.cache
def messages() -> Any:
    from tensorflow.core.util import saved_tensor_slice_pb2

    return saved_tensor_slice_pb2


def fill(proto: Any, box: Box) -> None:
    for start, length in box:
        extent = proto.extent.add(start=start)
        if length >= 0:
            extent.length = length


def contents(*tensors: tuple[str, int, tuple[int, ...], tuple[Box, ...]], minimum: int = 0, bad: int = 0) -> bytes:
    """The table of contents: names, dtypes, shapes, boxes."""
    found = messages().SavedTensorSlices()
    found.meta.versions.producer, found.meta.versions.min_consumer = 1, minimum
    if bad:
        found.meta.versions.bad_consumers.append(bad)
    for name, dtype, shape, boxes in tensors:
        entry = found.meta.tensor.add(name=name)
        entry.type = dtype
        for size in shape:
            entry.shape.dim.add(size=size)
        for box in boxes:
            fill(entry.slice.add(), box)
    return bytes(found.SerializeToString())


def data(values: dict[str, Any], name: str = "w", box: Box = WHOLE, under: str | None = None) -> tuple[bytes, bytes]:
    """One slice, under the key of `under`."""
    found = messages().SavedTensorSlices()
    found.data.name = name
    fill(found.data.slice, box)
    for field, value in values.items():
        if field == "tensor_content":
            found.data.data.tensor_content = value
        else:
            getattr(found.data.data, field).extend(value)
    return raw.slice_key((under or name).encode(), *box), found.SerializeToString()


def raw_data(proto: bytes) -> tuple[bytes, bytes]:
    """A slice whose TensorProto is these bytes."""
    body = b"\x0a\x01w\x12\x02\x0a\x00\x1a" + raw.varint(len(proto)) + proto
    return raw.slice_key(b"w", *WHOLE), b"\x12" + raw.varint(len(body)) + body


def file(meta: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
    return raw.table([(b"", meta), *sorted(pairs)])


def one(dtype: int, shape: tuple[int, ...], values: dict[str, Any], boxes: tuple[Box, ...] | None = None) -> bytes:
    """A file of one tensor in one slice."""
    whole: Box = ((0, -1),) * len(shape)
    return file(contents(("w", dtype, shape, boxes or (whole,))), data(values, box=whole))


FLOATS = {"float_val": [1.0, 2.0, 3.0]}
META = ("w", FLOAT, (3,), (WHOLE,))
HEAD: Box = ((0, 2),)
MIDDLE: Box = ((1, 2),)
TAIL: Box = ((2, 1),)

LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "more values than its shape": (lambda: one(FLOAT, (2,), FLOATS), "expected 2 values of float32, found 12 bytes"),
    "fewer values than its shape": (lambda: one(FLOAT, (4,), FLOATS), "expected 4 values of float32, found 12 bytes"),
    "one value for all": (lambda: one(FLOAT, (3,), {"float_val": [1.0]}), "expected 3 values"),
    "no values": (lambda: one(FLOAT, (3,), {}), "expected 3 values"),
    "huge shape": (lambda: one(FLOAT, (1 << 62,), FLOATS), "expected 4611686018427387904 values"),
    "huge shape of halves": (lambda: one(HALF, (1 << 62,), {"half_val": [1]}), "expected 4611686018427387904 values"),
    "huge shape of strings": (lambda: one(STRING, (1 << 40,), {"string_val": [b""]}), "at most 1048576 strings"),
    "shape without a number": (lambda: one(FLOAT, (1 << 62, 1 << 62), FLOATS), "less than 2[*][*]63 elements"),
    "negative shape": (lambda: one(FLOAT, (-1,), FLOATS), "axes of length 0 or more"),
    "shape of other rank": (lambda: file(contents(("w", FLOAT, (3, 1), (WHOLE,))), data(FLOATS)), "slices of 2 axes"),
    "other dtype": (lambda: one(DOUBLE, (3,), FLOATS), "expected 3 values of float64, found 0 bytes"),
    "unknown dtype": (lambda: one(99, (3,), FLOATS), "a dtype that V1 checkpoints can hold, found 99"),
    "bfloat16": (lambda: one(14, (3,), {"half_val": [1, 2, 3]}), "a dtype that V1 .* found 'bfloat16'"),
    "values where TensorFlow looks for none": (
        lambda: one(FLOAT, (3,), {"tensor_content": b"\0" * 12}), "found 0 bytes"
    ),
    "too few strings": (lambda: one(STRING, (3,), {"string_val": [b"a", b"b"]}), "expected 3 strings, found 2"),
    "too many strings": (lambda: one(STRING, (1,), {"string_val": [b"a", b"b"]}), "expected 1 strings, found 2"),
    "too few numbers": (lambda: one(INT8, (3,), {"int_val": [1, 300]}), "expected 3 values, found 2"),
    "number too large": (lambda: one(INT8, (3,), {"int_val": [1, 128, 0]}), "fit its dtype"),
    "number too small": (lambda: one(INT8, (3,), {"int_val": [1, -129, 0]}), "fit its dtype"),
    "half of more bits": (lambda: one(HALF, (3,), {"half_val": [1, 65536, 0]}), "fit its dtype"),
    "negative half": (lambda: one(HALF, (3,), {"half_val": [1, -1, 0]}), "fit its dtype"),
    "not a bool": (lambda: file(contents(("w", BOOL, (1,), (WHOLE,))), raw_data(b"\x5a\x01\x02")), "fit its dtype"),
    "number without an end": (
        lambda: file(contents(("w", INT8, (1,), (WHOLE,))), raw_data(b"\x3a\x14" + b"\xff" * 20)), "without an end"
    ),
    "number of many bytes": (
        lambda: file(contents(("w", INT8, (1,), (WHOLE,))), raw_data(b"\x3a\x0c" + b"\x80" * 11 + b"\0")),
        "at most 10 bytes",
    ),
    "number above 64 bits": (
        lambda: file(contents(("w", 9, (1,), (WHOLE,))), raw_data(b"\x52\x0a" + b"\x80" * 9 + b"\2")), "below 2[*][*]64"
    ),
    "values one by one": (
        lambda: file(contents(META), raw_data(b"".join(b"\x2d" + struct.pack("<f", value) for value in range(3)))),
        "field 5 once, as a length and bytes",
    ),
    "value that is in no run": (
        lambda: file(contents(("w", FLOAT, (1,), (WHOLE,))), raw_data(b"\x2d" + bytes(4))),
        "field 5 once, as a length and bytes",
    ),
    "values in two runs": (
        lambda: file(contents(META), raw_data(b"\x2a\x04" + bytes(4) + b"\x2a\x08" + bytes(8))), "field 5 once"
    ),
    "strings that are numbers": (
        lambda: file(contents(("w", STRING, (1,), (WHOLE,))), raw_data(b"\x40\x01")), "expected strings as"
    ),
    "values over the end": (lambda: file(contents(META), raw_data(b"\x2a\x7f" + bytes(12))), "expected 127 bytes"),
    "values of negative length": (
        lambda: file(contents(META), raw_data(b"\x2a" + b"\xff" * 9 + b"\1" + bytes(12))), "before the end"
    ),
    "group in a message": (lambda: file(contents(META), raw_data(b"\x2b\x2c")), "of kind 3"),
    "field 0": (lambda: file(contents(META), raw_data(b"\x02\x00")), "found 0 of kind 2"),
    "data twice in one entry": (
        lambda: file(contents(META), (data(FLOATS)[0], data(FLOATS)[1] * 2)), "expected field 2 once"
    ),
    "data without contents": (lambda: file(contents(), data(FLOATS)), "which its contents do not list"),
    "contents without data": (lambda: file(contents(META)), "expected an entry for its slice"),
    "slice that is not listed": (
        lambda: file(contents(("w", FLOAT, (3,), (HEAD,))), data({"float_val": [1, 2]}, box=HEAD),
                     data({"float_val": [3]}, box=TAIL)),
        "expected slices that cover it exactly",
    ),
    "slice besides those that are listed": (
        lambda: file(contents(META), data(FLOATS), data({"float_val": [3]}, box=TAIL)),
        "that its contents do not list",
    ),
    "slices with a gap": (
        lambda: file(contents(("w", FLOAT, (3,), (((0, 1),), TAIL))), data({"float_val": [1]}, box=((0, 1),)),
                     data({"float_val": [3]}, box=TAIL)),
        "expected slices that cover it exactly",
    ),
    "slices that overlap": (
        lambda: file(contents(("w", FLOAT, (3,), (HEAD, MIDDLE))), data({"float_val": [1, 2]}, box=HEAD),
                     data({"float_val": [3, 4]}, box=MIDDLE)),
        "expected slices that cover it exactly",
    ),
    "slice listed twice": (
        lambda: file(contents(("w", FLOAT, (3,), (WHOLE, WHOLE))), data(FLOATS)), "expected an entry for its slice"
    ),
    "slice outside": (
        lambda: file(contents(("w", FLOAT, (3,), (((1, 3),),))), data(FLOATS, box=((1, 3),))), "inside its shape"
    ),
    "slice longer than all": (
        lambda: file(contents(("w", FLOAT, (2,), (((0, 3),),))), data(FLOATS, box=((0, 3),))), "inside its shape"
    ),
    "tensor without slices": (lambda: file(contents(("w", FLOAT, (0,), ()))), "cover it exactly"),
    "other name than its key": (lambda: file(contents(META), data(FLOATS, name="v", under="w")), "of its key"),
    "other box than its key": (
        lambda: file(contents(META), (data(FLOATS)[0], data(FLOATS, box=((0, 3),))[1])), "of its key"
    ),
    "key of no slice": (lambda: file(contents(META), (b"w", data(FLOATS)[1])), "expected the key of a slice"),
    "two shapes": (lambda: file(contents(META, ("w", FLOAT, (4,), (WHOLE,))), data(FLOATS)), "one dtype and shape"),
    "two dtypes": (lambda: file(contents(META, ("w", INT8, (3,), (WHOLE,))), data(FLOATS)), "one dtype and shape"),
    "no name": (
        lambda: file(contents(("", FLOAT, (3,), (WHOLE,))), data(FLOATS, name="", under="")), "expected a name"
    ),
    "name that a V2 checkpoint takes for a slice": (
        lambda: file(contents(("\0w", FLOAT, (3,), (WHOLE,))), data(FLOATS, name="\0w")), "expected a name"
    ),
    "contents for later readers": (lambda: file(contents(META, minimum=2), data(FLOATS)), "readers of version 1"),
    "contents not for readers like us": (lambda: file(contents(META, bad=1), data(FLOATS)), "readers of version 1"),
    "contents that are no message": (lambda: file(b"\x0a\x7f", data(FLOATS)), "damaged"),
    "no contents": (lambda: raw.table([data(FLOATS)]), "expected a table of contents"),
    "no entries": (lambda: raw.assemble([], []), "expected a table of contents"),
    "index of a V2 checkpoint": (
        lambda: raw.table([(b"", b"\x08\x01\x1a\x02\x08\x01"), (b"w", b"")]), "give the checkpoint by its prefix"
    ),
}  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """Every tensor of a checkpoint, as it is read for the output."""
    source_file = open_source(path)
    with contextlib.ExitStack() as stack:
        stack.callback(source_file.close)
        source = open_v1(file_at(path, source_file))
        stack.pop_all()
        with source:
            return {
                entry.key: source.tensors.values[entry.slices[0].entry.key].strings()
                if entry.dtype == "string"
                else source.values(entry, Block((0,) * len(entry.shape), entry.shape))
                for entry in source.entries.values()
            }


@pytest.mark.parametrize("lie", LIES)
def test_a_checkpoint_that_contradicts_itself_is_an_error_of_one_line(lie: str, tmp_path: Path) -> None:
    make, fault = LIES[lie]
    (tmp_path / "in").write_bytes(make())
    tracemalloc.start()
    with pytest.raises(FormatError, match=rf"\A[^\n]*{fault}[^\n]*\Z"):
        load(tmp_path / "in")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_checkpoints_made_by_hand_are_right_where_they_do_not_lie(tmp_path: Path) -> None:
    import tensorflow as tf

    parts: tuple[Box, Box] = (HEAD, TAIL)
    good = {
        "whole": file(contents(META), data(FLOATS)),
        "parts": file(
            contents(("w", FLOAT, (3,), parts)),
            data({"float_val": [1, 2]}, box=HEAD),
            data({"float_val": [3]}, box=TAIL),
        ),
        "raw": file(contents(META), raw_data(b"\x2a\x0c" + struct.pack("<3f", 1, 2, 3))),
        "half": one(HALF, (3,), {"half_val": [0x3C00, 0x4000, 0x4200]}),
        "int8": one(INT8, (3,), {"int_val": [1, 2, 3]}),
        "bool": one(BOOL, (3,), {"bool_val": [True, False, True]}),
    }  # fmt: skip
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
        found = load(tmp_path / name)["w"]
        assert found.tolist() == [1, name != "bool" and 2, 3 if name != "bool" else 1]
        (theirs,) = tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / name),
            tensor_names=["w"],
            shape_and_slices=[""],
            dtypes=[tf.bool if name == "bool" else found.dtype],
        )
        np.testing.assert_array_equal(theirs.numpy(), found)


@pytest.mark.parametrize("lie", ["more values than its shape", "values where TensorFlow looks for none", "no values"])
def test_what_has_other_values_than_its_shape_is_refused_by_tensorflow_too(lie: str, tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "in").write_bytes(LIES[lie][0]())
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "in"), tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32]
        )


def runs(table: bytes, path: Path) -> list[tuple[bytes, bytes]]:
    path.write_bytes(table)
    source_file = open_source(path)
    try:
        return [(key, run.content()) for key, run in read_runs(source_file, TableBudget())]
    finally:
        source_file.close()


@pytest.mark.parametrize("name", BAD)
def test_a_table_against_the_rules_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"\A[^\n]*; the file is damaged, use an intact copy\Z"):
        runs(BAD[name][0], tmp_path / "table")


PAIRS = st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=40)), min_size=1, max_size=9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(300))
@given(PAIRS, st.integers(0, 9), st.booleans(), st.data())
@example(GOOD, 1, False, None)
def test_tables_are_read_as_those_of_an_index_also_where_a_sealed_block_is_changed(
    tmp_path: Path, pairs: list[tuple[bytes, bytes]], cut: int, compress: bool, draw: st.DataObject | None
) -> None:
    pairs = sorted(dict(pairs).items())
    groups = [group for group in (pairs[:cut], pairs[cut:]) if group]
    table = raw.table(*groups, compress=compress)
    assert runs(table, tmp_path / "table") == pairs
    if draw is None or compress:
        return
    blocks = [bytearray(raw.plain_block(group)) for group in groups]
    block = draw.draw(st.sampled_from(blocks))
    block[draw.draw(st.integers(0, len(block) - 1))] = draw.draw(st.integers(0, 255))
    sealed = [raw.sealed(bytes(content)) for content in blocks]
    table = raw.assemble(sealed, list(zip([group[-1][0] for group in groups], raw.handles(sealed), strict=True)))
    try:
        expected = [(entry.key, entry.value) for entry in read_table(table, "shown").entries]
    except FormatError:
        with pytest.raises(FormatError):
            runs(table, tmp_path / "table")
    else:
        assert runs(table, tmp_path / "table") == expected


@pytest.mark.parametrize("budget", [TableBudget(entries=4), TableBudget(key_bytes=40)])
def test_a_table_over_its_budget_is_an_error(budget: TableBudget, tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(raw.table([(b"a" * 9 + bytes([number]), b"") for number in range(5)]))
    source_file = open_source(tmp_path / "table")
    with pytest.raises(FormatError, match="in the limits"):
        list(read_runs(source_file, budget))
    assert len(list(read_runs(source_file, TableBudget()))) == 5
    source_file.close()


def test_compressed_blocks_cannot_fill_the_memory(tmp_path: Path) -> None:
    zeros = [bytes(1 << 20)] * 5
    (tmp_path / "table").write_bytes(raw.table(*([(bytes([n]), zero)] for n, zero in enumerate(zeros)), compress=True))
    source_file = open_source(tmp_path / "table")
    assert len(list(read_runs(source_file, TableBudget()))) == 5
    with pytest.raises(FormatError, match="compressed block"):
        list(read_runs(source_file, TableBudget(unpacking=Unpacking(4 << 20, 1 << 20))))
    source_file.close()


def test_values_larger_than_any_window_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(bytes([number]) * 7, bytes([number]) * (number * 31 % 200)) for number in range(1, 60)]
    for window in (1, 7, 64, 1000):
        monkeypatch.setattr(table, "_WINDOW_BYTES", window)
        monkeypatch.setattr(table, "_CRC_BYTES", window)
        assert runs(raw.table(pairs[:20], pairs[20:]), tmp_path / "table") == pairs
