"""HDF5 files through the worker, judged against h5py and the raw bytes of the file."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import h5_survey
from support.effort import examples
from support.processes import children

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.hdf5 import walk as hdf5_walk
from renorm_cli.formats.hdf5 import worker as hdf5_worker
from renorm_cli.formats.hdf5.reply import survey_of
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.hdf5.types import SIZES
from renorm_cli.formats.hdf5.worker import Hdf5Image

FLOATS = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
OTHER_NUMBERS = ["i1", "<i2", ">i4", "<i8", "u1", "<u2", ">u4", "<u8", "?", "<c8", ">c8", "<c16"]
STORAGE: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "compact": {"compact": True},
    "chunked": {"chunks": True},
    "gzip": {"compression": "gzip"},
    "gzip shuffle": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "lzf shuffle fletcher32": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "gzip shuffle fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "fletcher32": {"fletcher32": True},
}
many = settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def image(path: Path, base: int = 0, length: int | None = None, *, writable: bool = False) -> Iterator[Hdf5Image]:
    fd = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        with Hdf5Image(fd, base, length, "f.h5", writable=writable) as opened:
            yield opened
    finally:
        os.close(fd)


def surveyed(path: Path) -> Survey:
    with image(path) as opened:
        return opened.survey()


def by_path(survey: Survey) -> dict[str, Dataset]:
    return {dataset.path: dataset for dataset in survey.datasets}


def only(path: Path) -> Dataset:
    (dataset,) = surveyed(path).datasets
    return dataset


def add(file: h5py.Group, name: str, values: npt.NDArray[Any], compact: bool = False, **storage: Any) -> h5py.Dataset:
    if not compact:
        return file.create_dataset(name, data=values, **storage)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    kind, space = h5py.h5t.py_create(values.dtype, logical=True), h5py.h5s.create_simple(values.shape)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plist))
    dataset[...] = values
    return dataset


def numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[Any]:
    values = np.random.default_rng(seed).normal(size=shape) * 40
    return (values > 0 if dtype == "?" else np.abs(values) if "u" in dtype else values).astype(dtype)


def named(dtype: str) -> tuple[str, str]:
    """NumPy's name of a dtype, and its byte order as the survey gives it."""
    return np.dtype(dtype).name, ">" if dtype.startswith(">") else "<"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Around every test: no child process and no open descriptor is left."""
    before = descriptors(), children()
    yield
    assert (descriptors(), children()) == before


def descriptors() -> set[int]:
    numbers = {int(entry.name) for entry in Path("/dev/fd").iterdir()}
    return {number for number in numbers if Path(f"/dev/fd/{number}").exists()}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "f.h5"


# What the survey says


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
        file["void1"] = np.zeros(3, "V1")
        file["long"] = np.longdouble(3)
        file["kind"] = np.dtype("f4")
        for name, kind in (("odd float", odd_float), ("odd int", odd_int)):
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
        "void": "opaque",
        "void1": "opaque",
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
    assert {dataset.dtype for dataset in found.values()} == {"bfloat16", "opaque"}
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


# What is refused


def test_a_link_into_another_file_is_refused(here: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3)
    with h5py.File(here, "w") as file:
        file["g/inner/out"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    with pytest.raises(FormatError, match=r"'g/inner/out' .*a checkpoint may name nothing outside itself"):
        surveyed(here)
    with image(here) as opened, pytest.raises(FormatError, match="not followed"):
        opened.read("g/inner/out", (0,), (3,), 24)


def test_a_link_of_a_type_somebody_defined_is_refused(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["userlink"] = h5py.ExternalLink("other.h5", "x")
    patch(here, b"\x40\x08userlink", b"\x51\x08userlink")
    with pytest.raises(FormatError, match="'userlink' is a link into another file"):
        surveyed(here)


def test_external_storage_is_refused(here: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(100))
    with h5py.File(here, "w") as file:
        file.create_dataset("g/x", (3,), "f4", external=[(str(tmp_path / "secret"), 0, 12)])
    with pytest.raises(FormatError, match=r"'g/x' keeps its data in another file"):
        surveyed(here)
    with image(here, writable=True) as opened, pytest.raises(FormatError, match="another file"):
        opened.write("g/x", (0,), (3,), bytes(12))
    assert (tmp_path / "secret").read_bytes() == bytes(100)


@pytest.mark.parametrize("source", ["other.h5", "."])
def test_a_virtual_dataset_is_refused_also_one_that_maps_onto_itself(here: Path, source: str) -> None:
    with h5py.File(here, "w") as file:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(source, "v", (4,))
        file.create_virtual_dataset("v", layout)
    with image(here) as opened:
        with pytest.raises(FormatError, match="'v' keeps its data in another file"):
            opened.survey()
        with pytest.raises(FormatError, match="'v' keeps its data in another file"):
            opened.read("v", (0,), (4,), 16)


@pytest.mark.parametrize(("before", "after"), [(b"a-b", b"a/b"), (b"x22", b"x11"), (b"a-b", b".\0b")])
def test_member_names_that_are_paths_or_come_twice_are_refused(here: Path, before: bytes, after: bytes) -> None:
    with h5py.File(here, "w") as file:
        for name in ("x11", "x22", "a-b"):
            file[name] = np.ones(3)
    patch(here, before + b"\0", after + b"\0")
    with pytest.raises(FormatError, match="the group '' is damaged"):
        surveyed(here)


def test_datasets_that_share_bytes_are_refused(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["a"], file["b"] = np.arange(100.0), np.arange(100.0)
    first, second = (by_path(surveyed(here))[name].offset for name in "ab")
    assert first is not None
    assert second is not None
    patch(here, second.to_bytes(8, "little"), (first + 8).to_bytes(8, "little"))
    with pytest.raises(FormatError, match="'a' and 'b' share bytes"):
        surveyed(here)


@pytest.mark.parametrize("dtype", ["f4", "i8", "S3"])
def test_data_beyond_the_end_of_the_file_is_refused(here: Path, dtype: str) -> None:
    with h5py.File(here, "w") as file:
        file["before"] = np.ones(1000)
        file["x"] = np.ones(100).astype(dtype)
    with h5py.File(here) as file:
        item, end = file["x"].id, file["x"].id.get_offset() + file["x"].nbytes
        assert hdf5_walk.Walk(h5py, end, "f.h5").dataset("x", item)[4] == item.get_offset()
        # HDF5 finds most of these itself; it is asked here with an end that only we know of.
        with pytest.raises(FormatError, match=r"^f\.h5: 'x' needs \d+ bytes at \d+, the file has \d+: it is cut short"):
            hdf5_walk.Walk(h5py, end - 1, "f.h5").dataset("x", item)
    patch(here, (end - 100 * np.dtype(dtype).itemsize).to_bytes(8, "little"), (end - 1).to_bytes(8, "little"))
    with pytest.raises(FormatError):
        surveyed(here)


def patch(path: Path, before: bytes, after: bytes) -> None:
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))


def test_filters_that_cannot_be_written_back_exactly_lock_the_dataset(here: Path) -> None:
    values = numbers("<f4", (20, 10))
    with h5py.File(here, "w") as file:
        file.create_dataset("scaleoffset", data=values, scaleoffset=3)
        for name, codes in (("unknown", [305]), ("twice", [1, 1]), ("late", [1, 2]), ("both", [1, 32000])):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((20, 10))
            for code in codes:
                plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (4,) if code == 1 else ())
            kind, space = h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((20, 10))
            h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plist))[...] = values
    found = {path: item.locked for path, item in by_path(surveyed(here)).items()}
    assert found == {
        "scaleoffset": "its HDF5 filter scaleoffset is not gzip, shuffle, fletcher32 or lzf",
        "unknown": "its HDF5 filter 305 is not gzip, shuffle, fletcher32 or lzf",
        "twice": "it names the same HDF5 filter twice",
        "late": "its HDF5 filter shuffle comes after the compression",
        "both": "it is compressed twice, by gzip and lzf",
    }
    with image(here, writable=True) as opened:
        for path in found:
            with pytest.raises(FormatError, match="cannot be read"):
                opened.read(path, (0, 0), (20, 10), 800)
            with pytest.raises(FormatError, match="cannot be read"):
                opened.write(path, (0, 0), (20, 10), bytes(800))


def test_compressed_chunks_too_large_for_memory_lock_the_dataset(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.create_dataset("x", data=np.zeros(17 << 20, "f4"), chunks=(17 << 20,), compression="gzip")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hdf5_walk, "FREE_INFLATED", 1 << 30)
        assert only(here).locked == "its compressed chunks are larger than 64 MiB"


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


# Reading and writing


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    start = tuple(draw(st.integers(0, edge)) for edge in shape)
    return start, tuple(draw(st.integers(0, edge - at)) for at, edge in zip(start, shape, strict=True))


def sliced(start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(at, at + count) for at, count in zip(start, shape, strict=True))


shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@many
@given(
    dtype=st.sampled_from(FLOATS + OTHER_NUMBERS), storage=st.sampled_from(list(STORAGE)), shape=shapes, data=st.data()
)
def test_any_box_is_read_as_the_bytes_that_h5py_reads(
    here: Path, dtype: str, storage: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    here.unlink(missing_ok=True)
    values = numbers(dtype, shape)
    with h5py.File(here, "w") as file:
        add(file, "x", values, **STORAGE[storage])
    with image(here) as opened:
        for start, count in data.draw(st.lists(boxes(shape), min_size=1, max_size=4)):
            box = values[sliced(start, count)]
            assert opened.read("x", start, count, box.nbytes) == box.tobytes()


@pytest.mark.slow
@many
@given(dtype=st.sampled_from(FLOATS), storage=st.sampled_from(list(STORAGE)), shape=shapes, data=st.data())
def test_a_written_box_changes_these_values_and_nothing_else(
    here: Path, dtype: str, storage: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    here.unlink(missing_ok=True)
    values, fresh = numbers(dtype, shape), numbers(dtype, shape, seed=1)
    with h5py.File(here, "w") as file:
        for name in ("a", "x", "z"):
            add(file, name, values, **STORAGE[storage]).attrs["note"] = name
        file["also x"] = file["x"]
        file["soft"] = h5py.SoftLink("/x")
    before = everything(here)
    with image(here, writable=True) as opened:
        for start, count in data.draw(st.lists(boxes(shape), min_size=1, max_size=4)):
            box = sliced(start, count)
            opened.write("x", start, count, np.ascontiguousarray(fresh[box]).tobytes())
            values[box] = fresh[box]
        assert opened.read("x", (0,) * len(shape), shape, values.nbytes) == values.tobytes()
    after = everything(here)
    assert after.pop("x")[0] == after.pop("also x")[0] == values.tobytes()
    assert before.pop("x")[1:] == before.pop("also x")[1:]
    assert after == before


def everything(path: Path) -> dict[str, tuple[bytes, object, object, object]]:
    """Bytes, dtype, storage and attributes of every dataset, as h5py sees them."""
    found = {}
    with h5py.File(path) as file:
        for name, item in file.items():
            storage = (item.chunks, item.compression, item.compression_opts, item.shuffle, item.fletcher32)
            found[name] = (item[()].tobytes(), item.dtype.str, storage, dict(item.attrs))
        found["soft"] = (b"", "", file.get("soft", getlink=True).path, {})
    return found


@pytest.mark.parametrize("storage", STORAGE)
def test_bfloat16_goes_in_and_out_as_raw_bytes(here: Path, storage: str) -> None:
    raw = np.random.default_rng(0).bytes(64)
    with h5py.File(here, "w") as file:
        add(file, "x", np.frombuffer(bytes(64), "V2").reshape(4, 8), **STORAGE[storage]).attrs["dtype"] = "bfloat16"
    with image(here, writable=True) as opened:
        assert opened.survey().datasets[0].dtype == "bfloat16"
        opened.write("x", (0, 0), (4, 8), raw)
        assert opened.read("x", (1, 2), (2, 3), 12) == raw[20:26] + raw[36:42]
    with h5py.File(here) as file:
        assert file["x"][...].tobytes() == raw
        assert file["x"].attrs["dtype"] == "bfloat16"


def test_scalars_are_read_and_written(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["x"] = np.float32(3)
    with image(here, writable=True) as opened:
        assert opened.read("x", (), (), 4) == np.float32(3).tobytes()
        opened.write("x", (), (), np.float32(4).tobytes())
    with h5py.File(here) as file:
        assert file["x"][()] == 4


def test_blocks_that_do_not_fit_the_dataset_are_errors(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.create_dataset("x", data=np.zeros((4, 3), "f4"), compression="gzip")
        file["text"] = "abc"
    with image(here, writable=True) as opened:
        for start, shape, nbytes in (
            ((0,), (4,), 16),
            ((0, 0), (5, 3), 60),
            ((-1, 0), (2, 3), 24),
            ((3, 0), (2, 3), 24),
            ((0, 0), (4, 3), 47),
            ((0, 0), (-1, -3), 12),
        ):
            with pytest.raises(FormatError, match="has no block of"):
                opened.read("x", start, shape, nbytes)
            with pytest.raises(FormatError, match="has no block of"):
                opened.write("x", start, shape, bytes(nbytes))
        with pytest.raises(FormatError, match="holds string, not numbers"):
            opened.read("text", (), (), 16)
        assert opened.read("x", (0, 0), (0, 3), 0) == b""


def test_chunks_that_were_never_written_read_as_the_fill_value(here: Path) -> None:
    with h5py.File(here, "w") as file:
        for name, storage in (("gzip", {"compression": "gzip"}), ("plain", {})):
            file.create_dataset(name, (40, 40), "f4", chunks=(10, 10), fillvalue=7, **storage)[:12, :12] = 1
    with h5py.File(here) as file, image(here) as opened:
        for name in ("gzip", "plain"):
            assert opened.read(name, (0, 0), (40, 40), 6400) == file[name][...].tobytes()


@pytest.mark.parametrize("base", [1, 13, 1001, 70_001])
def test_a_file_inside_another_is_read_in_place_at_any_position(here: Path, tmp_path: Path, base: int) -> None:
    plain, packed = numbers("<f4", (1000, 1000)), numbers("<f4", (500, 700))
    with h5py.File(here, "w") as file:
        file["plain"] = plain
        file.create_dataset("packed", data=packed, compression="gzip", compression_opts=1)
    outer = tmp_path / "outer"
    content = here.read_bytes()
    outer.write_bytes(b"\x89" * base + content + b"PK" * 5000)
    with image(outer, base, len(content)) as opened:
        found = by_path(opened.survey())
        assert opened.read("packed", (100, 3), (50, 9), 1800) == packed[100:150, 3:12].tobytes()
    offset = found["plain"].offset
    assert offset is not None
    assert outer.read_bytes()[base + offset : base + offset + plain.nbytes] == plain.tobytes()
    with image(outer, base, len(content) - 5000) as opened, pytest.raises(FormatError):
        opened.survey()


EDITS: dict[str, Callable[[h5py.File], object]] = {
    "another name": lambda file: file.move("a/x", "a/y"),
    "another shape": lambda file: replaced(file, "a/x", np.ones((3, 4), "<f4")),
    "another dtype": lambda file: replaced(file, "a/x", np.ones((4, 3), "<i4")),
    "another byte order": lambda file: replaced(file, "a/x", np.ones((4, 3), ">f4")),
    "another place": lambda file: replaced(file, "a/x", np.ones((4, 3), "<f4")),
    "a dataset more": lambda file: file.create_dataset("a/z", data=np.ones(3)),
    "a group more": lambda file: file.create_group("b"),
    "a hard link": lambda file: file.__setitem__("b", file["a/x"]),
    "a soft link": lambda file: file.__setitem__("b", h5py.SoftLink("/a/x")),
    "a name": lambda file: file["a"].attrs.__setitem__("name", "dense"),
    "layer names": lambda file: file.attrs.__setitem__("layer_names", [b"dense"]),
    "weight names": lambda file: file["a"].attrs.__setitem__("weight_names", [b"kernel:0"]),
    "a config": lambda file: file.attrs.__setitem__("model_config", "{}"),
}


def replaced(file: h5py.File, path: str, values: npt.NDArray[Any]) -> None:
    file["new"] = values  # in another place, as the old one is not free yet
    del file[path]
    file.move("new", path)


@pytest.mark.parametrize("edit", EDITS)
def test_surveys_and_digests_are_the_same_whatever_the_data_and_differ_after_an_edit(
    here: Path, tmp_path: Path, edit: str
) -> None:
    with h5py.File(here, "w") as file:
        file["a/x"] = numbers("<f4", (4, 3))
        file["a/chunks"] = numbers("<f4", (4, 3))
    other, edited = tmp_path / "other.h5", tmp_path / "edited.h5"
    other.write_bytes(here.read_bytes().replace(numbers("<f4", (4, 3)).tobytes(), bytes(48)))
    assert other.read_bytes() != here.read_bytes()
    edited.write_bytes(here.read_bytes())
    with h5py.File(edited, "r+") as file:
        EDITS[edit](file)
    with image(here) as first, image(other) as second, image(edited) as third:
        survey = first.survey()
        assert first.digest is not None
        assert second.is_as(first.digest)
        assert second.survey() == survey
        assert second.digest == first.digest
        assert not third.is_as(first.digest)
        assert third.survey() != survey


def test_a_file_that_is_unlinked_or_renamed_while_open_is_still_read(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file["x"] = np.ones(3)
    fd = os.open(here, os.O_RDONLY)
    try:
        for change in (lambda: here.rename(here.with_name("other")), here.with_name("other").unlink):
            change()
            with Hdf5Image(fd, 0, None, "f.h5") as opened:
                assert [item.path for item in opened.survey().datasets] == ["x"]
    finally:
        os.close(fd)


def test_reading_changes_no_byte_of_the_file(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.create_dataset("x", data=np.zeros((40, 3), "f4"), compression="gzip")
    before = hashlib.sha256(here.read_bytes()).digest(), here.stat().st_mtime_ns
    with image(here) as opened:
        opened.survey()
        opened.read("x", (0, 0), (40, 3), 480)
    assert (hashlib.sha256(here.read_bytes()).digest(), here.stat().st_mtime_ns) == before


def test_threads_may_read_and_write_at_once(here: Path) -> None:
    with h5py.File(here, "w") as file:
        for name in "abcd":
            file.create_dataset(name, data=np.zeros((64, 8), "f4"), compression="gzip", chunks=(8, 8))
    failures: list[BaseException] = []

    def fill(opened: Hdf5Image, name: str) -> None:
        try:
            for row in range(64):
                mine = np.full(8, ord(name) + row, "f4").tobytes()
                opened.write(name, (row, 0), (1, 8), mine)
                assert opened.read(name, (row, 0), (1, 8), 32) == mine
        except (FormatError, AssertionError) as error:
            failures.append(error)

    with image(here, writable=True) as opened:
        threads = [threading.Thread(target=fill, args=(opened, name)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    with h5py.File(here) as file:
        for name in "abcd":
            np.testing.assert_array_equal(file[name][...], np.repeat(np.arange(64)[:, None] + ord(name), 8, axis=1))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A process started inside cannot write beyond `size` bytes of any file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 100, 2_000, 5_000, 20_000, 60_000])
def test_a_disk_that_fills_up_is_an_output_error_and_never_a_crash(here: Path, room: int) -> None:
    with h5py.File(here, "w") as file:
        for name in "abcdefgh":
            file.create_dataset(name, data=np.zeros((50, 50), "f4"), compression="gzip", chunks=(10, 10))
    fresh = np.random.default_rng(0).normal(size=(50, 50)).astype("f4").tobytes()
    fd = os.open(here, os.O_RDWR)
    try:
        with largest_file(here.stat().st_size + room):
            opened = Hdf5Image(fd, 0, None, "f.h5", writable=True)
        with pytest.raises(OutputError, match=r"^f\.h5: the output cannot be written: File too large"), opened:
            for name in "abcdefgh":
                opened.write(name, (0, 0), (50, 50), fresh)
    finally:
        os.close(fd)


def test_a_library_that_the_child_cannot_load_is_no_damage_of_the_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py.File(here, "w").close()

    def broken() -> None:
        raise ImportError("libhdf5.so: cannot open shared object file")

    monkeypatch.setattr(hdf5_worker, "_library", broken)
    monkeypatch.delitem(sys.modules, "h5py")
    fd = os.open(here, os.O_RDONLY)
    try:
        with Hdf5Image(fd, 0, None, "f.h5", ahead=True) as opened, pytest.raises(FormatError) as caught:
            opened.survey()
    finally:
        os.close(fd)
    assert str(caught.value) == (
        "f.h5: h5py cannot be loaded: libhdf5.so: cannot open shared object file; install it again"
    )


def test_an_image_can_be_closed_twice_and_is_gone_then(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.create_dataset("x", data=np.zeros(3, "f4"), compression="gzip")
    with image(here, writable=True) as opened:
        opened.write("x", (0,), (3,), np.ones(3, "f4").tobytes())
        opened.close()
        opened.close()
        with pytest.raises(FormatError, match="is gone"):
            opened.survey()
    with h5py.File(here) as file:
        assert file["x"][0] == 1


def test_only_a_whole_file_can_be_opened_for_writing(here: Path) -> None:
    here.write_bytes(bytes(100))
    with pytest.raises(ValueError, match="whole file"), image(here, 1, writable=True):
        pass


# Damaged and hostile files


def test_declared_sizes_that_the_file_cannot_hold_are_refused(here: Path) -> None:
    for shape, chunks in (((1 << 20, 1 << 20), (64, 64)), ((1 << 13, 1 << 13), (64, 64)), ((1 << 40,), (4096,))):
        with h5py.File(here, "w") as file:
            file.create_dataset("x", shape, "f4", chunks=chunks, compression="gzip")[:1] = 1
        with pytest.raises(FormatError, match=r"'x' would inflate from \d+ to \d+ bytes"):
            surveyed(here)


def test_zeros_that_compress_a_thousand_times_are_no_bomb(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.create_dataset("slot", data=np.zeros((1000, 1000), "f4"), chunks=(1000, 1000), compression="gzip")
        assert 200 * file["slot"].id.get_storage_size() < 4_000_000
    assert only(here).locked is None


@pytest.mark.parametrize("size", [0, 1, 64, 127, 129, 1000, 20 << 20])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_chunk_that_inflates_to_more_or_less_than_a_chunk_is_refused(here: Path, size: int, shuffle: bool) -> None:
    with h5py.File(here, "w") as file:
        x = file.create_dataset("x", (16, 4), "f4", chunks=(8, 4), compression="gzip", shuffle=shuffle)
        x[...] = 1
        x.id.write_direct_chunk((8, 0), zlib.compress(bytes(size), 9))
    with image(here, writable=True) as opened:
        assert opened.read("x", (0, 0), (8, 4), 128) == np.ones(32, "f4").tobytes()
        with pytest.raises(FormatError, match=r"'x' is damaged: a chunk of it should decode to 128 bytes"):
            opened.read("x", (7, 0), (2, 4), 32)
        with pytest.raises(FormatError, match=r"'x' is damaged"):
            opened.write("x", (8, 0), (1, 1), bytes(4))


@pytest.mark.parametrize(("compression", "fletcher32"), [("lzf", False), ("lzf", True), (None, True), (None, False)])
def test_a_short_chunk_behind_any_other_filter_is_refused(
    here: Path, compression: str | None, fletcher32: bool
) -> None:
    with h5py.File(here, "w") as file:
        options = {"chunks": (8, 4), "compression": compression, "fletcher32": fletcher32}
        file.create_dataset("x", (8, 4), "f4", **options)
        file.create_dataset("small", data=np.ones((4, 4), "f4"), **{**options, "chunks": (4, 4)})
        short = file["small"].id.read_direct_chunk((0, 0))[1]
        file["x"].id.write_direct_chunk((0, 0), short)
    with image(here) as opened:
        assert opened.read("small", (0, 0), (4, 4), 64) == np.ones(16, "f4").tobytes()
        with pytest.raises(FormatError, match=r"'x' is damaged: a chunk of it"):
            opened.read("x", (0, 0), (8, 4), 128)


def test_a_wrong_checksum_is_an_error(here: Path) -> None:
    with h5py.File(here, "w") as file:
        file.create_dataset("x", data=np.ones((8, 4), "f4"), fletcher32=True)
        where = file["x"].id.get_chunk_info(0).byte_offset
    content = bytearray(here.read_bytes())
    content[where] ^= 1
    here.write_bytes(content)
    with image(here) as opened, pytest.raises(FormatError, match="the HDF5 library cannot read it"):
        opened.read("x", (0, 0), (8, 4), 128)


def sample(path: Path, libver: str) -> bytes:
    """A small file with something of everything."""
    with h5py.File(path, "w", libver=libver, userblock_size=512 if libver == "latest" else 0) as file:
        file.attrs["model_config"] = '{"class_name": "Sequential"}'
        file.attrs["layer_names"] = ["dense", "gzip"]
        file["dense/kernel"] = np.ones((8, 4), "f4")
        file["dense"].attrs["name"] = "dense"
        file["dense"].attrs["weight_names"] = np.array([b"kernel", b"bias"])
        file.create_dataset("gzip", data=np.ones((9, 4), ">f8"), compression="gzip", shuffle=True, chunks=(2, 4))
        file.create_dataset("lzf", data=np.ones((9, 4), "f2"), compression="lzf", fletcher32=True, chunks=(4, 4))
        add(file, "compact", np.ones(5, "f4"), compact=True)
        file["bf16"] = np.zeros(4, "V2")
        file["bf16"].attrs["dtype"] = "bfloat16"
        file["texts"] = np.array(["a", "bb"], dtype=h5py.string_dtype())
        file["pairs"] = np.zeros(2, dtype=[("a", "f4"), ("b", "i2")])
        file["soft"] = h5py.SoftLink("/dense")
        file["again"] = file["dense/kernel"]
    return path.read_bytes()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [sample(tmp_path_factory.mktemp(libver) / "f.h5", libver) for libver in ("earliest", "latest")]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_worker, "PATIENCE", 1.0)


def explore(path: Path) -> str:
    """Survey a file and read all it offers: all is well, or it is refused, and the facts fit the file."""
    size = path.stat().st_size
    with image(path) as opened:
        try:
            found = opened.survey().datasets
            for item in found:
                nbytes = math.prod(item.shape) * SIZES.get(item.dtype, 0)
                if item.offset is None and not item.locked and 0 < nbytes < 1 << 20:
                    opened.read(item.path, (0,) * len(item.shape), item.shape, nbytes)
        except FormatError as error:
            return str(error)
    assert all(0 <= item.offset <= size for item in found if item.offset is not None)
    return "read"


def test_the_sample_is_read_whole(here: Path, samples: list[bytes]) -> None:
    for content in samples:
        here.write_bytes(content)
        assert explore(here) == "read"


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("which", [0, 1])
def test_a_file_cut_short_anywhere_is_refused(here: Path, samples: list[bytes], which: int) -> None:
    content = samples[which]
    for size in {*range(0, 600, 61), *range(0, len(content), 211), len(content) - 1}:
        here.write_bytes(content[:size])
        assert explore(here).startswith("f.h5: ")


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 1), data=st.data())
def test_a_file_with_any_bytes_changed_is_read_or_refused_and_the_parent_lives(
    here: Path, samples: list[bytes], which: int, data: st.DataObject
) -> None:
    content = bytearray(samples[which])
    places = st.one_of(st.integers(0, len(content) - 1), st.integers(0, min(1200, len(content) - 1)))
    for at in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255])))
    here.write_bytes(content)
    assert explore(here).startswith(("read", "f.h5: "))


@pytest.mark.parametrize("content", [b"", b"x", b"\x89HDF\r\n\x1a\n", bytes(5000), b"PK\x03\x04" + bytes(600)])
def test_what_is_no_hdf5_file_is_refused(here: Path, content: bytes) -> None:
    here.write_bytes(content)
    with pytest.raises(FormatError, match=r"^f\.h5: the HDF5 library cannot read it"):
        surveyed(here)


GOOD: dict[str, Any] = {
    "datasets": [["a/x", [2, 3], "float32", "<", 64, ["b"], None], ["y", [], "string", "<", None, [], "locked"]],
    "groups": ["", "a"],
    "names": {"a": "dense"},
    "layer_names": {"": ["a"]},
    "weight_names": {"a": ["x"]},
    "model_configs": {},
    "soft_links": {"s": "/a"},
    "config": True,
}

junk = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3) | st.just([[]])


@settings(max_examples=examples(200))
@given(data=st.data())
def test_a_reply_with_anything_wrong_in_it_is_refused_or_a_sound_survey(data: st.DataObject) -> None:
    def spoiled(node: Any) -> Any:
        if data.draw(st.integers(0, 9)) == 0:
            return data.draw(junk)
        if isinstance(node, dict):
            return {key: spoiled(value) for key, value in node.items()}
        return [spoiled(value) for value in node] if isinstance(node, list) else node

    try:
        found = survey_of({key: spoiled(value) for key, value in GOOD.items()}, b"{}", 100, "f.h5")
    except FormatError:
        return
    for item in found.datasets:
        assert all(type(edge) is int and edge >= 0 for edge in item.shape)
        assert item.offset is None or 0 <= item.offset <= 100
        assert isinstance(item.path, str)
        assert item.order in ("<", ">")


def test_a_sound_reply_is_believed_and_one_about_bytes_that_are_not_there_is_not() -> None:
    found = survey_of(GOOD, b"{}", 88, "f.h5")
    assert found.datasets[0] == Dataset("a/x", (2, 3), "float32", "<", 64, ("b",))
    assert (found.model_config, found.groups) == ("{}", {"", "a"})
    with pytest.raises(FormatError, match="nonsense"):
        survey_of(GOOD, b"{}", 87, "f.h5")


@pytest.mark.parametrize(
    "item",
    [
        ["x", [True], "float32", "<", None, [], None],
        ["x", [1.0], "float32", "<", None, [], None],
        ["x", [-1], "float32", "<", None, [], None],
        ["x", [1 << 63], "float32", "<", None, [], None],
        ["x", [1] * 33, "float32", "<", None, [], None],
        ["x", [1], "float99", "<", None, [], None],
        ["x", [1], "float32", "=", None, [], None],
        ["x", [1], "float32", "<", -1, [], None],
        ["x", [1], "float32", "<", True, [], None],
        ["x", [1], "float32", "<", None, [1], None],
        ["x", [1], "float32", "<", None, [], False],
        ["x", [1], "float32", "<", None, []],
        ["y", [], "float32", "<", None, [], None],
    ],
)
def test_a_dataset_of_impossible_facts_makes_the_reply_nonsense(item: list[Any]) -> None:
    sound = ["y", [1], "float32", "<", 0, [], None]
    with pytest.raises(FormatError, match="nonsense"):
        survey_of({**GOOD, "datasets": [sound, item]}, b"", 100, "f.h5")


def test_a_worker_that_hangs_in_the_library_is_given_up(
    here: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    with h5py.File(here, "w") as file:
        file["x"] = np.ones(3)
    monkeypatch.setattr(hdf5_walk.Walk, "run", lambda self, root: threading.Event().wait())
    with pytest.raises(FormatError, match=r"did not answer in 1(\.\d+)? s"):
        surveyed(here)


def test_the_library_is_loaded_without_filter_plugins() -> None:
    hdf5_worker._library()
    assert os.environ["HDF5_PLUGIN_PRELOAD"] == "::"
