"""A ModelProto of ONNX: its graphs with their nodes and tensors, of which no bytes are read.

Source: onnx/onnx.proto, onnx/docs/IR.md 1.23. A body of If, Loop or Scan is a graph in an attribute of its node, and
sees the names of the graphs around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from renorm_cli.errors import FormatError
from renorm_cli.formats.onnx.tensors import Chain, Tensor, is_outside, read_tensor
from renorm_cli.formats.protobuf import BYTES, VARINT, signed
from renorm_cli.formats.walk import Span, Walk
from renorm_cli.model.blocks import is_shape
from renorm_cli.untrusted import quoted

GRAPH, _TRAINING, _FUNCTION = 7, 20, 25
_DEPTH = 32
"""Graphs inside of graphs; protobuf itself stops at 100 messages inside of messages, three for each."""
_MOST_NODES = 300_000
_MOST_NUMBERS = 64
_LONGEST_TEXT = 1_000

Attribute: TypeAlias = int | tuple[int, ...] | bytes | None
"""An integer, few integers or a short text; None for what is of another type, or longer."""


@dataclass(slots=True)
class StoredNode:
    """A node. `op` is its operator, as `operator` names it."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    bodies: dict[str, StoredGraph] = field(default_factory=dict)


@dataclass(slots=True)
class StoredGraph:
    """A graph, or the body of a function. `tensors` are its initializers and Constant nodes by name.

    `path` leads to it from the main graph, "" of which it is: it makes keys of the names in it.
    """

    path: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[StoredNode] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def key(self, name: str) -> str:
        return f"{self.path}{name}"


@dataclass(slots=True)
class Model:
    """A model: its graph, and its functions by their names as operators."""

    graph: StoredGraph
    functions: Mapping[str, StoredGraph]
    tensors: Mapping[str, Tensor]
    """Initializers, Constant nodes that may be weights, and what else lies in other files, by key."""


def read_model(walk: Walk, shown: str) -> Model:
    """The model in a file. Raises FormatError where it is damaged, or has two tensors of one name."""
    reader = _Reader(walk, shown)
    graph: StoredGraph | None = None
    functions: dict[str, StoredGraph] = {}
    for item in walk.inside(walk.whole):
        if item.number == GRAPH:
            if graph is not None:
                raise walk.damaged("expected one graph, found two")
            graph = reader.graph(Chain(item, None), "", 0)
        elif item.number == _FUNCTION:
            name = operator(walk.string(item, 10), walk.string(item, 1), walk.string(item, 13))
            functions[name] = reader.function(item, name)
        elif item.number == _TRAINING:
            reader.training(Chain(item, None))
    if graph is None:
        raise walk.damaged("expected a graph, found none")
    return Model(graph, functions, reader.tensors)


def operator(domain: str, name: str, overload: str) -> str:
    """The name of an operator: with its domain, but for that of ONNX, and its overload, if it has one."""
    named = name if domain in ("", "ai.onnx") else f"{domain}.{name}"
    return f"{named}:{overload}" if overload else named


class _Reader:
    """Reads graphs; what all of them hold is in `tensors`."""

    def __init__(self, walk: Walk, shown: str) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._walk = walk
        self._shown = shown
        self._nodes = 0
        self._trainings = 0
        self._carried: dict[str, int] = {}

    def graph(self, chain: Chain, path: str, depth: int) -> StoredGraph:
        """GraphProto{node=1, initializer=5, input=11, output=12, sparse_initializer=15}."""
        if depth > _DEPTH:
            raise FormatError(f"{self._shown!r} has graphs nested deeper than {_DEPTH}; no model has")
        walk, found = self._walk, StoredGraph(path)
        for item in walk.inside(chain.span):
            if item.number == 1:
                self._node(found, Chain(item, chain), depth)
            elif item.number == 5:
                self._tensor(found, Chain(item, chain), None)
            elif item.number in (11, 12):
                (found.inputs if item.number == 11 else found.outputs).append(walk.string(item, 1))
            elif item.number == 15:
                self._sparse(found, Chain(item, chain))
        return found

    def function(self, span: Span, name: str) -> StoredGraph:
        """FunctionProto{name=1, input=4, output=5, node=7, domain=10, attribute_proto=11, overload=13}."""
        walk, found, chain = self._walk, StoredGraph(f"{name}/"), Chain(span, None)
        for item in walk.inside(span):
            if item.number == 7:
                self._node(found, Chain(item, chain), 0)
            elif item.number in (4, 5):
                (found.inputs if item.number == 4 else found.outputs).append(walk.text(item))
            elif item.number == 11:
                apart = _Reader(walk, self._shown)
                apart._attribute(found, StoredNode("", "default", [], []), Chain(item, chain), 0)
                self._carry_all(apart)
        return found

    def training(self, chain: Chain) -> None:
        """TrainingInfoProto{initialization=1, algorithm=2}: of its graphs, which no inference runs, tensors outside."""
        for item in self._walk.inside(chain.span):
            if item.number in (1, 2):
                self._trainings += 1
                apart = _Reader(self._walk, self._shown)
                apart.graph(Chain(item, chain), f"training {self._trainings}/", 0)
                self._carry_all(apart)

    def _node(self, graph: StoredGraph, chain: Chain, depth: int) -> None:
        """NodeProto{input=1, output=2, name=3, op_type=4, attribute=5, domain=7, overload=8}."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise FormatError(f"{self._shown!r} has more than {_MOST_NODES} nodes; no model has so many")
        walk = self._walk
        texts: dict[int, list[str]] = {1: [], 2: [], 3: [""], 4: [""], 7: [""], 8: [""]}
        attributes: list[Span] = []
        for item in walk.inside(chain.span):
            if item.number == 5:
                attributes.append(item)
            elif item.number in texts:
                texts[item.number].append(walk.text(item))
        op = operator(texts[7][-1], texts[4][-1], texts[8][-1])
        node = StoredNode(op, texts[3][-1], texts[1], texts[2])
        for attribute in attributes:
            self._attribute(graph, node, Chain(attribute, chain), depth)
        graph.nodes.append(node)

    def _attribute(self, graph: StoredGraph, node: StoredNode, chain: Chain, depth: int) -> None:
        """AttributeProto{name=1, i=3, s=4, t=5, g=6, ints=8, tensors=10, graphs=11, ref_attr_name=21, sparse_tensor=22,
        sparse_tensors=23}."""
        walk = self._walk
        name, several = "", list[int]()
        carried: list[Chain] = []
        value: Attribute = None
        is_constant = node.op == "Constant" and bool(node.outputs and node.outputs[0])
        for item in walk.inside(chain.span):
            match item.number:
                case 1:
                    name = walk.text(item)
                case 3:
                    value = signed(walk.integer(item))
                case 4:
                    value = walk.bytes_of(item, _LONGEST_TEXT + 1)
                case 5 if is_constant:
                    self._tensor(graph, Chain(item, chain), node.outputs[0])
                case 5 | 10:
                    carried.append(Chain(item, chain))
                case 6 | 11:
                    path = f"{graph.path}{node.outputs[0] if node.outputs else node.name}/{name}/"
                    key = name if name not in node.bodies else f"{name} {len(node.bodies)}"
                    node.bodies[key] = self.graph(Chain(item, chain), path, depth + 1)
                case 8:
                    for number in walk.numbers(item):
                        several.append(number)
                        if len(several) > _MOST_NUMBERS:
                            break
                case 21:  # the value is an attribute of the function's call, which is not followed
                    node.op = "attribute of a call"
                case 22 if is_constant:
                    self._sparse(graph, Chain(item, chain), node.outputs[0])
                case 22 | 23:
                    sparse = Chain(item, chain)
                    carried += [Chain(part, sparse) for part in walk.inside(item) if part.number in (1, 2)]
        self._outside(f"{graph.path}{node.outputs[0] if node.outputs else node.name}/{name}", carried)
        if several:
            node.attributes[name] = tuple(several) if len(several) <= _MOST_NUMBERS else None
        elif not isinstance(value, bytes) or len(value) <= _LONGEST_TEXT:
            node.attributes[name] = value

    def _tensor(self, graph: StoredGraph, chain: Chain, name: str | None) -> Tensor:
        """Take a tensor into a graph: an initializer by its own name, a constant by that of its output."""
        tensor = read_tensor(self._walk, chain, self._shown)
        own = tensor.name if name is None else name
        if own in graph.tensors:
            raise FormatError(f"{self._shown!r}: two tensors have the name {quoted(own)}; one was expected")
        graph.tensors[own] = tensor
        if name is None or tensor.may_be_weight or tensor.outside is not None:
            key = graph.key(own)
            if key in self.tensors:
                raise FormatError(f"{self._shown!r}: two tensors have the name {quoted(key)}; one was expected")
            self.tensors[key] = tensor
        return tensor

    def _outside(self, key: str, chains: Iterable[Chain]) -> None:
        """Take tensors that are no weights and lie in other files, so that these are read and copied."""
        for chain in chains:
            if is_outside(self._walk, chain.span):
                self._carry(key, read_tensor(self._walk, chain, self._shown))

    def _carry_all(self, apart: _Reader) -> None:
        """Take the tensors that another reader found in other files."""
        for key, tensor in apart.tensors.items():
            if tensor.outside is not None:
                self._carry(key, tensor)

    def _carry(self, key: str, tensor: Tensor) -> None:
        tensor.carried, tensor.fixed = True, "it is an attribute, or of training, and no weight"
        count = self._carried[key] = self._carried.get(key, 0) + 1
        own = key if count == 1 else f"{key} {count}"
        if own in self.tensors:
            raise FormatError(f"{self._shown!r}: two tensors have the name {quoted(own)}; one was expected")
        self.tensors[own] = tensor

    def _sparse(self, graph: StoredGraph, chain: Chain, name: str | None = None) -> None:
        """SparseTensorProto{values=1, indices=2, dims=3}: the values have the name."""
        walk = self._walk
        values: Chain | None = None
        indices: list[Chain] = []
        sizes: list[int] = []
        for item in walk.inside(chain.span):
            if item.number == 1 and item.wire_type == BYTES:
                values = Chain(item, chain)
            elif item.number == 2:
                indices.append(Chain(item, chain))
            elif item.number == 3 and item.wire_type in (BYTES, VARINT):
                sizes += [size for size, _ in zip(walk.numbers(item), range(_MOST_NUMBERS + 1), strict=False)]
                if not is_shape(sizes):
                    raise walk.damaged(f"expected the shape of a sparse tensor at byte {item.start}, found none")
        if values is not None:
            tensor = self._tensor(graph, values, name)
            self._outside(f"{graph.key(tensor.name if name is None else name)}/indices", indices)
            tensor.shape, tensor.place = tuple(sizes), None
            tensor.odd = "it is stored as a sparse tensor"
