"""A format that exists in tests alone: a mark, the size of a JSON header, the header, then big-endian numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Extent, Format, Found, Head
from renorm_cli.formats.naming import from_names
from renorm_cli.formats.numbers import item_bytes
from renorm_cli.formats.plain import Extents, PlainCheckpoint, PlainData
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import read_range

MARK = b"\x93TRIAL\r\n"
PREFIX = 16


class TrialFormat(Format):
    reads = ".trial"
    endings = (".trial",)

    def recognises(self, head: Head) -> bool:
        return head.first.startswith(MARK)

    def open(self, found: Found) -> PlainCheckpoint:
        file = found.only
        size = int.from_bytes(read_range(file, 8, 8), "big")
        if size > file.size - PREFIX:
            raise FormatError(f"{file.shown!r}: a header of {size} bytes is said to be there, the file is cut short")
        at, variables, extents = PREFIX + size, [], {}
        for name, (dtype, shape) in json.loads(read_range(file, PREFIX, size)).items():
            extents[name] = Extent(0, at, math.prod(shape) * (item_bytes(dtype) or 0))
            variables.append(from_names(Variable(name, name, tuple(shape), dtype), name))
            at += extents[name].size
        if at != file.size:
            raise FormatError(f"{file.shown!r} is {file.size} bytes; {at} were expected from its header")
        return PlainCheckpoint("trial", found, [file], variables, PlainData([file], Extents(extents, order=">")))


def write_trial(path: Path, arrays: dict[str, np.ndarray]) -> None:
    header = json.dumps({name: (array.dtype.name, array.shape) for name, array in arrays.items()}).encode()
    data = b"".join(array.astype(array.dtype.newbyteorder(">")).tobytes() for array in arrays.values())
    path.write_bytes(MARK + len(header).to_bytes(8, "big") + header + data)


def read_trial(path: Path) -> dict[str, np.ndarray]:
    """By NumPy and json alone."""
    raw = path.read_bytes()
    at = PREFIX + int.from_bytes(raw[8:PREFIX], "big")
    found = {}
    for name, (dtype, shape) in json.loads(raw[PREFIX:at]).items():
        array = np.frombuffer(raw, np.dtype(dtype).newbyteorder(">"), math.prod(shape), at).reshape(shape)
        at += array.nbytes
        found[name] = array
    return found
