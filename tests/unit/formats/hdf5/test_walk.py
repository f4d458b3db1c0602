"""What the survey of an HDF5 file says, judged against h5py and the raw bytes of the file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import h5_survey
from support.hdf5_images import (
    FLOATS,
    OTHER_NUMBERS,
    STORAGE,
    add,
    by_path,
    image,
    many,
    named,
    numbers,
    surveyed,
)

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5 import walk as hdf5_walk
from renorm_cli.formats.hdf5.survey import Survey


@pytest.mark.parametrize("storage", STORAGE)
def test_dtype_order_and_shape_are_those_of_h5py_and_an_offset_holds_the_bytes(here: Path, storage: str) -> None:
    stored = {dtype: numbers(dtype, (5, 7)) for dtype in FLOATS + OTHER_NUMBERS}
    with h5py.File(here, "w") as file:
        for dtype, values in stored.items():
            add(file, dtype, values, **STORAGE[storage])
    survey = by_path(surveyed(here))
    assert survey.keys() == stored.keys()
    for dtype, values in stored.items():
        found = survey[dtype]
        assert (found.shape, (found.dtype, found.order), found.locked) == ((5, 7), named(dtype), None)
        assert (found.offset is not None) == (storage == "contiguous")
        if found.offset is not None:
            assert here.read_bytes()[found.offset : found.offset + values.nbytes] == values.tobytes()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 512, 4096])
def test_offsets_count_from_the_start_of_the_file_with_a_userblock_too(here: Path, userblock: int, libver: str) -> None:
    values = numbers("<f4", (6, 3))
    with h5py.File(here, "w", userblock_size=userblock, libver=libver) as file:
        add(file, "g/x", values)
        file.create_dataset("unwritten", (4,), "f4")
        file.create_dataset("nothing", (0, 3), "f4")
    found = by_path(surveyed(here))
    offset = found["g/x"].offset
    assert offset is not None
    assert here.read_bytes()[offset : offset + values.nbytes] == values.tobytes()
    assert (found["unwritten"].offset, found["nothing"].offset, found["nothing"].locked) == (None, None, None)
    assert found["unwritten"].locked == "never written: HDF5 stores no data for it"


def test_datasets_that_are_no_plain_numbers_get_the_name_of_what_they_are(here: Path) -> None:
    odd_float = h5py.h5t.IEEE_F32LE.copy()
    odd_float.set_fields(31, 20, 11, 0, 20)
    odd_float.set_ebias(1023)
    odd_int = h5py.h5t.STD_I32LE.copy()
    odd_int.set_precision(24)
    with h5py.File(here, "w") as file:
        file["scalar"] = np.float32(3)
        file["empty"] = h5py.Empty("f4")
        file["text"] = "abc"
        file["texts"] = np.array([b"ab", b"c"])
        file["vlen"] = np.array(["a", "bb"], dtype=h5py.string_dtype())
        file["compound"] = np.zeros(3, dtype=[("r", "f4"), ("x", "f4")])
        file["with text"] = np.array([(1, "a")], dtype=[("a", "f4"), ("s", h5py.string_dtype())])
        file.create_dataset("enum", data=[0, 1], dtype=h5py.enum_dtype({"A": 0, "B": 1}, "i1"))
        file["reference"] = file["scalar"].ref
        file.create_dataset("ragged", (2,), h5py.vlen_dtype("f4"))
        file.create_dataset("pairs", (3,), np.dtype(("f4", (2,))))
        file["void"] = np.zeros(3, "V2")
        file["void3"] = np.zeros(3, "V3")
        file["void1"] = np.zeros(3, "V1")
        file["long"] = np.longdouble(3)
        file["kind"] = np.dtype("f4")
        tagged = h5py.h5t.create(h5py.h5t.OPAQUE, 2)
        tagged.set_tag(b"flags")
        for name, kind in (("odd float", odd_float), ("odd int", odd_int), ("tagged", tagged)):
            h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((3,)))
    found = {path: dataset.dtype for path, dataset in by_path(surveyed(here)).items()}
    assert found == {
        "scalar": "float32",
        "empty": "empty",
        "text": "string",
        "texts": "string",
        "vlen": "string",
        "compound": "compound",
        "with text": "compound",
        "enum": "enum",
        "reference": "reference",
        "ragged": "object",
        "pairs": "array",
        "void": "floating, saved as V2",
        "void1": "floating, saved as V1",
        "void3": "opaque",
        "tagged": "opaque",
        "long": "float(other)",
        "odd float": "float(other)",
        "odd int": "int(other)",
    }


def test_two_opaque_bytes_are_bfloat16_only_where_keras_says_so(here: Path) -> None:
    with h5py.File(here, "w") as file:
        for name, mark in (("yes", "bfloat16"), ("bytes", np.bytes_("bfloat16")), ("no", "float16"), ("odd", 3)):
            file.create_dataset(name, data=np.zeros((2, 3), "V2")).attrs["dtype"] = mark
        file["bare"] = np.zeros((2, 3), "V2")
        file.create_dataset("one", data=np.zeros((2, 3), "V1")).attrs["dtype"] = "bfloat16"
    found = by_path(surveyed(here))
    assert {path for path, dataset in found.items() if dataset.dtype == "bfloat16"} == {"yes", "bytes"}
    assert {path: dataset.untold for path, dataset in found.items() if dataset.untold} == {
        "no": 2,
        "odd": 2,
        "bare": 2,
        "one": 1,
    }
    assert all(dataset.offset is not None for dataset in found.values())


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=4).filter(
    lambda name: name != "."
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@many
@given(
    wanted=st.lists(paths, max_size=8), links=st.lists(st.tuples(paths, st.integers(0, 7)), max_size=4), data=st.data()
)
def test_the_survey_of_any_tree_is_what_h5py_finds(
    here: Path, wanted: list[str], links: list[tuple[str, int]], data: st.DataObject
) -> None:
    here.unlink(missing_ok=True)
    with h5py.File(here, "w", libver=data.draw(st.sampled_from(["earliest", "latest"]))) as file:
        made = []
        for path in wanted:
            if not taken(file, path):
                file[path] = np.ones((2, 2), "f4")
                file[path].parent.attrs["name"] = path
                made.append(path)
        for path, which in links:
            if made and not taken(file, path):
                file[path] = file[made[which % len(made)]]
                file[f"{path}~soft"] = h5py.SoftLink(f"/{made[0]}")
    found, expected = surveyed(here), h5_survey.survey_of(here)
    for ours, theirs in (
        (found.groups, expected.groups),
        (found.names, expected.names),
        (found.soft_links, expected.soft_links),
    ):
        assert ours == theirs
    assert objects(found) == objects(expected)


def taken(file: h5py.File, path: str) -> bool:
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    return path in file or any(part in file and isinstance(file[part], h5py.Dataset) for part in above)


def objects(survey: Survey) -> set[tuple[frozenset[str], tuple[int, ...], str]]:
    return {(frozenset([item.path, *item.links]), item.shape, item.dtype) for item in survey.datasets}


def test_cycles_of_hard_links_end_and_every_dataset_is_listed_once(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["a/x"] = np.ones(3)
        file["a/up"] = file["/"]
        file["a/self"] = file["a"]
        file["b/y"] = file["a/x"]
        file["z"] = file["a/x"]
    found = surveyed(here)
    assert [(item.path, item.links) for item in found.datasets] == [("a/x", ("b/y", "z"))]
    assert found.groups == {"", "a", "b"}


def test_a_lattice_of_links_with_2_to_the_40_paths_is_walked_once(here: Path) -> None:
    with h5py.File(here, "w") as file:
        group = file.create_group("g0")
        for _ in range(40):
            below = group.create_group("left")
            group["right"] = below
            group = below
        group["x"] = np.ones(3)
    assert len(surveyed(here).groups) == 42


def test_groups_nested_too_deep_are_refused(here: Path) -> None:
    with h5py.File(here, "w") as file:
        group = file["/"]
        for _ in range(1_500):
            group = group.create_group("g")
    with pytest.raises(FormatError, match="nested more than 1000 deep"):
        surveyed(here)


def test_too_many_objects_or_too_long_names_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(here, "w") as file:
        for index in range(20):
            file[f"d/{index}{'n' * 50}"] = np.float32(1)
            file[f"s/{index}"] = h5py.SoftLink("/")
        for index in range(21):
            file.create_group(f"g/{index}")
    for limit, value, text in (
        ("MAX_OBJECTS", 19, "more than 19 datasets"),
        ("MAX_OBJECTS", 9, "'d' has more than 18 members"),
        ("MAX_OBJECTS", 20, "more than 20 groups"),
        ("MAX_TEXT", 500, "names take"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(hdf5_walk, limit, value)
            with pytest.raises(FormatError, match=text):
                surveyed(here)
    assert len(surveyed(here).datasets) == 20


def test_soft_links_are_noted_and_never_followed(here: Path, tmp_path: Path) -> None:
    with h5py.File(here, "w") as file:
        file["g/x"] = np.ones(3)
        file["soft"] = h5py.SoftLink("/g/x")
        file["g/group"] = h5py.SoftLink("/g")
        file["dangling"] = h5py.SoftLink("/nowhere/\u00e9")
    found = surveyed(here)
    assert found.soft_links == {"soft": "/g/x", "g/group": "/g", "dangling": "/nowhere/\u00e9"}
    assert [item.path for item in found.datasets] == ["g/x"]
    with image(here) as opened:
        for path in ("soft", "g/group/x", "dangling", "g", "missing", "g/x/y"):
            with pytest.raises(FormatError):
                opened.read(path, (0,), (3,), 24)


# Keras' attributes


def test_keras_attributes_come_back_as_text_whatever_their_type(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.attrs["model_config"] = '{"class_name": "S\u00e9q"}'
        file.attrs["layer_names"] = ["one", "tw\u00f6"]
        file.create_group("one").attrs["weight_names"] = np.array([b"kernel:0", b"bias:0"])
        file.create_group("two").attrs["weight_names"] = []
        file.create_group("bytes").attrs["name"] = np.bytes_("d\u00e9nse".encode())
        file.create_group("text").attrs["name"] = "d\u00e9nse"
        file.create_group("raw").attrs["name"] = np.bytes_(b"a\xff")
        spaced = h5py.h5t.C_S1.copy()
        spaced.set_size(8)
        spaced.set_strpad(h5py.h5t.STR_SPACEPAD)
        attribute = h5py.h5a.create(file.create_group("padded").id, b"name", spaced, h5py.h5s.create(h5py.h5s.SCALAR))
        attribute.write(np.array(b"dense   "), mtype=spaced)
    found = surveyed(here)
    assert found.model_config == '{"class_name": "S\u00e9q"}'
    assert found.layer_names == {"": ("one", "tw\u00f6")}
    assert found.weight_names == {"one": ("kernel:0", "bias:0"), "two": ()}
    assert found.names == {"bytes": "d\u00e9nse", "text": "d\u00e9nse", "raw": "a\udcff", "padded": "dense"}


def test_model_config_may_be_bytes_and_is_none_without_one(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["g/x"] = np.ones(3)
        file["g"].attrs["model_config"] = "not at the root"
    assert surveyed(here).model_config is None
    with h5py.File(here, "a") as file:
        file.attrs["model_config"] = np.bytes_(b'{"a": "\xff"}')
    assert surveyed(here).model_config == '{"a": "\udcff"}'


def test_a_long_model_config_arrives_whole_and_one_too_long_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = '{"a": "' + "\u00e9" * 1_000_000 + '"}'
    with h5py.File(here, "w") as file:
        file.attrs["model_config"] = config
    assert surveyed(here).model_config == config
    monkeypatch.setattr(hdf5_walk, "MAX_CONFIG", 1_000_000)
    with pytest.raises(FormatError, match="its model_config is larger than"):
        surveyed(here)


def test_lists_that_keras_split_over_several_attributes_are_joined(here: Path) -> None:
    words = [f"layer_{index:04d}" for index in range(40)]
    with h5py.File(here, "w") as file:
        for key in ("layer_names", "weight_names"):
            for part in range(4):
                file.attrs[f"{key}{part}"] = np.array(words[10 * part : 10 * part + 10], dtype="S")
        file.attrs["layer_names5"] = np.array([b"behind a gap"])
    found = surveyed(here)
    assert found.layer_names == found.weight_names == {"": tuple(words)}


def test_attributes_of_another_type_are_left_out(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.attrs["model_config"] = np.arange(3)
        file.attrs["layer_names"] = np.arange(3)
        file.attrs["weight_names"] = "not a list"
        for index, value in enumerate((3, [b"a", b"b"], h5py.Empty("S4"), np.array([[b"a"]]))):
            file.create_group(f"g{index}").attrs["name"] = value
    found = surveyed(here)
    assert (found.model_config, found.layer_names, found.weight_names, found.names) == (None, {}, {}, {})


def test_names_that_are_no_utf_8_survive(here: Path) -> None:
    with h5py.File(here, "w") as file:
        group = h5py.h5g.create(file.id, b"g\xff")
        h5py.h5d.create(group, b"x\xfe", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3,)))
        packed = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        packed.set_chunk((3,))
        packed.set_deflate(4)
        made = h5py.h5d.create(group, b"z\xfd", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3,)), dcpl=packed)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(3, "f4"))
    with image(here) as opened:
        assert [item.path for item in opened.survey().datasets] == ["g\udcff/x\udcfe", "g\udcff/z\udcfd"]
        assert opened.read("g\udcff/z\udcfd", (0,), (3,), 12) == np.ones(3, "f4").tobytes()
