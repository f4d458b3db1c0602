"""Tensors as variables: each with the place of its bytes, tied ones as one, and those that cannot change locked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Extent
from renorm_cli.formats.plain import SHARED, Told, overlapping
from renorm_cli.formats.torch.tensors import Storage, Tensor
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.untrusted import quoted

_GAPS = "its numbers do not lie one behind the other: it is a view of a larger tensor, or its numbers are repeated"
_NO_NUMBER = "no number"
_ANY_BYTES = 1 << 62
_MOST_TIMES = 16
"""Times the bytes of all storages, at most, that are read to compare what does not lie plainly."""


class Place(NamedTuple):
    """Where the bytes of a storage are."""

    start: int
    size: int


class Views(NamedTuple):
    """The variables of a file, the extents of those that are plain bytes, and what tells all of others."""

    variables: tuple[Variable, ...]
    extents: Mapping[str, Extent]
    others: Mapping[str, Told]


def views(tensors: Iterable[tuple[str, Tensor]], places: Mapping[str, Place], shown: str, order: str) -> Views:
    """The tensors as variables, whose storages are at `places`, by key, in byte order "<" or ">".

    Raises FormatError for a tensor that runs over its storage, and a storage that is not there or too short.
    """
    first: dict[object, str] = {}
    aliases: dict[str, list[str]] = {}
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors:
        _check(name, tensor, places, shown)
        original = first.setdefault(tensor.view, name) if math.prod(tensor.size) else name
        if original == name:
            kept[name] = tensor
        else:
            aliases.setdefault(original, []).append(name)
    shared = overlapping(_spans(kept))
    variables: list[Variable] = []
    extents: dict[str, Extent] = {}
    others: dict[str, Told] = {}
    for name, tensor in kept.items():
        axes = tensor.order()
        odd = _why_not_plain(tensor, axes, order)
        locked = odd or (SHARED if name in shared else None)
        shape = tensor.size if axes is None else tuple(tensor.size[axis] for axis in axes)
        stored = None if axes is None or axes == tuple(range(len(axes))) else axes
        dtype = tensor.dtype if tensor.dtype in DTYPES else _NO_NUMBER
        hint = Hint(layer=tensor.layer, order=stored, groups=tensor.groups)
        state: Role | None = "quantized" if tensor.odd == "quantized" else None
        use = tensor.use
        if use is not None and use.unit_axes is not None and axes is not None:
            use = replace(use, unit_axes=tuple(sorted(axes.index(axis) for axis in use.unit_axes)))
        variables.append(Variable(name, name, shape, dtype, hint, state, locked=locked, use=use))
        width = tensor.item_bytes
        if odd is None and width is not None:
            start = places[tensor.storage.key].start + tensor.offset * width
            extents[name] = Extent(0, start, math.prod(shape) * width)
        elif order == "<" and (tensor.parts or odd == _GAPS) and (found := _told(tensor, places)) is not None:
            others[name] = found
    told = sum(extent.size for one in others.values() for extent in one.extents)
    if told > _MOST_TIMES * sum(place.size for place in places.values()):
        others = {}  # each would be read alone, however many lie in one storage
    described = frameworks.described(variables, "torch")
    return Views(frameworks.with_aliases(described, aliases), extents, others)


def _told(tensor: Tensor, places: Mapping[str, Place]) -> Told | None:
    """What tells all of a tensor with gaps, or a sparse one: how its numbers lie, and all bytes from first to last.

    None where a part is of a dtype whose width is not known, or its bytes are not its values.
    """
    parts = tensor.parts or (tensor,)
    if any(part.item_bytes is None or part.odd is not None for part in parts):
        return None
    how = [tensor.layout, *((part.size, part.stride, part.dtype) for part in parts)]
    spans = (_span(0, part, places[part.storage.key].start) for part in parts)
    return Told(repr(how).encode(), tuple(spans))


def _span(number: int, tensor: Tensor, start: int = 0) -> Extent:
    """The bytes of a file from the first number of a tensor to its last, of a storage that starts there.

    Where the width of a number is not known, they may be any of the storage.
    """
    width = tensor.item_bytes
    if width is None:
        return Extent(number, start, 0 if 0 in tensor.size else _ANY_BYTES)
    return Extent(number, start + tensor.offset * width, (tensor.end - tensor.offset) * width)


def _check(name: str, tensor: Tensor, places: Mapping[str, Place], shown: str) -> None:
    for part in tensor.parts:
        _check(name, part, places, shown)
    if tensor.parts:
        return
    where = f"{shown!r}: the tensor {quoted(name)}"
    place = places.get(tensor.storage.key)
    if place is None:
        raise FormatError(f"{where} lies in a storage that is not there: {quoted(tensor.storage.key)}")
    needed = tensor.end * (tensor.item_bytes or 0)
    if max(needed, bytes_of(tensor.storage)) > place.size:
        raise FormatError(f"{where} needs {max(needed, bytes_of(tensor.storage))} bytes of a storage of {place.size}")


def bytes_of(storage: Storage) -> int:
    """Bytes of a storage; 0 for a dtype that is not known."""
    known = DTYPES.get(storage.dtype)
    return 0 if known is None else storage.numbers * known.nbytes


def _why_not_plain(tensor: Tensor, axes: Sequence[int] | None, order: str) -> str | None:
    if tensor.odd is not None:
        return f"its bytes are {tensor.odd}, not its values"
    if axes is None:
        return _GAPS
    if order == ">" and tensor.dtype == "bfloat16":
        return "bfloat16 in big-endian order is not read"
    return None


def _spans(kept: Mapping[str, Tensor]) -> dict[str, Extent]:
    """Where the tensors lie in their storages, each of which counts as a file; the parts of sparse ones by number."""
    numbers: dict[str, int] = {}
    spans: dict[str, Extent] = {}
    for name, tensor in kept.items():
        for place, part in enumerate(tensor.parts or (tensor,)):
            number = numbers.setdefault(part.storage.key, len(numbers))
            spans[f"{name}\0{place}" if tensor.parts else name] = _span(number, part)
    return spans
