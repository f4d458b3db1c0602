from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import raw_tables as raw
from support.tf_recorded import message

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.bundle import Bundle, read_bundle


@pytest.fixture(scope="module")
def proto() -> Any:
    return SimpleNamespace(BundleHeaderProto=message("BundleHeaderProto"), BundleEntryProto=message("BundleEntryProto"))


class Draft:
    """Two plain tensors and one in two slices, right as they are; each test breaks one thing."""

    def __init__(self, proto: Any) -> None:
        self.header = proto.BundleHeaderProto(num_shards=1, version={"producer": 1})
        self.a = self._entry(proto, (2, 3), 0)
        self.b = self._entry(proto, (4,), 24)
        self.whole = proto.BundleEntryProto(dtype=1)
        self.top, self.low = self._entry(proto, (1, 2), 40), self._entry(proto, (2, 2), 48)
        for size in (3, 2):
            self.whole.shape.dim.add(size=size)
        for start, length in ((0, 1), (1, 2)):
            part = self.whole.slices.add()
            part.extent.add(start=start, length=length)
            part.extent.add()
        self.keys = {"top": raw.slice_key(b"w", (0, 1), (0, -1)), "low": raw.slice_key(b"w", (1, 2), (0, -1))}
        self.extra: dict[bytes, bytes] = {}
        self.sizes = [64]

    @staticmethod
    def _entry(proto: Any, shape: tuple[int, ...], offset: int) -> Any:
        entry = proto.BundleEntryProto(dtype=1, offset=offset, size=4 * math.prod(shape), crc32c=1)
        for size in shape:
            entry.shape.dim.add(size=size)
        return entry

    def read(self) -> Bundle:
        named = {b"": self.header, b"a": self.a, b"b": self.b, b"w": self.whole}
        named |= {self.keys["top"]: self.top, self.keys["low"]: self.low}
        pairs = {key: message.SerializeToString() for key, message in named.items() if message is not None}
        return read_bundle(raw.table(sorted((pairs | self.extra).items())), self.sizes, "shown")


def _set(name: str, **fields: Any) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        for field, value in fields.items():
            setattr(getattr(draft, name), field, value)

    return change


def _shape(name: str, *sizes: int, size: int = 0) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        entry = getattr(draft, name)
        del entry.shape.dim[:]
        for length in sizes:
            entry.shape.dim.add(size=length)
        entry.size = size

    return change


def _do(statement: str) -> Callable[[Draft], None]:
    return lambda draft: exec(statement, {"draft": draft, "raw": raw})


BAD = {
    "no header": (_do("draft.header = None"), "header"),
    "header of noise": (_do("draft.header = None; draft.extra[b''] = b'\\xff'"), "varint"),
    "no shards": (_set("header", num_shards=0), "1 to 1048576 shards"),
    "negative shards": (_set("header", num_shards=-1), "shards"),
    "too many shards": (_set("header", num_shards=1 << 30), "shards"),
    "other number of data files": (_set("header", num_shards=2), "2 data files"),
    "unknown byte order": (_do("draft.extra[b''] = b'\\x08\\x01\\x10\\x02'"), "byte order"),
    "for later readers only": (_do("draft.header.version.min_consumer = 2"), "minimum 2"),
    "not for us": (_do("draft.header.version.bad_consumers.append(1)"), "not for them"),
    "negative producer": (_do("draft.header.version.producer = -1"), "not for them"),
    "dtype 0": (_set("a", dtype=0), "'a': .*dtype"),
    "reference dtype": (_set("a", dtype=101), "'a': .*dtype"),
    "unknown dtype": (_do("draft.extra[b'a'] = b'\\x08\\x63'"), "'a': .*dtype"),
    "negative dtype": (_do("draft.extra[b'a'] = b'\\x08' + b'\\xff' * 9 + b'\\x01'"), "'a': .*dtype"),
    "entry of noise": (_do("draft.extra[b'a'] = b'\\x08'"), "'a': .*varint"),
    "field twice": (_do("draft.extra[b'a'] = draft.a.SerializeToString() + b'\\x28\\x18'"), "'a': .*once"),
    "crc as varint": (_do("draft.extra[b'a'] = b'\\x08\\x04\\x28\\x01\\x30\\x01'"), "'a': .*fixed32"),
    "shape of noise": (_do("draft.extra[b'a'] = b'\\x08\\x01\\x12\\x01\\xff'"), "'a': "),
    "unknown rank": (_do("draft.a.shape.unknown_rank = True"), "'a': .*unknown rank"),
    "too many axes": (_shape("a", *[1] * 255, size=4), "'a': .*254 axes"),
    "negative axis": (_shape("a", -2, -3, size=24), "'a': .*length 0 or more"),
    "too many elements": (_shape("a", 1 << 32, 1 << 31, size=24), "'a': .*2\\*\\*63"),
    "too many elements beside a zero": (_shape("a", 1 << 62, 0, 1 << 62), "'a': .*2\\*\\*63"),
    "shard over the number": (_set("a", shard_id=1), "'a': .*data file"),
    "negative shard": (_set("a", shard_id=-1), "'a': .*data file"),
    "offset over the file": (_set("b", offset=60), "'b': .*bytes 60 to 76"),
    "offset over 2**63": (_set("b", offset=2**63 - 1), "'b': .*data file 0, found 64"),
    "negative offset": (_set("a", offset=-8), "'a': .*at least 0"),
    "negative size": (_set("a", size=-24), "'a': .*at least 0"),
    "size over the shape": (_set("a", size=28), "'a': .*24 bytes"),
    "size under the shape": (_set("a", size=20), "'a': .*24 bytes"),
    "size of another dtype": (_set("a", dtype=2), "'a': .*48 bytes"),
    "size absent": (_do("draft.a.ClearField('size')"), "'a': .*24 bytes"),
    "shape absent": (_do("draft.a.ClearField('shape')"), "'a': .*4 bytes"),
    "more strings than bytes": (_set("a", dtype=7, size=5), "'a': .*at least 6"),
    "more variants than bytes": (_set("a", dtype=21, size=24), "'a': .*at least 30"),
    "data file too short": (_do("draft.sizes = [63]"), "data file 0, found 63"),
    "no bytes, but outside": (_do("draft.b.offset = 65; draft.b.size = draft.b.shape.dim[0].size = 0"), "'b': .*65"),
    "bytes of two tensors": (_set("b", offset=20), "'b': .*also those of 'a'"),
    "all bytes of two tensors": (_set("top", offset=24), "also those of"),
    "bytes of two slices": (_set("top", offset=56), "also those of"),
    "slice missing": (_do("draft.low = None"), "'w': .*slice \\[1\\+2, all\\]"),
    "slice without its tensor": (_do("draft.whole = None"), "slice of 'w'"),
    "slice that is not listed": (_do("del draft.whole.slices[1]"), "'w': .*gap or an overlap"),
    "slice unlisted": (_do("draft.extra[raw.slice_key(b'w', (0, 1))] = draft.a.SerializeToString()"), "slice of 'w'"),
    "slice listed twice": (_do("draft.whole.slices.append(draft.whole.slices[0])"), "'w': .*found none"),
    "slice key of noise": (_do("draft.extra[b'\\0w'] = b'\\x08\\x01'"), "key of a slice"),
    "slice of another rank": (_do("draft.whole.shape.dim.add(size=1)"), "'w': .*3 axes"),
    "slices smaller than the tensor": (_do("draft.whole.shape.dim[0].size = 4"), "'w': .*gap"),
    "slices larger than the tensor": (_do("draft.whole.shape.dim[0].size = 2"), "'w': .*inside its shape"),
    "slice of another shape": (_shape("low", 1, 4, size=16), "'w': .*that shape"),
    "slice smaller than its slot": (_shape("low", 1, 2, size=8), "'w': .*that shape"),
    "slice of another dtype": (_set("low", dtype=3), "'w': .*in float32"),
    "slice with a negative length": (_do("draft.whole.slices[0].extent[0].length = -3"), "'w': .*length"),
    "slice of a slice": (_do("draft.low.slices.append(draft.whole.slices[0])"), "'w', found slices"),
}  # fmt: skip


@pytest.mark.slow
def test_the_draft_is_right_where_nothing_is_changed(proto: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    bundle = Draft(proto).read()
    assert [(entry.key, entry.shape, len(entry.slices)) for entry in bundle.entries] == [
        ("a", (2, 3), 0), ("b", (4,), 0), ("w", (3, 2), 2),
    ]  # fmt: skip
    index = raw.table([(entry.key, entry.value) for entry in bundle.table.entries])
    (tmp_path / "c.index").write_bytes(index)
    (tmp_path / "c.data-00000-of-00001").write_bytes(bytes(64))
    assert tf.train.list_variables(str(tmp_path / "c")) == [("a", [2, 3]), ("b", [4]), ("w", [3, 2])]


@pytest.mark.parametrize(("change", "fault"), BAD.values(), ids=BAD)
def test_an_index_against_the_rules_is_an_error_of_one_line(
    proto: Any, change: Callable[[Draft], None], fault: str
) -> None:
    draft = Draft(proto)
    change(draft)
    with pytest.raises(FormatError, match=rf"^shown: [^\n]*({fault})[^\n]*$"):
        draft.read()


def test_names_in_errors_are_escaped_and_short(proto: Any) -> None:
    draft = Draft(proto)
    draft.extra[b"\x1b[31m\n\xff" + b"x" * 5000] = b"\x08\x63"
    with pytest.raises(FormatError, match=r"\\x1b\[31m\\n\\udcffx+") as caught:
        draft.read()
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_unknown_fields_are_ignored(proto: Any) -> None:
    draft = Draft(proto)
    draft.extra[b"w"] = draft.whole.SerializeToString() + b"\xf8\x01\x07"
    assert draft.read().entries == Draft(proto).read().entries


def test_a_name_has_a_longest_length() -> None:
    entry = b"\x08\x01\x12\x04\x12\x02\x08\0"  # float32, shape (0,)
    header = (b"", b"\x08\x01\x1a\x02\x08\x01")
    assert len(read_bundle(raw.table([header, (b"a" * (1 << 16), entry)]), [0], "shown").entries) == 1
    with pytest.raises(FormatError, match="a name of at most 65536 bytes, found 65537"):
        read_bundle(raw.table([header, (b"a" * ((1 << 16) + 1), entry)]), [0], "shown")


def test_slices_along_many_axes_are_an_error_before_they_take_time() -> None:
    axes = 40
    boxes = [((0, 1),) * axes, ((1, 1),) * axes]
    listed = b"".join(
        _message(7, b"".join(_message(1, b"\x08" + bytes([at]) + b"\x10\1") for at, _ in box)) for box in boxes
    )
    whole = b"\x08\x01" + _message(2, b"\x12\x02\x08\x02" * axes) + listed
    part = b"\x08\x01" + _message(2, b"\x12\x02\x08\x01" * axes)
    pairs = [(b"", b"\x08\x01\x1a\x02\x08\x01"), (b"w", whole)]
    pairs += [
        (raw.slice_key(b"w", *box), part + b"\x20" + bytes([4 * at]) + b"\x28\x04") for at, box in enumerate(boxes)
    ]
    with pytest.raises(FormatError, match="a gap or an overlap"):
        read_bundle(raw.table(sorted(pairs)), [8], "shown")


def _message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + raw.varint(len(content)) + content
