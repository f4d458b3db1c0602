"""Hostile folders of Orbax: databases, metadata of zarr, chunks, and what leads out of the folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
from support import orbax_files

from hostile.frame import Case, later, outside

Change = Callable[[Path], object]

PATH = ("params", "Dense_0", "kernel")
NAME = ".".join(PATH)
VALUES = np.full((2, 3), 3, "<f4")
CHILD = b"ocdbt.process_0/"
PLAIN = {"compression": None, "max_inline_value_bytes": 0}


def _zarr(**other: Any) -> dict[str, Any]:
    known = {"zarr_format": 2, "shape": [2, 3], "chunks": [2, 3], "dtype": "<f4", "order": "C", "compressor": None}
    return known | {"fill_value": None, "filters": None, "dimension_separator": "."} | other


def _plain(inside: Path, zarr: object = None, chunk: bytes | None = VALUES.tobytes(), **told: Any) -> Path:
    """A folder of one array by hand; `zarr` is its metadata, `told` more of what `_METADATA` tells."""
    folder = inside / "m"
    (folder / NAME).mkdir(parents=True)
    metadata = orbax_files.metadata([PATH], zarr3=False, ocdbt=False) | told
    (folder / "_METADATA").write_text(json.dumps(metadata))
    text = zarr if isinstance(zarr, str) else json.dumps(_zarr() if zarr is None else zarr)
    (folder / NAME / ".zarray").write_text(text)
    if chunk is not None:
        (folder / NAME / "0.0").write_bytes(chunk)
    return folder


def _made(*arguments: Any, **options: Any) -> Callable[[Path], Path]:
    return lambda inside: _plain(inside, *arguments, **options)


def _changed(change: Change) -> Callable[[Path], Path]:
    """The sound folder, in which something is another."""

    def make(inside: Path) -> Path:
        folder = _plain(inside)
        change(folder)
        return folder

    return make


def _linked(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(outside(folder.parent) / "secret.txt")

    return change


def _database(inside: Path, change: Change = lambda folder: None) -> Path:
    """A database that has its values from that of a process, as Orbax merges them, in which something is another."""
    folder = orbax_files.write(inside / "m" / CHILD.decode().rstrip("/"), {PATH: VALUES}, config=PLAIN).parent

    def merge() -> None:
        import tensorstore as ts

        context, once = ts.Context(), ts.Transaction(atomic=True)
        bases = [{"driver": "file", "path": f"{path}/"} for path in (folder / CHILD.decode().rstrip("/"), folder)]
        one, other = (
            ts.KvStore.open({"driver": "ocdbt", "base": base, "config": PLAIN}, context=context) for base in bases
        )
        one.result().experimental_copy_range_to(other.result().with_transaction(once)).result()
        once.commit_async().result()

    orbax_files.apart(merge)
    (folder / "_METADATA").write_text(json.dumps(orbax_files.metadata([PATH], zarr3=True, ocdbt=True)))
    change(folder)
    return folder


def _leads(base: bytes) -> Callable[[Path], Path]:
    """The nodes of the database say that the values are in another folder, and their checksums are true."""
    assert len(base) == len(CHILD)

    def change(folder: Path) -> None:
        (node,) = (folder / "d").iterdir()
        content = node.read_bytes().replace(CHILD, base)[:-4]
        node.write_bytes(content + struct.pack("<I", crc32c.crc32c(content)))
        shutil.move(folder / CHILD.decode(), folder.parent / "elsewhere0")

    return lambda inside: _database(inside, change)


def _keys(keys: dict[bytes, bytes]) -> Callable[[Path], Path]:
    """A database that holds these keys, too."""

    def change(folder: Path) -> None:
        def put() -> None:
            import tensorstore as ts

            store = ts.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}).result()
            for key, value in keys.items():
                store.write(key, value).result()

        orbax_files.apart(put)

    return lambda inside: _database(inside, change)


def _zeros(inside: Path) -> Path:
    """A chunk of 400 MB of zeros in 40 kB."""
    folder = orbax_files.write(inside / "m", {PATH: np.zeros((10_000, 10_000), "<f4")}, zarr3=False, ocdbt=False)
    (folder / NAME / ".zarray").write_text(json.dumps(_zarr(compressor={"id": "zstd", "level": 1})))
    return folder


def _config(text: str) -> Callable[[Path], Path]:
    def change(folder: Path) -> None:
        (folder / "model_config").mkdir()
        (folder / "model_config" / "_strings.json").write_text(text)

    return _changed(change)


def _error(label: str, attack: str, make: Callable[[Path], Path], says: str, **other: Any) -> Case:
    return Case(f"orbax-{label}", attack, make, "error", says, **other)


def _as_before(before: Path, after: Path) -> None:
    assert (before / "_METADATA").read_bytes() == (after / "_METADATA").read_bytes()
    assert (before / NAME / ".zarray").read_bytes() == (after / NAME / ".zarray").read_bytes()


_AWAY = {"driver": "http", "base_url": "http://127.0.0.1:9", "kvstore": "file:///etc/", "path": "../../outside/"}
_SAID = {"value_type": "np.ndarray", "skip_deserialize": False}
_LOST = {"tree_metadata": {"a": {"key_metadata": [{"key": "a\x1b[2J"}], "value_metadata": _SAID}}}
_FREE = {"store_array_data_equal_to_fill_value": False}

PLAINLY = (
    _error("huge", "4 TiB of which no chunk is stored", _made(_zarr(shape=[1 << 20, 1 << 20]), **_FREE), "chunks"),
    _error("overflow", "a shape beyond 64 bits", _made(_zarr(shape=[1 << 61] * 2, chunks=[1 << 61] * 2)), "claims"),
    _error("chunk", "a chunk of 1 TiB", _made(_zarr(shape=[1, 1], chunks=[1 << 19, 1 << 19])), "a chunk of the array"),
    _error(
        "small-chunks",
        "a million chunks, none of them stored",
        _made(_zarr(shape=[1000, 1000], chunks=[1, 1]), None, **_FREE),
        "chunks",
    ),
    _error("axes", "70 axes", _made(_zarr(shape=[1] * 70, chunks=[1] * 70)), "hostile"),
    _error("no-elements", "no elements beside 2**61", _made(_zarr(shape=[0, 1 << 61])), "no array"),
    _error("no-edge", "a chunk of no elements", _made(_zarr(chunks=[0, 3])), "hostile"),
    _error("negative", "a negative size", _made(_zarr(shape=[-2, 3])), "hostile"),
    _error("deep", "100,000 brackets as metadata of an array", _made("[" * 100_000), "no metadata of zarr"),
    _error("text", "metadata of an array that are none", _made("[]"), "no metadata of zarr"),
    _error("long", "4 MB of metadata of an array", _made(json.dumps(_zarr(x="x" * (4 << 20)))), "no metadata of zarr"),
    _error("missing", "a chunk that is not there, where the metadata say that all are", _made(None, None), "chunks"),
    _error("short", "a chunk that is cut short", _made(None, VALUES.tobytes()[:-1]), "cannot read", opens=True),
    _error(
        "codec",
        "a chunk that is no zstd",
        _made(_zarr(compressor={"id": "zstd", "level": 1})),
        "cannot read",
        opens=True,
    ),
    _error("zeros", "a chunk of 24 bytes that unpacks to 400 MB", later(lambda: _zeros), "cannot read", opens=True),
    _error("names", "a tree that names an array that is not there", _made(None, **_LOST), "has no array"),
    _error("tree", "a tree that is a list", _made(None, tree_metadata=[]), "tree_metadata"),
    _error(
        "tree-deep",
        "100,000 brackets as _METADATA",
        _changed(lambda folder: (folder / "_METADATA").write_text("[" * 100_000)),
        "nested deeper",
    ),
    _error("config", "100,000 brackets as the config of a model", _config("[" * 100_000), "nested deeper"),
    _error("config-inside", "the same as the text in it", _config(json.dumps({"config": "[" * 100_000})), "deeper"),
    _error("link", "a chunk that is a link to a secret", _changed(_linked(f"{NAME}/0.0")), "a symbolic link"),
    _error("link-tree", "a _METADATA that is a link to a secret", _changed(_linked("_METADATA")), "a symbolic link"),
    _error("pipe", "a pipe among the chunks", _changed(lambda folder: os.mkfifo(folder / NAME / "0.1")), "neither a"),
    Case(
        "orbax-away",
        "metadata that name another store, of the network",
        _made(_zarr(**_AWAY)),
        "handled",
        untouched=_as_before,
    ),
    Case(
        "orbax-record",
        "a dtype of several fields",
        _made(_zarr(dtype=[["a", "<f4"], ["b", "<f4"]])),
        "error",
        "no floating variable",
    ),
    Case(
        "orbax-escapes",
        "names that are escapes",
        _changed(
            lambda folder: (
                shutil.copytree(folder / NAME, folder / "params.\x1b[2J.kernel"),
                shutil.copytree(folder / NAME, folder / "=cmd().kernel"),
            )
        ),
        "handled",
        untouched=_as_before,
        commands=("inspect", "apply", "json", "csv"),
    ),
)

DATABASES = (
    _error("up", "a database whose values are in a folder above", _leads(b"../../elsewhere/"), "cannot read"),
    _error("absolute", "a database whose values are at an absolute path", _leads(b"/etc/ssl/../ssl/"), "cannot read"),
    _error("url", "a database whose values are at a URL", _leads(b"http://[::1]:80/"), "cannot read"),
    _error("key-up", "an array whose key leads out of the folder",
           _keys({b"../../x/.zarray": json.dumps(_zarr()).encode(), b"../../x/0.0": VALUES.tobytes()}), "hostile"),
    _error("key-bytes", "an array whose key is no text", _keys({b"\xff\xfe/.zarray": b"{}"}), "no metadata of zarr"),
    _error("manifest", "a manifest of random bytes",
           lambda inside: _database(inside, lambda folder: (folder / "manifest.ocdbt").write_bytes(os.urandom(500))),
           "cannot read"),
    _error("node", "a node of the database that is not there",
           lambda inside: _database(inside, lambda folder: shutil.rmtree(folder / "d")), "cannot read"),
)  # fmt: skip

CASES = (*PLAINLY, *DATABASES) if importlib.util.find_spec("tensorstore") else ()
