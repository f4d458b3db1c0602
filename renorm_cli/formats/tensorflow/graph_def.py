"""TensorFlow's graphs and functions as the analysis of weights' uses asks for them, read on demand from the file.

Source: tensorflow/core/framework/{graph,function,node_def,op_def,attr_value,tensor,tensor_shape}.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence

from renorm_cli.conventions.graph.budget import Budget, SpentError
from renorm_cli.conventions.graph.layout import Constant, Shape
from renorm_cli.conventions.graph.protocol import Node, Ref
from renorm_cli.formats.protobuf import BYTES, signed
from renorm_cli.formats.tensorflow.spans import FUNCTION, FUNCTION_NODE, GRAPH, GRAPH_NODE, LIBRARY, VARIABLE_OPS, Walk
from renorm_cli.formats.walk import Span

_GRADIENT_FUNCTION = "__backward_"
"""How TensorFlow names the functions of backward passes."""

_ATTRIBUTE = 5
"""Of NodeDef."""
_LIST, _STRING, _INTEGER, _FLAG, _SHAPE, _TENSOR, _FUNCTION = 1, 2, 3, 5, 7, 8, 10
_LISTED_INTEGER, _LISTED_FUNCTION = 3, 9
"""Fields of AttrValue, and of the list in it."""

_INTEGERS = {3: ("i", 4), 9: ("q", 8)}
_BOOL = 10
"""Numbers of the dtypes int32 and int64 with their struct formats and sizes, and of bool."""

_HEAD = 1024
"""Bytes of a node that are looked at together; most begin with their few texts."""
_MOST_STRINGS = 1_000_000
_UNKNOWN = Constant()


class GraphWalk(Walk):
    """A walk through a file that stops where the budget of the analysis is spent."""

    def __init__(self, data: bytes | memoryview, shown: str, budget: Budget) -> None:
        super().__init__(data, shown)
        self._left = budget.fields

    def too_many(self) -> Exception:
        return SpentError("fields")

    def leading_texts(self, span: Span, before: int) -> list[tuple[int, str]]:
        """Number and text of the fields that a message begins with, up to the first of the number `before`."""
        head = self.bytes_of(span, _HEAD)
        found: list[tuple[int, str]] = []
        at, end = 0, len(head) - 2
        while at < end:
            tag, size, start = head[at], head[at + 1], at + 2
            if tag >> 3 == before and tag < 128:
                break
            if size >= 128:
                size, start = size & 127 | head[start] << 7, at + 3
            if tag & 7 != BYTES or not 8 <= tag < 128 or size >= 1 << 14 or start + size > len(head):
                return list(self._leading_fields(span, before))
            found.append((tag >> 3, head[start : start + size].decode("utf-8", "surrogateescape")))
            at = start + size
        if at >= end and at < span.end - span.start:
            return list(self._leading_fields(span, before))
        self._left -= len(found) + 1
        if self._left < 0:
            raise self.too_many()
        return found

    def _leading_fields(self, span: Span, before: int) -> Iterator[tuple[int, str]]:
        for item in self.inside(span):
            if item.number == before:
                return
            yield item.number, self.text(item)

    def shape(self, span: Span) -> Shape | None:
        """A TensorShapeProto; None where not even the rank is known."""
        sizes: list[int] = []
        for item in self.inside(span):
            if item.number == 2:
                sizes.append(next((signed(self.integer(size)) for size in self.parts(item, 1)), 0))
            elif item.number == 3 and self.integer(item):
                return None
        return tuple(sizes)


class StoredGraph:
    """A function or a main graph (`conventions.graph.protocol.Graph`); its nodes are read when first asked for."""

    def __init__(
        self,
        name: str,
        walk: GraphWalk,
        budget: Budget,
        spans: Sequence[Span],
        *,
        arguments: Sequence[str] = (),
        results: Sequence[Ref] = (),
    ) -> None:
        """A main graph has the name ""."""
        self.name = name
        self._backward = name.startswith(_GRADIENT_FUNCTION)
        self.arguments = arguments
        self.results = results
        self._walk = walk
        self._budget = budget
        self._spans = spans
        self._nodes: dict[str, Node] | None = None
        self._uses: dict[str, list[Node]] | None = None
        self._outputs: dict[str, set[int]] = {}
        self._variables: dict[str, str] | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """By their own names; in functions variables are arguments."""
        if self._variables is None:
            nodes = () if self.name else self.nodes().values()
            self._variables = {node.name: node.name for node in nodes if node.op in VARIABLE_OPS}
        return self._variables

    def nodes(self) -> Mapping[str, Node]:
        if self._nodes is None:
            self._nodes = {}
            for span in self._spans:
                node = self._node(span)
                self._nodes[node.name] = node
        return self._nodes

    def uses(self) -> Mapping[str, Sequence[Node]]:
        if self._uses is None:
            uses: dict[str, list[Node]] = {}
            self._uses = uses
            for node in self.nodes().values():
                for name, output in node.inputs:
                    users = uses.get(name)
                    if users is None:
                        uses[name] = [node]
                        self._outputs[name] = {output}
                    else:
                        if users[-1] is not node:
                            users.append(node)
                        self._outputs[name].add(output)
        return self._uses

    def outputs(self, node: Node) -> Collection[int]:
        self.uses()
        return self._outputs.get(node.name, ())

    def is_gradient(self, node: Node) -> bool:
        return self._backward or ("grad" in node.name and _is_in_gradient(node.name))

    def integer(self, node: Node, name: str, default: int = 0) -> int:
        found = self._attribute(node, name, _INTEGER)
        return default if found is None else signed(self._walk.integer(found))

    def integers(self, node: Node, name: str) -> tuple[int, ...] | None:
        found = self._attribute(node, name, _LIST)
        return None if found is None else self._few(self._walk.parts(found, _LISTED_INTEGER))

    def flag(self, node: Node, name: str) -> bool:
        found = self._attribute(node, name, _FLAG)
        return found is not None and self._walk.integer(found) != 0

    def text(self, node: Node, name: str) -> str | None:
        found = self._attribute(node, name, _STRING)
        return None if found is None else self._walk.text(found)

    def shape(self, node: Node, name: str) -> Shape | None:
        found = self._attribute(node, name, _SHAPE)
        return None if found is None else self._walk.shape(found)

    def functions(self, node: Node, name: str) -> Sequence[str]:
        one = self._attribute(node, name, _FUNCTION)
        if one is not None:
            return [self._walk.string(one, 1)]
        several = self._attribute(node, name, _LIST)
        listed = () if several is None else self._walk.parts(several, _LISTED_FUNCTION)
        return [self._walk.string(item, 1) for item in listed]

    def message_integers(self, node: Node, name: str, field: int) -> tuple[int, ...] | None:
        found = self._attribute(node, name, _STRING)
        return None if found is None else self._few(self._walk.parts(found, field))

    def constant(self, node: Node) -> Constant:
        tensor = self._attribute(node, "value", _TENSOR)
        return _UNKNOWN if tensor is None else self._tensor(tensor)

    def strings(self, ref: Ref) -> list[str] | None:
        """The strings of a Const; None for any other node."""
        node = self.nodes().get(ref.node)
        tensor = None if node is None or node.op != "Const" else self._attribute(node, "value", _TENSOR)
        if tensor is None:
            return None
        found = [self._walk.text(item) for item in self._walk.parts(tensor, 8)]
        return found if len(found) <= _MOST_STRINGS else None

    def _node(self, span: Span) -> Node:
        """A NodeDef without its control inputs, "^node".

        Its attributes, which are most of it, are left unread: they are last, as all writers order fields by number.
        """
        name = op = ""
        inputs: list[Ref] = []
        for number, text in self._walk.leading_texts(span, _ATTRIBUTE):
            if number == 3:
                if not text.startswith("^"):
                    inputs.append(parse_ref(text))
            elif number == 1:
                name = text
            elif number == 2:
                op = text
        self._budget.parse(1 + len(inputs))
        return Node(name, op, tuple(inputs), span)

    def _attribute(self, node: Node, name: str, kind: int) -> Span | None:
        """The value of an attribute, if it is of that kind (a field of AttrValue)."""
        for span in self._walk.parts(node.attributes, _ATTRIBUTE):
            key, value = self._walk.entry(span)
            if key == name:
                return None if value is None else next(self._walk.parts(value, kind), None)
        return None

    def _few(self, spans: Iterator[Span]) -> tuple[int, ...] | None:
        numbers: list[int] = []
        for span in spans:
            for number in self._walk.numbers(span):
                numbers.append(number)
                if len(numbers) > Budget.INTEGERS:
                    return None
        return tuple(numbers)

    def _tensor(self, tensor: Span) -> Constant:
        """A TensorProto. Numbers stored one by one may be fewer than the elements: the last is repeated."""
        walk = self._walk
        dtype, shape = 0, None
        content: Span | None = None
        single: list[Span] = []
        for item in walk.inside(tensor):
            if item.number == 1:
                dtype = walk.integer(item)
            elif item.number == 2:
                shape = walk.shape(item)
            elif item.number == 4:
                content = item
            elif item.number in (7, 10, 11):  # int_val, int64_val, bool_val
                single.append(item)
        elements = -1 if shape is None or min(shape, default=0) < 0 else math.prod(shape)
        if not 0 <= elements <= Budget.INTEGERS or dtype not in (*_INTEGERS, _BOOL):
            return Constant(None, shape)
        if content is not None:
            form, size = _INTEGERS.get(dtype, ("?", 1))
            fits = content.end - content.start == elements * size
            packed = walk.bytes_of(content, elements * size)
            return Constant(tuple(map(int, struct.unpack(f"<{elements}{form}", packed))) if fits else None, shape)
        numbers = self._few(iter(single))
        if numbers is None:
            return Constant(None, shape)
        numbers = numbers or (0,)
        return Constant((numbers + numbers[-1:] * elements)[:elements], shape)


class StoredFunctions:
    """The functions of a model by name (`conventions.graph.protocol.Library`), each read when first asked for."""

    def __init__(self, walk: GraphWalk, budget: Budget) -> None:
        self._walk = walk
        self._budget = budget
        self._spans: dict[str, Span] = {}
        self._read: dict[str, StoredGraph] = {}

    def add(self, function: Span) -> None:
        """A FunctionDef, of which only the name is read: the first field of its first field, as it is written."""
        for signature in self._walk.parts(function, 1):
            self._spans[self._walk.string(signature, 1)] = function
            return

    def __contains__(self, name: object) -> bool:
        return name in self._spans

    def get(self, name: str) -> StoredGraph | None:
        if name not in self._read and name in self._spans:
            self._read[name] = self._function(name)
        return self._read.get(name)

    def _function(self, name: str) -> StoredGraph:
        walk = self._walk
        arguments: list[str] = []
        results: list[str] = []
        returned: dict[str, Ref] = {}
        nodes: list[Span] = []
        for item in walk.inside(self._spans[name]):
            if item.number == FUNCTION_NODE:
                nodes.append(item)
            elif item.number == 1:
                for part in walk.inside(item):
                    if part.number in (2, 3):
                        (arguments if part.number == 2 else results).append(walk.string(part, 1))
            elif item.number == 4:
                key, value = walk.entry(item)
                if value is not None:
                    returned[key] = parse_ref(walk.text(value))
        self._budget.parse(len(arguments) + len(results))
        missing = Ref("", 0)
        refs = [returned.get(result, missing) for result in results]
        return StoredGraph(name, walk, self._budget, nodes, arguments=arguments, results=refs)


def _is_in_gradient(name: str) -> bool:
    """Whether a node has the name of one of a backward pass, as tf.gradients and GradientTape give them."""
    for scope in name.split("/")[:-1]:
        if scope == "gradient_tape" or scope.endswith("_grad"):
            return True
        if scope == "gradients" or (scope.startswith("gradients_") and scope[10:].isdecimal()):
            return True
    return False


def parse_ref(text: str) -> Ref:
    """An input of a node: `argument` or `node:output:number` in a function, `node` or `node:number` in a main graph.

    Only ops with several named outputs need the name: of those that matter Merge, whose `value_index` is output 1.
    """
    node, colon, place = text.partition(":")
    if not colon:
        return Ref(node, 0)
    name, _, number = place.rpartition(":")
    if name == "value_index":
        return Ref(node, 1)
    return Ref(node, int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0)


def read_meta_graph(walk: GraphWalk, meta_graph: Span, budget: Budget) -> tuple[StoredGraph, StoredFunctions]:
    """The main graph and the functions of a MetaGraphDef.

    Raises FormatError for what is no such message, SpentError where there is more than the budget allows.
    """
    functions = StoredFunctions(walk, budget)
    nodes: list[Span] = []
    for graph in walk.parts(meta_graph, GRAPH):
        for item in walk.inside(graph):
            if item.number == GRAPH_NODE:
                nodes.append(item)
            elif item.number == LIBRARY:
                for function in walk.parts(item, FUNCTION):
                    functions.add(function)
    return StoredGraph("", walk, budget, nodes), functions
