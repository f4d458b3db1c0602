"""The subgraphs of a model of TensorFlow Lite as the analysis of weights' uses asks for them.

What a subgraph takes from outside is data; a weight that is given to another subgraph is open.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from renorm_cli.conventions.graph.budget import Budget, SpentError
from renorm_cli.conventions.graph.flow import Flow
from renorm_cli.conventions.graph.layout import Constant, Shape, VariableId
from renorm_cli.conventions.graph.protocol import Ref
from renorm_cli.conventions.graph.tflite import CONSUMERS
from renorm_cli.conventions.graph.uses import Use, use_of
from renorm_cli.formats.node_graph import CONSTANT, DATA, NOTHING, VARIABLE, Held, NodeGraph
from renorm_cli.formats.protobuf import Bytes
from renorm_cli.formats.tflite.flatbuffer import Flatbuffer
from renorm_cli.formats.tflite.model import Operator, Subgraph, Tensor

_NAMES = {
    0: "Add", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 7: "EMBEDDING_LOOKUP",
    9: "FULLY_CONNECTED", 16: "LSTM", 18: "Mul", 22: "Reshape", 24: "RNN", 35: "UNIDIRECTIONAL_SEQUENCE_RNN",
    36: "Gather", 39: "Transpose", 41: "Sub", 42: "Div", 43: "SQUEEZE", 44: "UNIDIRECTIONAL_SEQUENCE_LSTM",
    53: "Cast", 54: "PRELU", 67: "TRANSPOSE_CONV", 70: "ExpandDims", 107: "GATHER_ND", 114: "QUANTIZE",
    126: "BATCH_MATMUL", 132: "CONV_3D", 133: "CONV_3D_TRANSPOSE",
}  # fmt: skip
"""Operators by their number in BuiltinOperator; those that pass weights on are called as in the analysis."""

_NUMBERS = {"int32": ("i", 4), "int64": ("q", 8)}


@dataclass(frozen=True, slots=True)
class Uses:
    """How the subgraphs use the tensors that may be weights, by key; `spent` says what they had too much of."""

    uses: Mapping[str, Use] = field(default_factory=dict)
    spent: str | None = None


class _Nobody:
    """No functions: subgraphs are not called by name."""

    def __contains__(self, name: object) -> bool:
        return False

    def get(self, name: str) -> None:
        return None


def uses_in(graphs: Sequence[Subgraph], data: Flatbuffer, content: Bytes, same: Mapping[str, str]) -> Uses:
    """How subgraphs use weights. Of tensors that are one weight, `same` has the key of the first by that of each."""
    budget = Budget()
    weights = {one.key: one for graph in graphs for one in graph.tensors if one.may_be_weight and one.key not in same}
    shapes: dict[VariableId, Shape] = {key: tensor.shape for key, tensor in weights.items()}
    try:
        flow = Flow(_Nobody(), shapes, budget, CONSUMERS)
        for number, graph in enumerate(graphs):
            flow.follow(TfliteGraph(str(number), graph, data, content, budget, same), {})
    except SpentError as error:
        return Uses(spent=str(error))
    return Uses(
        {
            key: use_of(flow.evidence.get(key, ()), tensor.shape, complete=key not in flow.left)
            for key, tensor in weights.items()
        }
    )


class TfliteGraph(NodeGraph):
    """A subgraph."""

    def __init__(
        self, name: str, graph: Subgraph, data: Flatbuffer, content: Bytes, budget: Budget, same: Mapping[str, str]
    ) -> None:
        super().__init__(name, budget)
        self._data, self._content, self._tensors = data, content, graph.tensors
        self._refs: dict[int, Ref] = {}
        for number, tensor in enumerate(graph.tensors):
            if tensor.may_be_weight:
                key = same.get(tensor.key, tensor.key)
                self._refs[number] = Ref(f"tensor {key}", 0)
                if f"tensor {key}" not in self._nodes:
                    self.variables[self.make(f"tensor {key}", VARIABLE, (), Held(tensor=tensor))] = key
            elif tensor.size:
                self._refs[number] = Ref(self.make(self.place(), CONSTANT, (), Held(tensor=tensor)), 0)
        places = [self.place() for _ in graph.operators]
        for place, operator in zip(places, graph.operators, strict=True):
            for output, number in enumerate(operator.outputs):
                self._refs.setdefault(number, Ref(place, output))
        for place, operator in zip(places, graph.operators, strict=True):
            inputs = [NOTHING if number < 0 else self._refs.get(number, DATA) for number in operator.inputs]
            translate = _TRANSLATED.get(operator.code)
            op, attributes = _NAMES.get(operator.code, f"operator {operator.code}"), dict[str, object]()
            if translate is not None and inputs:
                op, inputs, attributes = translate(self, operator, inputs)
            self.make(place, op, inputs, Held(attributes=attributes))
        self.make("outputs of the graph", "Output", [self._refs.get(number, DATA) for number in graph.outputs])

    def tensor_constant(self, tensor: Tensor) -> Constant:
        form, width = _NUMBERS.get(tensor.dtype, ("", 1))
        count = tensor.size // width
        if not form or count > Budget.INTEGERS:
            return Constant(None, tensor.shape)
        raw = bytes(self._content[tensor.start : tensor.start + tensor.size])
        return Constant(tuple(struct.unpack(f"<{count}{form}", raw)), tensor.shape)

    def option(self, operator: Operator, number: int, width: int = 4) -> int:
        """A number among the options of an operator."""
        return self._data.scalar(operator.options, number, width, signed=True) if operator.options else 0

    def options(self, operator: Operator, number: int) -> tuple[int, ...]:
        """Several numbers among the options of an operator."""
        found = self._data.integers(operator.options, number, Budget.INTEGERS) if operator.options else None
        return tuple(found or ())

    def dtype(self, number: int) -> str:
        return self._tensors[number].dtype


Translated = tuple[str, list[Ref], dict[str, object]]


def _dequantize(graph: TfliteGraph, operator: Operator, inputs: list[Ref]) -> Translated:
    """Of float16 it widens the same numbers."""
    wide = operator.inputs[0] >= 0 and graph.dtype(operator.inputs[0]) == "float16"
    return "Cast" if wide else "Dequantize", inputs[:1], {}


def _with_axis(op: str) -> Callable[[TfliteGraph, Operator, list[Ref]], Translated]:
    """An op whose axis, its first option, is its last operand in the words of the analysis."""

    def translate(graph: TfliteGraph, operator: Operator, inputs: list[Ref]) -> Translated:
        return op, [*inputs, graph.made(graph.option(operator, 0))], {"batch_dims": graph.option(operator, 1)}

    return translate


def _reshape(graph: TfliteGraph, operator: Operator, inputs: list[Ref]) -> Translated:
    return "Reshape", inputs if len(inputs) > 1 else [*inputs, graph.made(*graph.options(operator, 0))], {}


def _squeeze(graph: TfliteGraph, operator: Operator, inputs: list[Ref]) -> Translated:
    return "Squeeze", inputs[:1], {"squeeze_dims": graph.options(operator, 0)}


def _product(graph: TfliteGraph, operator: Operator, inputs: list[Ref]) -> Translated:
    return (
        "BATCH_MATMUL",
        inputs,
        {name: graph.option(operator, number, 1) for number, name in enumerate(("adj_x", "adj_y"))},
    )


_TRANSLATED: Mapping[int, Callable[[TfliteGraph, Operator, list[Ref]], Translated]] = {
    2: _with_axis("ConcatV2"),
    6: _dequantize,
    22: _reshape,
    36: _with_axis("Gather"),
    43: _squeeze,
    114: lambda graph, operator, inputs: ("QuantizeV2", inputs[:1], {}),
    126: _product,
}
"""Operators that have as options what the analysis has as operands or attributes."""
