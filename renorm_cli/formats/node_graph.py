"""Graphs whose nodes are all in memory, as the analysis of weights' uses asks for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.layout import Constant
from renorm_cli.conventions.graph.protocol import Node, Ref
from renorm_cli.conventions.graph.uses import Use
from renorm_cli.errors import some_names
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import GraphUse

NOTHING, DATA = Ref("", 0), Ref("data", 0)
"""An operand that is left out, and one that comes from outside."""
VARIABLE, CONSTANT = "VariableV2", "Const"

_NONE: Mapping[str, object] = MappingProxyType({})


class Held(NamedTuple):
    """What is kept with a node: its name in the file and its attributes, or a stored tensor, or numbers made here."""

    title: str = ""
    attributes: Mapping[str, object] = _NONE
    tensor: Any = None
    numbers: tuple[int, ...] | None = None


def told_use(use: Use | None) -> GraphUse | None:
    """What a graph tells for certain of a weight."""
    if use is None or use.state not in ("told", "unused"):
        return None
    return GraphUse(use.role or "unknown", use.unit_axes, use.ops, use.via)


def use_notes(uses: Mapping[str, Use], spent: str | None) -> tuple[Note, ...]:
    """What a graph does not tell of its weights, and why; `spent` says what it had too much of."""
    if spent is not None:
        return (Note(f"the graph tells nothing of the weights: it has more {spent} than are followed"),)
    torn = [key for key, use in uses.items() if use.state == "conflict"]
    text = "its consumers tell different unit axes, so the graph tells none of them; say which axes name its units"
    return (Note(f"{some_names(torn)}: {text}"),) if torn else ()


class NodeGraph(ABC):
    """The main graph, or a function; a main graph has the name ""."""

    def __init__(self, name: str, budget: Budget, arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.results: Sequence[Ref] = ()
        self.variables: dict[str, str] = {}
        self._budget = budget
        self._nodes: dict[str, Node] = {}
        self._placed = 0
        self._uses: dict[str, list[Node]] | None = None
        self._outputs: dict[str, set[int]] = {}

    @abstractmethod
    def tensor_constant(self, tensor: Any) -> Constant:
        """The value of a stored tensor that is no weight."""

    def place(self) -> str:
        """The name of the next node."""
        self._placed += 1
        return f"{self.name}:{self._placed}"

    def make(self, name: str, op: str, inputs: Sequence[Ref] = (), held: Held = Held()) -> str:  # noqa: B008  (frozen)
        """Make a node. Raises SpentError where there are more than the budget allows."""
        self._budget.parse(1 + len(inputs))
        self._nodes[name] = Node(name, op, tuple(inputs), held)
        return name

    def made(self, *numbers: int) -> Ref:
        """A constant that is made of what is an attribute in the file."""
        return Ref(self.make(self.place(), CONSTANT, (), Held(numbers=numbers)), 0)

    def title(self, name: str) -> str:
        """The name that the file has for a node."""
        found = self._nodes.get(name)
        return "" if found is None else found.attributes.title

    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    def uses(self) -> Mapping[str, Sequence[Node]]:
        if self._uses is None:
            self._uses = {}
            for node in self._nodes.values():
                for name, output in node.inputs:
                    users = self._uses.setdefault(name, [])
                    if not users or users[-1] is not node:
                        users.append(node)
                    self._outputs.setdefault(name, set()).add(output)
        return self._uses

    def outputs(self, node: Node) -> Collection[int]:
        self.uses()
        return self._outputs.get(node.name, ())

    def is_gradient(self, node: Node) -> bool:
        return False

    def integer(self, node: Node, name: str, default: int = 0) -> int:
        found = node.attributes.attributes.get(name)
        return found if isinstance(found, int) else default

    def integers(self, node: Node, name: str) -> tuple[int, ...] | None:
        found = node.attributes.attributes.get(name)
        return found if isinstance(found, tuple) else None

    def flag(self, node: Node, name: str) -> bool:
        return self.integer(node, name) != 0

    def text(self, node: Node, name: str) -> str | None:
        found = node.attributes.attributes.get(name)
        return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else None

    def functions(self, node: Node, name: str) -> Sequence[str]:
        return ()

    def message_integers(self, node: Node, name: str, field: int) -> tuple[int, ...] | None:
        return None

    def constant(self, node: Node) -> Constant:
        held = node.attributes
        if held.tensor is not None:
            return self.tensor_constant(held.tensor)
        return Constant() if held.numbers is None else Constant(held.numbers, (len(held.numbers),))
