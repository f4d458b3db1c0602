"""What a model of TensorFlow.js tells of its weights: layers by their config, as in Keras, or the nodes of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from renorm_cli.formats.keras.config import LayerNode, layers_of
from renorm_cli.formats.keras.layers import Layers
from renorm_cli.formats.naming import Naming, from_names, lora_notes, normalization_notes, plain_name, unique_names
from renorm_cli.model.variable import Variable

_MOST_STEPS = 16
"""Steps of a path in which layers are looked for."""


def name_weights(variables: Sequence[Variable], topology: Mapping[str, Any]) -> Naming:
    """Names, layers and weights by the config of a Keras model; by default names where there is no config."""
    config = layers_of(topology.get("model_config", topology))
    known = _names(config)
    paths = {one.key: _split(plain_name(one.name), known, config.name) for one in variables}
    layers = Layers(config, ((layer, path) for layer, path in paths.values() if layer), deep=True)
    named = unique_names([_told(one, *paths[one.key], layers) for one in variables], lambda one: one.key)
    return Naming(named, notes=(*lora_notes(named), *normalization_notes(named)))


def _names(config: LayerNode) -> set[str]:
    found: set[str] = set()
    level: Iterable[LayerNode] = config.children
    while level:
        found |= {node.name for node in level if node.name}
        level = [child for node in level for child in node.children]
    return found


def _split(name: str, known: set[str], model: str) -> tuple[str, list[str]]:
    """The layer of a weight and the path in it; no layer where none is known.

    Names of layers may have slashes in them, and the name of the model may stand before them.
    """
    steps = name.split("/")
    if len(steps) > _MOST_STEPS:
        return "", steps
    first = 1 if steps[0] == model and model not in known else 0
    for start in range(first, len(steps) - 1):
        for end in range(len(steps) - 1, start, -1):
            layer = "/".join(steps[start:end])
            if layer in known:
                return layer, steps[end:]
    return "", steps[first:]


def _told(variable: Variable, layer: str, path: list[str], layers: Layers) -> Variable:
    name = "/".join((layer, *path) if layer else path) or variable.name
    aliases = () if name == variable.key else (variable.key,)
    variable = replace(variable, name=name, aliases=aliases)
    told = layers.tell(variable, layer, path) if layer else from_names(variable, name)
    return replace(told, state=variable.state or told.state)
