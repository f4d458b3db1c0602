"""Names of stored arrays: of a Keras model by its config, of other trees by the conventions of flax.

Keras 3.15 stores what `Model.get_state_tree` returns: four trees, in which the path of a variable is
`variable.path`, its parts one below the other; a model that is not built from inputs has its own name before its
layers. `model_config` keeps the model's config as a string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from renorm_cli.conventions.keras.layers import CONTAINERS, class_from_name
from renorm_cli.formats import frameworks
from renorm_cli.formats.keras.config import LayerNode
from renorm_cli.formats.keras.layers import Layers
from renorm_cli.formats.naming import Naming, lora_notes, unique_names
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Variable

_TREES: Mapping[str, Role | None] = {
    "trainable_variables": None,
    "non_trainable_variables": None,
    "optimizer_variables": "optimizer",
    "metrics_variables": "state",
}
_VALUE = "value"
"""The last key of a variable of flax.nnx."""


class Stored(NamedTuple):
    """An array before it has a name: its `path` are the keys in the tree."""

    variable: Variable
    path: tuple[str, ...]


def name_arrays(stored: Sequence[Stored], config: LayerNode | None) -> Naming:
    """Names, layers and roles of all arrays; `config` is that of the Keras model whose they are, where it is known."""
    if stored and all(one.path[0] in _TREES and len(one.path) > 1 for one in stored):
        named = unique_names(_of_keras(stored, config), lambda variable: variable.key)
        return Naming(named, notes=lora_notes(named))
    variables = [replace(one.variable, name="/".join(_without_value(one.path))) for one in stored]
    named = frameworks.described(unique_names(variables, lambda variable: variable.key), "flax")
    return Naming(named, notes=frameworks.notes(named))


def _without_value(path: tuple[str, ...]) -> tuple[str, ...]:
    return path[:-1] if path[-1] == _VALUE and len(path) > 1 else path


def _of_keras(stored: Sequence[Stored], config: LayerNode | None) -> list[Variable]:
    weights = [one for one in stored if _TREES[one.path[0]] is None]
    model = _model(weights, config)
    layers = Layers(config, ((one.path[1], one.path[2:]) for one in weights), deep=True)
    order = {node.name: place for place, node in enumerate(config.children)} if config is not None else {}
    state = [one for one in stored if _TREES[one.path[0]] is not None]
    inside = sorted(weights, key=lambda one: min(order.get(name, len(order)) for name in one.path[1:3]))
    return [_of_layer(one, layers, model) for one in (*inside, *state)]


def _model(weights: Sequence[Stored], config: LayerNode | None) -> str | None:
    """The name of the model that is in the paths of its variables, if it is in them."""
    if config is not None and config.name:
        return config.name
    first = {one.path[1] for one in weights}
    if len(first) != 1 or any(len(one.path) < 4 for one in weights):
        return None
    (name,) = first
    known = class_from_name(name)
    return name if known is None or known in CONTAINERS else None


def _of_layer(one: Stored, layers: Layers, model: str | None) -> Variable:
    state = _TREES[one.path[0]]
    if state is not None:
        return replace(one.variable, name="/".join(one.path), state=state)
    inside = one.path[2:] if one.path[1] == model and len(one.path) > 2 else one.path[1:]
    variable = replace(
        one.variable, name="/".join(inside), aliases=("/".join(one.path[1:]),) * (inside != one.path[1:])
    )
    return layers.tell(variable, inside[0], list(inside[1:] or inside))
