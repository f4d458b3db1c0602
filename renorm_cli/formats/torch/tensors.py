"""The tensors in what a pickle of PyTorch describes: their names, their storages, and how they lie in these.

Sources: torch/_utils.py, torch/serialization.py 2.14. Offsets and strides count elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from renorm_cli.formats.torch.stack_machine import Damaged, Global, Made, Pairs
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.model.variable import GraphUse

Axes = tuple[int, ...]

_KINDS = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "UntypedStorage": "uint8",
}
"""The dtype of each class of storage."""

_UTILS = "torch._utils."
_SIZE = Global("torch.Size")
_SUBCLASS = Global("torch._tensor._rebuild_from_type_v2")
_MOST_FLAGS = 64
_MOST_PARTS = 5
_DEEPEST = 200
_LONGEST_PART = 1000
_LONGEST_PATH = 4000
_MOST_SPENT = 1 << 29
_ITEM_BYTES = 64
_MODULES = ("torch.nn.modules.", "transformers.pytorch_utils.Conv1D", "transformers.modeling_utils.Conv1D")


@dataclass(eq=False, slots=True)
class Storage:
    """Numbers that tensors share: the dtype of its class, its key, and how many numbers it has."""

    dtype: str
    key: str
    numbers: int


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor as a view of a storage; `odd` says why its bytes are not its values, if they are not.

    `layer` is the class of the module that has it, and `groups` are those of a convolution, where a pickle tells them.
    """

    storage: Storage
    offset: int
    size: Axes
    stride: Axes
    dtype: str
    odd: str | None = None
    layer: str | None = None
    groups: int = 1
    use: GraphUse | None = None
    """How the graph of an exported program uses it; the axes are those of `size`."""
    parts: tuple[Tensor, ...] = ()
    """The indices and the values of a sparse tensor, whose own place says nothing."""
    layout: str | None = None
    """Which values the indices of a sparse tensor mean."""

    @property
    def view(self) -> tuple[object, ...]:
        """Equal for tensors that are the same numbers."""
        parts = tuple(part.view for part in self.parts)
        return (self.storage.key, self.offset, self.size, self.stride, self.dtype, self.odd, self.layout, parts)

    @property
    def item_bytes(self) -> int | None:
        found = DTYPES.get(self.dtype)
        return None if found is None else found.nbytes

    @property
    def end(self) -> int:
        """The first element of the storage behind it."""
        if 0 in self.size:
            return self.offset
        reach = sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))
        return self.offset + reach + 1

    def order(self) -> Axes | None:
        """The axes from the outermost to the innermost, where its elements lie without gaps; None where they do not."""
        long = [axis for axis, length in enumerate(self.size) if length != 1]
        order = sorted(long, key=lambda axis: -self.stride[axis])
        step = 1
        for axis in reversed(order):
            if self.stride[axis] != step:
                return tuple(range(len(self.size))) if 0 in self.size else None
            step *= self.size[axis]
        return tuple(order) if len(order) == len(self.size) else _with_short(order, self.size)


def _with_short(order: list[int], size: Axes) -> Axes:
    """Axes of length 1 can be anywhere: where the others are in their order, they are, too."""
    if order == sorted(order):
        return tuple(range(len(size)))
    return (*(axis for axis, length in enumerate(size) if length == 1), *order)


def call(what: Any, args: Any) -> Any:
    """What the functions of PyTorch that a checkpoint needs would return; anything else is only noted."""
    if what == _SUBCLASS and isinstance(args, tuple) and len(args) >= 3 and args[0] != _SUBCLASS:
        what, args = args[0], args[2]
    name = what.name if isinstance(what, Global) and isinstance(args, tuple) else None
    if name == "collections.OrderedDict":
        return Pairs([pair for pair in args[0] if _is_pair(pair)] if args and isinstance(args[0], list | tuple) else [])
    if name in (f"{_UTILS}_rebuild_parameter", f"{_UTILS}_rebuild_parameter_with_state") and args:
        return args[0]
    if name == f"{_UTILS}_rebuild_sparse_tensor":
        return _sparse(args) or Made(what, args)
    if name is not None and name.startswith(f"{_UTILS}_rebuild_") and _is_view(args):
        return _tensor(name.removeprefix(f"{_UTILS}_rebuild_"), args) or Made(what, args)
    return Made(what, args)


def _tensor(kind: str, args: tuple[Any, ...]) -> Tensor | None:
    storage, offset, size, stride = args[:4]
    dtype, odd, extra = storage.dtype, None, None
    if kind in ("tensor", "tensor_v2"):
        extra = args[6] if len(args) > 6 else None
    elif kind == "tensor_v3" and len(args) > 6 and isinstance(args[6], Global):
        dtype, extra = args[6].name.removeprefix("torch."), args[7] if len(args) > 7 else None
    elif kind == "qtensor":
        odd = "quantized"
    else:
        return None
    if isinstance(extra, Pairs) and (len(extra.items) > _MOST_FLAGS or any(value for _, value in extra.items)):
        odd = "stored as its conjugate or its negative"
    return Tensor(storage, offset, tuple(size), tuple(stride), dtype, odd)


def _sparse(args: tuple[Any, ...]) -> Tensor | None:
    """A sparse tensor, told by its layout and, in one tuple, its indices, its values and its size."""
    layout, data = args if len(args) == 2 else (None, ())
    if not isinstance(layout, Made) or not isinstance(data, tuple) or len(data) > _MOST_PARTS:
        return None
    parts = tuple(part for part in data if isinstance(part, Tensor))
    size = next((size for part in data if (size := size_of(part)) is not None), None)
    named = isinstance(layout.args, tuple) and len(layout.args) == 1 and isinstance(layout.args[0], str)
    if not parts or size is None or not named or any(part.parts for part in parts):
        return None
    values = parts[-1]
    place = values.storage, values.offset, size, (0,) * len(size), values.dtype
    return Tensor(*place, odd="those of a sparse tensor", parts=parts, layout=layout.args[0][:_LONGEST_PART])


def size_of(value: object) -> Axes | None:
    """The numbers of a `torch.Size`; None where it is something else."""
    is_size = isinstance(value, Made) and value.what == _SIZE and isinstance(value.args, tuple) and len(value.args) == 1
    inside = value.args[0] if isinstance(value, Made) and is_size else None
    if not isinstance(inside, tuple | list) or len(inside) > MOST_AXES or not all(map(_is_size, inside)):
        return None
    return tuple(inside)


def _is_view(args: tuple[Any, ...]) -> bool:
    if len(args) < 4 or not isinstance(args[0], Storage):
        return False
    sizes = args[2], args[3]
    if not _is_size(args[1]) or not all(isinstance(one, list | tuple) for one in sizes):
        return False
    return len(args[2]) == len(args[3]) <= MOST_AXES and all(_is_size(one) for size in sizes for one in size)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


class Storages:
    """The storages that a pickle refers to, by their keys, which begin with their folder."""

    def __init__(self, folder: str = "") -> None:
        self.found: dict[str, Storage] = {}
        self._folder = folder

    def __call__(self, told: Any) -> Any:
        """The storage that a persistent id tells: (mark, class, key, place, numbers). Raises Damaged."""
        if not isinstance(told, tuple) or len(told) < 5 or told[0] not in ("storage", b"storage"):
            return Made(Global("persistent"), told)
        key = told[2][:_LONGEST_PART].decode("utf-8", "backslashreplace") if isinstance(told[2], bytes) else told[2]
        kind = told[1].name.rpartition(".")[2] if isinstance(told[1], Global) else ""
        if not isinstance(key, str) or not _is_size(told[4]):
            raise Damaged("its pickle refers to a storage without key or size")
        key = self._folder + key
        if len(told) > 5 and told[5] is not None:
            raise Damaged("it has views of storages, as PyTorch before 0.4 wrote them; load and save it again")
        storage = self.found.setdefault(key, Storage(_KINDS.get(kind, "no number"), key, told[4]))
        if (storage.dtype, storage.numbers) != (_KINDS.get(kind, "no number"), told[4]):
            raise Damaged("its pickle tells two things of one storage")
        return storage


def tensors(value: Any, constants: Any = None) -> list[tuple[str, Tensor]]:
    """The tensors of a value by their paths in it, each path once; of a pickled module those of its `state_dict`.

    Those of `constants`, which code beside the value uses, have paths of that name. Raises Damaged where they lie
    deeper, or have longer paths, than those of any model.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("constants", constants, 0), ("", value, 0)]
    repeats: dict[str, int] = {}
    spent = 0
    while waiting:
        path, one, depth = waiting.pop()
        if isinstance(one, Tensor):
            found[_free(path, found, repeats)] = one
        elif isinstance(one, list | tuple | Pairs | Made) and id(one) not in seen:
            seen.add(id(one))
            if depth > _DEEPEST or len(path) > _LONGEST_PATH:
                raise Damaged(f"its pickle is nested deeper than {_DEEPEST} levels, or has longer names than any model")
            if isinstance(one, Made) and isinstance(one.state, Pairs):
                spent += len(one.state.items) * _ITEM_BYTES
            inside: list[tuple[str, Any, int]] = []
            for key, inner in _inside(one):
                spent += _ITEM_BYTES
                if isinstance(inner, Tensor | list | tuple | Pairs | Made):
                    inside.append((f"{path}.{key}" if path else key, inner, depth + 1))
                    spent += len(path) + len(key)
                if spent > _MOST_SPENT:
                    raise Damaged("its pickle names more objects, or has longer names, than any model")
            waiting += reversed(inside)
    return list(found.items())


def _free(path: str, used: Mapping[str, object], repeats: dict[str, int]) -> str:
    """The path, with a number where the number 5 and the text "5", say, are keys of one dict."""
    if path not in used:
        return path
    number = repeats.get(path, 2)
    while f"{path}#{number}" in used:
        number += 1
    repeats[path] = number + 1
    return f"{path}#{number}"


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Pairs):
        yield from _named(value)
    elif isinstance(value, Made):
        state = dict(_named(value.state)) if isinstance(value.state, Pairs) else {}
        if "_parameters" in state and "_modules" in state:
            yield from _of_module(value, state)
            return
        yield from _enumerated(value.args)
        yield from state.items() if state else _enumerated(value.state)
        yield from _enumerated(value.items)
    else:
        yield from _enumerated(value)


def _of_module(module: Made, state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    name = module.what.name if isinstance(module.what, Global) else ""
    if not name and isinstance(module.args, tuple) and module.args and isinstance(module.args[0], Global):
        name = module.args[0].name
    layer = name.rpartition(".")[2] if name.startswith(_MODULES) else None
    groups = state.get("groups", 1)
    for part in ("_parameters", "_buffers", "_modules"):
        inside = state.get(part)
        for key, value in _named(inside) if isinstance(inside, Pairs) else ():
            if isinstance(value, Tensor) and value.layer is None:
                value.layer, value.groups = layer, groups if isinstance(groups, int) else 0
            yield key, value


def _enumerated(value: Any) -> Iterator[tuple[str, Any]]:
    """The items of a list, or the pairs in it, by their places or keys."""
    for place, item in enumerate(value) if isinstance(value, list | tuple) else ():
        if _is_pair(item) and isinstance(item, tuple) and isinstance(item[0], str):
            yield item[0][:_LONGEST_PART], item[1]
        else:
            yield str(place), item


def _named(pairs: Pairs) -> Iterator[tuple[str, Any]]:
    for key, value in pairs.items:
        if isinstance(key, bytes):
            key = key[:_LONGEST_PART].decode("utf-8", "backslashreplace")
        # A longer integer has no text in Python, or one that takes long to make.
        shown = isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= 64)
        yield (str(key) if shown else "?")[:_LONGEST_PART], value
