"""What is not read as numbers is compared by what is stored: the same in any place, another after any change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.hdf5_images import image

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5 import stored as hdf5_stored
from renorm_cli.formats.numbers import same_values
from renorm_cli.formats.registry import open_checkpoint

TEXTS = h5py.string_dtype()
RECORD = np.dtype([("a", "f4"), ("b", "i2")])
NUMBERS = np.random.default_rng(0).normal(size=(40, 6)).astype("f4")
CHANGED = NUMBERS + (np.arange(240).reshape(40, 6) == 239).astype("f4")


def odd_float(file: h5py.File, values: list[int]) -> None:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(31, 20, 11, 0, 20)
    kind.set_ebias(1023)
    dataset = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((len(values),)))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(values, "u4"), mtype=kind)


def unknown(file: h5py.File, values: np.ndarray, parameters: tuple[int, ...] = (3,)) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((8, 6))
    plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL, parameters)
    space = h5py.h5s.create_simple(values.shape)
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, dcpl=plist).write(h5py.h5s.ALL, h5py.h5s.ALL, values)


def plain(**options: Any) -> Callable[[h5py.File, Any], object]:
    return lambda file, values: file.create_dataset("x", data=values, **options)


PAIRS: dict[str, tuple[Callable[[h5py.File, Any], object], Any, Any]] = {
    "a text": (plain(dtype=TEXTS), "one", "two"),
    "texts": (plain(dtype=TEXTS), ["a", "bc"], ["ab", "c"]),
    "many texts": (plain(dtype=TEXTS), [""] * 4096 + ["a"], [""] * 4096 + ["b"]),
    "packed texts": (plain(dtype=TEXTS, compression="gzip"), [["a", "bc"]], [["a", "bd"]]),
    "texts of one length": (plain(), np.array([b"ab", b"c"]), np.array([b"ab", b"d"])),
    "longer fields": (plain(), np.array([b"ab", b"c"], "S2"), np.array([b"ab", b"c"], "S3")),
    "packed fields": (plain(chunks=(3,), compression="gzip"), np.array([b"ab"] * 20), np.array([b"ab"] * 19 + [b"a"])),
    "records": (plain(), np.array([(1, 2)], RECORD), np.array([(1, 3)], RECORD)),
    "opaque bytes": (plain(), np.array([b"abc"], "V3"), np.array([b"abd"], "V3")),
    "a choice": (plain(dtype=h5py.enum_dtype({"A": 0, "B": 1}, "i1")), [0, 1], [1, 1]),
    "an odd float": (odd_float, [1, 2], [1, 3]),
    "scaleoffset": (plain(scaleoffset=3, chunks=(8, 6)), NUMBERS, CHANGED),
    "an unknown filter": (unknown, NUMBERS, CHANGED),
    "another shape": (plain(), np.array([b"a", b"b"]), np.array([[b"a", b"b"]])),
    "never written": (lambda file, value: file.create_dataset("x", (1 << 40,), "f4", fillvalue=value), 0, 7),
}


def partly(file: h5py.File, fill: float, time: int = h5py.h5d.FILL_TIME_IFSET, **shape: Any) -> None:
    """Numbers behind an unknown filter, of which a chunk was written; `shape` can be that of the dataset."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((8, 6))
    plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL, (3,))
    plist.set_fill_value(np.array(fill, "f4"))
    plist.set_fill_time(time)
    space = h5py.h5s.create_simple(shape.get("shape", (40, 6)))
    dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, dcpl=plist)
    part = space.copy()
    part.select_hyperslab((0, 0), (8, 6))
    dataset.write(h5py.h5s.create_simple((8, 6)), part, np.ones((8, 6), "f4"))


PAIRS["partly written"] = (partly, 0, 1)


def digest(path: Path) -> str | None:
    with image(path) as opened:
        return opened.stored("x")


@pytest.mark.parametrize("pair", PAIRS)
def test_the_same_stored_values_have_one_digest_wherever_they_lie_and_others_another(
    here: Path, tmp_path: Path, pair: str
) -> None:
    write, values, changed = PAIRS[pair]
    elsewhere, other = tmp_path / "elsewhere.h5", tmp_path / "other.h5"
    with h5py.File(here, "w") as file:
        write(file, values)
    with h5py.File(elsewhere, "w", userblock_size=512) as file:
        file["before"] = np.ones(1000)
        write(file, values)
    with h5py.File(other, "w") as file:
        write(file, changed)
    found = digest(here)
    assert found is not None
    assert digest(elsewhere) == found
    assert digest(other) != found


def test_an_output_whose_texts_are_others_than_those_of_the_input_is_told(here: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    for path, texts in ((here, ["a", "b"]), (other, ["a", "c"])):
        with h5py.File(path, "w") as file:
            file["x"] = texts
    with open_checkpoint(here) as one, open_checkpoint(here) as same, open_checkpoint(other) as unlike:
        (variable,) = one.variables
        assert same_values(one, same, variable)
        assert not same_values(one, unlike, variable)


def test_filters_of_other_parameters_have_other_digests_and_those_of_too_many_have_none(here: Path) -> None:
    found = []
    for parameters in ((3,), (4,), tuple(range(16)), tuple(range(17))):
        with h5py.File(here, "w") as file:
            unknown(file, NUMBERS, parameters)
        found.append(digest(here))
    assert found[-1] is None
    assert len(set(found)) == 4


def test_values_that_lead_elsewhere_or_nest_lists_have_no_digest(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["y"] = np.ones(3)
        for name, value, kind in (
            ("reference", [file["y"].ref], h5py.ref_dtype),
            ("region", [file["y"].regionref[:2]], h5py.regionref_dtype),
            ("named", np.array([(1, "a")], [("a", "f4"), ("s", TEXTS)]), None),
        ):
            file.create_dataset(name, data=value, dtype=kind)
        file.create_dataset("lists", (1,), h5py.vlen_dtype("f4"))[0] = [1, 2]
    with image(here) as opened:
        assert [opened.stored(path) for path in ("reference", "region", "named", "lists")] == [None] * 4


def test_the_fill_value_counts_only_where_something_was_not_written_and_must_be_defined_there(here: Path) -> None:
    never = h5py.h5d.FILL_TIME_NEVER
    found = []
    for fill, time, shape in ((0, never, (40, 6)), (0, never, (8, 6)), (1, never, (8, 6))):
        with h5py.File(here, "w") as file:
            partly(file, fill, time, shape=shape)
        found.append(digest(here))
    assert found[0] is None
    assert found[1] is not None
    assert found[1] == found[2]


def test_texts_behind_an_unknown_filter_have_no_digest(here: Path) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2,))
    plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL, (3,))
    with h5py.File(here, "w") as file:
        kind, space = h5py.h5t.py_create(TEXTS, logical=True), h5py.h5s.create_simple((2,))
        dataset = h5py.h5d.create(file.id, b"x", kind, space, dcpl=plist)
        h5py.Dataset(dataset)[:] = ["a", "b"]
    assert digest(here) is None


def test_too_many_packed_chunks_have_no_digest(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(here, "w") as file:
        unknown(file, NUMBERS)
    for most, found in ((4, False), (5, True)):
        monkeypatch.setattr(hdf5_stored, "MAX_LIST", most)
        assert (digest(here) is not None) == found


def test_a_dataset_behind_a_link_or_in_another_file_has_no_digest(here: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    with h5py.File(here, "w") as file:
        file["text"] = "abc"
        file["soft"] = h5py.SoftLink("/text")
        file.create_dataset("outside", (3,), "S4", external=[(str(tmp_path / "secret"), 0, 12)])
    with image(here) as opened:
        for path, why in (("soft", "not followed"), ("outside", "another file"), ("missing", "no dataset")):
            with pytest.raises(FormatError, match=why):
                opened.stored(path)
