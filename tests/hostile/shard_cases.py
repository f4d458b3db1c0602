"""Hostile `.weights.json` maps and the shards beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from hostile.frame import Case, later, outside
from hostile.h5_build import KERNEL

FIRST, SECOND = "m_00000.weights.h5", "m_00001.weights.h5"


def _shard(path: Path, layer: str = "dense") -> None:
    with h5py.File(path, "w") as file:
        file[f"layers/{layer}/vars/0"], file[f"layers/{layer}/vars/1"] = KERNEL, KERNEL[0]


def _map(*names: Any, text: Callable[[str], str] = str, shards: bool = True) -> Callable[[Path], Path]:
    """A map with `names` after the first shard, which is sound."""

    def make(inside: Path) -> Path:
        if shards:
            _shard(inside / FIRST)
        told = [name.replace("OUT", str(outside(inside))) if isinstance(name, str) else name for name in names]
        weights = {"/layers/dense/vars": FIRST} | {
            f"/layers/dense_{number}/vars": name for number, name in enumerate(told, 1)
        }
        path = inside / "m.weights.json"
        raw = text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}))
        path.write_bytes(raw.encode("utf-8", "surrogateescape"))
        return path

    return make


def _raw(content: str | bytes) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        _shard(inside / FIRST)
        path = inside / "m.weights.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def _with(prepare: Callable[[Path], None], *names: Any) -> Callable[[Path], Path]:
    """A map that names what `prepare` puts beside it (the second shard, unless told otherwise)."""

    def make(inside: Path) -> Path:
        prepare(inside)
        return _map(*(names or (SECOND,)))(inside)

    return make


def _linked(inside: Path) -> None:
    (inside / SECOND).symlink_to(outside(inside) / "secret.h5")


def _linked_inside(inside: Path) -> None:
    _shard(inside / "other.h5", "dense_1")
    (inside / SECOND).symlink_to("other.h5")


def _ring(inside: Path) -> None:
    (inside / SECOND).symlink_to(SECOND)


def _leads_out(inside: Path) -> None:
    with h5py.File(inside / SECOND, "w") as file:
        file["layers/dense_1"] = h5py.ExternalLink("../outside/secret.h5", "/layers/dense")


def _stored_out(inside: Path) -> None:
    with h5py.File(inside / SECOND, "w") as file:
        secret = str(outside(inside) / "secret.txt")
        file.create_dataset("layers/dense_1/vars/0", (8, 4), "f4", external=[(secret, 0, 128)])


def _cut(inside: Path) -> None:
    _shard(inside / SECOND, "dense_1")
    os.truncate(inside / SECOND, 700)


def _weights(value: str) -> str:
    return f'{{"weight_map": {value}}}'


_REFUSED = "a plain file name beside the map was expected"


def _leads(label: str, attack: str, name: Any) -> Case:
    return Case(f"shard-{label}", attack, _map(name), "error", _REFUSED)


CASES = (
    _leads("dots", "a shard lies in the folder above", "../outside/model.weights.h5"),
    _leads("absolute", "a shard has an absolute path", "OUT/model.weights.h5"),
    _leads("inside-dots", "a shard's path goes down and up again", "a/../../outside/model.weights.h5"),
    _leads("folder", "a shard lies in a folder below", "sub/m.weights.h5"),
    _leads("backslash", "a shard lies in the folder above, as Windows sees it", "..\\outside\\model.weights.h5"),
    _leads("nul", "a shard's name goes on behind a NUL", FIRST + "\0/../../x"),
    _leads("parent", "a shard is the folder above", ".."),
    _leads("itself-folder", "a shard is the folder", "."),
    _leads("empty", "a shard has no name", ""),
    _leads("number", "a shard's name is a number", 7),
    _leads("nested-list", "shard names are lists in lists", [[FIRST]]),
    _leads("object", "a shard's name is an object", {"file": FIRST}),
    _leads("url", "a shard is an address", "http://localhost:1/x"),
    _leads("escaped-dots", "the path is written with JSON escapes", "\u002e\u002e/outside/model.weights.h5"),
    _leads("escapes", "a name with terminal escapes is shown in the error", "/\x1b[2J\n::error::##[error]" + "x" * 700),
    Case("shard-missing", "a shard is not there", _map(SECOND), "error", "no such file"),
    Case("shard-name-long", "a name of 5,000 characters", _map("n" * 5000), "error", "cannot be opened"),
    Case("shard-name-surrogate", "a name that is no Unicode", _map("\udcff\udcfe.h5"), "error", "no such file"),
    Case(
        "shard-name-high-surrogate",
        "a name that no file system takes",
        _map("\ud800.h5"),
        "error",
        "no file can have that name",
    ),
    Case("shard-symlink-out", "a shard is a link to a file outside", _with(_linked), "error", SECOND),
    Case("shard-symlink-inside", "a shard is a link to a file beside it", _with(_linked_inside), "error", SECOND),
    Case("shard-symlink-ring", "a shard is a link to itself", _with(_ring), "error", SECOND),
    Case(
        "shard-fifo",
        "a shard is a named pipe: opening it hangs",
        _with(lambda inside: os.mkfifo(inside / SECOND)),
        "error",
        "not a regular file",
    ),
    Case(
        "shard-directory",
        "a shard is a folder",
        _with(lambda inside: (inside / SECOND).mkdir()),
        "error",
        "is a directory",
    ),
    Case("shard-is-map", "a shard is the map itself", _map("m.weights.json"), "error", "HDF5"),
    Case("shard-of-0-bytes", "a shard is empty", _with(lambda inside: (inside / SECOND).touch()), "error", SECOND),
    Case("shard-cut", "a shard is cut short", _with(_cut), "error", SECOND),
    Case(
        "shard-external-link",
        "a shard links into another file",
        _with(_leads_out),
        "error",
        "is a link into another file",
    ),
    Case(
        "shard-external-storage",
        "a shard keeps its data in another file",
        _with(_stored_out),
        "error",
        "keeps its data in another file",
    ),
    Case(
        "shard-same-dataset",
        "two shards hold the same variable",
        _with(lambda inside: _shard(inside / SECOND)),
        "error",
        "two shards hold",
    ),
    Case(
        "shard-10001",
        "a map of 10,001 shards",
        _map(*(f"s{number}" for number in range(10_001))),
        "error",
        "at most 10000",
    ),
    Case(
        "shard-deep",
        "100,000 lists inside each other",
        _raw(_weights("[" * 100_000 + "]" * 100_000)),
        "error",
        "not JSON text",
    ),
    Case("shard-map-list", "the map is a list", _raw(_weights('["a"]')), "error", "no weight_map"),
    Case("shard-map-empty", "the map names nothing", _raw(_weights("{}")), "error", "no weight_map"),
    Case("shard-map-missing", "there is no map in it", _raw('{"metadata": {}}'), "error", "known format"),
    Case("shard-map-no-utf8", "the map is no UTF-8", _raw(b'{"weight_map": {"a": "\xff"}}'), "error", "not JSON text"),
    Case("shard-map-cut", "the map is cut short", _raw('{"weight_map": {"a": "m'), "error", "not JSON text"),
    Case(
        "shard-map-values",
        "a map of 20 MB holds 7 million lists",
        later(lambda: _raw("{" + '"weight_map": [' + "[]," * (7 << 20) + "[]]}")),
        "error",
        "millions of values",
        commands=("inspect",),
    ),
    Case(
        "shard-map-huge",
        "a map of 80 MB",
        later(lambda: _raw('{"weight_map": {' + " " * (80 << 20) + "}}")),
        "error",
        "has at most",
        commands=("inspect",),
    ),
    Case("shard-map-number", "an integer of 100,000 digits", _raw(_weights("9" * 100_000)), "error", "not JSON text"),
    Case(
        "shard-map-keys-twice",
        "one variable is mapped twice: readers differ, the files do not",
        _map(text=lambda text: text.replace('{"/layers', '{"/layers/dense/vars": "m_00000.weights.h5", "/layers')),
        "handled",
        untouched=None,
    ),
    Case("shard-same-file-twice", "two variables name one shard", _map(FIRST, [FIRST, FIRST]), "handled"),
    Case(
        "shard-names-escaped",
        "the plain name is written with escapes, so it cannot be replaced in the text",
        _map(text=lambda text: text.replace("m_00000", "\\u006d_00000")),
        "error",
        "with escapes",
        commands=("apply",),
    ),
    Case(
        "shard-name-formula",
        "a shard and a key with formulas and escapes",
        _map(text=lambda text: text.replace("metadata", "\\u001b[2J=cmd()")),
        "handled",
        commands=("inspect", "csv", "json"),
    ),
)
