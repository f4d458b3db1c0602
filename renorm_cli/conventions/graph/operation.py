"""One output of a node whose operands are known: what the rules of ops look at."""

from __future__ import annotations

from typing import NamedTuple

from renorm_cli.conventions.graph.layout import Constant, Value
from renorm_cli.conventions.graph.protocol import Graph, Node


class Operation(NamedTuple):
    """Output number `output` of a node, and what its operands are made of."""

    graph: Graph
    node: Node
    output: int
    operands: tuple[Value, ...]

    def integers(self, operand: int) -> tuple[int, ...] | None:
        """The numbers of an operand, if it is a constant whose numbers are known."""
        return integers_of(self.operands[operand])

    def integer(self, operand: int) -> int | None:
        """The single number of an operand."""
        found = self.integers(operand)
        return found[0] if found is not None and len(found) == 1 else None


def integers_of(value: Value) -> tuple[int, ...] | None:
    return value.integers if isinstance(value, Constant) else None
