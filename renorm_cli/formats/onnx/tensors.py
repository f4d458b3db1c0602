"""A TensorProto of ONNX: its name, shape and dtype, and where its bytes are; they are not read.

Source: onnx/onnx.proto, onnx/docs/ExternalData.md, onnx/external_data_helper.py 1.23.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import BYTES
from renorm_cli.formats.walk import Span, Walk
from renorm_cli.model.blocks import MOST_AXES, is_shape
from renorm_cli.model.dtypes import DTYPES as READ
from renorm_cli.untrusted import is_file_name, quoted

_DIMS, _TYPE, _SEGMENT, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 3, 8, 9, 13, 14
_FLOATS, _INT32S, _STRINGS, _INT64S, _DOUBLES, _UINT64S = 4, 5, 6, 7, 10, 11
_DATA = frozenset({_FLOATS, _INT32S, _STRINGS, _INT64S, _RAW, _DOUBLES, _UINT64S})
_OUTSIDE = 1
"""The data_location of bytes in another file."""

DTYPES: dict[int, tuple[str, int]] = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8_e4m3fn", 8),
    18: ("float8_e4m3fnuz", 8),
    19: ("float8_e5m2", 8),
    20: ("float8_e5m2fnuz", 8),
    21: ("uint4, packed", 4),
    22: ("int4, packed", 4),
    23: ("float4, packed", 4),
    24: ("float8_e8m0fnu", 8),
    25: ("uint2, packed", 2),
    26: ("int2, packed", 2),
}
"""Each dtype by its number in TensorProto.DataType: its plain name, and bits of an element."""

NOT_WEIGHTS = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string"})
"""Dtypes of what is no weight: sizes, places, masks."""

_PLAIN = {"float32": _FLOATS, "complex64": _FLOATS, "float64": _DOUBLES, "complex128": _DOUBLES}
"""The field beside raw_data in which numbers of a dtype lie as they are."""
_NUMBERS = {"int32": "i", "int64": "q", "bool": "?"}
_MOST_FIXED = 8 << 20
"""Bytes of a tensor whose numbers are read all at once, if they are no plain bytes."""
_MOST_DIGITS = 18


class Chain(NamedTuple):
    """A message, and the messages that it is in, from inside out."""

    span: Span
    above: Chain | None


class Outside(NamedTuple):
    """Where a tensor lies in a file beside the model: `length` is None where it is the rest of the file.

    `place` is where the model names the file. `checksum` is the SHA-1 of the whole file, as it is told, and where.
    """

    location: str
    place: Chain
    offset: int
    length: int | None
    checksum: tuple[str, Span] | None


@dataclass(slots=True)
class Tensor:
    """A tensor. `place` is the range of its bytes in the model, where they lie there as they are.

    `odd` says why there are none. `fixed` says why they cannot change, although its numbers can be read: by `numbers`,
    but of one that is `carried`, which is an attribute and no weight. `message` is the TensorProto itself.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    message: Span
    place: Span | None = None
    outside: Outside | None = None
    odd: str | None = None
    fixed: str | None = None
    carried: bool = False

    @property
    def may_be_weight(self) -> bool:
        return bool(self.shape) and self.dtype not in NOT_WEIGHTS


def read_tensor(walk: Walk, chain: Chain, shown: str) -> Tensor:
    """The tensor of a message. Raises FormatError where it contradicts itself; `shown` names the file."""
    message = chain.span
    once: dict[int, Span] = {}
    sizes: list[int] = []
    data: dict[int, list[Span]] = {}
    outside: list[Span] = []
    for item in walk.inside(message):
        if item.number == _DIMS:
            for size in walk.numbers(item):
                sizes.append(size)
                if len(sizes) > MOST_AXES:
                    break
        elif item.number == _EXTERNAL:
            outside.append(item)
        elif item.number in _DATA and item.number != _RAW:
            pieces = data.setdefault(item.number, [])
            if len(pieces) < 2:
                pieces.append(item)
        elif item.number in (_TYPE, _SEGMENT, _NAME, _RAW, _LOCATION):
            if item.number in once:
                raise walk.damaged(f"expected field {item.number} of the tensor at byte {message.start} once")
            once[item.number] = item
    name = walk.text(once[_NAME]) if _NAME in once else ""
    where = f"{shown!r}: the tensor {quoted(name)}"
    if not is_shape(sizes):
        raise FormatError(f"{where} has a shape that is no list of at most {MOST_AXES} sizes, or is too large")
    number = walk.integer(once[_TYPE]) if _TYPE in once else 0
    dtype, bits = DTYPES.get(number, (f"type {number} of ONNX", 0))
    found = Tensor(name, tuple(sizes), dtype, -(-math.prod(sizes) * bits // 8), message)
    if _LOCATION in once and walk.integer(once[_LOCATION]) == _OUTSIDE:
        if data or _RAW in once:
            raise FormatError(f"{where} lies in another file, and has data here too; one place was expected")
        found.outside = _read_outside(walk, outside, chain, where)
        return found
    if _RAW in once and data:
        raise FormatError(f"{where} has raw_data, and numbers in another field too; one of them was expected")
    _find_bytes(found, once.get(_RAW), data, where)
    if _SEGMENT in once:
        found.place, found.odd, found.fixed = None, "it is one segment of a larger tensor", None
    return found


def is_outside(walk: Walk, message: Span) -> bool:
    """Whether the tensor of a message lies in another file."""
    return any(walk.integer(item) == _OUTSIDE for item in walk.parts(message, _LOCATION))


def _find_bytes(tensor: Tensor, raw: Span | None, data: dict[int, list[Span]], where: str) -> None:
    """Set where the bytes of a tensor are, or why they are nowhere."""
    if tensor.dtype == "string" or tensor.dtype.startswith("type "):
        tensor.odd = f"it is of {tensor.dtype}, which is not read"
        return
    if raw is not None:
        if raw.wire_type != BYTES or raw.end - raw.start != tensor.nbytes:
            raise FormatError(
                f"{where} needs {tensor.nbytes} bytes by its shape, its raw_data are {raw.end - raw.start}"
            )
        tensor.place = raw
    elif not tensor.nbytes:
        tensor.place = Span(_RAW, BYTES, tensor.message.end, tensor.message.end)
    elif not data:
        tensor.odd = "the file holds no data for it"
    elif data.keys() != {_PLAIN.get(tensor.dtype)}:
        _fix(tensor, "its numbers are stored in varying numbers of bytes; store them as raw_data")
    else:
        ((first, *more),) = data.values()
        if not more and first.wire_type == BYTES:
            if first.end - first.start != tensor.nbytes:
                size = first.end - first.start
                raise FormatError(f"{where} needs {tensor.nbytes} bytes by its shape, its numbers are {size}")
            tensor.place = first
        else:
            _fix(tensor, "its numbers are stored in pieces; store them as raw_data")


def _fix(tensor: Tensor, why: str) -> None:
    """Set why the bytes of a tensor cannot be patched; of a large one, or one of no whole bytes, they are not read."""
    if tensor.dtype in READ and tensor.message.end - tensor.message.start <= _MOST_FIXED:
        tensor.fixed = why
    else:
        tensor.odd = why


def _read_outside(walk: Walk, entries: list[Span], chain: Chain, where: str) -> Outside:
    """The file, offset, length and checksum of a tensor; other keys belong to runtimes."""
    told: dict[str, Span] = {}
    location: Chain | None = None
    for entry in entries:
        key, value = walk.entry(entry)
        if key in told:
            raise FormatError(f"{where} tells its {quoted(key)} in another file twice; once was expected")
        if value is not None:
            told[key] = value
            if key == "location":
                location = Chain(value, Chain(entry, chain))
    name = walk.text(told["location"]) if location is not None else ""
    if location is None or not is_file_name(name) or "\\" in name:
        raise FormatError(f"{where} lies in the file {quoted(name)}; a plain file name beside the model was expected")

    def number(key: str) -> int | None:
        text = walk.bytes_of(told[key], _MOST_DIGITS + 1) if key in told else None
        if text is not None and not (text.isdigit() and len(text) <= _MOST_DIGITS):
            raise FormatError(f"{where}: its {key} in another file is {quoted(text)}; a number of bytes was expected")
        return None if text is None else int(text)

    checksum = told.get("checksum")
    return Outside(
        name,
        location,
        number("offset") or 0,
        number("length"),
        None if checksum is None else (walk.text(checksum), checksum),
    )


def numbers(walk: Walk, tensor: Tensor, where: str) -> bytes:
    """The bytes of the numbers of a tensor that is `fixed`. Raises FormatError where there are more or fewer."""
    stored = b"".join(walk.bytes_of(item) for item in walk.inside(tensor.message) if item.number in _DATA)
    count = math.prod(tensor.shape)
    if tensor.dtype in _PLAIN:
        if len(stored) != tensor.nbytes:
            raise FormatError(f"{where} needs {tensor.nbytes} bytes by its shape, its numbers are {len(stored)}")
        return stored
    found = _varints(np.frombuffer(stored, np.uint8))
    if found is None or found.size != count:
        raise FormatError(f"{where} needs {count} numbers by its shape, which are not there, or damaged")
    return found.astype(f"<u{tensor.nbytes // max(count, 1)}").tobytes()


def _varints(stored: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64] | None:
    """The varints that bytes hold, one behind the other; None where one is cut off or longer than ten bytes."""
    ends = np.flatnonzero(stored < 128)
    if not ends.size or ends[-1] != stored.size - 1:
        return None
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(stored.size) - np.repeat(starts, ends - starts + 1)
    if places.max() > 9:
        return None
    parts = (stored & 127).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts)


def integers(walk: Walk, tensor: Tensor, most: int) -> tuple[int, ...] | None:
    """The numbers of a tensor of at most `most` integers; None where it has others, or more."""
    form, count = _NUMBERS.get(tensor.dtype), math.prod(tensor.shape)
    if form is None or count > most:
        return None
    if tensor.place is not None:
        return tuple(map(int, struct.unpack(f"<{count}{form}", walk.bytes_of(tensor.place))))
    found = list(_stored(walk, tensor.message, most))
    return tuple(found) if len(found) == count else None


def _stored(walk: Walk, message: Span, most: int) -> Iterator[int]:
    """The numbers in int32_data and int64_data of a tensor, one more than `most` at most."""
    count = 0
    for item in walk.inside(message):
        if item.number in (_INT32S, _INT64S):
            for value in walk.numbers(item):
                yield value
                count += 1
                if count > most:
                    return
