"""Which axis of a linear layer that is called as those of GPT-2 names its outputs, by its neighbours and by the others.

GPT-2 has (in, out), and so have its kin (`Conv1D` of transformers 5.24); other models, which use the same names, have
(out, in) as torch.nn. The names alone tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from renorm_cli.conventions.torch.modules import Module, Weight, bias_of, is_norm, vector, word
from renorm_cli.model.identity import AxisSource

_NAMES = frozenset(("c_attn", "c_proj", "c_fc", "q_attn"))
_GIVES_WIDTH = "c_proj"
"""The layer whose outputs are as many as the model is wide; the inputs of the others are."""
_WORDS = "wte"
_DEEPEST = 8
"""Parts of a path, from its end, in which the block of a layer is looked for."""


class Layout(NamedTuple):
    """The axis of the outputs, and what tells it."""

    axis: int
    by: str
    source: AxisSource


def is_gpt2(weight: Weight) -> bool:
    """Whether a weight is that of a linear layer which is called so."""
    return len(weight.shape) == 2 and weight.own == "weight" and weight.module.rpartition(".")[2] in _NAMES


def layouts(weights: Iterable[Weight], found: Mapping[str, Module]) -> dict[str, Layout | None]:
    """The layout of each such layer by its path, None where nothing tells it.

    The bias tells it, else the width of the model, else the other layers of the list that it is in, or of the file,
    which agree.
    """
    named = [weight for weight in weights if is_gpt2(weight)]
    if not named:
        return {}
    widths = _Widths(found)
    told = {weight.module: _by_bias(weight, found) or _by_width(weight, widths) for weight in named}
    lists: dict[str, set[int]] = {}
    for module, layout in told.items():
        if layout is not None:
            lists.setdefault(_list(module), set()).add(layout.axis)
    everywhere = set().union(*lists.values())
    for weight in named:
        axes = lists.get(_list(weight.module), everywhere)
        if told[weight.module] is None and len(axes) == 1 and _agrees(weight, axes, found):
            told[weight.module] = Layout(min(axes), "the other layers with names of GPT-2", "name")
    return told


def _by_bias(weight: Weight, found: Mapping[str, Module]) -> Layout | None:
    bias = bias_of(weight, found)
    return None if bias is None else _only(weight, bias, f"the bias of {bias}", gives=True)


def _by_width(weight: Weight, widths: _Widths) -> Layout | None:
    """By the width, where no bias contradicts it: one that could tell has told."""
    width = None if "bias" in widths.found[weight.module] else widths.of(weight.module)
    gives = weight.module.endswith(_GIVES_WIDTH)
    return None if width is None else _only(weight, width, f"the width of the model, {width}", gives=gives)


def _only(weight: Weight, length: int, by: str, *, gives: bool) -> Layout | None:
    """The layout whose outputs, else inputs, are as many as `length`, where it is the only one."""
    if weight.shape.count(length) != 1:
        return None
    axis = weight.shape.index(length)
    return Layout(axis if gives else 1 - axis, by, "shape")


def _agrees(weight: Weight, axes: set[int], found: Mapping[str, Module]) -> bool:
    bias = bias_of(weight, found)
    return bias is None or all(weight.shape[axis] == bias for axis in axes)


class _Widths:
    """The width of the model around a layer: the lengths of the normalizations of its block, else of the words."""

    def __init__(self, found: Mapping[str, Module]) -> None:
        self.found = found
        self._of_blocks: dict[str, set[int]] = {}
        words: set[int] = set()
        for path, module in found.items():
            length = vector(module)
            if length is not None and is_norm(path):
                self._of_blocks.setdefault(path.rpartition(".")[0], set()).add(length)
            weight = module.get("weight")
            if weight is not None and len(weight.shape) == 2 and word(path) == _WORDS:
                words.add(weight.shape[1])
        self._words = words

    def of(self, module: str) -> int | None:
        lengths = next((self._of_blocks[one] for one in _blocks(module) if one in self._of_blocks), self._words)
        return next(iter(lengths)) if len(lengths) == 1 else None


def _blocks(module: str) -> Iterator[str]:
    """The items of lists that a module is in, the innermost first."""
    above, left = module, _DEEPEST
    while above and left:
        if above[above.rfind(".") + 1 :].isdecimal():
            yield above
        above, left = above.rpartition(".")[0], left - 1


def _list(module: str) -> str:
    """The list that a module is in; nothing where it is in none."""
    return next(_blocks(module), "").rpartition(".")[0]
