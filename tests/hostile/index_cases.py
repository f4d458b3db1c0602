"""Hostile indexes of shards, as Hugging Face names them, and the files beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.tensor_files import ENTRY, read_safetensors, safetensors

from hostile.frame import Case, outside
from hostile.safetensors_cases import DATA

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
_REFUSED = "a plain file name beside the index was expected"


def _shard(path: Path, name: str) -> None:
    path.write_bytes(safetensors({name: ENTRY | {"shape": [2, 1]}}, DATA))


def _index(*names: Any, text: Callable[[str], str] = str) -> Callable[[Path], Path]:
    """An index with `names` after the first shard, which is sound."""

    def make(inside: Path) -> Path:
        _shard(inside / FIRST, "a.weight")
        told = [name.replace("OUT", str(outside(inside))) if isinstance(name, str) else name for name in names]
        weights = {"a.weight": FIRST} | {f"b.{number}.weight": name for number, name in enumerate(told)}
        content = text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}))
        (inside / INDEX).write_bytes(content.encode("utf-8", "surrogateescape"))
        return inside / INDEX

    return make


def _with(prepare: Callable[[Path], object], *names: Any) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        prepare(inside)
        return _index(*(names or (SECOND,)))(inside)

    return make


def _leads(label: str, attack: str, name: Any) -> Case:
    return Case(f"index-{label}", attack, _index(name), "error", _REFUSED)


def _raw(content: str) -> Callable[[Path], Path]:
    return _index(text=lambda text: content)


def _renamed(before: Path, after: Path) -> None:
    one, other = read_safetensors(before), read_safetensors(after)
    assert list(one) == list(other) == ["a.weight"]


def _folder(inside: Path) -> Path:
    """A folder whose one checkpoint is a link to a file outside."""
    (inside / "folder").mkdir()
    (inside / "folder" / "model.safetensors").symlink_to(outside(inside) / "secret.h5")
    return inside / "folder"


def _crowded(inside: Path) -> Path:
    for number in range(3):
        _shard(inside / f"{number}.safetensors", "a.weight")
    return inside


CASES = (
    _leads("dots", "a shard lies in the folder above: loaders take it", "../outside/model.safetensors"),
    _leads("absolute", "a shard has an absolute path: loaders take it", "OUT/model.safetensors"),
    _leads("inside-dots", "a shard's path goes down and up again", "a/../../outside/model.safetensors"),
    _leads("folder", "a shard lies in a folder below", "sub/model.safetensors"),
    _leads("backslash", "a shard lies in the folder above, as Windows sees it", "..\\outside\\model.safetensors"),
    _leads("nul", "a shard's name goes on behind a NUL", FIRST + "\0/../../x"),
    _leads("parent", "a shard is the folder above", ".."),
    _leads("empty", "a shard has no name", ""),
    _leads("number", "a shard's name is a number", 7),
    _leads("list", "a shard's name is a list", [FIRST]),
    _leads("object", "a shard's name is an object", {"file": FIRST}),
    _leads("escapes", "a name with terminal escapes is shown in the error", "/\x1b[2J\n::error::" + "x" * 700),
    Case("index-missing", "a shard is not there", _index(SECOND), "error", "no such file"),
    Case("index-itself", "a shard is the index", _index(INDEX), "error", "header of"),
    Case("index-name-long", "a name of 5,000 characters", _index("n" * 5000), "error", "cannot be opened"),
    Case("index-surrogate", "a name that no file system takes", _index("\ud800.safetensors"), "error", "no file can"),
    Case(
        "index-symlink-out",
        "a shard is a link to a file outside",
        _with(lambda inside: (inside / SECOND).symlink_to(outside(inside) / "secret.h5")),
        "error",
        SECOND,
    ),
    Case(
        "index-fifo",
        "a shard is a named pipe: opening it hangs",
        _with(lambda inside: os.mkfifo(inside / SECOND)),
        "error",
        "not a regular file",
    ),
    Case(
        "index-dir", "a shard is a folder", _with(lambda inside: (inside / SECOND).mkdir()), "error", "is a directory"
    ),
    Case("index-0-bytes", "a shard is empty", _with(lambda inside: (inside / SECOND).touch()), "error", SECOND),
    Case(
        "index-same-tensor",
        "two shards hold the same tensor",
        _with(lambda inside: _shard(inside / SECOND, "a.weight")),
        "error",
        "is in another shard too",
    ),
    Case(
        "index-10001", "10,001 shards", _index(*(f"s{n}.safetensors" for n in range(10_001))), "error", "at most 10000"
    ),
    Case(
        "index-twice",
        "a name is mapped twice",
        _index(SECOND, text=lambda text: text.replace('"b.0', '"a')),
        "error",
        "comes twice",
    ),
    Case(
        "index-deep",
        "100,000 lists inside each other",
        _index(text=lambda text: text.replace('{"total_size": 1}', "[" * 100_000 + "]" * 100_000)),
        "error",
        "nested deeper",
    ),
    Case("index-cut", "the index is cut short", _index(text=lambda text: text[:-1]), "error", "no valid JSON"),
    Case("index-nan", "NaN in it", _index(text=lambda text: text.replace("1}", "NaN}")), "error", "no valid JSON"),
    Case(
        "index-not-text",
        "the index is no UTF-8",
        _index(text=lambda text: text.replace("total", "\udcff")),
        "error",
        "no UTF-8",
    ),
    Case(
        "index-map-list",
        "a map that is a list",
        _raw('{"weight_map": [{"a": "b.safetensors"}]}'),
        "error",
        "no weight_map",
    ),
    Case(
        "index-escaped",
        "the map's own key is written with escapes, and another map stands before it",
        _index(
            text=lambda text: text.replace("weight_map", "\\u0077eight_map").replace(
                '"total_size": 1', '"weight_map": {"a": "b"}'
            )
        ),
        "error",
        "with escapes",
        commands=("apply",),
    ),
    Case("index-sizes", "it tells sizes that are not true: nobody reads them", _index(), "handled", untouched=_renamed),
    Case("index-folder-link", "the checkpoint in a folder is a link out of it", _folder, "error", "is a link"),
    Case("index-folder-several", "a folder holds three checkpoints", _crowded, "error", "give one of them"),
)
