"""What a Keras config tells of a weight whose path names layers: "bidirectional/forward_lstm/lstm_cell/kernel"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from renorm_cli.conventions.keras.layers import LAYERS, find_weight
from renorm_cli.conventions.keras.stored import is_quantized
from renorm_cli.formats.keras.config import LayerNode
from renorm_cli.formats.keras.constraints import declared_for
from renorm_cli.formats.naming import from_names
from renorm_cli.model.variable import Hint, Variable


class Layers:
    """The layers of a config by name; `paths` are those of all weights: the layer, and the path in it.

    A layer is one at the top of the model, or with `deep` any, at the top first.
    """

    def __init__(
        self, config: LayerNode | None, paths: Iterable[tuple[str, Sequence[str]]], *, deep: bool = False
    ) -> None:
        steps = ((layer, step) for layer, path in paths for step in path[:-1])
        self._steps = frozenset(steps) if config is not None else frozenset()
        top = () if config is None else config.children
        self._top = {node.name: node for node in _descendants(config)} if deep and config is not None else {}
        self._top |= {node.name: node for node in reversed(top)}
        self._inside: dict[int, dict[str, LayerNode]] = {}

    def is_functional(self, layer: str) -> bool:
        """Whether the config says that it is a functional model."""
        node = self._top.get(layer)
        return node is not None and node.class_name == "Functional" and not node.custom

    def tell(self, variable: Variable, layer: str, path: list[str]) -> Variable:
        """The variable with what the config tells of it, else with what default names tell; `path` is in the layer."""
        by_name = from_names(variable, variable.name)
        node = self._top.get(layer)
        if node is None:
            return by_name
        quantized = is_quantized(node.config)
        for step in path[:-1]:
            node = self._child(node, step) or node
            quantized = quantized or is_quantized(node.config)
        weight = "/".join(path[-2:])
        for wrapped in self._down(node, layer):
            known = None if wrapped.custom else find_weight(wrapped.class_name, weight)
            if known is not None and known.fits(variable.shape):
                return replace(
                    variable,
                    hint=Hint(layer=wrapped.class_name, weight=known.name, equation=wrapped.equation),
                    state="quantized" if quantized or is_quantized(wrapped.config) else None,
                    declared=declared_for(wrapped, known.name),
                )
        own = by_name.hint.weight
        if node.custom and node.class_name in LAYERS:  # another class of that name: what is known of Keras' is not its
            by_name = replace(by_name, hint=Hint(weight=own))
        elif by_name.layer is None and node.class_name not in ("Functional", "Sequential", "Model"):
            by_name = replace(by_name, hint=Hint(layer=node.class_name or None, weight=own, equation=node.equation))
        return replace(
            by_name, state="quantized" if quantized else None, declared=declared_for(wrapped, by_name.hint.weight)
        )

    def _down(self, node: LayerNode, layer: str) -> Iterator[LayerNode]:
        """The layer, then what it wraps, then what that wraps.

        A wrapper that is not Keras' holds the weights of its layer as its own, unless that has a path in the file.
        """
        at: LayerNode | None = node
        while at is not None:
            yield at
            inner = at.wrapped
            at = None if at.custom and inner is not None and (layer, inner.name) in self._steps else inner

    def _child(self, node: LayerNode, name: str) -> LayerNode | None:
        """The layer of this name inside another; Keras 2 leaves out the names of the models between them."""
        plain = re.sub(r"\A(forward|backward)_", "", name)
        child = node.first_named((name, plain) if node.class_name == "Bidirectional" else (name,))
        if child is not None:
            return child
        if id(node) not in self._inside:
            self._inside[id(node)] = {inner.name: inner for inner in _descendants(node)}
        return self._inside[id(node)].get(name)


def _descendants(node: LayerNode) -> Iterator[LayerNode]:
    level = list(node.children)
    found: list[LayerNode] = []
    while level:
        found += level
        level = [child for inner in level for child in inner.children]
    return reversed(found)
