"""The header of a `.npy` file, read strictly and never evaluated.

Source: numpy/lib/format.py. The magic, a version, the size of the header, and a dict literal that NumPy and MLX write
in one way: the keys in order, single quotes, a tuple of sizes.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.storage.files import Readable, read_range

MAGIC = b"\x93NUMPY"

_PREFIX = 12
_MOST_HEADER = 1 << 20
_HEADER = re.compile(
    r"\{'descr': ('[^'\\]{1,32}'|\[[^\n]*\]), 'fortran_order': (True|False), 'shape': \(([0-9L, ]*)\),? ?\}[ ]*\n?"
)
_SIZE = re.compile(r"[0-9]{1,19}L?")
_PLAIN = re.compile(r"([<>|])(f2|f4|f8|c8|c16|i1|i2|i4|i8|u1|u2|u4|u8|b1)")
_KINDS = {"f": "float", "c": "complex", "i": "int", "u": "uint", "b": "bool"}
_LOST = re.compile(r"[<|]V([1-9])")


class Array(NamedTuple):
    """An array: its shape and the plain name of its dtype, the byte order, and where its numbers begin and how long
    they are; no size where it is no array of numbers.

    NumPy saves dtypes that are not its own, bfloat16 say, as bits alone: `untold` are the bytes of each element then.
    Of an array in Fortran order `order` are the axes in the order in which they are stored, and `shape` is so, too.
    """

    shape: tuple[int, ...]
    dtype: str
    byte_order: str
    start: int
    size: int | None
    order: tuple[int, ...] | None
    untold: int = 0


def parse_array(file: Readable, offset: int, length: int, where: str) -> Array:
    """The array in `length` bytes from `offset`. Raises FormatError, whose text begins with `where`."""
    prefix = read_range(file, offset, min(length, _PREFIX))
    if not prefix.startswith(MAGIC) or len(prefix) < _PREFIX:
        raise FormatError(f"{where} is no array of NumPy, or is cut short")
    wide = prefix[6] > 1
    if prefix[6] not in (1, 2, 3):
        raise FormatError(f"{where} has version {prefix[6]} of the format of NumPy; 1, 2 or 3 was expected")
    start = _PREFIX if wide else _PREFIX - 2
    size = int.from_bytes(prefix[8:start], "little")
    if size > min(_MOST_HEADER, length - start):
        raise FormatError(f"{where} has a header of {size} bytes; it is damaged or cut short")
    text = read_range(file, offset + start, size).decode("utf-8" if prefix[6] == 3 else "latin-1", "replace")
    found = _HEADER.fullmatch(text)
    shape = None if found is None else _shape(found[3])
    if found is None or shape is None:
        raise FormatError(f"{where} has a header that is not as NumPy writes it")
    start += size
    return _array(found[1], found[2] == "True", shape, (offset + start, length - start), where)


def _shape(text: str) -> tuple[int, ...] | None:
    """The sizes of a tuple; "3L", as Python 2 wrote it, is a size."""
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    elif len(parts) == 1:
        return None  # "(3)" is no tuple
    if len(parts) > MOST_AXES or not all(_SIZE.fullmatch(part) for part in parts):
        return None
    return tuple(int(part.removesuffix("L")) for part in parts)


def _array(descr: str, fortran: bool, shape: tuple[int, ...], place: tuple[int, int], where: str) -> Array:
    start, length = place
    kind, byte_order = descr.strip("'"), "<"
    plain = _PLAIN.fullmatch(kind)
    order = tuple(reversed(range(len(shape)))) if fortran and len(shape) > 1 else None
    shape = shape[::-1] if order is not None else shape
    lost = _LOST.fullmatch(kind)
    if plain is None and lost is None:
        return Array(shape, "object, pickled" if kind == "|O" else "no number", byte_order, start, None, order)
    code = plain[2] if plain is not None else kind[1:]
    itemsize = int(code[1:])
    expected = math.prod(shape) * itemsize
    if expected != length:
        raise FormatError(f"{where} needs {expected} bytes by its shape, {length} are there; it is damaged")
    if plain is None:
        return Array(shape, f"floating, saved as {code}", byte_order, start, expected, order, itemsize)
    name = "bool" if code == "b1" else f"{_KINDS[code[0]]}{8 * itemsize}"
    return Array(shape, name, ">" if plain[1] == ">" else "<", start, expected, order)
