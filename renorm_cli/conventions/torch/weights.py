"""What the weights of a PyTorch or MLX file are, and which of their axes name units, from all names and shapes.

A linear layer is (out, in), a convolution (out, in, *k), a table (rows, size): the first axis names units. Others are
told by what is beside them, and are a guess where nothing is: a transposed convolution is (in, out, *k) under the same
name, and so are the linear layers of GPT-2, (in, out). Layouts: torch.nn 2.14, `Conv1D` of transformers 5.24.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from renorm_cli.conventions.torch.gpt2 import Layout, is_gpt2, layouts
from renorm_cli.conventions.torch.modules import (
    LONGEST,
    Module,
    Weight,
    bias_of,
    in_cell,
    is_cell,
    modules,
    vector,
    word,
)
from renorm_cli.model.identity import AxisSource, Claim, Role
from renorm_cli.model.variable import Variable, stored

Axes = tuple[int, ...]
AsGpt2 = Mapping[str, Layout | None]

_CLASSES: dict[str, tuple[Role, Axes]] = {
    "Linear": ("kernel", (0,)),
    "Bilinear": ("kernel", (0,)),
    "Conv1D": ("kernel", (1,)),
    "Embedding": ("embedding", (0,)),
    "EmbeddingBag": ("embedding", (0,)),
    **{f"Conv{n}d": ("kernel", (0,)) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": ("kernel", (1,)) for n in (1, 2, 3)},
}
"""Role and unit axes of the array `weight` of a class of PyTorch or, `Conv1D`, of transformers."""

_TRANSPOSED = re.compile(r"up|deconv|transpos|conv_?t|dec|tconv|unconv|unpool|^gen")
_PATCHES = re.compile(r"patch")
_CONV = re.compile(r"conv")
_AFTER_A_CONV = (("convolution", "normalization"), ("conv", "bn"), ("conv", "norm"), ("conv", "batch_norm"))
_BANKS = (("gate_up_proj", "down_proj"), ("input_linear", "output_linear"))
_PARTS_OF_BANKS = frozenset(("gate_up_proj", "gate_proj", "up_proj", "down_proj"))


class _Told(NamedTuple):
    """What tells of a kernel that it has a layout; no axes where several layouts are left."""

    axes: Axes | None
    by: str
    source: AxisSource = "shape"


_OPEN = _Told(None, "the name 'weight'", "name")


def claims(variables: Sequence[Variable], *, outputs_first: bool = False) -> dict[str, Claim]:
    """What the variables of one file tell, by key.

    With `outputs_first` the outputs are the first axis in all layers, as in MLX.
    """
    found = modules(variables)
    told: dict[str, Claim] = {}
    for module in found.values():
        for own, weight in module.items():
            claim = _claim(own, weight, module)
            if claim is not None:
                told[weight.variable.key] = claim
    kernels = [module["weight"] for module in found.values() if "weight" in module and _is_kernel(module)]
    for weight, layout in zip(kernels, _layouts(kernels, found, outputs_first), strict=True):
        told[weight.variable.key] = _as_claim("kernel", layout, weight)
    for path, module in found.items():
        for weight, claim in (*_banks(path, module, found), *_parametrized(path, module, found)):
            told[weight.variable.key] = claim
    for variable in variables:
        if variable.key in told and variable.use is not None and variable.use.unit_axes is None:
            told[variable.key] = told[variable.key]._replace(unit_axes=None)  # a graph uses it along several axes
    return told


def open_as_gpt2(variables: Sequence[Variable]) -> frozenset[str]:
    """The keys of linear layers called as those of GPT-2, where nothing in the file tells the layout of one."""
    found = modules(variables)
    named = [one for module in found.values() for one in module.values() if is_gpt2(one)]
    told = any(layouts(named, found).values())
    return frozenset() if told else frozenset(one.variable.key for one in named)


def _is_kernel(module: Module) -> bool:
    """Whether `weight` is a kernel; what is called a table and has a bias is one."""
    weight = module["weight"]
    if _is_of_table(weight):
        return False
    return weight.role == "kernel" or (weight.role == "embedding" and "bias" in module)


def _claim(own: str, weight: Weight, module: Module) -> Claim | None:
    """What an array tells by itself and by its module, but for the layout of a kernel."""
    by, rank = f"the name {own[:LONGEST]!r}", len(weight.shape)
    if weight.role == "embedding":
        role, told = _class(weight) or ("embedding", _Told((0,), by, "name"))
        return _as_claim(role, told, weight)
    if weight.role == "kernel":
        known = _class(weight)
        if own == "weight" and known is not None and _is_of_table(weight):
            return _as_claim(*known, weight)
        return None if own == "weight" else _as_claim("kernel", _Told((0,), by, "name"), weight)
    if weight.role != "unknown":
        return Claim("name", weight.role, None, by)
    if rank == 2 and in_cell(own) and is_cell(module):
        return _as_claim("kernel", _Told((0,), by, "name"), weight)
    bias = module.get("bias")
    if own == "weight" and bias is not None and bias.shape == weight.shape:
        return Claim("shape", "scale", None, "the bias of the same shape")
    return None


def _as_claim(role: Role, told: _Told, weight: Weight) -> Claim:
    axes = None if told.axes is None else stored(told.axes, weight.variable)
    return Claim(told.source, role, axes, told.by)


def _class(weight: Weight) -> tuple[Role, _Told] | None:
    """The role and the layout that the class of a pickled module tells.

    Of a transposed convolution (in, out / groups, *k) with groups, a unit has only the rows of its group. Where each
    group has one row, the row and the output together name units.
    """
    hint = weight.variable.hint
    known = None if hint.layer is None else _CLASSES.get(hint.layer)
    if known is None:
        return None
    role, axes = known[0], known[1] if hint.groups == 1 or known[1] == (0,) else None
    if hint.groups == weight.shape[0]:
        axes = axes or (0, 1)
    return role, _Told(axes, f"the class {hint.layer}", "layer")


def _is_of_table(weight: Weight) -> bool:
    """Whether the class of a pickled module tells that its `weight` is a table, whatever the module is called."""
    known = _class(weight)
    return known is not None and known[0] == "embedding" and len(weight.shape) == 2


# --- layouts of `weight`


def _layouts(kernels: Sequence[Weight], found: Mapping[str, Module], outputs_first: bool) -> Iterator[_Told]:
    """The layout of each kernel: what it and its neighbours tell, then what the others of the file do."""
    as_gpt2 = layouts(kernels, found)
    first = [_layout(weight, found, as_gpt2, outputs_first) for weight in kernels]
    convolutions: dict[str, set[Axes]] = {}
    lists: dict[str, set[Axes]] = {}
    for weight, told in zip(kernels, first, strict=True):
        if len(weight.shape) > 2 and told.axes is not None:
            convolutions.setdefault(word(weight.module), set()).add(told.axes)
            lists.setdefault(_place(weight), set()).add(told.axes)
    usual = set().union(*convolutions.values()) == {(0,)}
    for weight, told in zip(kernels, first, strict=True):
        in_list = lists.get(_place(weight)) == {(0,)}
        alike = in_list or usual or convolutions.get(word(weight.module)) == {(0,)}
        yield _as_others(weight, found, in_list) if told is _OPEN and alike else told


def _place(weight: Weight) -> str:
    """Where a module is in the items of a list, without their number; its path where it is an item itself."""
    *above, last = weight.module.split(".")
    numbers = [at for at, part in enumerate(above) if part.isdecimal()]
    if last.isdecimal() or not numbers:
        return weight.module
    return ".".join((*above[: numbers[-1]], "", *above[numbers[-1] + 1 :], last))


def _layout(weight: Weight, found: Mapping[str, Module], as_gpt2: AsGpt2, outputs_first: bool) -> _Told:
    known = _class(weight)
    if known is not None and _fits(known[1], weight, found):
        return known[1]
    if outputs_first and "expert" not in weight.module:
        return _Told((0,), "the layout of MLX", "name")
    if len(weight.shape) == 2:
        return _linear(weight, found, as_gpt2)
    return _convolution(weight, found)


def _fits(told: _Told, weight: Weight, found: Mapping[str, Module]) -> bool:
    """Whether the bias does not contradict a layout: it has an element for each output."""
    bias = bias_of(weight, found)
    return bias is None or told.axes is None or bias == math.prod(weight.shape[axis] for axis in told.axes)


def _linear(weight: Weight, found: Mapping[str, Module], as_gpt2: AsGpt2) -> _Told:
    bias = bias_of(weight, found)
    if weight.module in as_gpt2:
        layout = as_gpt2[weight.module]
        return _OPEN if layout is None else _Told((layout.axis,), layout.by, layout.source)
    if bias is None or weight.shape == (bias, bias):
        is_conv = _CONV.search(word(weight.module).lower()) is not None
        return _OPEN if is_conv else _Told((0,), "the name 'weight'", "name")
    fitting = [axis for axis in (0, 1) if weight.shape[axis] == bias]
    return _Told(tuple(fitting), f"the bias of {bias}") if fitting else _OPEN


def _convolution(weight: Weight, found: Mapping[str, Module]) -> _Told:
    """By what is beside it, else by its sizes and its name: a kernel of one position is never that of a transposed."""
    told = _by_neighbours(weight, found)
    if told is not _OPEN:
        return told
    (outer, inner, *sizes), name = weight.shape, word(weight.module)
    is_conv = _CONV.search(name.lower()) is not None and not _is_transposed(weight)
    if set(sizes) == {1} and (is_conv or (len(sizes) > 1 and not _is_transposed(weight))):
        return _Told((0,), f"the kernel of {'x'.join(map(str, sizes))}", "name")
    if outer > inner and ((inner == 1 and is_conv) or _PATCHES.search(name.lower()) is not None):
        return _Told((0,), f"the name {name!r}", "name")
    return _OPEN


def _by_neighbours(weight: Weight, found: Mapping[str, Module]) -> _Told:
    """By its bias, else by the normalization behind it: either has an element for each output."""
    outer, inner, bias = *weight.shape[:2], bias_of(weight, found)
    if bias is not None:
        return _by_length(outer, inner, bias, f"the bias of {bias}", weight)
    for length, sure in _norms(weight.module, found):
        if length in (outer, inner) and outer != inner and (sure or length == outer):
            return _by_length(outer, inner, length, f"the normalization of {length}", weight)
        if sure and length > inner and length % inner == 0 and length != outer:
            return _Told(None, f"the normalization of {length}")  # transposed, in groups
    return _OPEN


def _by_length(outer: int, inner: int, outputs: int, by: str, weight: Weight) -> _Told:
    """The layout with so many outputs. Of a transposed convolution in groups, `inner` is that of one group."""
    if outputs == inner != outer:
        return _Told((1,), by)
    if outputs != outer:
        return _Told(None, by)
    in_groups = inner > 1 and outputs % inner == 0
    return _OPEN if in_groups and (inner == outer or _is_transposed(weight)) else _Told((0,), by)


def _as_others(weight: Weight, found: Mapping[str, Module], in_list: bool) -> _Told:
    """The layout of the other convolutions that tell theirs, where nothing speaks against it.

    Those of the same name `in_list` are of one kind, so that no size speaks against it.
    """
    bias, sizes = bias_of(weight, found), weight.shape[2:]
    if not sizes or _is_transposed(weight) or (bias is not None and bias != weight.shape[0]):
        return _OPEN
    if not in_list and all(size % 2 == 0 for size in sizes):
        return _OPEN  # as what doubles the size of an image has them
    if len(weight.shape) == 3 and not _CONV.search(word(weight.module).lower()):
        return _OPEN
    if weight.module.replace(".", "").isdecimal():
        return _OPEN  # no name in a list of layers says that it is none of the transposed
    return _Told((0,), "the other convolutions", "name")


def _norms(path: str, found: Mapping[str, Module]) -> Iterator[tuple[int, bool]]:
    """The lengths of the normalizations that may follow a convolution, and whether they do so for sure.

    In a list of layers the next one follows. One of a similar name follows or precedes.
    """
    folder, _, last = path.rpartition(".")
    start = f"{folder}." if folder else ""
    if last.isdecimal() and len(last) < 10:
        length = vector(found.get(f"{start}{int(last) + 1}"))
        if length is not None:
            yield length, True
    for part in path.rsplit(".", 2)[-2:] if len(path) <= LONGEST else ():
        for one, other in _AFTER_A_CONV:
            if one in part:
                head, _, tail = path.rpartition(part)
                length = vector(found.get(f"{head}{part.replace(one, other)}{tail}"))
                if length is not None:
                    yield length, False


def _is_transposed(weight: Weight) -> bool:
    """Whether a convolution is called so that it may be a transposed one."""
    parts = weight.module.rsplit(".", 3)[-3:]
    return any(_TRANSPOSED.search(part.lower()) is not None for part in parts if len(part) <= LONGEST)


# --- weights that are stored otherwise


def _banks(path: str, module: Module, found: Mapping[str, Module]) -> Iterator[tuple[Weight, Claim]]:
    """All experts of a layer in one array, (experts, out, in) or (experts, in, out), which the widths tell."""
    for own in _PARTS_OF_BANKS & module.keys():
        if len(module[own].shape) == 3:
            yield module[own], _as_claim("kernel", _Told(None, f"the name {own!r}", "name"), module[own])
    for first, last in _BANKS:
        up, down = module.get(first), module.get(last)
        if path == first or path.endswith(f".{first}"):
            up, down = (_own_weight(found.get(path.removesuffix(first) + name)) for name in (first, last))
        if up is None or down is None or len(up.shape) != 3 or len(down.shape) != 3 or up.shape[0] != down.shape[0]:
            continue
        (_, one, two), (_, three, four) = up.shape, down.shape
        axis = 1 if (one, two) == (2 * four, three) else 2 if (one, two) == (four, 2 * three) else None
        if axis is not None:
            told = _Told((0, axis), f"the widths of {up.shape[0]} experts")
            yield up, _as_claim("kernel", told, up)
            yield down, _as_claim("kernel", told, down)


def _own_weight(module: Module | None) -> Weight | None:
    return None if module is None else module.get("weight")


def _parametrized(path: str, module: Module, found: Mapping[str, Module]) -> Iterator[tuple[Weight, Claim]]:
    """Weights that a module computes from others: weight normalization is g * v / |v|, so that g has the norms."""
    for size, direction in (("weight_g", "weight_v"), ("original0", "original1")):
        if size in module and direction in module and len(module[direction].shape) >= 2:
            yield module[direction], Claim("name", "parameter", None, f"the name {direction!r}")
            yield from _sizes(module[size], module[direction], found)
    name = "the name 'weight_orig'"
    if "weight_orig" in module and "weight_u" in module:
        yield module["weight_orig"], Claim("name", "parameter", None, name)
        for own in {"weight_u", "weight_v"} & module.keys():
            yield module[own], Claim("name", "state", None, name)
    if "original" in module and path.endswith("parametrizations.weight"):
        yield module["original"], Claim("name", "parameter", None, "the name 'original'")
        for weight in found.get(f"{path}.0", {}).values():
            yield weight, Claim("name", "state", None, "the name 'parametrizations'")


def _sizes(size: Weight, direction: Weight, found: Mapping[str, Module]) -> Iterator[tuple[Weight, Claim]]:
    """The norms of weight normalization are bounded where there is one for each unit of the weight, or position."""
    path = direction.module.removesuffix("parametrizations.weight").removesuffix(".")
    whole = Weight(direction.variable, path, "weight", direction.shape, "kernel")
    layout = _layout(whole, found, as_gpt2={}, outputs_first=False)
    long = tuple(axis for axis, length in enumerate(size.shape) if length != 1)
    if len(size.shape) != len(direction.shape):
        return
    if len(long) == 1 and long[0] > 1:
        yield size, _as_claim("kernel", _Told(long, f"the norms along axis {long[0]}"), size)
    elif layout.axes in (None, long):
        axes = None if layout.axes is None else long
        yield size, _as_claim("kernel", _Told(axes, layout.by, layout.source), size)
