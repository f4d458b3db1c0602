"""What the analysis of a stored graph may spend: a file of a few bytes must not cost minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class SpentError(Exception):
    """The graph is larger, deeper or more twisted than the analysis follows. Whoever asked for it goes on without."""


@dataclass(slots=True)
class Budget:
    """What the analysis of one file may still spend. Below zero is a `SpentError`; a graph of 24 MB takes a tenth."""

    fields: int = 3_000_000
    """Protobuf fields read."""
    parsed: int = 400_000
    """Nodes, and inputs of nodes, held in memory."""
    nodes: int = 100_000
    """Nodes to which a weight leads."""
    values: int = 2_000_000
    """Tensors, operands and layouts in them that are looked at."""
    runs: int = 5_000
    """Functions run on arguments of their own."""

    DEPTH: ClassVar[int] = 32
    """Calls inside of calls."""
    BRANCHES: ClassVar[int] = 64
    """Functions that one call chooses among."""
    LAYOUTS: ClassVar[int] = 64
    """Weights in one tensor; those beyond are open."""
    RANK: ClassVar[int] = 16
    ATOMS: ClassVar[int] = 64
    CHANGES: ClassVar[int] = 32
    """Dims of a layout, atoms of a dim and ops in its `via`; a layout that grows beyond is lost."""
    INTEGERS: ClassVar[int] = 64
    """Numbers in a constant that are read."""

    def node(self) -> None:
        self.nodes -= 1
        if self.nodes < 0:
            raise SpentError("nodes")

    def run(self) -> None:
        self.runs -= 1
        if self.runs < 0:
            raise SpentError("functions run")

    def enter(self, depth: int) -> None:
        if depth > self.DEPTH:
            raise SpentError("calls inside of calls")

    def choose(self, branches: int) -> None:
        if branches > self.BRANCHES:
            raise SpentError("branches")

    def value(self, count: int = 1) -> None:
        self.values -= count
        if self.values < 0:
            raise SpentError("values")

    def parse(self, count: int) -> None:
        self.parsed -= count
        if self.parsed < 0:
            raise SpentError("nodes held in memory")
