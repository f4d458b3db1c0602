from __future__ import annotations

import struct
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.tf_recorded import message

from renorm_cli.errors import FormatError
from renorm_cli.formats import protobuf
from renorm_cli.formats.protobuf import (
    Budget,
    Message,
    read_fields,
    read_message,
    read_varint,
    signed,
    write_varint,
)
from renorm_cli.formats.walk import Walk

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)


@pytest.fixture(scope="module")
def protos() -> Any:
    return SimpleNamespace(
        entry=message("BundleEntryProto"), version=message("VersionDef"), graph=message("TrackableObjectGraph")
    )


@given(INT64, INT64, INT32, st.integers(0, 2**32 - 1), st.lists(INT64, max_size=5))
def test_scalars_and_messages_read_as_protobuf_wrote_them(
    protos: Any, offset: int, size: int, shard: int, crc: int, dims: list[int]
) -> None:
    entry = protos.entry(offset=offset, size=size, shard_id=shard, crc32c=crc)
    for dim in dims:
        entry.shape.dim.add(size=dim)
    found = read_message(entry.SerializeToString(), "entry")
    assert (found.integer(4), found.integer(5), found.integer(3)) == (offset, size, shard)
    assert found.fixed32(6)[0] == crc
    shape = read_message(found.blob(2) or b"", "shape")
    assert [read_message(dim, "dim").integer(1) for dim in shape.blobs(2)] == dims


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1), INT64)
def test_a_fixed32_can_be_replaced_at_its_position(protos: Any, new: int, old: int, offset: int) -> None:
    entry = protos.entry(offset=offset, crc32c=old, dtype=1)
    entry.slices.add().extent.add(start=3)
    data = bytearray(entry.SerializeToString())
    position = read_message(bytes(data), "entry").fixed32(6)[1]
    assert position is not None
    struct.pack_into("<I", data, position, new)
    entry.crc32c = new
    assert protos.entry.FromString(bytes(data)) == entry


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_read_as_protobuf_wrote_them(protos: Any, name: str) -> None:
    node = protos.graph.TrackableObject()
    node.children.add(local_name=name, node_id=7)
    child = read_message(read_message(node.SerializeToString(), "node").blobs(1)[0], "child")
    assert (child.text(2), child.integer(1)) == (name, 7)


@given(st.lists(INT32))
def test_repeated_numbers_read_the_same_packed_and_unpacked(protos: Any, numbers: list[int]) -> None:
    packed = protos.version(bad_consumers=numbers).SerializeToString()
    unpacked = b"".join(b"\x18" + write_varint(number % 2**64) for number in numbers)
    assert list(protos.version.FromString(unpacked).bad_consumers) == numbers
    assert read_message(packed, "v").integers(3) == read_message(unpacked, "v").integers(3) == numbers


@given(st.binary(max_size=40))
@example(b"\x0a\x7f")
@example(b"\x08" + b"\xff" * 9 + b"\x01")
@example(b"\x0d\x00\x00\x00")
def test_what_is_read_is_also_a_message_to_protobuf(data: bytes) -> None:
    from google.protobuf.empty_pb2 import Empty

    try:
        fields = list(read_fields(data, "data"))
    except FormatError:
        return
    Empty.FromString(data)
    assert [field.end for field in fields][-1:] == ([len(data)] if data else [])


@given(
    st.lists(
        st.tuples(st.integers(1, 2**29 - 1), st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300))), max_size=8
    )
)
def test_every_message_of_numbers_and_bytes_is_read_field_by_field(fields: list[tuple[int, int | bytes]]) -> None:
    data = b""
    for number, value in fields:
        if isinstance(value, bytes):
            data += write_varint(number << 3 | 2) + write_varint(len(value)) + value
        else:
            data += write_varint(number << 3) + write_varint(value)
    found = list(read_fields(data, "data"))
    assert [(field.number, field.value) for field in found] == fields
    for field in found:
        if field.wire_type == 2:
            assert data[field.start : field.end] == field.value
    framed = b"\xff" * 3 + data + b"\xff" * 5
    assert [field.value for field in read_fields(memoryview(framed), "data", 3, 3 + len(data))] == [
        value for _, value in fields
    ]


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59))
def test_a_cut_message_is_an_error_or_ends_between_fields(protos: Any, payload: bytes, cut: int) -> None:
    data = b"\x0a" + write_varint(len(payload)) + payload + b"\x10\x96\x01"
    cut = min(cut, len(data) - 1)
    whole = {0, 2 + len(payload), len(data)}
    if cut in whole:
        assert len(list(read_fields(data, "data", 0, cut))) == sorted(whole).index(cut)
    else:
        with pytest.raises(FormatError):
            list(read_fields(data, "data", 0, cut))


@given(st.integers(0, 2**64 - 1))
def test_varints_round_trip_and_int64_is_their_twos_complement(value: int) -> None:
    data = write_varint(value)
    assert read_varint(data, 0, len(data), "v") == (value, len(data))
    assert signed(value) == struct.unpack("<q", struct.pack("<Q", value))[0]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x08\x80", "cut off"),
        (b"\x08" + b"\x80" * 10 + b"\x00", "longer than 10"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "below 2\\*\\*64"),
        (b"\x00\x00", "field number"),
        (b"\x80\x80\x80\x80\x10\x00", "field number"),
        (b"\x0a\x05abcd", "to end by"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "to end by"),
        (b"\x09" + b"\x00" * 7, "to end by"),
        (b"\x0d" + b"\x00" * 3, "to end by"),
        (b"\x0b\x0c", "wire type"),
        (b"\x0e", "wire type"),
    ],
)
def test_a_malformed_message_is_an_error_of_one_line(data: bytes, fault: str) -> None:
    with pytest.raises(FormatError, match=f"^shown: .*{fault}[^\n]*$"):
        list(read_fields(data, "shown"))
    walk = Walk(data, "shown")
    with pytest.raises(FormatError, match=r"^shown: [^\n]*$"):
        list(walk.inside(walk.whole))


@pytest.mark.parametrize(
    "read",
    [
        lambda message: message.integer(2),
        lambda message: message.fixed32(1),
        lambda message: message.blob(1),
        lambda message: message.blobs(1),
        lambda message: message.integers(4),
        lambda message: message.integer(3),
    ],
)
def test_a_field_of_another_type_or_twice_is_an_error(read: Any) -> None:
    data = b"\x08\x01" + b"\x12\x01\x00" + b"\x18\x01\x18\x02" + b"\x25\x00\x00\x00\x00"
    with pytest.raises(FormatError, match="expected field"):
        read(read_message(data, "shown"))


def test_absent_fields_are_zero() -> None:
    empty = Message({}, "shown")
    assert (empty.integer(1), empty.fixed32(1), empty.blob(1), empty.text(1)) == (0, (0, None), None, "")
    assert not empty.blobs(1)
    assert not empty.integers(1)
    assert not empty.has(1)


def test_messages_that_share_a_budget_have_so_many_fields_in_all() -> None:
    budget = Budget(5)
    assert len(read_message(b"\x50\0" * 3, "shown", budget=budget).found[10]) == 3
    assert len(list(read_fields(b"\x50\0" * 2, "shown", budget=budget))) == 2
    with pytest.raises(FormatError, match="shown: expected at most 4000000 fields"):
        read_message(b"\x50\0", "shown", budget=budget)
    assert read_message(b"", "shown", budget=budget).found == {}


def test_many_small_fields_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "_MAX_HELD", 1000)
    data = b"\x50\0" * 1_000_000
    tracemalloc.start()
    with pytest.raises(FormatError, match="at most 1000 fields in a message"):
        read_message(data, "shown")
    with pytest.raises(FormatError, match="at most 10000 numbers in field 2"):
        read_message(b"\x12" + write_varint(1_000_000) + bytes(1_000_000), "shown").integers(2)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
