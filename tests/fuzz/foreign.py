"""Mutants of the files of other frameworks: what they are made of, and what is done with one."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from support import tensor_files
from support.found import file_at
from support.memory_file import MemoryFile

from fuzz.mutate import JSON_TOKENS, Kind, edit_json
from fuzz.targets import plan_all, read_all
from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Head
from renorm_cli.formats.safetensors.format import Safetensors


class OpenTarget:
    """A mutant in memory, opened by its format alone: every variable once, its blocks read, and planned."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self.accepted = 0

    def __call__(self, data: bytes, number: int) -> None:
        file = MemoryFile(Path("mutant"), data)
        if not self._format.recognises(Head(file)):
            raise FormatError("not recognised")
        with self._format.open(file_at(file.path, file)) as source:
            assert len({variable.key for variable in source.variables}) == len(source.variables)
            plan_all(source.variables)
            read_all(source)
        self.accepted += 1


def _written(write: Callable[[Path], object], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _safetensors() -> dict[str, bytes]:
    arrays = tensor_files.torch_arrays()
    metadata = {"format": "pt", "lm_head.weight": "embed.weight"}
    entry = tensor_files.ENTRY | {"shape": [2, 1]}
    return {
        "model": _written(lambda path: tensor_files.write_safetensors(path, arrays, metadata), "m"),
        "one": tensor_files.safetensors({"a.weight": entry}, np.full(2, 3, "<f4").tobytes()),
    }


def _edit_header(chance: random.Random, data: bytes) -> bytes:
    """Another JSON header in its frame."""
    length = int.from_bytes(data[:8], "little")
    header = edit_json(chance, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


FOREIGN: Mapping[str, tuple[Kind, Format]] = {
    "safetensors": (Kind(_safetensors(), JSON_TOKENS, (_edit_header,)), Safetensors()),
}
"""The mutants of each format, by its name, and the format that reads them."""
