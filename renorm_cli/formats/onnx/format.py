"""The format of ONNX, told by how it begins."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.folders import files_with
from renorm_cli.storage.files import open_source, read_start

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_BEGINS = b"\x08"
"""ir_version, the first field of all writers."""
_VARINT, _BYTES = 0, 2
_WIRE_TYPES = {1: _VARINT, 5: _VARINT} | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _BYTES)
_GRAPH = 7
_MOST_FIRST = 1_000
"""Fields before the graph."""
_HEAD_BYTES = 20
_NAMES_BYTES = 256 << 20
"""Bytes of all models beside a file in which its name is looked for."""
_LARGEST_GRAPH = 16 << 20
"""Bytes of a model in which a search of folders looks for the names of its files."""
_LOCATION = re.compile(rb"\n\x08location\x12")
"""The key of a StringStringEntryProto, and the tag of its value."""
_LONGEST_NAME = 1_000
_DATA = re.compile(r"(.+\.onnx)[._].*", re.DOTALL)
"""The name of a file that holds tensors of a model: `model.onnx.data`, `model.onnx_data`."""


class OnnxFormat(Format):
    """A protobuf message, which has no mark: its fields are looked at, down to its graph."""

    reads = ".onnx"
    endings = (".onnx",)
    searched = (".onnx",)
    names_files = True

    def whole_of(self, path: Path) -> Path | None:
        """The model beside a file of its tensors, by their names; `model.onnx.bak` may be a model itself."""
        found = _DATA.fullmatch(path.name)
        model = path.with_name(found[1]) if found else None
        if model is None or not path.is_file() or not model.is_file():
            return None
        with closing(open_source(path)) as file:
            return None if self.recognises(Head(file)) else model

    def naming(self, folder: Path, names: Collection[str]) -> Iterator[Path]:
        """By the locations of tensors: a model may call the files of its tensors anything."""
        wanted, left = {os.fsencode(name) for name in names}, _NAMES_BYTES
        for model in files_with(self.searched, folder):
            with closing(open_source(model)) as file:
                content = read_start(file, left)
            left -= len(content)
            if not wanted.isdisjoint(_locations(content)):
                yield model

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Each model with the files beside it that are called as those of its tensors are."""
        models = super().among(folder, names)
        data: dict[str, list[str]] = {}
        for name in names if models else ():
            found = _DATA.fullmatch(name)
            if found is not None:
                data.setdefault(found[1], []).append(name)
        return {name: (name, *data.get(name, ())) for name in models}

    def read_with(self, folder: Path, name: str, names: Collection[str]) -> Sequence[str]:
        """The files that the model names, unless it is so large that it has its tensors in itself."""
        path = folder / name
        try:
            if path.stat().st_size > _LARGEST_GRAPH:
                return ()
            with closing(open_source(path)) as file:
                found = set(_locations(read_start(file, _LARGEST_GRAPH)))
        except (FormatError, OSError, ValueError):  # opening it will say what is wrong
            return ()
        return [one for one in map(os.fsdecode, sorted(found)) if one != name and one in names]

    def recognises(self, head: Head) -> bool:
        if not head.first.startswith(_BEGINS):
            return False
        at = 0
        for _ in range(_MOST_FIRST):
            start = head.at(at, _HEAD_BYTES)
            tag, used = _varint(start, 0)
            value, after = _varint(start, used)
            if not after or _WIRE_TYPES.get(tag >> 3) != tag & 7:
                return False
            if tag >> 3 == _GRAPH:
                return True
            at += after + (value if tag & 7 == _BYTES else 0)
        return False

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.onnx.checkpoint import open_onnx  # each format alone needs its parser

        return open_onnx(found)


def _locations(content: bytes) -> Iterator[bytes]:
    """The names of files that the entries "location" of external data have."""
    for entry in _LOCATION.finditer(content):
        size, at = _varint(content[entry.end() : entry.end() + 10], 0)
        yield content[entry.end() + at : entry.end() + at + min(size, _LONGEST_NAME)]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, and the position after it, which is 0 where there is none."""
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    return 0, 0
