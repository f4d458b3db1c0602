"""The graph of a model of ONNX as the analysis of weights' uses asks for it: nodes in its words, names resolved.

Bodies of If, Loop and Scan lie flat beside the nodes around them. What a body takes from its loop is data, and what an
If returns is what either of its bodies does.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from renorm_cli.conventions.graph.budget import Budget, SpentError
from renorm_cli.conventions.graph.flow import Flow
from renorm_cli.conventions.graph.layout import Constant, Shape, VariableId
from renorm_cli.conventions.graph.onnx import ATTRIBUTES, CONSUMERS
from renorm_cli.conventions.graph.protocol import Ref
from renorm_cli.conventions.graph.uses import Use, use_of
from renorm_cli.formats.node_graph import CONSTANT, DATA, NOTHING, VARIABLE, Held, NodeGraph
from renorm_cli.formats.onnx.model import Model, StoredGraph, StoredNode
from renorm_cli.formats.onnx.tensors import Tensor, integers
from renorm_cli.formats.walk import Walk

_RENAMED = {
    "CastLike": "Cast",
    "ConstantOfShape": "Fill",
    "Dropout": "Identity",
    "Expand": "BroadcastTo",
    "Max": "Maximum",
    "Min": "Minimum",
    "Sum": "AddN",
    "Where": "SelectV2",
}
"""Operators that are told by the name that the analysis has for them. Others have their own, or none."""
_ONE_OPERAND = frozenset({"CastLike", "Dropout"})

_PARSED, _NODES = 1_200_000, 200_000
"""Nodes with their inputs and tensors, which the model holds already, and those to which a weight leads."""

Names = ChainMap[str, Ref]


@dataclass(frozen=True, slots=True)
class Uses:
    """How the graph uses the tensors that may be weights, by key.

    `places` are the names of nodes that take them; `spent` says what the graph had too much of: then nothing is told.
    """

    uses: Mapping[str, Use] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    spent: str | None = None


def uses_in(model: Model, walk: Walk, same: Mapping[str, str]) -> Uses:
    """How a model uses its weights. Of tensors that are one weight, `same` has the key of the first by that of each."""
    budget = Budget(parsed=_PARSED, nodes=_NODES)
    weights = {key: tensor for key, tensor in model.tensors.items() if tensor.may_be_weight}
    shapes: dict[VariableId, Shape] = {key: tensor.shape for key, tensor in weights.items()}
    library = _Functions(model, walk, budget, same)
    try:
        main = OnnxGraph("", model.graph, walk, budget, same)
        flow = Flow(library, shapes, budget, CONSUMERS)
        flow.follow(main, {})
        for name in model.functions:
            inside = library.get(name)
            if any(key in shapes for key in inside.variables.values()):
                flow.follow(inside, dict.fromkeys(inside.arguments))
    except SpentError as error:
        return Uses(spent=str(error))
    uses = {
        key: use_of(flow.evidence.get(key, ()), tensor.shape, complete=key not in flow.left)
        for key, tensor in weights.items()
        if key not in same
    }
    places = {str(key): main.title(place) for key, place in flow.places.items()}
    return Uses(uses, {key: title for key, title in places.items() if title})


class _Functions:
    """The functions of a model (`conventions.graph.protocol.Library`)."""

    def __init__(self, model: Model, walk: Walk, budget: Budget, same: Mapping[str, str]) -> None:
        self._model, self._walk, self._budget, self._same = model, walk, budget, same
        self._read: dict[str, OnnxGraph] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._model.functions

    def get(self, name: str) -> OnnxGraph:
        if name not in self._read:
            stored = self._model.functions[name]
            self._read[name] = OnnxGraph(name, stored, self._walk, self._budget, self._same)
        return self._read[name]


class OnnxGraph(NodeGraph):
    """The main graph, or a function."""

    def __init__(self, name: str, stored: StoredGraph, walk: Walk, budget: Budget, same: Mapping[str, str]) -> None:
        super().__init__(name, budget, [f"argument {each}" for each in stored.inputs] if name else ())
        self._walk = walk
        self._same = same
        self.results = self._add(stored, ChainMap())
        if not name:
            self.make("outputs of the graph", "Output", self.results)

    def _add(self, stored: StoredGraph, around: Names) -> list[Ref]:
        """Take over a graph, which sees names around it; returns its outputs."""
        own = {name: Ref(f"argument {name}", 0) if self.arguments else DATA for name in stored.inputs}
        names = around.new_child(own)
        for name, tensor in stored.tensors.items():
            own[name] = Ref(self._tensor(stored.key(name), tensor), 0)
        places = [self.place() for _ in stored.nodes]
        for place, node in zip(places, stored.nodes, strict=True):
            for output, name in enumerate(node.outputs):
                own.setdefault(name, Ref(f"{place}.{output}", 0) if node.op == "If" else Ref(place, output))
        for place, node in zip(places, stored.nodes, strict=True):
            bodies = [self._add(body, names) for body in node.bodies.values()]
            if node.op == "Constant":
                self.make(place, CONSTANT, (), Held(numbers=_numbers(node)))
            elif node.op == "If":
                for output in range(len(node.outputs)):
                    chosen = [body[output] for body in bodies if output < len(body)]
                    self.make(f"{place}.{output}", "Either", chosen, Held(node.name, node.attributes))
            else:
                inputs = [names.get(name, DATA) if name else NOTHING for name in node.inputs]
                op, operands = self._told(node, inputs)
                self.make(
                    place, op, [*operands, *(ref for body in bodies for ref in body)], Held(node.name, node.attributes)
                )
        return [names.get(name, DATA) for name in stored.outputs]

    def _tensor(self, key: str, tensor: Tensor) -> str:
        if not tensor.may_be_weight:
            return self.make(f"tensor {key}", CONSTANT, (), Held(tensor=tensor))
        key = self._same.get(key, key)
        name = f"tensor {key}"
        if name not in self._nodes:
            self.variables[self.make(name, VARIABLE, (), Held(tensor=tensor))] = key
        return name

    def _told(self, node: StoredNode, inputs: list[Ref]) -> tuple[str, list[Ref]]:
        """The op and the operands of a node in the words of the analysis."""
        known = ATTRIBUTES.get(node.op)
        if known is not None and not known.issuperset(node.attributes):
            return f"{node.op} of other attributes", inputs
        translate = _TRANSLATED.get(node.op)
        if translate is not None and inputs:
            return translate(self, node, inputs)
        while inputs and inputs[-1] == NOTHING:
            inputs.pop()
        return _RENAMED.get(node.op, node.op), inputs[:1] if node.op in _ONE_OPERAND else inputs

    def tensor_constant(self, tensor: Tensor) -> Constant:
        return Constant(integers(self._walk, tensor, Budget.INTEGERS), tensor.shape)


def _numbers(node: StoredNode) -> tuple[int, ...] | None:
    """The integers of a Constant node that has no tensor."""
    found = node.attributes.get("value_ints", node.attributes.get("value_int"))
    return (found,) if isinstance(found, int) else found if isinstance(found, tuple) else None


Translated = tuple[str, list[Ref]]


def _with_axes(op: str, attribute: str, default: tuple[int, ...] | None = None) -> Callable[..., Translated]:
    """An op whose last operand is what is an attribute here: operators of older versions have both ways."""

    def translate(graph: OnnxGraph, node: StoredNode, inputs: list[Ref]) -> Translated:
        found = node.attributes.get(attribute, default)
        numbers = (found,) if isinstance(found, int) else found
        return op, [*inputs, graph.made(*numbers)] if isinstance(numbers, tuple) else inputs

    return translate


def _split(graph: OnnxGraph, node: StoredNode, inputs: list[Ref]) -> Translated:
    sizes = node.attributes.get("split")
    axis = node.attributes.get("axis", 0)
    given = inputs[1] if len(inputs) > 1 else graph.made(*(sizes if isinstance(sizes, tuple) else ()))
    return "SplitV", [inputs[0], given, graph.made(axis if isinstance(axis, int) else 0)]


def _slice(graph: OnnxGraph, node: StoredNode, inputs: list[Ref]) -> Translated:
    if len(inputs) == 1:
        told = [node.attributes.get(name) for name in ("starts", "ends", "axes")]
        return "SliceAxes", [*inputs, *(graph.made(*each) for each in told if isinstance(each, tuple))]
    return "SliceAxes", inputs


def _shape(graph: OnnxGraph, node: StoredNode, inputs: list[Ref]) -> Translated:
    """Where it has a start or an end, it is not the whole shape."""
    return "Shape" if {"start", "end"}.isdisjoint(node.attributes) else "a part of Shape", inputs


_TRANSLATED: Mapping[str, Callable[[OnnxGraph, StoredNode, list[Ref]], Translated]] = {
    "Transpose": _with_axes("Transpose", "perm"),
    "Unsqueeze": _with_axes("Unsqueeze", "axes"),
    "Squeeze": _with_axes("Squeeze", "axes"),
    "Reshape": _with_axes("Reshape", "shape"),
    "Concat": _with_axes("ConcatV2", "axis"),
    "Gather": _with_axes("Gather", "axis", (0,)),
    "Split": _split,
    "Slice": _slice,
    "Shape": _shape,
}
"""Operators that have as attributes what the analysis has as operands."""
