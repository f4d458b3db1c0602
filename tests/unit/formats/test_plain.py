"""Which extents share bytes, judged by comparing each with each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.formats.base import Extent
from renorm_cli.formats.plain import overlapping

EXTENTS = st.builds(Extent, st.integers(0, 1), st.integers(0, 12), st.integers(0, 5))


def share(one: Extent, other: Extent) -> bool:
    places = [set(range(extent.offset, extent.offset + extent.size)) for extent in (one, other)]
    return one.file == other.file and bool(places[0] & places[1])


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=1), EXTENTS))
def test_extents_that_have_bytes_in_common_with_another_are_found(extents: dict[str, Extent]) -> None:
    found = {key for key in extents for other in extents if key != other and share(extents[key], extents[other])}
    assert overlapping(extents) == found


def test_what_lies_in_a_large_extent_behind_a_small_one_overlaps_it_too() -> None:
    extents = {"large": Extent(0, 0, 10), "small": Extent(0, 2, 2), "last": Extent(0, 6, 2), "other": Extent(1, 6, 2)}
    assert overlapping(extents) == {"large", "small", "last"}
