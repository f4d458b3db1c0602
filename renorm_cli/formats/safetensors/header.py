"""The header of a safetensors file: where each tensor lies, read strictly.

The file is the size of the header as 8 bytes, little-endian, the header, a JSON object, and the bytes of the tensors,
without gaps. Source: the README of safetensors and its Rust library, 0.8. What two readers could understand in
different ways is refused, as is a name that comes twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.safetensors.format import LENGTH_BYTES, MOST_HEADER
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.storage.files import SourceFile, read_range
from renorm_cli.untrusted import JsonError, most_values, parse_json, quoted

METADATA = "__metadata__"

_MOST_VALUES = 4_000_000
_DEPTH = 4
_FIELDS = {"dtype", "shape", "data_offsets"}

DTYPES: dict[str, tuple[str, int]] = {
    "BOOL": ("bool", 8),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "U16": ("uint16", 16),
    "I16": ("int16", 16),
    "U32": ("uint32", 32),
    "I32": ("int32", 32),
    "U64": ("uint64", 64),
    "I64": ("int64", 64),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F32": ("float32", 32),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F4": ("float4, packed", 4),
    "F6_E2M3": ("float6_e2m3fn, packed", 6),
    "F6_E3M2": ("float6_e3m2fn, packed", 6),
}
"""Each dtype of the format: its plain name, and bits of an element."""


class Tensor(NamedTuple):
    """A tensor, and the range of bytes of the file in which it lies."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Header(NamedTuple):
    """The tensors by name in the order of the header, and the texts of its metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def read_header(file: SourceFile) -> Header:
    """The header of an open file. Raises FormatError where it is damaged, or does not fit the file."""
    length = int.from_bytes(read_range(file, 0, LENGTH_BYTES), "little")
    if length > min(MOST_HEADER, file.size - LENGTH_BYTES):
        raise FormatError(f"{file.shown!r} has a header of {length} bytes by its first 8; it is damaged or cut short")
    raw = read_range(file, LENGTH_BYTES, length)
    found = _parse(raw, file.shown)
    metadata = found.pop(METADATA, None)
    if metadata is None:  # null is no metadata to the library, too
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FormatError(f"{file.shown!r}: texts were expected in {METADATA!r} of its header")
    start = LENGTH_BYTES + length
    tensors = {name: _tensor(name, record, start, file.shown) for name, record in found.items()}
    _check_places(tensors, start, file)
    return Header(tensors, metadata)


def _parse(raw: bytes, shown: str) -> dict[str, Any]:
    if most_values(raw) > _MOST_VALUES:
        raise FormatError(f"{shown!r} has a header of more than {_MOST_VALUES} values; no checkpoint has so many")
    try:
        found = parse_json(raw, depth=_DEPTH, strict=True)
    except JsonError as problem:
        raise FormatError(f"{shown!r}: its header {problem}") from None
    if not raw.startswith(b"{") or not isinstance(found, dict):
        raise FormatError(f"{shown!r}: its header is no JSON object")
    return found


def _tensor(name: str, record: object, start: int, shown: str) -> Tensor:
    """A record of the header; its offsets count from `start`."""
    where = f"{shown!r}: the tensor {quoted(name)}"
    if not isinstance(record, dict) or record.keys() != _FIELDS:
        raise FormatError(f"{where} has other fields than dtype, shape and data_offsets")
    if not name.isprintable() and not _is_text(name):
        raise FormatError(f"{where} has a name that is no Unicode text")
    dtype, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FormatError(f"{where} has a dtype that is not known; one of safetensors 0.8 was expected")
    if not _are_sizes(shape) or len(shape) > MOST_AXES:
        raise FormatError(f"{where} has a shape that is no list of at most {MOST_AXES} sizes")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise FormatError(f"{where} has data_offsets that are no two offsets")
    plain, bits = DTYPES[dtype]
    size = math.prod(shape) * bits
    begin, end = offsets
    if size % 8 or end - begin != size // 8:
        raise FormatError(f"{where} needs {size / 8:.10g} bytes by its shape, {end - begin} by its data_offsets")
    return Tensor(plain, tuple(shape), start + begin, start + end)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 1 << 62 for one in value)


def _check_places(tensors: Mapping[str, Tensor], start: int, file: SourceFile) -> None:
    """The tensors must fill the file behind its header: no gap, no overlap, no byte more."""
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != at:
            kind = "overlaps another" if tensor.start < at else "leaves a gap before it"
            raise FormatError(f"{file.shown!r}: the tensor {quoted(name)} at byte {tensor.start} {kind}")
        at = tensor.end
    if at != file.size:
        kind = "is cut short" if at > file.size else "holds bytes that belong to no tensor"
        raise FormatError(f"{file.shown!r} {kind}: its tensors end at byte {at}, the file at {file.size}")
