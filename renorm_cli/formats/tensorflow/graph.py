"""Facts about variables in `saved_model.pb`: which are trained, which class holds them, which weights are constants.

Source: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto, and in tensorflow/core/framework
graph.proto, function.proto, node_def.proto, attr_value.proto, tensor.proto, variable.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from renorm_cli.formats.tensorflow.bundle import DTYPES, ITEM_BYTES, MAX_RANK
from renorm_cli.formats.tensorflow.keras_metadata import KerasObject
from renorm_cli.formats.tensorflow.object_graph import MAX_NODES, ObjectGraph
from renorm_cli.formats.tensorflow.spans import COLLECTIONS, OBJECTS, VARIABLE_OPS, Walk
from renorm_cli.formats.walk import Span
from renorm_cli.model.dtypes import FLOATS

_OP, _ATTR, _TENSOR = 2, 5, 8
_MAX_ATTRIBUTES = 10_000
_CONSTANT_OP = b"\x12\x05Const"
"""The op of a constant as it is stored."""
_SEARCHED = 4096
"""Bytes of an operation that are searched at once; a longer one is read field by field."""

_FLOAT_NUMBERS = {number: name for number, name in DTYPES.items() if name in FLOATS}


class Constant(NamedTuple):
    """A floating constant of rank 2 or more in a graph: `size` bytes at `offset`, C order, little-endian."""

    shape: tuple[int, ...]
    dtype: str
    offset: int
    size: int


class SavedVariable(NamedTuple):
    """A variable in the object graph of a SavedModel; `name` may be ""."""

    name: str
    trainable: bool


@dataclass(frozen=True, slots=True)
class SavedModelFacts:
    """Facts from the objects of a SavedModel; for a model that TF1 wrote, only `untrained` is not empty.

    `variables` and `keras` (objects that Keras wrote) are by node number in the checkpoint's object graph. `untrained`
    are the names that TF1's collections list as variables, but not as trainable ones.
    """

    variables: Mapping[int, SavedVariable] = field(default_factory=dict)
    keras: Mapping[int, KerasObject] = field(default_factory=dict)
    untrained: frozenset[str] = frozenset()


def read_saved_model(data: bytes | memoryview, shown: str) -> SavedModelFacts:
    """The facts in the content of `saved_model.pb`; `shown` names the file in errors.

    Raises FormatError if it is not such a message, has no graph, or has more than MAX_FIELDS fields, MAX_NODES objects
    or MAX_COPIED bytes about them.
    """
    walk = Walk(data, shown)
    variables: dict[int, SavedVariable] = {}
    keras: dict[int, KerasObject] = {}
    listed: set[str] = set()
    trained: set[str] = set()
    for number, graph in enumerate(walk.graphs()):
        for part in walk.inside(graph):
            if part.number == COLLECTIONS:
                _read_collection(walk, part, listed, trained)
            # Only TF2 writes objects, and it writes one graph; a second graph would number its objects from 0 again.
            elif part.number == OBJECTS and number == 0:
                _read_objects(walk, part, variables, keras)
    return SavedModelFacts(variables, keras, frozenset(listed - trained) if trained else frozenset())


def untrained_keys(facts: SavedModelFacts, graph: ObjectGraph | None) -> frozenset[str]:
    """The checkpoint keys of variables that the model declares as not trained.

    They include moving statistics, counters and optimizer state, but not the weights of frozen Keras layers.
    """
    if graph is None:
        return facts.untrained
    keys: set[str] = set()
    for number, variable in facts.variables.items():
        if variable.trainable or number >= len(graph.nodes):
            continue
        keys.update(a.key for a in graph.nodes[number].attributes if a.full_name == variable.name)
    return frozenset(keys)


def constants(data: bytes | memoryview, shown: str, smallest: int = 0) -> Iterator[Constant]:
    """The floating constants of rank 2 or more in all graphs and functions that are stored as plain bytes; no copies.

    Omits constants of fewer than `smallest` bytes, and those stored as one repeated value or as lists of numbers.
    Raises FormatError as `read_saved_model` does.
    """
    walk = Walk(data, shown)
    for node in walk.operations():
        size = node.end - node.start
        if size < smallest:
            continue
        # Most operations are something else, and a search of their bytes is fast.
        if size < _SEARCHED and _CONSTANT_OP not in walk.bytes_of(node):
            continue
        attributes: list[Span] = []
        is_constant = False
        for item in walk.inside(node):
            if item.number == _OP:
                is_constant = walk.bytes_of(item, 8) == b"Const"
            elif item.number == _ATTR:
                attributes.append(item)
                if len(attributes) > _MAX_ATTRIBUTES:
                    raise walk.damaged(f"expected at most {_MAX_ATTRIBUTES} attributes of an operation, found more")
        if is_constant:
            for attribute in attributes:
                yield from _constant(walk, attribute, smallest)


def variable_operations(data: bytes | memoryview, shown: str) -> int:
    """The number of operations in the graphs that create or hold a variable: 0 for a frozen model.

    Raises FormatError as `read_saved_model` does.
    """
    walk = Walk(data, shown)
    return sum(
        walk.text(item) in VARIABLE_OPS
        for node in walk.operations()
        for item in walk.inside(node)
        if item.number == _OP
    )


def _read_objects(walk: Walk, graph: Span, variables: dict[int, SavedVariable], keras: dict[int, KerasObject]) -> None:
    """Collect variables and Keras objects of a SavedObjectGraph by the number of their node."""
    count = 0
    for node in walk.inside(graph):
        if node.number != 1:
            continue
        if count == MAX_NODES:
            raise walk.damaged(f"expected at most {MAX_NODES} objects, found more")
        for kind in walk.inside(node):
            if kind.number == 7:
                message = walk.message(kind)
                variables[count] = SavedVariable(message.text(6), bool(message.integer(3)))
            elif kind.number == 4:
                message = walk.message(kind)
                if message.text(1).startswith("_tf_keras"):
                    keras[count] = KerasObject(message.text(1), message.text(3))
        count += 1


def _read_collection(walk: Walk, entry: Span, listed: set[str], trained: set[str]) -> None:
    """Collect the checkpoint names in TF1's collections of variables: VariableDefs in a CollectionDef."""
    into: set[str] | None = None
    for item in walk.inside(entry):
        if item.number == 1:
            into = {b"variables": listed, b"trainable_variables": trained}.get(walk.bytes_of(item, 32))
        elif item.number == 2 and into is not None:
            for values in walk.inside(item):
                if values.number == 2:
                    for value in walk.message(values).blobs(1):
                        into.add(_variable_name(value, walk))


def _variable_name(encoded: bytes, walk: Walk) -> str:
    """The name in a VariableDef. A partitioned variable has one per part, and each names the whole variable."""
    definition = walk.message_of(encoded)
    part = definition.blob(4)
    whole = walk.message_of(part).text(1) if part else ""
    return whole or definition.text(1).partition(":")[0]


def _constant(walk: Walk, attribute: Span, smallest: int) -> Iterator[Constant]:
    """The tensor in the attribute `value` of a Const, if it is a floating one of rank 2 or more."""
    for item in walk.inside(attribute):
        if item.number == 1 and walk.bytes_of(item, 8) != b"value":
            return
        if item.number == 2:
            for value in walk.inside(item):
                if value.number == _TENSOR:
                    yield from _tensor(walk, value, smallest)


def _tensor(walk: Walk, tensor: Span, smallest: int) -> Iterator[Constant]:
    """The constant that a TensorProto holds; reading stops at the dtype for tensors that are not floating."""
    dtype: str | None = None
    shape: Span | None = None
    content: Span | None = None
    for item in walk.inside(tensor):
        if item.number == 1:
            dtype = _FLOAT_NUMBERS.get(walk.integer(item))
            if dtype is None:
                return
        elif item.number == 2:
            shape = item
        elif item.number == 4:
            content = item
    if dtype is None or shape is None or content is None:
        return
    size = content.end - content.start
    if size < max(smallest, 1):
        return
    dims = walk.message(shape).blobs(2)
    sizes = tuple(walk.message_of(dim).integer(1) for dim in dims) if len(dims) <= MAX_RANK else ()
    if len(sizes) >= 2 and min(sizes) >= 0 and math.prod(sizes) * ITEM_BYTES[dtype] == size:
        yield Constant(sizes, dtype, content.start, size)
