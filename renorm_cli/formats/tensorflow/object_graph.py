"""The object graph of a TF2 checkpoint: which Python object held which tensor, and therefore what is optimizer state.

Source: tensorflow/core/protobuf/trackable_object_graph.proto; for the string tensor that holds the graph,
tensorflow/core/util/tensor_bundle/tensor_bundle.cc (WriteStringTensor).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from renorm_cli.formats.protobuf import Budget, damaged, read_fields, read_message, read_varint
from renorm_cli.formats.tensorflow.leveldb import crc32c, mask

MAX_GRAPH_BYTES = 64 << 20
MAX_NODES = 200_000
MAX_REFERENCES = 1_000_000
MAX_NAME = 1 << 16
"""Characters of a variable's name; a longer name is ignored."""

_SLOT_MARK = "/.OPTIMIZER_SLOT/"
_LEGACY_NUMBERS = frozenset(
    {
        "iter",
        "decay",
        "learning_rate",
        "momentum",
        "beta_1",
        "beta_2",
        "rho",
        "epsilon",
        "initial_accumulator_value",
        "learning_rate_power",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "beta",
        "weight_decay",
    }
)

"""What the legacy optimizers of tf_keras track (`_set_hyper`)."""
_NODES, _CHILDREN, _ATTRIBUTES, _SLOTS = 1, 1, 2, 3


class Edge(NamedTuple):
    """A child: `name` is the Python attribute or list index, `node` is an index of `ObjectGraph.nodes`."""

    name: str
    node: int


class Attribute(NamedTuple):
    """A tensor of an object: `key` is its checkpoint key, `full_name` its variable's name ("" for a table)."""

    name: str
    full_name: str
    key: str


class SlotVariable(NamedTuple):
    """A slot of a TF1-style optimizer: node `slot` holds the state named `name` of node `original`."""

    original: int
    name: str
    slot: int


@dataclass(frozen=True, slots=True)
class Node:
    """An object. The first node of a graph is its root."""

    children: tuple[Edge, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    slot_variables: tuple[SlotVariable, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectGraph:
    """All objects; edges may form cycles."""

    nodes: tuple[Node, ...]


_BARE = Node()


def read_strings(
    data: bytes, elements: int, shown: str, *, order: Literal["<", ">"] = "<", crc: int | None = None
) -> tuple[bytes, ...]:
    """The `elements` strings of a stored string tensor: lengths, masked CRC-32C of the lengths, then the strings.

    The CRC of the lengths covers them as 4 bytes each (8 from 2**32 on) in byte `order`, not as varints. `crc`, the CRC
    of the tensor, continues it over the stored CRC and the strings. Raises FormatError if a CRC does not match or the
    strings do not fill `data` exactly.
    """
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    if elements > len(data):
        raise damaged(shown, f"expected {elements} strings, found {len(data)} bytes")
    at, found, lengths = 0, 0, []
    for _ in range(elements):
        length, at = read_varint(data, at, len(data), shown)
        found = crc32c(length.to_bytes(4 if length < 1 << 32 else 8, byteorder), found)
        lengths.append(length)
    stored = data[at : at + 4]
    if at + 4 + sum(lengths) != len(data):
        raise damaged(shown, f"expected strings of {sum(lengths)} bytes from byte {at + 4}, found {len(data)} in all")
    if mask(found) != int.from_bytes(stored, byteorder):
        raise damaged(shown, "the checksum of the string lengths does not match")
    if crc is not None and crc32c(data[at:], found) != crc:
        raise damaged(shown, "the checksum of the strings does not match")
    strings, at = [], at + 4
    for length in lengths:
        strings.append(data[at : at + length])
        at += length
    return tuple(strings)


def read_object_graph(
    data: bytes, shown: str, *, order: Literal["<", ">"] = "<", crc: int | None = None
) -> ObjectGraph:
    """The graph from the stored bytes of the tensor `_CHECKPOINTABLE_OBJECT_GRAPH`, a scalar string.

    `order` is the byte order of the bundle, `crc` the checksum of its entry. Raises FormatError if a checksum does not
    match, the message is malformed, an id refers to no node, or there are more than MAX_NODES nodes or MAX_REFERENCES
    edges and tensors.
    """
    if len(data) > MAX_GRAPH_BYTES:
        raise damaged(shown, f"expected an object graph of at most {MAX_GRAPH_BYTES} bytes, found {len(data)}")
    message = read_strings(data, 1, shown, order=order, crc=crc)[0]
    nodes: list[Node] = []
    left = MAX_REFERENCES
    budget = Budget()
    for field in read_fields(message, shown, budget=budget):
        if field.number != _NODES:
            continue
        if not isinstance(field.value, bytes):
            raise damaged(shown, f"expected object {len(nodes)} as a message, found a number")
        if len(nodes) == MAX_NODES:
            raise damaged(shown, f"expected at most {MAX_NODES} objects, found more")
        nodes.append(_node(field.value, left, f"{shown}: object {len(nodes)}", budget) if field.value else _BARE)
        left -= _references(nodes[-1])
    graph = ObjectGraph(tuple(nodes))
    _check_ids(graph, shown)
    return graph


def optimizer_state_keys(graph: ObjectGraph) -> frozenset[str]:
    """The checkpoint keys of optimizer state: counters, learning rates, momentums, slots, averages.

    State is everything that an optimizer reaches by any edge but `_trainable_variables`, except weights. Weights are
    what the root reaches without passing through an optimizer, and what an optimizer lists as trainable. The key is no
    evidence: Keras 3 stores the weights of a model under a key of its optimizer.
    """
    found = optimizers(graph)
    trainable = (e.node for o in found for e in graph.nodes[o].children if e.name == "_trainable_variables")
    weights = _reach(graph, [*([0] if graph.nodes else ()), *trainable], barred=found)
    state = _reach(graph, found, skipped="_trainable_variables") - weights
    # A slot variable is the child of no node; TensorFlow marks its key, and refuses other paths to it.
    marked = {a.key for node in graph.nodes for a in node.attributes if _SLOT_MARK in a.key}
    return frozenset(marked.union(a.key for number in state for a in graph.nodes[number].attributes))


def optimizers(graph: ObjectGraph) -> set[int]:
    """The numbers of the nodes that are optimizers."""

    @cache  # many objects can have one list
    def held(number: int) -> frozenset[int]:
        return frozenset(edge.node for edge in graph.nodes[number].children)

    return {number for number, node in enumerate(graph.nodes) if _is_optimizer(node, held)}


def walked_keys(graph: ObjectGraph) -> dict[str, int]:
    """The place of each checkpoint key when objects are walked depth first, children in the order they were tracked."""
    places: dict[str, int] = {}
    seen: set[int] = set()
    waiting = [0] if graph.nodes else []
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        for attribute in graph.nodes[number].attributes:
            places.setdefault(attribute.key, len(places))
        waiting += [edge.node for edge in reversed(graph.nodes[number].children) if edge.node not in seen]
    return places


_EINSUM = frozenset({"partial_output_shape", "full_output_shape"})
"""What tf_keras' EinsumDense tracks beside its weights, as tuples are tracked (layers/core/einsum_dense.py)."""


def einsum_keys(graph: ObjectGraph) -> frozenset[str]:
    """The keys of the weights of EinsumDense layers, which no name tells from those of a Dense layer."""
    layers = (node for node in graph.nodes if {edge.name for edge in node.children} >= _EINSUM)
    held = (graph.nodes[edge.node] for node in layers for edge in node.children)
    return frozenset(attribute.key for weight in held for attribute in weight.attributes)


def full_names(graph: ObjectGraph) -> dict[str, str]:
    """The variable name of each checkpoint key that has one. Names are not unique: many are called `Variable`."""
    return {a.key: a.full_name for node in graph.nodes for a in node.attributes if 0 < len(a.full_name) <= MAX_NAME}


def _is_optimizer(node: Node, held: Callable[[int], Collection[int]]) -> bool:
    """Whether a node is an optimizer, by what it holds; `held` are the numbers of the nodes that one of a number holds.

    It has slots, or a list `_variables` that its counter `_iterations` is in (Keras 3, tf_keras), or nothing but the
    numbers of an optimizer without slots (tf_keras' legacy SGD). A counter alone tells nothing: people also give one to
    what holds their models.
    """
    if node.slot_variables:
        return True
    found = {edge.name: edge.node for edge in node.children}
    counter, listed = found.get("_iterations"), found.get("_variables")
    if counter is not None and listed is not None:
        return counter in held(listed)
    return {"iter", "decay"} <= found.keys() <= _LEGACY_NUMBERS


def _reach(
    graph: ObjectGraph, start: Iterable[int], *, barred: Iterable[int] = (), skipped: str | None = None
) -> set[int]:
    """The nodes reachable from `start`, inclusive, without entering `barred` or following edges named `skipped`."""
    seen = set(start).difference(barred)
    never, waiting = set(barred), list(seen)
    while waiting:
        for name, node in graph.nodes[waiting.pop()].children:
            if name != skipped and node not in seen and node not in never:
                seen.add(node)
                waiting.append(node)
    return seen


def _node(encoded: bytes, left: int, where: str, budget: Budget) -> Node:
    """The node of a TrackableObject, which may have at most `left` references."""
    message = read_message(encoded, where, budget=budget)
    if sum(len(message.found.get(number, ())) for number in (_CHILDREN, _ATTRIBUTES, _SLOTS)) > left:
        raise damaged(where, f"expected at most {MAX_REFERENCES} edges and tensors in the graph, found more")
    children = (read_message(item, where, budget=budget) for item in message.blobs(_CHILDREN))
    attributes = (read_message(item, where, budget=budget) for item in message.blobs(_ATTRIBUTES))
    slots = (read_message(item, where, budget=budget) for item in message.blobs(_SLOTS))
    return Node(
        tuple(Edge(child.text(2), child.integer(1)) for child in children),
        tuple(Attribute(each.text(1), each.text(2), each.text(3)) for each in attributes),
        tuple(SlotVariable(slot.integer(1), slot.text(2), slot.integer(3)) for slot in slots),
    )


def _references(node: Node) -> int:
    return len(node.children) + len(node.attributes) + len(node.slot_variables)


def _check_ids(graph: ObjectGraph, shown: str) -> None:
    count = len(graph.nodes)
    for number, node in enumerate(graph.nodes):
        ids = [edge.node for edge in node.children]
        for slot in node.slot_variables:
            ids += slot.original, slot.slot
        for named in ids:
            if not 0 <= named < count:
                raise damaged(shown, f"expected objects from 0 to {count - 1}, found {named} in object {number}")
