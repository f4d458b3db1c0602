"""Files that lead out of themselves, claim what they have not, or are damaged: refused, with the parent alive."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.hdf5_images import (
    add,
    by_path,
    image,
    numbers,
    only,
    patch,
    surveyed,
)

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5 import walk as hdf5_walk
from renorm_cli.formats.hdf5.types import SIZES


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
    patch(here, second.to_bytes(8, "little"), (first + 799).to_bytes(8, "little"))
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
