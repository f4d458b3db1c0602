"""Files are told by their content, the most specific format first; what is known and not read is told as what it is."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import builders, tensor_files
from support import small_checkpoints as small
from support.files import bound, look
from support.memory_file import MemoryFile
from support.places import SAMPLES

from renorm_cli.errors import FormatError
from renorm_cli.formats import registry
from renorm_cli.formats.base import REACH, Format, Found, Head
from renorm_cli.formats.registry import find, is_one_of, locate

SHARDS = {"model.layers.0.mlp.up_proj.weight": "model-00001-of-00002.safetensors"}
INDEXES = {
    "safetensors": {"metadata": {"total_size": 96}, "weight_map": SHARDS},
    "map first": {"weight_map": SHARDS, "metadata": {}},
    "no metadata": {"weight_map": SHARDS},
    "PyTorch": {"metadata": {"total_size": 96}, "weight_map": {"a.weight": "pytorch_model-00001-of-00001.bin"}},
    "many": {"metadata": {}, "weight_map": {f"{'layer.' * 40}{n}": "m.safetensors" for n in range(3000)}},
}


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("indent", [None, 2])
def test_an_index_of_safetensors_is_told_as_one_and_not_as_a_damaged_map(
    name: str, indent: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(INDEXES[name], indent=indent))
    with pytest.raises(FormatError, match=r"no such file"):
        look(path)


@pytest.mark.parametrize("size", [0, 0x7B20, 0x7B, 100_000])
def test_a_safetensors_file_is_told_as_one_whatever_the_size_of_its_header(size: int, tmp_path: Path) -> None:
    """A header of 0x7b20 bytes has a size that looks like the start of JSON."""
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    for name in ("model.safetensors", "m.weights.json", "m.h5"):
        (tmp_path / name).write_bytes(tensor_files.safetensors(header, bytes(8), size))
        assert look(tmp_path / name).format == "safetensors"


@pytest.mark.parametrize("text", ["{}", "[]", '{"layers": []}', '{"format": "layers-model", "weightsMap": []}'])
def test_json_without_the_marks_of_a_map_is_no_format_of_keras_whatever_its_name_is(text: str, tmp_path: Path) -> None:
    for name in ("model.json", "m.weights.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(FormatError, match="is no checkpoint of a known format"):
            look(tmp_path / name)


def test_a_map_of_keras_has_lists_of_files_and_is_read_whatever_its_name_is(tmp_path: Path) -> None:
    weights = builders.v3_layers(builders.two_dense())
    builders.write_sharded(tmp_path / "m.weights.json", [{group: layer} for group, layer in weights.items()])
    (tmp_path / "m.weights.json").rename(tmp_path / "model.safetensors.index.json")
    assert look(tmp_path / "model.safetensors.index.json").format == "keras-weights-json"


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["dense.h5", "dense.keras", "deflated.keras", "dense.weights.h5"])
def test_the_name_of_a_file_decides_nothing(sample: str, tmp_path: Path) -> None:
    for name in ("m.keras", "m.h5", "m.weights.json", "m.safetensors", "m.index", "m"):
        shutil.copy(SAMPLES / sample, tmp_path / name)
        assert look(tmp_path / name).format == look(SAMPLES / sample).format


@pytest.mark.parametrize("userblock", [512, 1 << 15, 1 << 16, 1 << 20])
def test_hdf5_is_recognised_behind_a_user_block_of_any_size(userblock: int, tmp_path: Path) -> None:
    builders.write_h5(tmp_path / "m", {"dense/kernel": builders.kernel((8, 4))}, userblock=userblock)
    assert look(tmp_path / "m").format == "hdf5"


def test_an_archive_whose_weights_lie_where_a_user_block_may_end_is_an_archive(tmp_path: Path) -> None:
    """Taken for HDF5, its weights would change and its checksums would not."""
    path, out = tmp_path / "m.keras", tmp_path / "out.keras"
    weights = builders.two_dense()
    layers, config = builders.v3_layers(weights), builders.dense_config(weights)
    write_archive(path, layers, config, b"")
    start = path.read_bytes().index(b"\x89HDF")
    write_archive(path, layers, config, b"x" * (4096 - start))
    assert path.read_bytes().index(b"\x89HDF") == 4096
    with h5py.File(path):
        pass  # the HDF5 library takes it for a file with a user block
    assert look(path).format == "keras-zip"
    bound(path, out)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None


def write_archive(path: Path, layers: builders.Layers, config: Any, filler: bytes) -> None:
    """The filler first, so that the weights move."""
    builders.write_keras(path, config, layers)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"filler": filler, **members}.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def test_a_zip_behind_other_bytes_is_an_archive(tmp_path: Path) -> None:
    weights = builders.two_dense()
    for prefix in (b"#!/bin/true\n", b"{}\n", bytes(100_000)):
        path = tmp_path / "m"
        builders.write_keras(path, builders.dense_config(weights), builders.v3_layers(weights), prefix=prefix)
        assert look(path).format == "keras-zip"


def test_the_first_format_that_recognises_a_file_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Asked(Format):
        def __init__(self, name: str, answer: bool) -> None:
            self.reads, self.answer = name, answer

        def recognises(self, head: Head) -> bool:
            asked.append(self.reads)
            return self.answer

        def open(self, found: Found) -> Any:
            raise FormatError(self.reads)

    formats = (Asked("not mine", False), Asked("mine", True), Asked("never asked", True))
    monkeypatch.setattr(registry, "FORMATS", formats)
    with pytest.raises(FormatError, match=r"\Amine\Z"):
        look(SAMPLES / "dense.h5")
    assert asked == ["not mine", "mine"]


def test_a_head_has_both_ends_of_a_file_and_each_is_read_once() -> None:
    reads: list[tuple[int, int]] = []

    class Counted(MemoryFile):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            reads.append((offset, len(buffer)))
            super().read_into(offset, buffer)

    content = np.random.default_rng(0).bytes(3 * REACH)
    head = Head(Counted(Path("m"), content))
    for _ in range(2):
        assert (head.first, head.last) == (content[:REACH], content[-REACH:])
    assert reads == [(0, REACH), (2 * REACH, REACH)]
    assert head.at(2 * REACH, 2 * REACH) == content[2 * REACH :]
    assert head.at(5 * REACH, 8) == b""
    assert Head(Counted(Path("m"), b"short")).last == b"short"


def test_what_is_found_holds_one_open_file_until_it_is_closed_or_opened(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "dense.h5", tmp_path / "m.h5")
    with find(tmp_path / "m.h5") as found:
        file = found.only
        with found.open() as source:
            assert source.files == (file,)
            assert source.location == locate(tmp_path / "m.h5")
        assert found.file is None
    with find(tmp_path / "m.h5") as found:
        pass
    assert found.file is None
    with find(tmp_path / "gone.h5") as found:
        assert (found.file, found.format) == (None, None)


@pytest.mark.parametrize(
    ("name", "output", "report"),
    [
        ("m.weights.h5", "m-renorm.weights.h5", "m.weights.h5.report.json"),
        ("m.weights.json", "m-renorm.weights.json", "m.weights.json.report.json"),
        ("m.json", "m-renorm.json", "m.json.report.json"),
        ("m.hdf", "m-renorm.hdf", "m.hdf.report.json"),
        ("m.safetensors", "m-renorm.safetensors", "m.safetensors.report.json"),
        ("m.safetensors.index.json", "m-renorm.safetensors.index.json", "m.safetensors.index.json.report.json"),
        ("m.ckpt", "m-renorm.ckpt", "m.ckpt.report.json"),
        ("m.ckpt-7", "m.ckpt-7-renorm", "m.ckpt-7.report.json"),
        (".keras", ".keras-renorm", ".keras.report.json"),
    ],
)
def test_names_of_outputs_keep_the_endings_of_formats(name: str, output: str, report: str, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "dense.h5", tmp_path / name)
    location = locate(tmp_path / name)
    assert location.default_output().path == tmp_path / output
    assert location.report() == tmp_path / report


@pytest.mark.parametrize("name", small.FORMATS)
def test_every_file_of_a_checkpoint_is_told_as_one_of_it_and_another_beside_it_is_not(
    name: str, tmp_path: Path
) -> None:
    path = small.FORMATS[name](tmp_path)
    for file in small.content(tmp_path):
        assert is_one_of(tmp_path / file, [None, tmp_path / "gone", path]), file
    (tmp_path / "other.json").write_text("{}")
    assert not is_one_of(tmp_path / "other.json", [None, tmp_path / "gone", path])
