"""The `model.json` of TensorFlow.js, read strictly: which weights there are, and in which files.

A manifest is a list of groups. Each has `paths`, files beside the JSON, whose bytes one behind the other are those of
its `weights` in order; a weight may begin in one file and end in the next. Source: tfjs-core 4.22, `io/types.ts` and
`decodeWeights` in `io/io_utils.ts`; tfjs-converter 4.22, `write_weights.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.walk import Pages
from renorm_cli.storage.files import SourceFile, read_start
from renorm_cli.storage.joined import Joined
from renorm_cli.untrusted import (
    JsonError,
    Reader,
    UnexpectedError,
    below,
    field,
    finite,
    is_file_name,
    items,
    most_values,
    parse_json,
    quoted,
    table,
    text,
)

HERE = "./"
"""What browsers put before the names of files."""

MANIFEST, TOPOLOGY = "weightsManifest", "modelTopology"

_BYTES = 64 << 20
_MOST_VALUES = 2_000_000
_MOST_FILES = 10_000
_MOST_STRINGS = 1_000_000
_DEPTH = 200
_MOST_AXES = 16

_ITEM_BYTES = {"float32": 4, "int32": 4, "bool": 1, "complex64": 8, "float16": 2, "uint8": 1, "uint16": 2}
_DTYPES = ("float32", "int32", "bool", "complex64", "string")
_QUANTIZED = ("uint8", "uint16")


class Spec(NamedTuple):
    """A weight as the manifest has it: `dtype` is that of its stored numbers.

    `scaling` is the scale and the offset that make numbers of the stored ones, where it is quantized; `optimizer` says
    that it is no weight of the model.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scaling: str | None = None
    optimizer: bool = False


class Group(NamedTuple):
    """Names of files, and the weights that lie in them."""

    names: tuple[str, ...]
    specs: tuple[Spec, ...]


class Model(NamedTuple):
    """The text, all that it tells, and its groups of weights."""

    text: str
    told: Any
    groups: tuple[Group, ...]

    @property
    def topology(self) -> Mapping[str, Any]:
        """What the model is made of: layers, or nodes; nothing where it does not tell."""
        found = self.told.get(TOPOLOGY) if isinstance(self.told, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def manifest(self) -> list[Any]:
        found: list[Any] = self.told[MANIFEST] if isinstance(self.told, dict) else self.told
        return found

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """What it tells by its own keys, with numbers for the files."""
        groups = [{**group, "paths": len(group["paths"])} for group in self.manifest]
        told = {**self.told, MANIFEST: groups} if isinstance(self.told, dict) else {MANIFEST: groups}
        for key, value in told.items():
            yield f"{key!r} of the model", iter([json.dumps(value, sort_keys=True).encode()])


def read_model(file: SourceFile) -> Model:
    """The model in an open file. Raises FormatError where it is none, or names other files than those beside it."""
    if file.size > _BYTES:
        raise FormatError(f"{file.shown!r} is {file.size} bytes; a model of TensorFlow.js has at most {_BYTES}")
    return parse_model(read_start(file, _BYTES), file.path.name, file.shown)


def parse_model(raw: bytes, own: str, shown: str) -> Model:
    """The model in the content of a file of the name `own`; see `read_model`."""
    if most_values(raw) > _MOST_VALUES:
        raise FormatError(f"{shown!r} holds more than {_MOST_VALUES} values; no model does")
    try:
        content = raw.decode("utf-8-sig")  # browsers read past a byte order mark, too
        told = parse_json(content, depth=_DEPTH, strict=True)
    except UnicodeDecodeError:
        raise FormatError(f"{shown!r} is no UTF-8 text; a model of TensorFlow.js was expected") from None
    except JsonError as problem:
        raise FormatError(f"{shown!r} {problem}; a model of TensorFlow.js was expected") from None
    if isinstance(told, dict) and MANIFEST not in told:
        raise FormatError(f"{shown!r} has no {MANIFEST}: it is the topology of a model without its weights")
    try:
        manifest = told[MANIFEST] if isinstance(told, dict) else told
        groups = items(manifest, _group)
    except UnexpectedError as error:
        raise FormatError(f"{shown!r}: {MANIFEST}: {error}") from None
    _check_names(groups, own, shown)
    return Model(content, told, groups)


def _group(value: object) -> Group:
    found = table(value)
    return Group(
        field(found, "paths", lambda paths: items(paths, _file_name)),
        field(found, "weights", lambda specs: items(specs, _spec)),
    )


def _file_name(value: object) -> str:
    """A path as the name of a file."""
    name = text(value).removeprefix(HERE)
    if "\\" in name or not is_file_name(name):
        raise UnexpectedError("a plain name of a file beside it", value)
    return name


def _spec(value: object) -> Spec:
    found = table(value)
    name = field(found, "name", text)
    try:
        shape = field(found, "shape", _shape)
        dtype = field(found, "dtype", _one_of(_DTYPES))
        stored = field(found, "quantization", lambda how: _stored(dtype, how)) if "quantization" in found else dtype
    except UnexpectedError as error:
        raise error.inside(quoted(name)) from None
    scaling = _scaling(found["quantization"]) if stored in _QUANTIZED else None
    return Spec(name, shape, stored, scaling, found.get("group") == "optimizer")


def _shape(value: object) -> tuple[int, ...]:
    sizes = items(value, lambda one: below(1 << 62)(int(one) if isinstance(one, float) and one.is_integer() else one))
    if len(sizes) > _MOST_AXES:
        raise UnexpectedError(f"at most {_MOST_AXES} sizes", value)
    return sizes


def _stored(dtype: str, value: object) -> str:
    """The dtype of what is stored for numbers of another one."""
    how = table(value)
    if dtype == "float32" and how.get("dtype") == "float16":
        return "float16"
    stored = field(how, "dtype", _one_of(_QUANTIZED if dtype in ("float32", "int32") else ()))
    for name in ("min", "scale"):
        field(how, name, finite)
    return stored


def _scaling(how: Mapping[str, Any]) -> str:
    return f"scale {float(how['scale'])!r}, min {float(how['min'])!r}"


def _one_of(known: Sequence[str]) -> Reader[str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise UnexpectedError(f"one of {', '.join(known)}" if known else "none", value)
        return value

    return read


def _check_names(groups: Sequence[Group], own: str, shown: str) -> None:
    """Raise FormatError where a name of a weight or a file comes twice, or a file is the model itself."""
    files = [name for group in groups for name in group.names]
    if len(files) > _MOST_FILES:
        raise FormatError(f"{shown!r} names {len(files)} files; at most {_MOST_FILES} are read")
    weights: set[str] = set()
    for name in (spec.name for group in groups for spec in group.specs):
        if name in weights:
            raise FormatError(f"{shown!r}: the weight {quoted(name)} is there twice; each has one place")
        weights.add(name)
    known = {own}
    for name in files:
        if name in known:
            raise FormatError(f"{shown!r}: the file {quoted(name)} is named twice, or is the model itself")
        known.add(name)


def places(group: Group, data: Joined, where: str) -> list[tuple[int, int]]:
    """Offset and size of each weight of a group in the bytes of its files. Raises FormatError where these differ."""
    found: list[tuple[int, int]] = []
    at = 0
    for spec in group.specs:
        count = math.prod(spec.shape)
        if spec.dtype == "string" and count > _MOST_STRINGS:
            raise FormatError(f"{where} {quoted(spec.name)} has {count} texts; at most {_MOST_STRINGS} are read")
        size = _string_bytes(count, data, at) if spec.dtype == "string" else count * _ITEM_BYTES[spec.dtype]
        if size is None or at + size > data.size:
            raise FormatError(f"{where} {quoted(spec.name)} ends behind the {data.size} bytes of its files; cut short?")
        found.append((at, size))
        at += size
    if at != data.size:
        raise FormatError(f"{where} {data.size} bytes are there, {at} were expected by the shapes; it is damaged")
    return found


def _string_bytes(count: int, data: Joined, start: int) -> int | None:
    """The bytes of so many strings, each behind its length as 4 bytes; None where they end behind the data."""
    at, pages = start, Pages(data)
    for _ in range(count):
        if at + 4 > data.size:
            return None
        at += 4 + int.from_bytes(pages[at : at + 4], "little")
    return at - start
