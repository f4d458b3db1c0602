"""The tensors in a TensorFlow checkpoint that are no weights: optimizer state, metrics, lookup tables, counters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from renorm_cli.conventions.slots import AVERAGE, Slots
from renorm_cli.formats.tensorflow.bundle import OBJECT_GRAPH_KEY
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, optimizer_state_keys
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Variable

VALUE = "VARIABLE_VALUE"
"""The attribute under which a variable is stored; lookup tables and others have other attributes."""

_ATTRIBUTE = re.compile(r"(?:\A|/)\.ATTRIBUTES/([^/]*)\Z")
_SLOT_MARK = "/.OPTIMIZER_SLOT/"


def plain_key(key: str) -> str:
    """The key without the attribute VALUE, which every variable of an object graph has."""
    found = _ATTRIBUTE.search(key)
    return key if found is None or found[1] != VALUE else key[: found.start()] or key


def states(variables: Sequence[Variable], graph: ObjectGraph | None) -> dict[str, Role]:
    """The role, "optimizer" or "state", of each key that is no weight; `variables` have their full names.

    With an object graph, optimizer state is what its optimizers reach. In any checkpoint it is what optimizers name
    after another variable of the same shape (`Slots`).
    """
    found: dict[str, Role] = {variable.key: "state" for variable in variables if _is_no_variable(variable.key)}
    found.update((key, "state") for key in _table_keys(variable.key for variable in variables))
    by_graph = optimizer_state_keys(graph) if graph is not None else frozenset()
    slots = Slots(variables, known_only=graph is not None)
    for variable in variables:
        if variable.key in found:
            continue
        if variable.key in by_graph or _SLOT_MARK in variable.key or slots.holds(variable):
            found[variable.key] = "optimizer"
    return found


def is_average(variable: Variable) -> bool:
    """Whether a variable of an optimizer's state is the moving average of a weight.

    TF1 names it "w/ExponentialMovingAverage", tf_keras "Adam/average/dense/kernel" and Keras 3
    "adam/dense_kernel_average".
    """
    _, _, slot = plain_key(variable.key).partition(_SLOT_MARK)
    parts = (*variable.name.split("/"), *variable.aliases, slot.rpartition("/")[2])
    return any(part in (AVERAGE, "average") or part.endswith("_average") for part in parts)


def _is_no_variable(key: str) -> bool:
    if key == OBJECT_GRAPH_KEY:
        return True
    attribute = _ATTRIBUTE.search(key)
    if attribute is None:
        return False
    path = plain_key(key)
    return attribute[1] != VALUE or path == "save_counter" or "/keras_api/metrics/" in f"/{path}"


def _table_keys(keys: Iterable[str]) -> Iterator[str]:
    """The two tensors in which TF1 stores a lookup table."""
    known = set(keys)
    for key in known:
        if key.endswith("-keys") and f"{key[:-5]}-values" in known:
            yield key
            yield f"{key[:-5]}-values"
