"""Weights that meet data element by element: when they are biases and scales, and when that is not certain.

What varies along one dim is a bias or a scale. What varies along several may be a kernel: a product of elements that is
summed later is a product of matrices, a difference that is squared is a distance from each row of a table, and a sum
can be the kernel of a later op.
"""

from __future__ import annotations

from collections.abc import Mapping

from renorm_cli.conventions.graph.consumers import Consumer
from renorm_cli.conventions.graph.layout import Layout
from renorm_cli.conventions.graph.ops import ops
from renorm_cli.conventions.graph.protocol import Graph, Node

_ADDS = frozenset(ops("Add AddV2 AddN"))
_OTHERS = frozenset(ops("Sub Mul RealDiv Div MulNoNan DivNoNan TruncateDiv"))
_SHAPING = frozenset(ops("Reshape Cast Identity ExpandDims Unsqueeze Squeeze Transpose Flatten"))
_SQUARES = frozenset(ops("Abs Pow Square ReduceL1 ReduceL2 ReduceSumSquare"))
_STEPS = 32


def is_certain(graph: Graph, node: Node, layout: Layout, consumers: Mapping[tuple[str, int], Consumer]) -> bool:
    """Whether a weight that lies so in an operand of the node is what the node's row tells.

    A table that is added, of positions or of a mask, is a bias: whatever sums it later multiplies it by nothing of the
    data, unless what comes out is squared or is itself a kernel.
    """
    if not (node.op in _ADDS or node.op in _OTHERS):
        return True
    if not layout.lost and sum(dim.varies for dim in layout.dims) < 2:
        return True
    return node.op in _ADDS and not _multiplied(graph, node, consumers)


def _multiplied(graph: Graph, node: Node, consumers: Mapping[tuple[str, int], Consumer]) -> bool:
    """Whether what a node makes is squared, or taken as a kernel, at most shaped before."""
    waiting, seen = [node.name], {node.name}
    while waiting:
        name = waiting.pop()
        for user in graph.uses().get(name, ()):
            operands = [operand for operand, ref in enumerate(user.inputs) if ref.node == name]
            if user.op in _SQUARES or (user.op == "Mul" and len(operands) == 2) or len(seen) > _STEPS:
                return True
            rows = [consumers.get((user.op, operand)) for operand in operands if operand]
            if any(row is not None and row.role == "kernel" for row in rows):
                return True
            if user.op in _SHAPING and user.name not in seen:
                seen.add(user.name)
                waiting.append(user.name)
    return False
