from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import raw_tables as raw

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.bundle import Entry, Slice, _check_tiling, decode_slice_key

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.binary(max_size=20), st.lists(st.tuples(INT64, INT64), max_size=6))
def test_a_slice_key_gives_back_name_and_extents(name: bytes, extents: list[tuple[int, int]]) -> None:
    found, boxes = decode_slice_key(raw.slice_key(name, *extents))
    assert found.encode("utf-8", "surrogateescape") == name
    assert boxes == tuple(extents)


@given(st.binary(max_size=30))
def test_a_slice_key_has_one_form_only(key: bytes) -> None:
    try:
        name, extents = decode_slice_key(key)
    except FormatError:
        return
    assert raw.slice_key(name.encode("utf-8", "surrogateescape"), *extents) == key


@pytest.mark.parametrize(
    "number",
    [
        b"\xc0\x04",
        b"\x3f\xfc",
        b"\xe0\x00\x40",
        b"\xff\xc0" + b"\x80" + bytes(7),
        b"\xff\xe0" + bytes(9),
        b"\x00" * 11,
    ],
    ids=bytes.hex,
)
def test_a_number_of_a_slice_key_that_is_longer_than_needed_or_allowed_is_an_error(number: bytes) -> None:
    good = raw.slice_key(b"w", (0, 4))
    assert good.endswith(b"\x80\x84")
    with pytest.raises(FormatError, match="key of a slice"):
        decode_slice_key(good[:-1] + number)


@given(st.binary(max_size=6), st.lists(st.tuples(INT64, INT64), min_size=1, max_size=3), st.data())
def test_a_slice_key_that_is_cut_or_too_long_is_an_error(
    name: bytes, extents: list[tuple[int, int]], data: st.DataObject
) -> None:
    key = raw.slice_key(name, *extents)
    for bad in (key[: data.draw(st.integers(0, len(key) - 1))], key + b"\x80"):
        with pytest.raises(FormatError, match="key of a slice"):
            decode_slice_key(bad)


@given(st.data())
@settings(deadline=None)
def test_slices_are_taken_if_and_only_if_they_cover_each_element_once(data: st.DataObject) -> None:
    """Judged by counting elements; three boxes or more, drawn so that both outcomes are frequent."""
    shape = (4, 3, 2)
    boxes = [((0, 0, 0), shape)]
    for _ in range(data.draw(st.integers(0, 5))):
        start, lengths = boxes.pop(data.draw(st.integers(0, len(boxes) - 1)))
        axis = data.draw(st.integers(0, 2))
        cut = data.draw(st.integers(0, lengths[axis]))
        upper = tuple(s + (cut if a == axis else 0) for a, s in enumerate(start))
        boxes.append((start, tuple(cut if a == axis else n for a, n in enumerate(lengths))))
        boxes.append((upper, tuple(n - cut if a == axis else n for a, n in enumerate(lengths))))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(boxes) - 1))
        spoil = data.draw(st.sampled_from(["drop", "double", "move"]))
        start, lengths = boxes[at]
        if spoil == "drop" and len(boxes) > 1:
            del boxes[at]
        elif spoil == "double":
            boxes.append(boxes[at])
        else:
            boxes[at] = (tuple(min(s + 1, m - n) for s, n, m in zip(start, lengths, shape, strict=True)), lengths)
    count = np.zeros((9, 9, 9), int)
    for start, lengths in boxes:
        count[tuple(slice(s, s + n) for s, n in zip(start, lengths, strict=True))] += 1
    expected = np.zeros_like(count)
    expected[:4, :3, :2] = 1
    slices = [Slice(start, Entry("w", "float32", lengths, 0, 0, 0, None, None, 0)) for start, lengths in boxes]
    if (count == expected).all():
        _check_tiling(shape, slices, "shown")
    else:
        with pytest.raises(FormatError, match="gap or an overlap"):
            _check_tiling(shape, slices, "shown")
