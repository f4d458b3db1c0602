"""Names of variables that an object graph does not tell, or tells in part, or hides behind escapes.

Keras 3 names the variable of a layer in a subclassed model "net/kernel", whatever the layer. The layers' names come
back from the optimizer, whose slots are named after paths ("adam/net_block_dense_kernel_momentum"), and from the ops
of a stored graph, which lie in scopes named after layers ("net_1/block_1/dense_1/MatMul").

Sources: keras/src/optimizers/base_optimizer.py (`add_variable_from_reference`), keras/src/backend/tensorflow/core.py
(`name_scope`), tensorflow/python/framework/func_graph.py (`unique_name`) and
tensorflow/python/trackable/trackable_utils.py (`escape_local_name`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from renorm_cli.conventions.keras import CONTAINERS, ROLES, class_from_name
from renorm_cli.formats.naming import PART_NAMES
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, optimizers
from renorm_cli.formats.tensorflow.optimizer_state import plain_key

_ESCAPED = re.compile(r"\.(\.|S)")
_COUNTED = re.compile(r"(.+)_[0-9]+", re.DOTALL)
_MOST_WORDS = 64
"""Words between underscores in a path of layers; a longer one stays in one piece."""


def path_of(key: str) -> str:
    """The attributes that lead to a variable: its key without escapes, and `_kernel` as `kernel`."""
    path = plain_key(key)
    if path == key:
        return path
    head, slash, last = _ESCAPED.sub(lambda found: "/" if found[1] == "S" else ".", path).rpartition("/")
    bare = last.lstrip("_")
    return head + slash + (bare if bare in ROLES else last)


def without_model(names: Collection[str]) -> str:
    """The first part of all names with its slash, where it is the name of the model; else "".

    It is no layer of its own: what follows has a layer and a weight in it, and the parts are not those of a layer.
    """
    first = {name.partition("/")[0] for name in names}
    if len(first) != 1:
        return ""
    (model,) = first
    rest = [name.split("/", 2)[1:] for name in names]
    if any(len(parts) < 2 for parts in rest):
        return ""
    known = class_from_name(model)
    seconds = {parts[0] for parts in rest}
    if known in CONTAINERS or (known is None and len(seconds) > 1 and not seconds <= PART_NAMES):
        return f"{model}/"
    return ""


def names_by_slots(graph: ObjectGraph) -> dict[str, str]:
    """The path of each trained variable by its key, from the names that Keras 3 gives to the optimizer's slots."""
    flat: dict[str, tuple[str, str, str]] = {}
    for number in optimizers(graph):
        children = {edge.name: edge.node for edge in graph.nodes[number].children}
        trained = children.pop("_trainable_variables", None)
        if trained is None:
            continue
        variables = {edge.name: edge.node for edge in graph.nodes[trained].children}
        for child in children.values():
            slots = {edge.name: edge.node for edge in graph.nodes[child].children}
            if slots.keys() != variables.keys():
                continue
            for place, slot in slots.items():
                for variable in graph.nodes[variables[place]].attributes[:1]:
                    for state in graph.nodes[slot].attributes[:1]:
                        model, _, leaf = variable.full_name.partition("/")
                        layers = state.full_name.rpartition("/")[2].rpartition(f"_{leaf}_")[0]
                        if leaf and "/" not in leaf and layers.startswith(f"{model}_"):
                            flat.setdefault(variable.key, (model, layers[len(model) + 1 :], leaf))
    paths = _paths({layers for _, layers, _ in flat.values()})
    return {key: f"{model}/{paths[layers]}/{leaf}" for key, (model, layers, leaf) in flat.items()}


def _paths(joined: Collection[str]) -> dict[str, str]:
    """Paths of layers whose slashes were made underscores: "block_1_dense_1" is "block_1/dense_1".

    A slash comes back before the default name of a Keras layer, where several paths begin as what is before it does,
    and behind a layer that has weights of its own. Elsewhere the underscore stays.
    """
    words = {path: path.split("_") for path in joined if path.count("_") < _MOST_WORDS}
    begun = Counter("_".join(parts[:end]) for parts in words.values() for end in range(1, len(parts)))
    split = {path: _default_tail(parts, begun) for path, parts in words.items()}
    heads = {path.removesuffix(f"_{tail}") for path, tail in split.items() if tail} | set(joined)
    found: dict[str, str] = {}
    for path in sorted(joined, key=len):
        found[path] = path
        parts, at = words.get(path, []), len(path)
        tail = split.get(path)
        for end in range(len(parts) - 1, 0, -1):
            at -= len(parts[end]) + 1
            head, rest = path[:at], path[at + 1 :]
            if head in heads and (rest == tail if tail else not rest[:1].isdigit()):
                found[path] = f"{found.get(head) or _path(head, found)}/{rest}"
                break
    return found


def _path(head: str, found: Mapping[str, str]) -> str:
    """The path of a layer without weights of its own, behind the longest one that is known."""
    at = head.rfind("_")
    while at > 0:
        if head[:at] in found and not head[at + 1 : at + 2].isdigit():
            return f"{found[head[:at]]}/{head[at + 1 :]}"
        at = head.rfind("_", 0, at)
    return head


def _default_tail(parts: list[str], begun: Mapping[str, int]) -> str | None:
    """The longest end that is the default name of a Keras layer, behind what other paths begin with too."""
    for start in range(1, len(parts)):
        tail = "_".join(parts[start:])
        if class_from_name(tail) is not None and begun["_".join(parts[:start])] > 1:
            return tail
    return None


def names_by_scopes(places: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """The path of each variable by its key, from the names of ops that use it; `names` are those in the object graph.

    TensorFlow counts a scope that was opened before: Keras opens those of all layers once or all twice, which shows in
    the name of the model. Where two variables would get one path, neither gets one.
    """
    found: dict[str, str] = {}
    for key, place in places.items():
        model, _, leaf = names.get(key, "").partition("/")
        first, *scopes = place.rpartition("/")[0].split("/")
        if not leaf or "/" in leaf:
            continue
        if first == model:
            found[key] = "/".join((model, *scopes, leaf))
        elif (counted := _COUNTED.fullmatch(first)) is not None and counted[1] == model:
            found[key] = "/".join((model, *_uncounted(scopes), leaf))
    count = Counter(found.values())
    return {key: name for key, name in found.items() if count[name] == 1}


def _uncounted(scopes: Iterable[str]) -> Iterator[str]:
    """The layers of scopes that each have a counter, up to the first that has none: that is one of ops."""
    for scope in scopes:
        counted = _COUNTED.fullmatch(scope)
        if counted is None:
            return
        yield counted[1]
