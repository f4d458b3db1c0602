"""The graph of a model of TensorFlow.js: a GraphDef as JSON, whose constants lie in the files of weights.

Source: tensorflow/core/framework/{graph,node_def,attr_value,function}.proto in the JSON of protocol buffers (64-bit
integers are texts, bytes are base64); tfjs-converter 4.22, `operations/operation_mapper.ts`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from renorm_cli.conventions.graph.budget import Budget, SpentError
from renorm_cli.conventions.graph.flow import Flow
from renorm_cli.conventions.graph.layout import Constant, Shape, VariableId
from renorm_cli.conventions.graph.protocol import Node, Ref
from renorm_cli.conventions.graph.uses import Use, use_of
from renorm_cli.formats.node_graph import CONSTANT, VARIABLE, Held, NodeGraph
from renorm_cli.formats.tensorflow.graph_def import parse_ref
from renorm_cli.model.variable import Variable

_FUSED = re.compile(r"_?Fused(Conv2D|MatMul|DepthwiseConv2dNative)")
"""An op that adds a bias and applies an activation, as its attribute `fused_ops` says."""

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_LONGEST_TEXT = 1 << 16

Numbers = Callable[[Variable], tuple[int, ...] | None]
"""Reads the few integers of a variable; None where they are no integers, or many."""


@dataclass(frozen=True, slots=True)
class Uses:
    """How the graph uses the weights, by key; `spent` says what it had too much of: then nothing is told."""

    uses: Mapping[str, Use] = field(default_factory=dict)
    spent: str | None = None


def uses_in(topology: Mapping[str, Any], variables: Sequence[Variable], numbers: Numbers) -> Uses:
    """How the nodes of a model use its weights; what is no node of a GraphDef is passed over."""
    budget = Budget()
    stored = {one.key: one for one in variables}
    shapes: dict[VariableId, Shape] = {one.key: one.shape for one in variables if _may_be_weight(one)}
    try:
        library = _Functions(_table(topology.get("library")), stored, numbers, budget)
        main = TfjsGraph("", _list(topology.get("node")), stored, numbers, budget)
        flow = Flow(library, shapes, budget)
        flow.follow(main, {})
    except SpentError as error:
        return Uses(spent=str(error))
    held = set(main.variables.values())
    return Uses(
        {
            key: use_of(flow.evidence.get(key, ()), stored[key].shape, complete=key not in flow.left)
            for key in map(str, shapes)
            if key in held
        }
    )


def _may_be_weight(variable: Variable) -> bool:
    return bool(variable.shape) and variable.elements > 0 and (variable.dtype in ("float32", "float16"))


class TfjsGraph(NodeGraph):
    """The main graph, or a function."""

    def __init__(
        self,
        name: str,
        nodes: Iterable[object],
        stored: Mapping[str, Variable],
        numbers: Numbers,
        budget: Budget,
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__(name, budget, arguments)
        self._numbers = numbers
        for found in map(_table, nodes):
            title, op = _text(found.get("name")), _text(found.get("op"))
            held = Held(title, _table(found.get("attr")), stored.get(title) if op == CONSTANT else None)
            inputs = [parse_ref(text) for text in map(_text, _list(found.get("input"))) if not text.startswith("^")]
            fused = _FUSED.fullmatch(op)
            if held.tensor is not None and _may_be_weight(held.tensor) and not name:
                self.variables[self.make(title, VARIABLE, (), held)] = held.tensor.key
            elif fused is not None and len(inputs) > 2:
                self._fused(title, fused[1], inputs, held)
            else:
                self.make(title, op, inputs, held)

    def _fused(self, title: str, op: str, inputs: Sequence[Ref], held: Held) -> None:
        """A node as those that it was made of: the op on data and kernel, the bias, and what else it takes."""
        steps = _list(_table(_table(held.attributes.get("fused_ops")).get("list")).get("s"))
        at = self.make(self.place(), op, inputs[:2], held)
        taken = 2
        if steps and _bytes(steps[0]) == b"BiasAdd":
            at = self.make(self.place(), "BiasAdd", (Ref(at, 0), inputs[2]))
            taken = 3
        rest = inputs[taken:]
        self.make(title, "Activation" if rest else "Identity", (Ref(at, 0), *rest))

    def integer(self, node: Node, name: str, default: int = 0) -> int:
        found = self._attribute(node, name)
        if "b" in found:
            return int(found["b"] is True)
        number = _integer(found.get("i"))
        return default if number is None else number

    def integers(self, node: Node, name: str) -> tuple[int, ...] | None:
        listed = _list(_table(self._attribute(node, name).get("list")).get("i"))
        numbers = [_integer(one) for one in listed[: Budget.INTEGERS + 1]]
        whole = tuple(number for number in numbers if number is not None)
        return whole if numbers and len(whole) == len(numbers) <= Budget.INTEGERS else None

    def text(self, node: Node, name: str) -> str | None:
        found = _bytes(self._attribute(node, name).get("s"))
        return None if found is None else found.decode("utf-8", "surrogateescape")

    def functions(self, node: Node, name: str) -> Sequence[str]:
        found = self._attribute(node, name)
        several = [found["func"]] if "func" in found else _list(_table(found.get("list")).get("func"))
        return [_text(_table(one).get("name")) for one in several]

    def tensor_constant(self, tensor: Variable) -> Constant:
        return Constant(self._numbers(tensor), tensor.shape)

    def _attribute(self, node: Node, name: str) -> Mapping[str, Any]:
        return _table(node.attributes.attributes.get(name))


class _Functions:
    """The functions of a model (`conventions.graph.protocol.Library`), each read when first asked for."""

    def __init__(
        self, library: Mapping[str, Any], stored: Mapping[str, Variable], numbers: Numbers, budget: Budget
    ) -> None:
        self._stored, self._numbers, self._budget = stored, numbers, budget
        told = map(_table, _list(library.get("function")))
        self._told = {_text(_table(one.get("signature")).get("name")): one for one in told}
        self._read: dict[str, TfjsGraph] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._told

    def get(self, name: str) -> TfjsGraph | None:
        if name in self._told and name not in self._read:
            self._read[name] = self._function(name, self._told[name])
        return self._read.get(name)

    def _function(self, name: str, told: Mapping[str, Any]) -> TfjsGraph:
        signature, returned = _table(told.get("signature")), _table(told.get("ret"))
        arguments, results = (
            [_text(_table(one).get("name")) for one in _list(signature.get(key))] for key in ("inputArg", "outputArg")
        )
        nodes = _list(told.get("nodeDef"))
        graph = TfjsGraph(name, nodes, self._stored, self._numbers, self._budget, arguments)
        graph.results = [parse_ref(_text(returned.get(one))) for one in results]
        return graph


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int | None:
    """An integer, which JSON has as a number or, of 64 bits, as a text."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if type(value) is int and abs(value) < 1 << 63 else None


def _bytes(value: object) -> bytes | None:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
