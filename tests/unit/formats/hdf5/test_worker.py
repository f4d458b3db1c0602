"""HDF5 files read and written through the worker, judged against h5py and the raw bytes of the file."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hdf5_images import (
    FLOATS,
    OTHER_NUMBERS,
    STORAGE,
    add,
    by_path,
    image,
    many,
    numbers,
    surveyed,
)

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.apart import Worker
from renorm_cli.formats.hdf5 import server as hdf5_server
from renorm_cli.formats.hdf5 import walk as hdf5_walk
from renorm_cli.formats.hdf5 import worker as hdf5_worker
from renorm_cli.formats.hdf5.worker import Hdf5Image


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


def test_a_survey_has_its_time_also_where_a_file_system_counts_no_blocks(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(here, "w") as file:
        file["x"] = np.ones(1 << 20, "f4")
    given: list[int] = []
    call, fstat = Worker.call, os.fstat

    def noted(self: Worker, request: dict[str, Any], *rest: Any, processor: int, **others: Any) -> Any:
        given.append(processor)
        return call(self, request, *rest, processor=processor, **others)

    monkeypatch.setattr(Worker, "call", noted)
    surveyed(here)
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result(tuple(fstat(fd)), {"st_blocks": 0}))
    surveyed(here)
    assert given[0] == given[1] > hdf5_worker.SURVEY_PROCESSOR


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

    monkeypatch.setattr(hdf5_server, "library", broken)
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


def test_a_worker_that_hangs_in_the_library_is_given_up(
    here: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    with h5py.File(here, "w") as file:
        file["x"] = np.ones(3)
    monkeypatch.setattr(hdf5_walk.Walk, "run", lambda self, root: threading.Event().wait())
    with pytest.raises(FormatError, match=r"did not answer in 1(\.\d+)? s"):
        surveyed(here)


def test_the_library_is_loaded_without_filter_plugins() -> None:
    hdf5_server.library()
    assert os.environ["HDF5_PLUGIN_PRELOAD"] == "::"
