"""The tensors in a TensorFlow checkpoint that are no weights: optimizer state, metrics, lookup tables, counters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from renorm_cli.conventions.keras import ROLES
from renorm_cli.formats.tensorflow.bundle import OBJECT_GRAPH_KEY
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, optimizer_state_keys
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Variable

AVERAGE = "ExponentialMovingAverage"
"""The suffix that TF1 gives the moving average of a variable."""
VALUE = "VARIABLE_VALUE"
"""The attribute under which a variable is stored; lookup tables and others have other attributes."""

_ATTRIBUTE = re.compile(r"(?:\A|/)\.ATTRIBUTES/([^/]*)\Z")
_SLOT_MARK = "/.OPTIMIZER_SLOT/"
_SLOT = re.compile(
    r"(Adam|AdamW|AdaMax|Nadam|LAMB|LARS|Momentum|RMSProp|Adagrad|AdagradDA|ProximalAdagrad|Adadelta|Ftrl"
    rf"|{AVERAGE}|(adam_|lamb_)?[mv]|vhat|rms|momentum|accumulator)(_[0-9]+)?"
)
"""Suffixes that the optimizers of TF1, and well-known others, append to the name of the variable."""
_COUNTER = re.compile(r"(beta[12]_power|global_step)(_[0-9]+)?")
_OUTER_SCOPES = 16


def plain_key(key: str) -> str:
    """The key without the attribute VALUE, which every variable of an object graph has."""
    found = _ATTRIBUTE.search(key)
    return key if found is None or found[1] != VALUE else key[: found.start()] or key


def states(variables: Sequence[Variable], graph: ObjectGraph | None) -> dict[str, Role]:
    """The role, "optimizer" or "state", of each key that is no weight; `variables` have their full names.

    With an object graph, optimizer state is what its optimizers reach. Without one, it is every name that extends the
    name of another variable of the same shape ("dense/kernel/Adam_1"), as TF1 names its slots.
    """
    found: dict[str, Role] = {variable.key: "state" for variable in variables if _is_no_variable(variable.key)}
    found.update((key, "state") for key in _table_keys(variable.key for variable in variables))
    by_graph = optimizer_state_keys(graph) if graph is not None else frozenset()
    slots = _Slots(variables, known_only=graph is not None)
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


class _Slots:
    """Finds variables that are named after another variable of the same shape.

    With `known_only`, the suffix must be the name of a known slot; otherwise it may be anything but a weight's name.
    """

    def __init__(self, variables: Sequence[Variable], *, known_only: bool) -> None:
        self._shapes: Mapping[str, set[tuple[int, ...]]] = {}
        shapes: dict[str, set[tuple[int, ...]]] = {}
        for variable in variables:
            shapes.setdefault(variable.name, set()).add(variable.shape)
        self._shapes = shapes
        self._known_only = known_only

    def holds(self, variable: Variable) -> bool:
        base, _, last = variable.name.rpartition("/")
        if not variable.shape and _COUNTER.fullmatch(last):
            return True
        if not base or last in ROLES:
            return False
        if _SLOT.fullmatch(last):
            return any(variable.shape in self._shapes.get(tail, ()) for tail in _tails(base))
        return not self._known_only and variable.shape in self._shapes.get(base, ())


def _tails(path: str) -> Iterator[str]:
    """The path, then the path without its outer scopes: the name of a slot made in a scope begins with that scope."""
    yield path
    for _ in range(_OUTER_SCOPES):
        _, slash, path = path.partition("/")
        if not slash:
            return
        yield path
