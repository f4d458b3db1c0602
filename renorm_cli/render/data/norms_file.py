"""Unit norms as an `.npz` file: a zip archive with one array of NumPy's `.npy` format for each variable.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import grid_shape
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row

if TYPE_CHECKING:
    Parts = Callable[[Step], Iterable[npt.NDArray[np.float64]]]

NAME_LIMIT = 200
"""Bytes of the name of an array: with `.npy` it fits into what file systems allow, should one unpack the file."""

_SAFE = frozenset(" !#$&'()+,-./:;=@[]^_{}")


def render_norms(rows: Sequence[Row], parts: Parts) -> Iterator[bytes]:
    """Write the norms of each row as a float64 array in the shape of its unit grid, in the order of the rows.

    `parts` gives the norms of a step, flat and in parts; no more than one part is held. The arrays are named by
    `array_names`.
    """
    from zipfile import ZIP_STORED, ZipFile, ZipInfo

    out = _Out()
    with ZipFile(out, "w", ZIP_STORED) as archive:
        for row, name in zip(rows, array_names([row.step.variable.name for row in rows]), strict=True):
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                member.write(_header(grid_shape(row.step.variable.shape, row.step.unit_axes)))
                for part in parts(row.step):
                    member.write(np.ascontiguousarray(part, dtype="<f8").data)
                    yield from out.taken()
    yield from out.taken()


def array_names(names: Sequence[str]) -> list[str]:
    """Names for the arrays of these variables: different, and safe as the names of files.

    The name of a variable stays as it is as long as it has letters, digits, blanks and common punctuation only. Of
    other characters, and of a slash beside nothing, `.` or `..`, the UTF-8 bytes are written as `%XX`, which
    `urllib.parse.unquote` takes back. A name that is empty, longer than `NAME_LIMIT` or that of a variable before
    ends with `~` and the number of the variable in the report, counted from 0.
    """
    made: dict[str, None] = {}
    for number, name in enumerate(names):
        plain = _quoted(name)
        if not plain or len(plain.encode()) > NAME_LIMIT or plain in made:
            mark = f"~{number}"
            plain = plain.encode()[: NAME_LIMIT - len(mark)].decode(errors="ignore") + mark
        made[plain] = None
    return list(made)


def _quoted(name: str) -> str:
    safe = _SAFE if {"", ".", ".."}.isdisjoint(name.split("/")) else _SAFE - {"/"}
    text = "".join(char if char.isalnum() or char in safe else _bytes(char) for char in name)
    # NumPy takes `a.npy` for the name of the file of `a`.
    return f"{text[:-4]}%2Enpy" if text.endswith(".npy") else text


def _bytes(char: str) -> str:
    # A lone surrogate from \udc80 on stands for a byte that is not UTF-8; others have no bytes but their own.
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", errors))


def _header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return header.getvalue()


class _Out:
    """A file that is handed on as it is written: the archive never looks back."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(self._written[-1])

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> Iterator[bytes]:
        """What was written since the last call."""
        written, self._written = self._written, []
        yield from written
