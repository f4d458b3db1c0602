"""Mutants of checkpoints that are folders: one file of a folder is another one."""

from __future__ import annotations

import io
import random
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import crc32c
import numpy as np
from support import orbax_files, tensor_files, torch_files
from support.places import DATA

from fuzz.foreign import PICKLE_TOKENS
from fuzz.mutate import INTEGERS, JSON_TOKENS, ZIP_TOKENS, Kind, edit_json, edit_zip_fields
from fuzz.targets import SHM, plan_all, read_all
from renorm_cli.formats.registry import open_checkpoint

Folders = Mapping[str, Mapping[str, bytes]]
"""The files of each folder, by their paths in it."""

ORBAX = DATA / "orbax_seeds.zip"


class FolderTarget:
    """Opened as the tool opens it: every variable once, its blocks read, planned, and what it carries besides."""

    def __init__(self, folders: Folders, kind: Kind) -> None:
        self._folders, self.kind = folders, kind
        self._top = Path(tempfile.mkdtemp(prefix="renorm-fuzz-", dir=SHM if SHM.is_dir() else None))
        for name, files in folders.items():
            _write(self._top / name, files)
        self.accepted = 0

    def __call__(self, data: bytes, number: int) -> None:
        name, _, file = self.kind.names[number % len(self.kind.names)].partition(":")
        path = self._top / name / file
        path.write_bytes(data)
        try:
            self._open(self._top / name)
        finally:
            path.write_bytes(self._folders[name][file])

    def _open(self, folder: Path) -> None:
        with open_checkpoint(folder) as source:
            assert len({variable.key for variable in source.variables}) == len(source.variables)
            plan_all(source.variables)
            read_all(source)
            source.context()
        self.accepted += 1

    def close(self) -> None:
        shutil.rmtree(self._top)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _seeds(folders: Folders) -> dict[str, bytes]:
    return {f"{name}:{file}": content for name, files in folders.items() for file, content in files.items() if content}


# Distributed checkpoints of PyTorch


def distributed() -> Folders:
    arrays = {name: array for name, array in tensor_files.torch_arrays().items() if array.ndim != 1}
    with tempfile.TemporaryDirectory() as top:
        torch_files.write_distributed(Path(top) / "arrays", arrays)
        torch_files.write_values(Path(top) / "values", np.ones((4, 2), "<f4"), {"epoch": 3, "names": ["a", "b"]}, "1")
        return {folder.name: _files(folder) for folder in Path(top).iterdir()}


DCP_TOKENS = [*PICKLE_TOKENS, *ZIP_TOKENS, b"ctorch\nSize\n", b"ctorch\nfloat16\n", b"__1_0.distcp", b"../x", b"K\x01"]


def edit_distributed(chance: random.Random, data: bytes) -> bytes:
    """Fields of the archives of a file; instructions of the metadata in place of others."""
    if data.startswith(b"PK"):
        return edit_zip_fields(chance, data)
    edited = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if chance.random() < 0.5:
            at, token = chance.randrange(len(edited)), chance.choice(DCP_TOKENS)
            edited[at : at + len(token)] = token
        elif places := [at for at in range(len(edited) - 5) if edited[at] == ord("J")]:
            at = chance.choice(places)
            edited[at + 1 : at + 5] = struct.pack("<i", chance.choice((-1, 0, 1, 3, 1 << 16, (1 << 31) - 1)))
    return bytes(edited)


# Orbax


def made_orbax() -> Folders:
    """Databases packed and not, and arrays of zarr 2 and 3 in folders of their own; other bytes each time."""
    arrays = {path: array for path, array in orbax_files.FLAX.items() if path[0] in ("params", "step")}
    ways: dict[str, dict[str, object]] = {
        "packed": {},
        "database": {"config": {"compression": None}, "chunk": 4},
        "inline": {"config": {"compression": None, "max_inline_value_bytes": 4096}, "zarr3": False},
        "zarr2": {"ocdbt": False, "zarr3": False, "chunk": 4},
        "zarr3": {"ocdbt": False},
    }
    with tempfile.TemporaryDirectory() as top:
        for name, way in ways.items():
            orbax_files.write(Path(top) / name, arrays, **way)
        return {folder.name: _files(folder) for folder in sorted(Path(top).iterdir())}


def record_orbax() -> None:
    """Write what `made_orbax` makes to where `orbax` reads it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, files in made_orbax().items():
            for file, data in files.items():
                archive.writestr(zipfile.ZipInfo(f"{name}/{file}"), data, zipfile.ZIP_DEFLATED)
    ORBAX.write_bytes(content.getvalue())


def orbax() -> Folders:
    """What `made_orbax` once made, so that a mutant stays the same bytes."""
    found: dict[str, dict[str, bytes]] = {}
    with zipfile.ZipFile(ORBAX) as archive:
        for path in archive.namelist():
            name, _, file = path.partition("/")
            found.setdefault(name, {})[file] = archive.read(path)
    return found


OCDBT_MARKS = (b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde", b"\x0c\xdb\x12\x34")
"""What a manifest, a node of the tree of keys and a node of the tree of versions begin with."""
ORBAX_TOKENS = [
    *JSON_TOKENS, *OCDBT_MARKS, b"\x28\xb5\x2f\xfd", b"\xff" * 8, b'"shape":[9999999999,2]', b'"chunks":[0,0]',
    b'"dtype":"<f8"', b'"fill_value":1', b'"codecs":[]', b'"compressor":null', b'"cookie":"x"', b"../../x", b"0.0",
    b"zarr.json", b".zarray", b"c/0/0", *(bytes([0x80 | number, 0x80, 0x80, 0x80, 1]) for number in (0, 1, 127)),
]  # fmt: skip


def edit_orbax(chance: random.Random, data: bytes) -> bytes:
    """Another JSON; a node or a shard of which the checksum is true all the same, so that it is read."""
    if data.startswith(b"{") and data.endswith(b"}"):
        return edit_json(chance, data)
    ranges = [
        (at, at + length)
        for mark in OCDBT_MARKS
        for at in range(len(data))
        if data[at : at + 4] == mark and 16 < (length := int.from_bytes(data[at + 4 : at + 12], "little")) <= len(data)
    ]
    ranges.append((max(0, len(data) - 20), len(data)))  # the index of a shard of one chunk
    start, end = chance.choice(ranges)
    edited = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        width = chance.choice((1, 1, 1, 2, 8))
        at = chance.randrange(start, max(start + 1, end - 4 - width))
        value = chance.choice((*INTEGERS, edited[at] + 1, edited[at] - 1, edited[at] ^ 1 << chance.randrange(8)))
        edited[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    edited[end - 4 : end] = crc32c.crc32c(bytes(edited[start : end - 4])).to_bytes(4, "little")
    return bytes(edited)


def target(name: str) -> FolderTarget:
    """The target of a format, with its mutants as `kind`."""
    folders, tokens, edit = {
        "torch distributed": (distributed(), DCP_TOKENS, edit_distributed),
        "orbax": (orbax(), ORBAX_TOKENS, edit_orbax),
    }[name]
    return FolderTarget(folders, Kind(_seeds(folders), tokens, (edit,)))


FOLDERS = ("torch distributed", "orbax")
