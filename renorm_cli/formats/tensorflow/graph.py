"""Facts about variables in `saved_model.pb`: which are trained, which class holds them, which weights are constants.

Source: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto, and in tensorflow/core/framework
graph.proto, function.proto, node_def.proto, attr_value.proto, tensor.proto, variable.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Budget,
    Message,
    damaged,
    read_message,
    read_varint,
)
from renorm_cli.formats.tensorflow.bundle import DTYPES, ITEM_BYTES, MAX_RANK
from renorm_cli.formats.tensorflow.keras_metadata import KerasObject
from renorm_cli.formats.tensorflow.object_graph import MAX_NODES, ObjectGraph
from renorm_cli.model.dtypes import FLOATS

MAX_FIELDS = 3_000_000
"""Fields visited while searching one `saved_model.pb`."""
MAX_COPIED = 32 << 20
"""Bytes of the messages that are copied into memory: variables, Keras layers, collections."""

_META_GRAPHS, _GRAPH, _COLLECTIONS, _OBJECTS = 2, 2, 4, 7
_GRAPH_NODE, _LIBRARY, _FUNCTION, _FUNCTION_NODE = 1, 2, 1, 3
_OP, _ATTR, _TENSOR = 2, 5, 8
_VARIABLE_OPS = frozenset({b"VarHandleOp", b"VariableV2", b"Variable", b"AutoReloadVariable"})
_MAX_ATTRIBUTES = 10_000
_SKIPPED = {FIXED64: 8, FIXED32: 4}

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


class _Span(NamedTuple):
    """A field: start and end of its value (after tag and length) in the file."""

    number: int
    wire_type: int
    start: int
    end: int


def read_saved_model(data: bytes | memoryview, shown: str) -> SavedModelFacts:
    """The facts in the content of `saved_model.pb`; `shown` names the file in errors.

    Raises FormatError if it is not such a message, has no graph, or has more than MAX_FIELDS fields, MAX_NODES objects
    or MAX_COPIED bytes about them.
    """
    walk = _Walk(data, shown)
    variables: dict[int, SavedVariable] = {}
    keras: dict[int, KerasObject] = {}
    listed: set[str] = set()
    trained: set[str] = set()
    for number, graph in enumerate(walk.graphs()):
        for part in walk.inside(graph):
            if part.number == _COLLECTIONS:
                _read_collection(walk, part, listed, trained)
            # Only TF2 writes objects, and it writes one graph; a second graph would number its objects from 0 again.
            elif part.number == _OBJECTS and number == 0:
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


def constants(data: bytes | memoryview, shown: str) -> Iterator[Constant]:
    """The floating constants of rank 2 or more in all graphs and functions that are stored as plain bytes; no copies.

    Omits constants that are stored as one repeated value or as lists of numbers. Raises FormatError as
    `read_saved_model` does.
    """
    walk = _Walk(data, shown)
    for node in walk.operations():
        attributes: list[_Span] = []
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
                yield from _constant(walk, attribute)


def variable_operations(data: bytes | memoryview, shown: str) -> int:
    """The number of operations in the graphs that create or hold a variable: 0 for a frozen model.

    Raises FormatError as `read_saved_model` does.
    """
    walk = _Walk(data, shown)
    return sum(
        walk.bytes_of(item, 32) in _VARIABLE_OPS
        for node in walk.operations()
        for item in walk.inside(node)
        if item.number == _OP
    )


class _Walk:
    """Finds the fields of nested messages without copying (the file may have 2 GiB), up to MAX_FIELDS."""

    def __init__(self, data: bytes | memoryview, shown: str) -> None:
        self._data = data
        self._shown = shown
        self._left = MAX_FIELDS
        self._copies = MAX_COPIED
        self._budget = Budget()

    def inside(self, span: _Span) -> Iterator[_Span]:
        """The fields of a message; the span of a number is its varint."""
        if span.wire_type != BYTES:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a message, found a number")
        data, at, end = self._data, span.start, span.end
        while at < end:
            tag_at = at
            tag, at = read_varint(data, at, end, self._shown)
            kind = tag & 7
            if kind == BYTES:
                size, at = read_varint(data, at, end, self._shown)
            elif kind == VARINT:
                size = read_varint(data, at, end, self._shown)[1] - at
            elif kind in _SKIPPED:
                size = _SKIPPED[kind]
            else:
                raise self.damaged(f"expected wire type 0, 1, 2 or 5 at byte {tag_at}, found {kind}")
            if not 0 < tag >> 3 < 1 << 29 or at + size > end:
                raise self.damaged(f"expected a field that ends by byte {end} at byte {tag_at}, found none")
            self._left -= 1
            if self._left < 0:
                raise self.damaged(f"expected at most {MAX_FIELDS} fields, found more")
            yield _Span(tag >> 3, kind, at, at + size)
            at += size

    def graphs(self) -> Iterator[_Span]:
        """The MetaGraphDefs, one per set of tags."""
        none = True
        for graph in self._parts(_Span(0, BYTES, 0, len(self._data)), _META_GRAPHS):
            none = False
            yield graph
        if none:
            raise self.damaged("expected a SavedModel with a graph, found none")

    def operations(self) -> Iterator[_Span]:
        """The NodeDefs of every graph and of every function in its library."""
        for graph in self.graphs():
            for part in self._parts(graph, _GRAPH):
                for item in self.inside(part):
                    if item.number == _GRAPH_NODE:
                        yield item
                    elif item.number == _LIBRARY:
                        for function in self._parts(item, _FUNCTION):
                            yield from self._parts(function, _FUNCTION_NODE)

    def _parts(self, span: _Span, number: int) -> Iterator[_Span]:
        return (item for item in self.inside(span) if item.number == number)

    def bytes_of(self, span: _Span, limit: int | None = None) -> bytes:
        """The bytes of the value, at most `limit`."""
        end = span.end if limit is None else min(span.end, span.start + limit)
        return bytes(self._data[span.start : end])

    def integer(self, span: _Span) -> int:
        """The varint, unsigned."""
        if span.wire_type != VARINT:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a number, found bytes")
        return read_varint(self._data, span.start, span.end, self._shown)[0]

    def message(self, span: _Span) -> Message:
        """A small message, copied into memory."""
        if span.wire_type != BYTES:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a message, found a number")
        self._copies -= span.end - span.start
        if self._copies < 0:
            raise self.damaged(f"expected at most {MAX_COPIED} bytes about variables and layers, found more")
        return read_message(self._data, self._shown, span.start, span.end, self._budget)

    def message_of(self, encoded: bytes) -> Message:
        """A message nested in a small message."""
        return read_message(encoded, self._shown, budget=self._budget)

    def damaged(self, found: str) -> FormatError:
        return damaged(self._shown, found)


def _read_objects(
    walk: _Walk, graph: _Span, variables: dict[int, SavedVariable], keras: dict[int, KerasObject]
) -> None:
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


def _read_collection(walk: _Walk, entry: _Span, listed: set[str], trained: set[str]) -> None:
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


def _variable_name(encoded: bytes, walk: _Walk) -> str:
    """The name in a VariableDef. A partitioned variable has one per part, and each names the whole variable."""
    definition = walk.message_of(encoded)
    part = definition.blob(4)
    whole = walk.message_of(part).text(1) if part else ""
    return whole or definition.text(1).partition(":")[0]


def _constant(walk: _Walk, attribute: _Span) -> Iterator[Constant]:
    """The tensor in the attribute `value` of a Const, if it is a floating one of rank 2 or more."""
    name = b""
    for item in walk.inside(attribute):
        if item.number == 1:
            name = walk.bytes_of(item, 8)
        elif item.number == 2 and name == b"value":
            for value in walk.inside(item):
                if value.number == _TENSOR:
                    yield from _tensor(walk, value)


def _tensor(walk: _Walk, tensor: _Span) -> Iterator[Constant]:
    dtype: str | None = None
    shape: tuple[int, ...] = ()
    content: _Span | None = None
    for item in walk.inside(tensor):
        if item.number == 1:
            dtype = _FLOAT_NUMBERS.get(walk.integer(item))
        elif item.number == 2:
            dims = walk.message(item).blobs(2)
            shape = tuple(walk.message_of(dim).integer(1) for dim in dims) if len(dims) <= MAX_RANK else ()
        elif item.number == 4:
            content = item
    if dtype is None or content is None or len(shape) < 2 or min(shape) < 0:
        return
    size = content.end - content.start
    if size and math.prod(shape) * ITEM_BYTES[dtype] == size:
        yield Constant(shape, dtype, content.start, size)
