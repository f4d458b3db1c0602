"""A path that leads to no checkpoint: the message says what is there, whose part it is, and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import tf_recorded
from support.files import look
from support.places import SAMPLES

from renorm_cli.errors import FormatError
from renorm_cli.formats.registry import FORMATS, find, wholes

LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 41200\n".encode()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(SAMPLES / "dense.h5", "dense.h5")
    return out.getvalue()


DENSE = (SAMPLES / "dense.keras").read_bytes()
_NOT_ALONE = {".json", ".npy", ".npz"}  # in a zip they are what else its members make of it
ENDINGS = sorted({ending for format in FORMATS for ending in (*format.endings, *format.searched)} - _NOT_ALONE)
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "pointer of Git LFS": (lambda: LFS, "a Git LFS pointer to one; run `git lfs pull`"),
    "gzip": (lambda: gzip.compress(DENSE), "a file compressed by gzip; unpack it first"),
    "bzip2": (lambda: bz2.compress(DENSE), "a file compressed by bzip2; unpack it first"),
    "xz": (lambda: lzma.compress(DENSE), "a file compressed by xz; unpack it first"),
    "tar": (tarred, "a tar archive; unpack it first"),
    "pickle": (lambda: pickle.dumps([1.0]), "a pickle; it could run code, and is never opened"),
    "a .keras in a zip": (
        lambda: zipped(**{"run/m.keras": DENSE}),
        "it holds 'run/m.keras'; unpack it first",
    ),
    "pickle in a zip": (lambda: zipped(**{"data.pkl": b""}), "holds a pickle; it could run code, and is never opened"),
    "photos": (lambda: zipped(**{"a.jpg": b""}), "a zip archive without model.weights.h5: a .keras file was expected"),
    "web page": (lambda: b"\n<!DOCTYPE html>\n<html>", "a web page; was its download refused?"),
    "config": (lambda: b'{"class_name": "Functional", "config": {}}', "the config of a Keras model, without weights"),
    "report": (lambda: b'{"schema_version": 1, "tool": "renorm-ckpt"', "a report of this program; give the checkpoint"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_any_format_calls_its_files_is_told_where_it_lies_in_a_zip(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zipped(**{f"run/m{ending}": b"x"}))
    with pytest.raises(FormatError, match=f"it holds 'run/m{re.escape(ending)}'; unpack it first"):
        look(path)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_known_and_no_checkpoint_is_told_as_what_it_is(kind: str, tmp_path: Path) -> None:
    content, said = FILES[kind]
    (tmp_path / "m.keras").write_bytes(content())
    with pytest.raises(FormatError) as refused:
        look(tmp_path / "m.keras")
    assert said in refused.value.text


def test_a_file_of_nothing_known_is_said_to_be_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_text("dear diary")
    with pytest.raises(FormatError, match=r"is no checkpoint of a known format; SavedModels, .* are read\Z"):
        look(tmp_path / "m.h5")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """`objects/ckpt-7` with its state file, `module`, a SavedModel, and `dense.weights.json` with its shards."""
    (tmp_path / "objects").mkdir()
    tf_recorded.copied("objects", tmp_path / "objects")
    (tmp_path / "objects" / "checkpoint").write_text('model_checkpoint_path: "ckpt-7"\n')
    (tmp_path / "objects" / "ckpt-7.meta").write_bytes(b"a graph")
    tf_recorded.copied("saved model", tmp_path)
    for path in SAMPLES.glob("dense*weights.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


PARTS = {
    "objects/ckpt-7.data-00000-of-00001": "objects/ckpt-7",
    "objects/ckpt-7.meta": "objects/ckpt-7",
    "module/variables/variables.index": "module",
    "module/variables/variables.data-00000-of-00001": "module",
    "module/fingerprint.pb": "module",
    "dense_00001.weights.h5": "dense.weights.json",
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_refused_and_its_whole_is_named(part: str, recorded: Path) -> None:
    with pytest.raises(FormatError) as refused:
        find(recorded / part)
    assert refused.value.text.endswith(f"is a part of the checkpoint {str(recorded / PARTS[part])!r}; give that")


@pytest.mark.parametrize(
    ("file", "whole"),
    [("objects/checkpoint", "objects/ckpt-7"), ("module/saved_model.pb", "module")],
)
def test_a_file_that_names_a_checkpoint_is_followed(file: str, whole: str, recorded: Path) -> None:
    assert look(recorded / file).path == str(recorded / whole)
    assert look(recorded / file).rows == look(recorded / whole).rows


def test_changed_files_lead_to_each_whole_once_and_other_paths_stay(recorded: Path) -> None:
    shutil.copy(SAMPLES / "dense.h5", recorded / "checkpoint")  # named so, and something else
    changed = [
        *PARTS,
        "objects/ckpt-7.index",
        "objects/checkpoint",
        "module/saved_model.pb",
        "dense.weights.json",
        "gone.h5",
        "checkpoint",
    ]
    found, others = wholes(recorded / name for name in changed)
    assert others == []
    assert found == [recorded / name for name in ("objects/ckpt-7", "module", "dense.weights.json", *changed[-2:])]


def test_a_file_that_is_called_as_a_part_is_read_where_there_is_no_whole(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "dense_00001.weights.h5", tmp_path / "other_00001.weights.h5")
    assert look(tmp_path / "other_00001.weights.h5").rows
    (tmp_path / "other.weights.json").write_text('{"weight_map": {"/": ["another_00001.weights.h5"]}}')
    assert look(tmp_path / "other_00001.weights.h5").rows


def test_the_inside_of_a_saved_model_is_read_where_its_prefix_is_said(recorded: Path) -> None:
    assert look(recorded / "module" / "variables" / "variables").format == "tf-checkpoint"


@pytest.mark.parametrize("named", ["ckpt-7", "ckpt-7.data-00000-of-00001"])
def test_data_without_an_index_are_said_to_lack_it(named: str, recorded: Path) -> None:
    (recorded / "objects" / "ckpt-7.index").unlink()
    with pytest.raises(FormatError, match=r"part of the checkpoint .*, whose 'ckpt-7\.index' is not there; put it"):
        find(recorded / "objects" / named)


def refused(folder: Path) -> str:
    with pytest.raises(FormatError) as problem:
        find(folder)
    return problem.value.text.removeprefix(f"{str(folder)!r} is a directory and no checkpoint")


def test_a_folder_names_the_checkpoints_that_it_holds(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(", and none is in it; SavedModels, ")
    folder = tmp_path / "hub"  # as Hugging Face lays them out
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.bin.gz").write_bytes(b"\x1f\x8b" + bytes(20))
    (folder / "training_args.bin").write_bytes(zipped(**{"data.pkl": b""}))
    assert "is a file compressed by gzip" in refused(folder)
    shutil.copy(SAMPLES / "dense.h5", folder / "tf_model.h5")
    assert refused(folder) == "; it holds 'tf_model.h5'; give that"
    assert refused(tmp_path) == "; it holds 'hub/tf_model.h5'; give that"
    for number in range(12):
        shutil.copy(SAMPLES / "dense.keras", tmp_path / f"epoch-{number:02}.keras")
    shutil.copy(SAMPLES / "dense.weights.json", tmp_path)
    shutil.copy(SAMPLES / "dense_00001.weights.h5", tmp_path)
    said = refused(tmp_path)
    assert said.startswith("; it holds 'dense.weights.json', 'epoch-00.keras', ")
    assert said.endswith("'epoch-08.keras' and 4 more; give one of them")


def test_a_folder_of_pointers_of_git_lfs_says_to_pull_them(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(LFS)
    assert refused(tmp_path).endswith("'m.keras' is a Git LFS pointer to one; run `git lfs pull`".replace("'", "", 1))


def test_a_link_in_a_folder_is_told_by_its_name_and_never_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    shutil.copy(SAMPLES / "dense.h5", outside / "blob")
    (folder / "tf_model.h5").symlink_to(outside / "blob")
    (folder / "secret").symlink_to(outside / "blob")
    (folder / "more").symlink_to(outside)
    os.mkfifo(folder / "pipe.h5")
    assert refused(folder) == "; it holds 'tf_model.h5'; give that"
