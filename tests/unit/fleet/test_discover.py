"""Which checkpoints a tree holds: one item each, also of what is half there; trees that mean harm cost little."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import onnx_files, tf_recorded, tfjs_files, torch_files
from support.places import DATA, ROOT, SAMPLES

from renorm_cli.errors import FormatError
from renorm_cli.fleet.discover import Item, Search, Shard, item_at
from renorm_cli.formats.registry import FORMATS, locate, wholes


def found(top: Path, **asked: object) -> list[str]:
    """The paths below a folder, as they begin there."""
    search = Search(recursive=True, **asked)  # type: ignore[arg-type]
    return [os.path.relpath(item.path, top) for item in search.items([str(top)])]


def put(top: Path, *names: str) -> None:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"x" * 10)


TREES: dict[str, tuple[list[str], list[str]]] = {
    "a file for each": (
        ["b.h5", "a.keras", "c.hdf5", "d.weights.h5", "e.safetensors"],
        [*("a.keras", "b.h5", "c.hdf5")],
    ),
    "other files": (["README.md", "config.json", "events.out.tfevents.1", "checkpoint", "vocab.txt"], []),
    "the order of paths": (["a/z.h5", "a.h5", "a-b.h5", "a/b/c.h5"], ["a-b.h5", "a.h5", "a/b/c.h5", "a/z.h5"]),
    "a prefix": (
        ["ckpt-7.index", "ckpt-7.data-00000-of-00002", "ckpt-7.data-00001-of-00002", "ckpt-7.meta"],
        ["ckpt-7"],
    ),
    "data files are missing": (["ckpt-7.index"], ["ckpt-7"]),
    "the index is missing": (["c.data-00001-of-00002", "c.data-00000-of-00002"], ["c.data-00000-of-00002"]),
    "a file has the name of a prefix": (["m.h5", "m.h5.index", "m.h5.data-00000-of-00001"], ["m.h5", "m.h5.index"]),
    "a SavedModel": (["m/saved_model.pb", "m/variables/variables.index", "m/assets/a.h5", "b.h5"], ["b.h5", "m"]),
    "an Orbax checkpoint": (["step/_CHECKPOINT_METADATA", "step/default/_METADATA", "step/default/x.h5"], ["step"]),
    "steps of Orbax": (
        ["run/1/_CHECKPOINT_METADATA", "run/1/pytree/manifest.ocdbt", "run/2/_CHECKPOINT_METADATA", "run/x.h5"],
        ["run/1", "run/2", "run/x.h5"],
    ),
    "arrays of Orbax": (["a/_METADATA", "a/params.w/.zarray", "b/manifest.ocdbt", "b/d/0"], ["a", "b"]),
    "a distributed one": (["d/.metadata", "d/__0_0.distcp", "d/__1_0.distcp"], ["d"]),
    "an index of shards": (
        ["m.safetensors.index.json", "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"],
        ["m.safetensors.index.json"],
    ),
    "binary files of weights": (
        ["pytorch_model.bin", "adapter_model.bin", "diffusion_pytorch_model.fp16.bin", "vocab.bin", "a.npy", "b.npz"],
        ["a.npy", "adapter_model.bin", "b.npz", "diffusion_pytorch_model.fp16.bin", "pytorch_model.bin"],
    ),
    "files of PyTorch": (
        ["a.pth.tar", "b.pt.tar", "c.jit", "d.ckpt", "e.pth", "f.pt", "g.pt2", "data.tar"],
        ["a.pth.tar", "b.pt.tar", "c.jit", "d.ckpt", "e.pth", "f.pt", "g.pt2"],
    ),
    "binary files with an index": (
        ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"],
        ["pytorch_model.bin.index.json"],
    ),
    "shards of TensorFlow.js alone": (
        ["group1-shard1of2.bin", "group1-shard2of2.bin", "m-group1-shard1of1", "face-shard1", "face-shard2", "a.json"],
        ["face-shard1", "group1-shard1of2.bin", "m-group1-shard1of1"],
    ),
    "hidden": ([".git/a.h5", "._a.h5", ".renorm-1-2-a.h5", "a.h5"], ["a.h5"]),
    "a map that cannot be read": (["m.weights.json", "m_00000.weights.h5"], ["m.weights.json", "m_00000.weights.h5"]),
}


@pytest.mark.parametrize("kind", TREES)
def test_one_checkpoint_is_one_item_in_the_order_of_paths(kind: str, tmp_path: Path) -> None:
    names, expected = TREES[kind]
    put(tmp_path, *names)
    if kind == "a file for each":
        expected = sorted(names)
    assert found(tmp_path) == expected


def test_the_shards_that_a_map_names_are_no_items_and_another_file_is(tmp_path: Path) -> None:
    for path in SAMPLES.glob("dense*weights*"):
        if "keras2" not in path.name:
            shutil.copy(path, tmp_path)
    put(tmp_path, "dense_00099.weights.h5")
    values = json.loads((tmp_path / "dense.weights.json").read_text())["weight_map"].values()
    shards = {name for value in values for name in (value if isinstance(value, list) else [value])}
    assert len(shards) > 1
    assert all((tmp_path / name).is_file() for name in shards)
    assert found(tmp_path) == ["dense.weights.h5", "dense.weights.json", "dense_00099.weights.h5"]


def test_every_sample_and_every_recorded_checkpoint_of_tensorflow_is_found(tmp_path: Path) -> None:
    tf_recorded.copied("objects", tmp_path / "tf")
    shutil.copytree(SAMPLES, tmp_path / "samples")
    names = found(tmp_path)
    assert [name for name in names if name.startswith("tf")] == ["tf/ckpt-7"]
    files = {path.name for path in SAMPLES.iterdir() if path.suffix in (".h5", ".keras", ".hdf5")}
    shards = {name for name in files if "_0000" in name}
    assert {Path(name).name for name in names if name.startswith("samples")} >= files - shards


def test_a_binary_file_is_found_where_torch_wrote_a_tensor_into_it_or_nobody_can_tell(tmp_path: Path) -> None:
    stored = torch_files.item_of(np.ones((2, 2), np.float32))
    for name in ("weights.bin", "renamed.dat"):
        (tmp_path / name).write_bytes(stored)
    with zipfile.ZipFile(tmp_path / "training_args.bin", "w") as arguments:
        arguments.writestr("training_args/data.pkl", b"\x80\x02}q\x00.")
        arguments.writestr("training_args/.data/serialization_id", b"0")
    (tmp_path / "other.bin").write_bytes(b"")
    (tmp_path / "link.bin").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.bin")
    assert found(tmp_path) == ["link.bin", "pipe.bin", "weights.bin"]


def test_a_model_of_tensorflow_js_is_found_whatever_it_and_its_files_are_called(tmp_path: Path) -> None:
    for name, bare, part in (("gear.json", False, "gear.bin"), ("f-weights_manifest.json", True, "f-shard1")):
        model = tfjs_files.write_tfjs(tmp_path, [[("w", np.ones((2, 2), "f4"), {})]], name=name, bare=bare)
        (tmp_path / "group1-shard1of1.bin").rename(tmp_path / part)
        model.write_text(model.read_text().replace("group1-shard1of1.bin", part))
    put(tmp_path, "package.json", "other.bin", "group7-shard1of2.bin")
    (tmp_path / "old.json").symlink_to("gone.json")
    assert found(tmp_path) == ["f-weights_manifest.json", "gear.json", "group7-shard1of2.bin"]
    assert wholes([tmp_path / "f-shard1"]) == ([tmp_path / "f-weights_manifest.json"], [])
    assert wholes([tmp_path / "gear.bin"]) == ([tmp_path / "gear.json"], [])
    assert wholes([tmp_path / "package.json"]) == ([], [tmp_path / "package.json"])
    with pytest.raises(FormatError, match=r"a part of a model of TensorFlow.js; put its .json beside it"):
        locate(tmp_path / "group7-shard1of2.bin")


def test_shards_that_an_earlier_save_left_beside_a_model_are_no_items(tmp_path: Path) -> None:
    tfjs_files.write_tfjs(tmp_path, [[("w", np.ones((2, 2), "f4"), {})]])
    put(tmp_path, "group1-shard1of2.bin", "group1-shard2of2.bin")
    assert found(tmp_path) == ["model.json"]
    (tmp_path / "model.json").write_text('{"modelTopology": 1, "weightsManifest": [')
    assert found(tmp_path) == ["model.json"]  # whose shards these are, nobody can tell


def test_checkpoints_of_version_1_are_found_whatever_they_are_called_and_their_parts_are_no_items(
    tmp_path: Path,
) -> None:
    (content,) = (path.read_bytes() for path in (DATA / "tensorflow" / "v1").iterdir())
    parts = [f"p.ckpt-7-0000{number}-of-00002" for number in range(2)]
    names = ("a", "model-1000", "model.ckpt", "model.ckpt-7", "snapshot.77", "odd.name", *parts)
    for name in names:
        (tmp_path / name).write_bytes(content)
    put(tmp_path, "odd.name.meta", "p.ckpt-7.meta", "LICENSE", "b.meta", "x.1")
    (tmp_path / "other.name").write_bytes(content)  # nothing in its name says that it may be one
    (tmp_path / "t.index").write_bytes(content)
    assert found(tmp_path) == sorted({*names, "t"} - {parts[1]})
    os.mkfifo(tmp_path / "pipe")
    search = Search(recursive=True)
    assert len(list(search.items([str(tmp_path)]))) == len(names)
    assert search.passed == 5


def test_what_a_format_calls_its_files_is_searched_for_and_listed_in_the_documentation() -> None:
    page = (ROOT / "docs" / "fleet.md").read_text()
    searched = {ending for format in FORMATS for ending in format.searched if not ending.endswith(".json")}
    assert [ending for ending in sorted(searched) if f"`{ending}`" not in page] == []
    assert [end for one in FORMATS for end in one.endings if not end.endswith((*searched, ".json", ".bin"))] == []


def test_patterns_are_for_paths_and_for_names(tmp_path: Path) -> None:
    put(tmp_path, "a/x-1.h5", "a/x-2.h5", "b/x-1.h5", "old/x-1.h5")
    assert found(tmp_path, match=["x-1.h5"]) == ["a/x-1.h5", "b/x-1.h5", "old/x-1.h5"]
    assert found(tmp_path, match=["x-1*", f"{tmp_path}/a/*"], skip=["*/old/*"]) == ["a/x-1.h5", "a/x-2.h5", "b/x-1.h5"]
    assert found(tmp_path, skip=["*"]) == []


def test_the_size_and_the_identity_are_of_all_files(tmp_path: Path) -> None:
    put(tmp_path, "c.index", "c.data-00000-of-00002", "c.data-00001-of-00002")

    def only() -> Item:
        (item,) = Search(recursive=True).items([str(tmp_path)])
        assert [item] == list(Search().items([str(tmp_path / "c")]))  # found, or given
        return item

    before = only()
    assert before.bytes == 30
    assert only() == before
    (tmp_path / "c.data-00001-of-00002").write_bytes(b"y" * 11)
    assert only().identity != before.identity
    assert only().bytes == 31


READ: dict[str, tuple[str, list[str]]] = {
    "a config beside safetensors": ("m.safetensors", ["m.safetensors", "config.json"]),
    "a config beside shards": (
        "m.safetensors.index.json",
        ["m.safetensors.index.json", "m-00001-of-00001.safetensors", "config.json"],
    ),
    "a file of any name": ("m.sft", ["m.sft", "config.json"]),
    "a graph beside a prefix": ("c", ["c.index", "c.data-00000-of-00001", "c.meta"]),
    "a graph beside version 1": ("model.ckpt-7", ["model.ckpt-7", "model.ckpt-7.meta"]),
    "shards of version 1": ("c.ckpt-00000-of-00002", ["c.ckpt-00000-of-00002", "c.ckpt-00001-of-00002", "c.ckpt.meta"]),
    "tensors of ONNX": ("m.onnx", ["m.onnx", "m.onnx.data", "m.onnx_data"]),
    "tensors of ONNX under any name": ("w.onnx", ["w.onnx", "weights"]),
    "a split GGUF": ("m-00001-of-00002.gguf", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
    "TensorFlow.js": ("model.json", ["model.json", "g1.bin"]),
    "a SavedModel by its graph": ("saved_model.pb", ["saved_model.pb", "variables/variables.index"]),
    "a prefix by the state file": ("checkpoint", ["checkpoint", "c.index", "c.data-00000-of-00001"]),
    "the folder of a model": ("", ["model.safetensors", "config.json"]),
}
"""A path that is given, and the files of which each is read."""
V1 = bytes.fromhex("57fb808b247547db").rjust(60, b"x")
CONTENTS = {
    "model.json": b'{"format": "layers-model", "weightsManifest": [{"paths": ["g1.bin"], "weights": []}]}',
    "checkpoint": b'model_checkpoint_path: "c"\n',
    "model.ckpt-7": V1,
    "c.ckpt-00000-of-00002": V1,
    "c.ckpt-00001-of-00002": V1,
}


@pytest.mark.parametrize("kind", READ)
def test_the_identity_changes_with_each_file_that_is_read_also_where_it_comes_or_goes(
    kind: str, tmp_path: Path
) -> None:
    given, files = READ[kind]
    put(tmp_path, *files)
    for name, content in CONTENTS.items():
        if name in (given, *files):
            (tmp_path / name).write_bytes(content)
    if given == "w.onnx":
        onnx_files.write_outside(tmp_path / given, files[1])

    def seen() -> set[str]:
        """Given, and found where it can be."""
        given_path = tmp_path / given
        found = (item for item in Search(recursive=True).items([str(tmp_path)]) if Path(item.path) == given_path)
        return {item.identity for item in (item_at(str(given_path)), *found)}

    before = seen()
    for name in files:
        whole = (tmp_path / name).stat().st_mtime_ns
        os.utime(tmp_path / name, ns=(1, 1))
        assert before.isdisjoint(seen()), name
        os.utime(tmp_path / name, ns=(whole, whole))
        assert seen() == before
    for name in files[1:]:
        (tmp_path / name).rename(tmp_path / "gone")
        assert before.isdisjoint(seen()), name
        (tmp_path / "gone").rename(tmp_path / name)


def test_a_model_that_names_another_checkpoint_does_not_hide_it(tmp_path: Path) -> None:
    put(tmp_path, "a.h5")
    onnx_files.write_outside(tmp_path / "m.onnx", "a.h5")
    assert found(tmp_path) == ["a.h5", "m.onnx"]


def test_a_path_that_is_given_is_an_item_as_it_is_and_comes_once(tmp_path: Path) -> None:
    put(tmp_path, "a.h5", "b/c.h5")
    given = [str(tmp_path / name) for name in ("gone.h5", "a.h5", "a.h5", "b")]
    assert [item.path for item in Search().items(given)] == [given[0], given[1], given[3]]
    assert [item.bytes for item in Search().items(given)] == [0, 10, 10]
    assert [item.path for item in Search(recursive=True).items(given)] == [*given[:2], f"{given[3]}/c.h5"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    put(tmp_path, "real/a.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "real" / "a.h5")
    (tmp_path / "broken.h5").symlink_to(tmp_path / "gone")
    (tmp_path / "self.h5").symlink_to(tmp_path / "self.h5")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    search = Search(recursive=True)
    names = [os.path.relpath(item.path, tmp_path) for item in search.items([str(tmp_path)])]
    assert names == ["broken.h5", "link.h5", "real/a.h5", "self.h5"]
    assert search.passed == 1
    assert len(list(Search(recursive=True).items([str(tmp_path / "real" / "up")]))) == 4  # it was given


def test_a_name_that_is_no_unicode_or_holds_escapes_is_found_as_it_is(tmp_path: Path) -> None:
    names = [b"\xff.h5", b"a\x1b[2Jb.h5", b"a\nb.h5", b"x" * 252 + b".h5", "größe.h5".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    assert {os.fsencode(name) for name in found(tmp_path)} == set(names)
    assert [os.fsencode(name) for name in found(tmp_path)] == sorted(names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_an_item(tmp_path: Path) -> None:
    put(tmp_path, "a.h5", "closed/b.h5")
    (tmp_path / "closed").chmod(0)
    try:
        assert found(tmp_path) == ["a.h5", "closed"]
    finally:
        (tmp_path / "closed").chmod(0o700)


def _refused(path: str, real: Callable[[str], object]) -> object:
    if path.endswith("/closed"):
        raise PermissionError(13, "Permission denied", path)
    if path.endswith("/gone"):
        raise FileNotFoundError(2, "No such file or directory", path)
    return real(path)


def test_a_tree_that_changes_is_walked_and_what_cannot_be_listed_is_an_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.h5", "closed/b.h5", "gone/c.h5", "z.h5")
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _refused(path, real))
    assert found(tmp_path) == ["a.h5", "closed", "z.h5"]


def test_a_tree_deeper_than_a_path_can_be_long_ends_as_an_item(tmp_path: Path) -> None:
    names, at = [], os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=at)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    names = found(tmp_path)
    assert len(names) == 1
    assert len(names[0]) > 3500
    (item,) = Search(recursive=True).items([str(tmp_path)])
    assert item.bytes == 0


def test_many_names_and_paths_in_one_folder_cost_little(tmp_path: Path) -> None:
    for number in range(2_000):
        os.close(os.open(tmp_path / f"c-{number}.index", os.O_CREAT | os.O_WRONLY))
    start = time.process_time()
    names = found(tmp_path)
    assert len(names) == 2_000
    given = [str(tmp_path / name) for name in names]
    assert sum(item.identity != "" for item in Search().items(given)) == 2_000
    assert time.process_time() - start < 1.5


def test_each_checkpoint_is_in_one_part_and_no_part_is_empty() -> None:
    found = [Item(f"runs/{number}.h5", 1, "") for number in range(100)]
    parts = [[item for item in found if Shard(number, 3).has(item)] for number in (1, 2, 3)]
    assert sorted(item.path for part in parts for item in part) == sorted(item.path for item in found)
    assert all(parts)
