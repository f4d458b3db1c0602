"""What a tensor is made of: looked for backward, to variables, constants and what comes from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.integers import compute
from renorm_cli.conventions.graph.layout import DERIVED, Constant, Handle, Shape, Value, VariableId, Weights, plain
from renorm_cli.conventions.graph.operation import Operation
from renorm_cli.conventions.graph.ops import ops
from renorm_cli.conventions.graph.passing import MAY_BE_DATA, SAME, pass_on
from renorm_cli.conventions.graph.protocol import Graph, Node, Ref, Shapes

DATA = frozenset(
    ops("""
    AvgPool Conv Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 CudnnRNN CudnnRNNV2 CudnnRNNV3
    DepthwiseConv2dNative EagerPyFunc FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 IteratorGetNext MaxPool
    NextIteration Placeholder PlaceholderWithDefault PyFunc PyFuncStateless ReadFile SaveV2 XlaCallModule
    """)
)
"""Ops whose outputs count as data whatever goes in, so that nobody has to look behind them.

A placeholder with a default is one: the default would make training flags and file names constants. So is whatever a
backward pass computes.
"""


class Caller(Protocol):
    """Who knows the nodes that call functions."""

    def is_call(self, node: Node) -> bool: ...

    def result(self, run: Run, node: Node, output: int) -> Value:
        """What an output of a call is made of."""

    def leave(self, variables: Iterable[VariableId]) -> None:
        """Take note of weights that are too many in one tensor to be followed from there."""


class Run:
    """One run of a graph on abstract arguments, and what was found of its tensors."""

    def __init__(
        self, graph: Graph, arguments: Mapping[str, Value], shapes: Shapes, budget: Budget, caller: Caller
    ) -> None:
        self.graph = graph
        self.arguments = arguments
        self._shapes = shapes
        self._budget = budget
        self._caller = caller
        self._known: dict[Ref, Value] = {}

    def value(self, wanted: Ref) -> Value:
        """What the tensor is made of. The search has a stack of its own: no depth of the graph is one of Python's."""
        known = self._known
        stack = [wanted]
        entered: set[Ref] = set()
        while stack:
            ref = stack[-1]
            if ref in known:
                stack.pop()
                continue
            self._budget.value()
            if ref.node in self.arguments:
                known[ref] = self.arguments[ref.node]
                continue
            node = self.graph.nodes().get(ref.node)
            if node is None or node.op in DATA or self.graph.is_gradient(node):
                known[ref] = None
                continue
            if ref not in entered:
                entered.add(ref)
                missing = [each for each in node.inputs if each not in known]
                for each in missing:
                    if each in entered:
                        known[each] = None  # a cycle: what comes around is not the weight as it is stored
                stack += [each for each in missing if each not in entered]
                if stack[-1] != ref:
                    continue
            value = self._evaluate(node, ref.output)
            known.setdefault(ref, value)
        return known[wanted]

    def values(self, node: Node) -> tuple[Value, ...]:
        """What the operands of a node are made of."""
        return tuple(self.value(ref) for ref in node.inputs)

    def shape(self, value: Value) -> Shape | None:
        if isinstance(value, Handle):
            return self._shapes.get(value.variable)
        return value.shape if isinstance(value, (Weights, Constant)) else None

    def read(self, value: Value) -> Value:
        """What an op sees that takes a variable as it is: the weight."""
        shape = self.shape(value) if isinstance(value, Handle) else None
        return Weights((plain(value.variable, shape),)) if isinstance(value, Handle) and shape is not None else value

    def _evaluate(self, node: Node, output: int) -> Value:
        op = node.op
        if op == "Const":
            return self.graph.constant(node)
        variable = self.graph.variables.get(node.name)
        if variable is not None:
            return Handle(variable) if output == 0 and variable in self._shapes else None
        if self._caller.is_call(node):
            return self._limited(self._caller.result(self, node, output))
        values = tuple(self._known.get(ref) for ref in node.inputs)
        self._budget.value(sum(len(value.layouts) if isinstance(value, Weights) else 1 for value in values))
        if not values or (op == "Enter" and not self.graph.flag(node, "is_constant")):
            return None  # a value that a loop changes
        if op in ("Merge", "RefMerge"):
            return values[0] if output == 0 and all(value == values[0] for value in values) else None
        if op in ("Shape", "VariableShape"):
            shape = self.shape(values[0])
            return None if shape is None or min(shape, default=0) < 0 else Constant(shape, (len(shape),))
        if op == "IdentityN":
            return values[output] if output < len(values) else None
        if op not in SAME or op == "ReadVariableOp":
            values = tuple(self.read(value) for value in values)
        skipped = MAY_BE_DATA.get(op, ())
        if any(value is None for operand, value in enumerate(values) if operand not in skipped):
            return None
        operation = Operation(self.graph, node, output, values)
        try:
            if all(value is None or isinstance(value, Constant) for value in values):
                return compute(operation)
            return self._limited(pass_on(operation))
        except (IndexError, ValueError):  # operands that are not those of the op
            return DERIVED

    def _limited(self, value: Value) -> Value:
        """The value without weights of which nothing is left, and without those beyond the limits."""
        if not isinstance(value, Weights):
            return value
        left = [
            layout.within_limits() for layout in value.layouts if not layout.is_empty(self._shapes[layout.variable])
        ]
        self._caller.leave(layout.variable for layout in left[Budget.LAYOUTS :])
        return Weights(tuple(left[: Budget.LAYOUTS])) if left else DERIVED
