"""Hostile folders of distributed checkpoints of PyTorch, and hostile exported programs."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support import torch_files
from support.torch_files import metadata_of, pickled, place_of, text, told_of

from hostile.frame import Case, later

ONE = np.full((4, 2), 3, "<f4")
ITEM = torch_files.item_of(ONE)
TENSOR = told_of(ONE, [(0, 4)])
FILE = "__0_0.distcp"

RUNS = b"cos\nsystem\n(" + text("touch ../outside/ran") + b"tR"


def _folder(metadata: bytes | None, files: Mapping[str, bytes]) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        folder = inside / "step"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if metadata is not None:
            (folder / ".metadata").write_bytes(metadata)
        return folder

    return make


def _placed(*places: bytes, tensors: Mapping[str, bytes] | None = None, data: bytes = ITEM) -> Callable[[Path], Path]:
    return _folder(metadata_of(tensors or {"a.weight": TENSOR}, places), {FILE: data})


def _at(file: str = FILE, offset: int = 0, length: int = len(ITEM), name: str = "a.weight") -> bytes:
    return place_of(name, (0, 0), file, offset, length)


def _refused(label: str, attack: str, make: Callable[[Path], Path], says: str, **other: Any) -> Case:
    return Case(f"dcp-{label}", attack, make, "error", says, **other)


def _with(place: str, what: Callable[[Path, Path], None]) -> Callable[[Path], Path]:
    """A sound folder in which there is something else."""

    def make(inside: Path) -> Path:
        folder = _placed(_at())(inside)
        what(folder / place, inside.parent / "outside" / "secret.txt")
        return folder

    return make


def _same_metadata(before: Path, after: Path) -> None:
    assert (before / ".metadata").read_bytes() == (after / ".metadata").read_bytes()


def _many() -> Callable[[Path], Path]:
    """A list of 2,000 empty chunks that 2,000 tensors share."""
    told = torch_files.told_of(ONE, [(0, 0)] * 2000 + [(0, 4)])
    names = [f"{number}.weight" for number in range(2000)]
    tensors = {name: told + b"q\x07" if name == names[0] else b"h\x07" for name in names}
    return _placed(*(_at(name=name) for name in names), tensors=tensors)


def _exported(config: object, members: Mapping[str, bytes] | None = None) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        told = config if isinstance(config, bytes) else json.dumps(config).encode()
        inner = {"data/weights/weight_0": ONE.tobytes(), "data/weights/model_weights_config.json": told}
        inner |= {**(members or {}), "archive_format": b"pt2", "byteorder": b"little"}
        with zipfile.ZipFile(inside / "m.pt2", "w") as archive:
            for name, content in inner.items():
                archive.writestr(zipfile.ZipInfo(f"m/{name}"), content)
        return inside / "m.pt2"

    return make


def _weight(path: object = "weight_0", size: Sequence[object] = (4, 2), stride: Sequence[object] = (2, 1)) -> object:
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": one} for one in size],
        "strides": [{"as_int": one} for one in stride],
        "storage_offset": {"as_int": 0},
    }
    return {"config": {"a.weight": {"path_name": path, "use_pickle": False, "tensor_meta": meta}}}


def _pt2(label: str, attack: str, make: Callable[[Path], Path], says: str) -> Case:
    return Case(f"pt2-{label}", attack, make, "error", says)


_TWICE = metadata_of({"a.weight": TENSOR, "b.weight": TENSOR}, [_at(), _at(name="b.weight")])
_RUNS = metadata_of({"a.weight": TENSOR, "b": RUNS}, [_at()])
_ITEM_RUNS = torch_files.item_of(ONE, before=RUNS + b"0")
_TRANSFORMED = metadata_of({"a.weight": TENSOR}, [_at()]).replace(b"descriptorsN", b"descriptorsK\1")

CASES = (
    Case("dcp-runs", "metadata that run a program", _folder(_RUNS, {FILE: ITEM}), "handled", untouched=_same_metadata),
    Case(
        "dcp-item-runs",
        "an item whose pickle runs a program",
        _placed(_at(length=len(_ITEM_RUNS)), data=_ITEM_RUNS),
        "handled",
        untouched=_same_metadata,
    ),
    _refused("no-metadata", "a folder without metadata", _folder(None, {FILE: ITEM}), "has no '.metadata'"),
    _refused("cut", "metadata that are cut short", _folder(_RUNS[:-40], {FILE: ITEM}), "cut short"),
    _refused("other", "metadata of something else", _folder(pickled({}), {FILE: ITEM}), "no metadata"),
    _refused("traversal", "a file in the folder above", _placed(_at("../../outside/secret.txt")), "no file of the"),
    _refused("absolute", "a file by its whole path", _placed(_at("/etc/hostname")), "no file of the folder"),
    _refused("missing", "a file that is not there", _placed(_at("__9_0.distcp")), "no such file"),
    _refused("link", "a link out of the folder", _with("more", lambda at, out: at.symlink_to(out)), "symbolic link"),
    _refused("pipe", "a pipe in the folder", _with("more", lambda at, out: os.mkfifo(at)), "neither a file nor"),
    _refused("beyond", "an item beyond its file", _placed(_at(length=len(ITEM) + 1)), "end at byte"),
    _refused("offset", "an item far beyond its file", _placed(_at(offset=(1 << 31) - 1)), "end at byte"),
    _refused("negative", "an item before its file", _placed(_at(offset=-8)), "no offset and length"),
    _refused("short", "an item shorter than its archive", _placed(_at(length=len(ITEM) - 30)), "zip"),
    _refused("overlap", "two tensors of the same bytes", _folder(_TWICE, {FILE: ITEM}), "overlaps another"),
    _refused("twice", "an item that is told twice", _placed(_at(), _at()), "is there twice"),
    _refused("untold", "a chunk of which no file is told", _placed(), "no file is told"),
    _refused(
        "gap", "chunks that leave a gap", _placed(_at(), tensors={"a.weight": told_of(ONE, [(0, 3)])}), "leave a gap"
    ),
    _refused(
        "outside",
        "a chunk outside of its tensor",
        _placed(place_of("a.weight", (3, 0), FILE, 0, len(ITEM)), tensors={"a.weight": told_of(ONE, [(3, 7)])}),
        "not inside of it",
    ),
    _refused(
        "shape",
        "an item of another shape",
        _placed(_at(), tensors={"a.weight": told_of(np.zeros((2, 4), "<f4"), [(0, 2)])}),
        "not of the shape",
    ),
    _refused(
        "compressed",
        "an item that is transformed",
        _folder(_TRANSFORMED, {FILE: ITEM}),
        "transformed",
    ),
    _refused(
        "many", "2,000 tensors that share 2,000 chunks of no bytes", later(_many), "more parts", commands=("inspect",)
    ),
    _pt2("beyond", "a weight beyond its file", _exported(_weight(size=(9, 9), stride=(9, 1))), "needs 324 bytes"),
    _pt2("traversal", "a weight in the folder above", _exported(_weight("../../secret")), "is in no file of"),
    _pt2("missing", "a weight that is not there", _exported(_weight("weight_9")), "is in no file of"),
    _pt2("huge", "a size of 2**70", _exported(_weight(size=(1 << 70, 2))), "no sizes, strides and offset"),
    _pt2("text", "sizes that are no numbers", _exported(_weight(size=("4", 2))), "no sizes, strides and offset"),
    _pt2("twice", "a weight that is told twice", _exported(b'{"config": {"a": 1, "a": 2}}'), "twice"),
    _pt2("deep", "lists in lists", _exported(b'{"config": ' + b"[" * 9_000 + b"]" * 9_000 + b"}"), "nested deeper"),
    _pt2("list", "a list of weights", _exported({"config": [1]}), "no 'config'"),
)
