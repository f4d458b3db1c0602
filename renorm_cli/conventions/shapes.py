"""What the shapes of siblings tell: each leaves some readings of a kernel's axes, and a claim is what is left alone.

A bias has an element for each unit of its kernel, so the axes of that length name the units: the last one (Dense,
Conv), the one before it (transposed convolutions), both together (depthwise: input channels times multiplier), of a
matrix either. The layouts are those of Keras 3.15 and TensorFlow 2.21; where the kernel is called `weight`, as in
PyTorch, the first axes count too. The projections of an attention share heads and sizes, the parts of an expert widths.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from renorm_cli.conventions.keras.layers import LAYERS
from renorm_cli.conventions.keras.stored import cell_class
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import Claim, Role
from renorm_cli.model.variable import Variable

Shape = tuple[int, ...]
Axes = tuple[int, ...]

_MOST_AXES = 8
_LONGEST = 256  # characters of a path's part that can be a word
_KERNEL = frozenset({"kernel", "weights", "weight", "w"})
_BIAS = frozenset({"bias", "biases", "b"})
_WORD = r"(kernel|weights?|w|bias(?:es)?|b)"
_WORD_LAST = re.compile(rf"(?:(.*)_)?{_WORD}_?([0-9]*)", re.IGNORECASE)
_WORD_FIRST = re.compile(rf"{_WORD}_(.*)", re.IGNORECASE)
_FIRST_KERAS = re.compile(r"layer_[0-9]{1,6}")
_EMPTY_WORDS = frozenset({"dense", "linear", "kernel", "w", "weights"})
_PARTS = {
    **dict.fromkeys(("query", "q"), "query"),
    **dict.fromkeys(("key", "k"), "key"),
    **dict.fromkeys(("value", "v"), "value"),
    **dict.fromkeys(("output", "attention_output", "out", "o"), "output"),
}
_SEVERAL_PARTS = frozenset({"qkv", "query_key_value", "kv", "key_value"})
_PART_ENDINGS = ("_layer", "_dense", "_projection", "_projector", "_proj")


class _Member(NamedTuple):
    """One array of a layer: its keys (stored copies share a name), its shape and what it is by itself."""

    keys: tuple[str, ...]
    shape: Shape
    role: Role
    open: bool
    """Whether it can be a weight that the file's config does not tell of."""


class _Left(NamedTuple):
    """The readings of a kernel that its siblings leave, and what told; `usual` is the one that Keras has by default."""

    shape: Shape
    readings: tuple[Axes, ...]
    told: tuple[str, ...]
    usual: Axes | None

    def claim(self) -> Claim | None:
        told = " and ".join(self.told)
        if len(self.readings) == 1:
            return Claim("shape", "kernel", self.readings[0], told)
        if self.usual in self.readings:
            return Claim("name", "kernel", self.usual, f"{told}, in the usual order of axes,")
        return Claim("shape", "kernel", None, told) if self.readings else None


class _Found:
    """What is left for each array, by its keys."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, ...], _Left] = {}
        self._roles: dict[tuple[str, ...], Claim] = {}

    def left(self, kernel: _Member, readings: Iterable[Axes], told: str, usual: Axes | None = None) -> None:
        """Keep those readings of a kernel that this evidence allows too."""
        if not kernel.open or kernel.role not in ("unknown", "kernel"):
            return
        allowed = {_wide(axes, kernel.shape): axes for axes in sorted(readings, key=len, reverse=True)}
        known = self._left.get(kernel.keys)
        if known is None:
            self._left[kernel.keys] = _Left(kernel.shape, tuple(allowed.values()), (told,), usual)
        else:
            both = tuple(axes for axes in known.readings if _wide(axes, kernel.shape) in allowed)
            self._left[kernel.keys] = known._replace(readings=both, told=(*known.told, told))

    def is_a(self, member: _Member, role: Role, told: str) -> None:
        if member.open and member.role == "unknown":
            self._roles.setdefault(member.keys, Claim("shape", role, None, told))

    def claims(self) -> dict[str, Claim]:
        once = {left: left.claim() for left in set(self._left.values())}
        of_kernels = ((keys, once[left]) for keys, left in self._left.items())
        found = itertools.chain(self._roles.items(), of_kernels)
        return {key: claim for keys, claim in found if claim is not None for key in keys}


def claims(variables: Sequence[Variable], roles: Mapping[str, Role]) -> Mapping[str, Claim]:
    """What siblings tell of the variables of one file, by key; `roles` are what each is by itself.

    Siblings are arrays of one parent path, by name. A kernel that its siblings leave several readings has a role and no
    axes; one that they leave none has no claim.
    """
    found = _Found()
    layers = _layers(variables, roles)
    for path, members in layers.items():
        if path.rpartition("/")[2] == "vars":
            _numbered([members[name] for name in sorted(members, key=int)], path, found)
        else:
            _named(members, found)
            if _FIRST_KERAS.fullmatch(path.rpartition("/")[2]):
                _parameters(members, found)
    for block in _blocks(layers).values():
        _attention(block, found)
        _experts(block, found)
    return found.claims()


def _layers(variables: Sequence[Variable], roles: Mapping[str, Role]) -> dict[str, dict[str, _Member]]:
    """Parent path -> own name -> array; in a `vars` group of Keras 3 the own names are numbers."""
    layers: dict[str, dict[str, _Member]] = {}
    for variable in variables:
        parent, _, own = variable.name.rpartition("/")
        if parent.rpartition("/")[2] == "vars" and not (own.isascii() and own.isdigit() and len(own) < 10):
            continue
        members = layers.setdefault(parent, {})
        told = variable.hint.source == "layer" and variable.hint.layer in LAYERS
        fit = variable.state is None and variable.dtype in FLOATS and variable.elements > 0 and not told
        twin = members.get(own)
        if twin is None:
            role = roles.get(variable.key, "unknown")
            members[own] = _Member((variable.key,), variable.shape, role, fit and len(variable.shape) <= _MOST_AXES)
        else:
            members[own] = twin._replace(
                keys=(*twin.keys, variable.key), open=twin.open and fit and twin.shape == variable.shape
            )
    return layers


def _blocks(layers: Mapping[str, Mapping[str, _Member]]) -> dict[str, dict[str, list[_Member]]]:
    """Path of a block -> name of a layer in it -> its arrays."""
    blocks: dict[str, dict[str, list[_Member]]] = {}
    for path, members in layers.items():
        if len(members) > 4:
            continue
        block, _, own = path.removesuffix("/vars").rpartition("/")
        if own in _EMPTY_WORDS:
            block, _, own = block.rpartition("/")
        blocks.setdefault(block, {}).setdefault(own, []).extend(members.values())
    return blocks


# --- one layer


def _numbered(members: Sequence[_Member], path: str, found: _Found) -> None:
    """The weights of a layer of Keras 3 in the order in which it stores them, without their names."""
    shapes = [member.shape for member in members]
    if not 2 <= len(members) <= 8 or not all(member.open for member in members):
        return
    if all(len(shape) == 1 for shape in shapes):
        _normalization(members, found)
    elif not _cell(members, found) and not _separable(members, found):
        pairs = list(zip(members[::2], members[1::2], strict=False))
        if len(members) % 2 or any(_may_be_others(kernel.shape, bias.shape, path) for kernel, bias in pairs):
            return
        if all(_fitting(kernel.shape, bias.shape) for kernel, bias in pairs):
            for kernel, bias in pairs:
                _pair(kernel, bias, found, usual=(1,) if len(kernel.shape) == 2 else None)


def _may_be_others(kernel: Shape, bias: Shape, path: str) -> bool:
    """Whether what may be a kernel and its bias may be something else, as no word in the layer's name tells.

    What is called an embedding has a table, whose rows are units, or projects into one. And the bias (heads, size) of
    (in, heads, size) has the shape of a kernel (in, out) beside a bank, or a window, of such kernels.
    """
    name = path.removesuffix("/vars").rpartition("/")[2]
    if len(kernel) == 2:
        return "embed" in name.lower()
    word = _stem(name)
    return 1 < len(bias) < len(kernel) and kernel[-len(bias) :] == bias and word not in (*_PARTS, *_SEVERAL_PARTS)


def _normalization(members: Sequence[_Member], found: _Found) -> None:
    length, count = members[0].shape, len(members)
    if any(member.shape != length for member in members) or count not in (2, 3, 4):
        return
    roles: tuple[Role, ...] = ("scale", "bias", "statistic", "statistic")
    if count == 3:  # it lacks its scale or its bias
        roles = ("scale", "statistic", "statistic")
    for member, role in zip(members, roles, strict=False):
        found.is_a(member, role, f"{count} vectors of {length[0]}")


def _cell(members: Sequence[_Member], found: _Found) -> bool:
    """A recurrent cell: kernel, recurrent kernel and, if there is a third, the bias of both."""
    shapes = [member.shape for member in members]
    if len(members) != 3 or cell_class(shapes) in (None, "SimpleRNNCell"):
        return False
    if shapes[2] not in (shapes[0][-1:], (2, *shapes[0][-1:])):
        return False
    for kernel in members[:2]:
        found.left(kernel, [(len(kernel.shape) - 1,)], f"the gates of a {cell_class(shapes)}")
    found.is_a(members[2], "bias", f"the gates of a {cell_class(shapes)}")
    return True


def _separable(members: Sequence[_Member], found: _Found) -> bool:
    """A separable convolution: depthwise kernel, a pointwise kernel that takes what it gives, bias."""
    if len(members) != 3:
        return False
    depth, point, bias = (member.shape for member in members)
    rank = len(depth)
    if rank not in (3, 4) or len(point) != rank or any(length != 1 for length in point[:-2]):
        return False
    if point[-2] != depth[-2] * depth[-1] or bias != point[-1:]:
        return False
    told = f"the separable kernel of {point[-2]} to {point[-1]}"
    found.left(members[0], [(rank - 2, rank - 1)], told)
    found.left(members[1], [(rank - 1,)], told)
    found.is_a(members[2], "bias", told)
    return True


def _named(members: Mapping[str, _Member], found: _Found) -> None:
    """Kernels and biases whose own names have the same stem: `w` and `b`, `conv1_W` and `conv1_b`."""
    stems: dict[tuple[str, str], tuple[list[tuple[str, _Member]], list[_Member]]] = {}
    for own, member in members.items():
        word, stem = _word(own)
        if word in _KERNEL:
            stems.setdefault(stem, ([], []))[0].append((word, member))
        elif word in _BIAS:
            stems.setdefault(stem, ([], []))[1].append(member)
    for kernels, biases in stems.values():
        if len(kernels) == len(biases) == 1 and kernels[0][1].open and biases[0].open:
            word, kernel = kernels[0]
            _pair(kernel, biases[0], found, any_axis=word == "weight")


def _parameters(members: Mapping[str, _Member], found: _Found) -> None:
    """The weights of a layer of Keras before 1.0, param_0 and on: kernel and bias, or these and between them the
    recurrent kernel of each gate. Theano's convolutions have their units first, and none are transposed.
    """
    listed = [members[name] for name in (f"param_{n}" for n in range(len(members))) if name in members]
    step = 2 if len(listed) == 2 else 3
    for start in range(0, len(listed) - step + 1, step):
        *kernels, bias = listed[start : start + step]
        for kernel in kernels:
            first = len(kernel.shape) > 2 and kernel.shape[:1] == bias.shape
            _pair(kernel, bias, found, any_axis=True, usual=(0,) if first else (len(kernel.shape) - 1,))


def _word(own: str) -> tuple[str, tuple[str, str]]:
    """The word for a kernel or a bias in a name, and the rest of it."""
    return _short_word(own) if len(own) <= _LONGEST else ("", ("", ""))


@lru_cache(maxsize=1024)
def _short_word(own: str) -> tuple[str, tuple[str, str]]:
    last = _WORD_LAST.fullmatch(own)
    if last is not None:
        return last[2].lower(), (last[1] or "", last[3])
    first = _WORD_FIRST.fullmatch(own)
    if first is not None:
        return first[1].lower(), ("", f"_{first[2]}")
    return "", ("", "")


def _pair(kernel: _Member, bias: _Member, found: _Found, any_axis: bool = False, usual: Axes | None = None) -> None:
    if bias.role not in ("unknown", "bias") or kernel.role not in ("unknown", "kernel"):
        return
    readings = _fitting(kernel.shape, bias.shape, any_axis)
    if readings:
        found.left(kernel, readings, _of("bias", bias.shape), usual)
        found.is_a(bias, "bias", _of("kernel", kernel.shape))


@lru_cache(maxsize=1024)
def _of(what: str, shape: Shape) -> str:
    return f"the {what} of {'x'.join(map(str, shape))}"


@lru_cache(maxsize=1024)
def _fitting(kernel: Shape, bias: Shape, any_axis: bool = False) -> Sequence[Axes]:
    """The unit axes of a kernel that a bias of this shape fits; with `any_axis` also the first ones of convolutions."""
    rank = len(kernel)
    if rank < 2 or not bias:
        return []
    if len(bias) > 1:
        subsets = itertools.combinations(range(rank), len(bias)) if len(bias) < rank else ()
        return [axes for axes in subsets if tuple(kernel[axis] for axis in axes) == bias]
    singles = range(rank) if any_axis else range(rank - 2, rank)
    axes: list[Axes] = [(axis,) for axis in singles if kernel[axis] == bias[0]]
    if rank > 2 and kernel[-2] * kernel[-1] == bias[0]:
        axes.append((rank - 2, rank - 1))
    return axes


# --- a block of layers


def _attention(block: Mapping[str, Sequence[_Member]], found: _Found) -> None:
    """The projections of an attention: (in, heads, size) or (heads, in, size), and what makes the output of them."""
    parts: dict[str, _Member] = {}
    for name, members in block.items():
        part = _part(name)
        if part is None:
            continue
        kernels = [member for member in members if len(member.shape) >= 2 and member.role in ("unknown", "kernel")]
        kernel = max(kernels, key=lambda member: len(member.shape), default=None)
        if kernel is None or part in parts:
            return
        parts[part] = kernel
    if len(parts) < 4 or any(len(parts[part].shape) != 3 for part in ("query", "key", "value")):
        return
    readings = list(_attention_readings({part: member.shape for part, member in parts.items()}))
    for part, member in parts.items():
        if readings and len(member.shape) == 3:
            found.left(member, [reading[part] for reading in readings], "the shapes of query, key, value and output")


def _part(name: str) -> str | None:
    """Which projection of an attention a layer is called."""
    return _PARTS.get(_stem(name))


def _stem(name: str) -> str:
    """A layer's name without what says that it is a layer."""
    word = name.strip("_").lower() if len(name) <= _LONGEST else ""
    for ending in _PART_ENDINGS:
        word = word.removesuffix(ending)
    return word


def _attention_readings(shapes: Mapping[str, Shape]) -> Iterator[dict[str, Axes]]:
    """The unit axes of all parts, for each layout in which numbers of heads and sizes agree."""
    query, key, value, output = (shapes[part] for part in ("query", "key", "value", "output"))
    for heads in (1, 0):
        count, size = query[heads], value[2]
        if key[2] != query[2] or key[heads] != value[heads] or count % key[heads]:
            continue
        of_parts = dict.fromkeys(("query", "key", "value"), (heads, 2))
        if len(output) == 2 and output[0] == count * size:
            yield {**of_parts, "output": (1,)}
        if output[:2] == (count, size) and len(output) == 3:
            yield {**of_parts, "output": (2,)}
        if output[1:] == (count, size) and len(output) == 3:
            yield {**of_parts, "output": (0,)}


def _experts(block: Mapping[str, Sequence[_Member]], found: _Found) -> None:
    """A bank of experts, (experts, in, out) or (experts, out, in): gate and up, apart or as one, and down.

    Gate and down are each other's mirror, so the width of the model tells the layout: that of the router, a matrix
    between the width and the experts.
    """
    banks = [members for members in block.values() if len(members) in (2, 3) and _is_bank(members)]
    widths: dict[int, set[int]] = {}
    for members in block.values() if banks else ():
        if len(members[0].shape) == 2:
            one, other = members[0].shape
            widths.setdefault(one, set()).add(other)
            widths.setdefault(other, set()).add(one)
    for bank in banks:
        up, down = bank[0].shape, bank[-1].shape
        layouts = [
            (0, outer)
            for inner, outer in ((1, 2), (2, 1))
            if up[outer] == down[inner] * (2 if len(bank) == 2 else 1)
            and up[inner] == down[outer]
            and up[inner] in widths.get(up[0], ())
        ]
        for member in bank if layouts else ():
            found.left(member, layouts, f"the widths of {up[0]} experts")


def _is_bank(members: Sequence[_Member]) -> bool:
    shapes = [member.shape for member in members]
    return all(len(shape) == 3 and shape[0] == shapes[0][0] for shape in shapes) and shapes[0] == shapes[-2]


def _wide(axes: Axes, shape: Shape) -> Axes:
    """The axes that are longer than 1: one of length 1 may name units or not."""
    return tuple(axis for axis in axes if shape[axis] != 1)
