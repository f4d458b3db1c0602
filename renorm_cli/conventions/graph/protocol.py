"""A stored graph as the analysis sees it, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from renorm_cli.conventions.graph.layout import Constant, Shape, VariableId

FunctionName: TypeAlias = str


class Ref(NamedTuple):
    """One tensor of a graph: an output of a node, or an argument of the function (then `output` is 0)."""

    node: str
    output: int


class Node(NamedTuple):
    """One operation. `inputs` are its data inputs; `attributes` is for the graph that made the node alone."""

    name: str
    op: str
    inputs: tuple[Ref, ...]
    attributes: Any = ()


class Graph(Protocol):
    """A function, or the main graph, of a stored model. Ops and attributes have TensorFlow's names.

    An attribute that is absent, or of another type than asked for, is the default.
    """

    @property
    def name(self) -> FunctionName: ...

    @property
    def arguments(self) -> Sequence[str]:
        """The names of a function's arguments, which its nodes take as inputs."""

    @property
    def results(self) -> Sequence[Ref]:
        """The tensors that a function returns."""

    @property
    def variables(self) -> Mapping[str, VariableId]:
        """The nodes that are variables themselves, as a main graph has them."""

    def nodes(self) -> Mapping[str, Node]: ...

    def uses(self) -> Mapping[str, Sequence[Node]]:
        """The nodes that take an output of the node, or the argument, of that name."""

    def outputs(self, node: Node) -> Collection[int]:
        """The outputs of a node that other nodes take."""

    def is_gradient(self, node: Node) -> bool:
        """Whether the node is part of a backward pass, whose ops are those of the forward one with axes exchanged."""

    def integer(self, node: Node, name: str, default: int = 0) -> int: ...

    def integers(self, node: Node, name: str) -> tuple[int, ...] | None: ...

    def flag(self, node: Node, name: str) -> bool: ...

    def text(self, node: Node, name: str) -> str | None: ...

    def functions(self, node: Node, name: str) -> Sequence[FunctionName]:
        """The functions that an attribute names: one, or the branches of a Case."""

    def message_integers(self, node: Node, name: str, field: int) -> tuple[int, ...] | None:
        """The numbers in a field of the protobuf message that an attribute holds as a string."""

    def constant(self, node: Node) -> Constant:
        """The value of a Const; numbers are read only of at most `Budget.INTEGERS` integers."""


class Library(Protocol):
    """The functions of a stored model."""

    def __contains__(self, name: object) -> bool: ...

    def get(self, name: FunctionName) -> Graph | None: ...


Shapes: TypeAlias = Mapping[VariableId, Shape]
