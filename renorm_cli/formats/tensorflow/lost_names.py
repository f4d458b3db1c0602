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
from functools import cache
from typing import NamedTuple

from renorm_cli.conventions.keras.layers import CONTAINERS, PARTS, ROLES, class_from_name
from renorm_cli.formats.naming import PART_NAMES
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, optimizers
from renorm_cli.formats.tensorflow.optimizer_state import plain_key

_ESCAPED = re.compile(r"\.(\.|S)")
_COUNTED = re.compile(r"(.+)_[0-9]+", re.DOTALL)
_MOST_WORDS = 64
"""Words between underscores in a path of layers; a longer one stays in one piece."""
_LONGEST_PLACE = 1 << 10
"""Characters of an op's name that tells a path; one op can use every variable, and each would get a path as long."""


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


class SlotNames(NamedTuple):
    """The path of each trained variable by its key, and the keys of those whose layer's own name is certain."""

    names: Mapping[str, str] = {}
    certain: frozenset[str] = frozenset()


class _Flat(NamedTuple):
    """A trained variable: its key, its node, and its path with the underscores of a slot: model, layers, weight."""

    key: str
    node: int
    model: str
    layers: str
    leaf: str


def names_by_slots(graph: ObjectGraph) -> SlotNames:
    """The paths of trained variables, from the names that Keras 3 gives to the optimizer's slots.

    In these, what was a slash and what is part of a layer's name look alike. Where the objects do not tell either, and
    a layer would be of another class by another cut, its name is not certain.
    """
    found = tuple(_flat(graph))
    if not found:
        return SlotNames()
    whole = _of_their_own(graph, found)
    cut = _paths({one.layers for one in found} - whole)
    paths = {**cut, **{layers: layers for layers in whole}}
    names = {one.key: f"{one.model}/{paths[one.layers]}/{one.leaf}" for one in found}
    return SlotNames(names, frozenset(one.key for one in found if one.layers in whole or _is_certain(one.layers)))


def _flat(graph: ObjectGraph) -> Iterator[_Flat]:
    seen: set[str] = set()

    @cache  # many optimizers can have one list
    def held(number: int) -> Mapping[str, int]:
        return {edge.name: edge.node for edge in graph.nodes[number].children}

    told: set[int] = set()
    for number in optimizers(graph):
        trained = held(number).get("_trainable_variables")
        if trained is None:
            continue
        variables = held(trained)
        for name, child in held(number).items():
            slots = held(child)
            if name == "_trainable_variables" or child in told or slots.keys() != variables.keys():
                continue
            told.add(child)
            for place, slot in slots.items():
                for variable in graph.nodes[variables[place]].attributes[:1]:
                    for state in graph.nodes[slot].attributes[:1]:
                        model, _, leaf = variable.full_name.partition("/")
                        layers = state.full_name.rpartition("/")[2].rpartition(f"_{leaf}_")[0]
                        named = leaf and "/" not in leaf and layers.startswith(f"{model}_")
                        if named and variable.key not in seen:
                            seen.add(variable.key)
                            yield _Flat(variable.key, variables[place], model, layers[len(model) + 1 :], leaf)


def _of_their_own(graph: ObjectGraph, found: Iterable[_Flat]) -> set[str]:
    """Those of the paths that are one layer's name: of an object that holds layers whose paths begin differently.

    Such an object is the model, which no path has: one that is a layer itself begins the paths of all that it holds.
    """
    paths_of = {one.node: one.layers for one in found}
    ours = optimizers(graph)
    ours.update(edge.node for number in tuple(ours) for edge in graph.nodes[number].children)
    holders: dict[int, set[int]] = {}
    for number, node in enumerate(graph.nodes):
        for edge in node.children if number not in ours else ():
            holders.setdefault(edge.node, set()).add(number)
    of_layer: dict[int, set[str]] = {}
    for trained, path in paths_of.items():
        for holder in holders.get(trained, set()):
            of_layer.setdefault(holder, set()).add(path)
    held: dict[int, set[str]] = {}
    for layer, paths in of_layer.items():
        if len(paths) == len(holders.get(layer, set())) == 1:
            (holder,) = holders[layer]
            held.setdefault(holder, set()).update(paths)
    models = (paths for paths in held.values() if len({path.partition("_")[0] for path in paths}) > 1)
    return {path for paths in models for path in paths}


def _is_certain(layers: str) -> bool:
    """Whether the layer is of one class however a path is cut, a number never beginning a name."""
    words = layers.split("_", _MOST_WORDS)
    if len(words) > _MOST_WORDS:
        return False
    if _as_part(layers) is not None:
        return True
    cuts = [at for at in range(1, len(words)) if not words[at][:1].isdigit() and not _is_leaf("_".join(words[:at]))]
    return len({class_from_name("_".join(words[at:])) for at in (0, *cuts)}) == 1


def _is_leaf(name: str) -> bool:
    """Whether this is the default name of a layer that holds no layers."""
    known = class_from_name(name)
    return known is not None and known not in CONTAINERS and known not in PARTS


def _as_part(layers: str) -> str | None:
    """The path of a part of a layer that has a default name: "lstm_1_lstm_cell" is "lstm_1/lstm_cell"."""
    for part in PART_NAMES:
        head = layers.removesuffix(f"_{part}")
        if head != layers and part in PARTS.get(class_from_name(head) or "", {}).values():
            return f"{head}/{part}"
    return None


def _paths(joined: Collection[str]) -> dict[str, str]:
    """Paths of layers whose slashes were made underscores: "block_1_dense_1" is "block_1/dense_1".

    A default name of a Keras layer stays whole. A slash comes back before one, where several paths begin as what is
    before it does, and behind a layer that has weights of its own. Elsewhere the underscore stays.
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
        if class_from_name(path) is not None:
            continue
        part = _as_part(path)
        if part is not None:
            found[path] = part
            continue
        for end in range(len(parts) - 1, 0, -1):
            at -= len(parts[end]) + 1
            head, rest = path[:at], path[at + 1 :]
            if head in heads and not _is_leaf(head) and (rest == tail if tail else not rest[:1].isdigit()):
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
        head = "_".join(parts[:start])
        if class_from_name(tail) is not None and begun[head] > 1 and not _is_leaf(head):
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
        if not leaf or "/" in leaf or len(place) > _LONGEST_PLACE:
            continue
        first, *scopes = place.rpartition("/")[0].split("/")
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
