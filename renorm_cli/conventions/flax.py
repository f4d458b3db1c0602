"""What flax calls its weights, and how their axes lie: outputs are the last axis, or the last ones.

Layouts: flax.linen and flax.nnx 0.12. Names are paths with slashes or dots, `params/Dense_0/kernel`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from renorm_cli.model.identity import Claim, Role
from renorm_cli.model.variable import Variable

Axes = tuple[int, ...]

_ROLES: dict[str, Role] = {
    "bias": "bias",
    "scale": "scale",
    "mean": "statistic",
    "var": "statistic",
    "cls": "parameter",
    "lora_a": "lora",
    "lora_b": "lora",
}
_POSITIONS = frozenset(("pos_embedding", "position_embedding"))
"""Tables of positions: of two axes they are embeddings, a row a position."""
_OPTIMIZER = frozenset(("opt_state", "optimizer", "optimizer_state"))
_TRANSPOSED = re.compile(r"up|deconv|transpos|dec", re.IGNORECASE)
_CONV = re.compile(r"conv", re.IGNORECASE)
_LOCAL = re.compile(r"local", re.IGNORECASE)
_LONGEST = 256
_MOST_AXES = 8
_WIDEST, _COLORS = 7, 4
"""A kernel without a telling name is a convolution's if its window is no wider, or if its inputs are an image's."""
_ATTENTION = ("query", "key", "value", "out")


def claims(variables: Sequence[Variable]) -> dict[str, Claim]:
    """What the variables of one file tell, by key."""
    layers: dict[str, dict[str, Variable]] = {}
    for variable in variables:
        path, _, own = variable.name.replace("/", ".").rpartition(".")
        layers.setdefault(path, {})[own] = variable
    told: dict[str, Claim] = {}
    for path, layer in layers.items():
        for own, variable in layer.items():
            claim = _claim(path, own, variable, layers)
            if claim is not None:
                told[variable.key] = claim
    return told


def _claim(path: str, own: str, variable: Variable, layers: Mapping[str, Mapping[str, Variable]]) -> Claim | None:
    by, rank = f"the name {own[:_LONGEST]!r}", len(variable.shape)
    if not _OPTIMIZER.isdisjoint(path.split(".", 2)[:2]):
        return Claim("name", "optimizer", None, by)
    if own in _ROLES:
        return Claim("name", _ROLES[own], None, by)
    if own in _POSITIONS and rank != 2:
        return Claim("name", "parameter", None, by)
    if (own == "embedding" or own in _POSITIONS) and rank == 2:
        return Claim("name", "embedding", (0,), by)
    if own != "kernel" or rank < 2:
        return None
    bias = layers[path].get("bias")
    told = (_by_bias(variable.shape, bias.shape) if bias is not None else None) or _by_attention(path, layers)
    if told is not None:
        axes, source = told
        return Claim("shape", "kernel", axes, source)
    name = path.rpartition(".")[2][:_LONGEST]
    convolves = _convolves(name, variable.shape) and not _TRANSPOSED.search(path[-_LONGEST:])
    if bias is None and (rank == 2 or convolves):
        return Claim("name", "kernel", (rank - 1,), by)
    if bias is not None and bias.shape == variable.shape[-1:] and not _TRANSPOSED.search(path[-_LONGEST:]):
        return Claim("name", "kernel", (rank - 1,), by)
    return Claim("name", "kernel", None, by)


def _convolves(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a kernel without a bias is one that moves over its inputs, as its name and an even window tell.

    Other kernels of as many axes are those of DenseGeneral and of equations, of each position apart (ConvLocal), and of
    layers in one stack, whose axis is before that of the window.
    """
    window = set(shape[:-2])
    is_even = len(window) == 1 or (len(shape) == 5 and shape[0] == 1)
    if _LOCAL.search(name) is not None:
        return False
    if _CONV.search(name) is not None:
        return is_even or len(shape) == 4
    return len(shape) > 3 and is_even and (max(window) <= _WIDEST or shape[-2] <= _COLORS)


def _by_bias(kernel: tuple[int, ...], bias: tuple[int, ...]) -> tuple[Axes, str] | None:
    """The axes that have the lengths of the bias: the last ones; the one before it where a convolution says so.

    A bias of several axes can have those of a stack or of positions too, which are first in the kernel.
    """
    rank, told = len(kernel), f"the bias of {'x'.join(map(str, bias))}"
    if len(bias) > 1:
        if not len(bias) < rank <= _MOST_AXES or kernel[-1] != bias[-1]:
            return None
        ways = [
            (*axes, rank - 1)
            for axes in itertools.combinations(range(rank - 1), len(bias) - 1)
            if tuple(kernel[axis] for axis in axes) == bias[:-1]
        ]
        return (ways[0], told) if len(ways) == 1 else None
    fitting = [axis for axis in (rank - 1, rank - 2) if kernel[axis : axis + 1] == bias]
    return (tuple(fitting), told) if len(fitting) == 1 and (rank > 2 or fitting == [1]) else None


def _by_attention(path: str, layers: Mapping[str, Mapping[str, Variable]]) -> tuple[Axes, str] | None:
    """Of the projections of an attention without biases, (in, heads, size) and (heads, size, out)."""
    folder, _, name = path.rpartition(".")
    if name not in _ATTENTION:
        return None
    start = f"{folder}." if folder else ""
    kernels = [layers.get(f"{start}{part}", {}).get("kernel") for part in _ATTENTION]
    if any(one is None or len(one.shape) != 3 for one in kernels):
        return None
    (query, key, value, out) = (one.shape for one in kernels if one is not None)
    if query[1:] != key[1:] or value[1:] != out[:2]:
        return None
    return ((2,) if name == "out" else (1, 2)), "the shapes of query, key, value and out"
