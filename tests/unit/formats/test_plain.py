"""Which extents share bytes, judged by comparing each with each; and checksums of what was written."""

from __future__ import annotations

import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.formats.base import Extent
from renorm_cli.formats.plain import Extents, PlainData, overlapping
from renorm_cli.model.blocks import Block
from renorm_cli.model.variable import Variable
from renorm_cli.storage.checksum import CRC32
from renorm_cli.storage.files import open_source
from renorm_cli.storage.staging import Staging

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


def test_a_checksum_is_that_of_what_was_written_also_where_the_old_numbers_were_read(tmp_path: Path) -> None:
    """Of a piece so large that its checksum is kept when it is read."""
    array = np.ones(1 << 17, np.float32)
    (tmp_path / "in").write_bytes(array.tobytes())
    variable, extent = Variable("w", "w", array.shape, "float32"), Extent(0, 0, array.nbytes)
    block = Block((0,), array.shape)
    with closing(open_source(tmp_path / "in")) as source, Staging() as staging:
        data = PlainData([staging.copy(source, tmp_path / "out")], Extents({"w": extent}), CRC32)
        data.read(variable, block)
        data.write(variable, block, 2 * array)
        assert list(data.checksums([extent])) == [zlib.crc32((2 * array).tobytes())]
