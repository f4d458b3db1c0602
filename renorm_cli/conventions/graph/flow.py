"""Where the weights of a graph go: each is followed forward, through calls and loops, to the ops where it meets data.

What is made of weights and constants alone is still the weight: a norm that is divided by, a mask, fake quantization.
The op that takes it together with data says, by the table of consumers, what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.consumers import (
    CONSUMERS,
    FLATTENED,
    IGNORED,
    PICKS_BY_PRODUCT,
    Consumer,
    GraphRole,
    trains,
)
from renorm_cli.conventions.graph.elementwise import is_certain
from renorm_cli.conventions.graph.layout import (
    Axes,
    Handle,
    Layout,
    Shape,
    Value,
    VariableId,
    Weights,
    holds_weights,
)
from renorm_cli.conventions.graph.operation import integers_of
from renorm_cli.conventions.graph.protocol import Graph, Library, Node, Ref, Shapes
from renorm_cli.conventions.graph.values import Run

_ONE_HOT_STEPS = 8
_SAME_STEPS = 100


class Evidence(NamedTuple):
    """What one op says of a weight; `role` is None where it says nothing, `units` where it names no whole axes."""

    role: GraphRole | None
    units: Axes | None
    op: str
    via: frozenset[str]
    gradient: bool


class _Call(NamedTuple):
    """How an op calls: the attributes that name functions, and how many operands around theirs are its own."""

    attributes: tuple[str, ...]
    before: int = 0
    after: int = 0


_CALLS: Mapping[str, _Call] = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall", "BatchFunction"), _Call(("f",))),
    **dict.fromkeys(("If", "StatelessIf"), _Call(("then_branch", "else_branch"), before=1)),
    **dict.fromkeys(("Case", "StatelessCase"), _Call(("branches",), before=1)),
    **dict.fromkeys(("While", "StatelessWhile"), _Call(("body", "cond"))),
    "RemoteCall": _Call(("f",), before=1),
    "TPUPartitionedCall": _Call(("f",), after=1),
    "XlaLaunch": _Call(("function",)),
}
_LOOPS = ("While", "StatelessWhile")
_SHAPING = ("Reshape", "Cast", "Identity", "ExpandDims", "Squeeze")


class Flow:
    """Follows the weights of a model, whose shapes are `shapes`; what their consumers say is in `evidence`."""

    def __init__(
        self,
        library: Library,
        shapes: Shapes,
        budget: Budget,
        consumers: Mapping[tuple[str, int], Consumer] = CONSUMERS,
    ) -> None:
        self.evidence: dict[VariableId, set[Evidence]] = {}
        self.left: set[VariableId] = set()
        """Variables that were not followed to all their consumers."""
        self.places: dict[VariableId, str] = {}
        """The name of an op that tells the role of the variable, with its scopes."""
        self._library = library
        self._shapes = shapes
        self._budget = budget
        self._consumers = consumers
        self._depth = 0
        self._runs: dict[object, Run] = {}
        self._called: dict[tuple[Run, str], Sequence[Run]] = {}
        self._unchanged: dict[str, frozenset[int]] = {}

    def follow(self, graph: Graph, arguments: Mapping[str, Value]) -> Run:
        """Follow what the arguments hold, and the variables in the graph itself.

        Raises SpentError where that is more than the budget allows; then this object is of no more use.
        """
        key = graph.name, tuple(sorted((name, value) for name, value in arguments.items() if value is not None))
        if key in self._runs:
            return self._runs[key]
        self._budget.run()
        run = self._runs[key] = Run(graph, arguments, self._shapes, self._budget, self)
        self._enter()
        waiting = [name for name, value in arguments.items() if holds_weights(value)]
        waiting += [name for name, variable in graph.variables.items() if variable in self._shapes]
        seen: set[str] = set()
        while waiting:
            for node in graph.uses().get(waiting.pop(), ()):
                if node.name not in seen:
                    seen.add(node.name)
                    self._budget.node()
                    if self._passes(run, node):
                        waiting.append(node.name)
        self._depth -= 1
        return run

    # What a run asks of its caller.

    def is_call(self, node: Node) -> bool:
        return node.op in _CALLS or node.op in self._library

    def result(self, run: Run, node: Node, output: int) -> Value:
        """What an output of a call is made of: of branches, what they agree on, or the weights of all."""
        called = self._call(run, node)
        if node.op in _LOOPS:
            unchanged = bool(called) and output in self._same(called[0].graph)
            return run.value(node.inputs[output]) if unchanged and output < len(node.inputs) else None
        self._enter()
        values = [
            each.value(each.graph.results[output]) if output < len(each.graph.results) else None for each in called
        ]
        self._depth -= 1
        weights = [value for value in values if isinstance(value, Weights)]
        if weights and len(weights) == len(values):
            return Weights(tuple(dict.fromkeys(layout for value in weights for layout in value.layouts)))
        return values[0] if values and all(value == values[0] for value in values) else None

    def leave(self, variables: Iterable[VariableId]) -> None:
        self.left.update(variables)

    # Calls.

    def _enter(self) -> None:
        self._depth += 1
        self._budget.enter(self._depth)

    def _call(self, run: Run, node: Node) -> Sequence[Run]:
        """The functions that a node runs on its operands, followed; none where all is data or they do not fit."""
        key = run, node.name
        if key not in self._called:
            self._called[key] = ()  # what a function that calls itself finds
            self._called[key] = self._find_called(run, node)
        return self._called[key]

    def _find_called(self, run: Run, node: Node) -> Sequence[Run]:
        call = _CALLS.get(node.op)
        names = [node.op]
        values = run.values(node)
        if call is not None:
            names = [name for attribute in call.attributes for name in run.graph.functions(node, attribute)]
            values = values[call.before : len(values) - call.after]
        self._budget.choose(len(names))
        if all(value is None for value in values):
            return ()
        graphs = [graph for name in names if (graph := self._library.get(name)) is not None]
        if len(graphs) != len(names) or any(len(graph.arguments) != len(values) for graph in graphs):
            return ()
        if node.op in _LOOPS and graphs:
            same = self._same(graphs[0])
            for number, value in enumerate(values):
                if number not in same and isinstance(value, Weights):
                    self._note(run, node, value, None)
            values = tuple(
                value if number in same or isinstance(value, Handle) else None for number, value in enumerate(values)
            )
        self._budget.value(len(values) * len(graphs))
        return [self.follow(graph, dict(zip(graph.arguments, values, strict=True))) for graph in graphs]

    def _same(self, body: Graph) -> frozenset[int]:
        """Of a loop's body: the numbers of the arguments that it returns as they are."""
        if body.name not in self._unchanged:
            pairs = zip(body.arguments, body.results, strict=False)
            self._unchanged[body.name] = frozenset(
                number for number, (argument, result) in enumerate(pairs) if _origin(body, result) == argument
            )
        return self._unchanged[body.name]

    # Consumers.

    def _passes(self, run: Run, node: Node) -> bool:
        """Whether a node passes weights on; what it makes of the others is noted."""
        if node.op in IGNORED:
            return False
        fits = not self.is_call(node) or bool(self._call(run, node))
        if fits and any(holds_weights(run.value(Ref(node.name, output))) for output in run.graph.outputs(node)):
            self._note_ranges(run, node)
            return True
        if self.is_call(node) and fits:
            return False
        result = run.value(Ref(node.name, 0))
        if holds_weights(result):
            return False  # nobody takes it
        consumed = result is None
        for operand, value in enumerate(run.values(node)):
            if consumed and trains(node.op):
                if operand and isinstance(value, Handle):
                    self._note(run, node, value, "optimizer")
            elif consumed:
                for layout in self._layouts(run, value):
                    self._add(run, node, layout, *self._told(run, node, operand, layout))
            else:
                self._note(run, node, value, None)
        return False

    def _note_ranges(self, run: Run, node: Node) -> None:
        """Of a node that passes its operand 0 on: other weights can be the ranges of a quantization."""
        for operand, value in enumerate(run.values(node)[:3]):
            row = self._consumers.get((node.op, operand))
            if row is not None and row.role == "quantized":
                self._note(run, node, value, "quantized")

    def _note(self, run: Run, node: Node, value: Value, role: GraphRole | None) -> None:
        for layout in self._layouts(run, value):
            self._add(run, node, layout, role, None)

    def _layouts(self, run: Run, value: Value) -> Sequence[Layout]:
        weights = run.read(value)
        if not isinstance(weights, Weights):
            return ()
        self._budget.value(len(weights.layouts))
        return weights.layouts

    def _add(self, run: Run, node: Node, layout: Layout, role: GraphRole | None, units: Axes | None) -> None:
        evidence = Evidence(role, units, node.op, layout.via, run.graph.is_gradient(node))
        if role is not None and not evidence.gradient:
            self.places.setdefault(layout.variable, node.name)
        self.evidence.setdefault(layout.variable, set()).add(evidence)

    def _told(self, run: Run, node: Node, operand: int, layout: Layout) -> tuple[GraphRole | None, Axes | None]:
        """The role of a weight by one consumer, and the axes that name its units; None for no whole axes."""
        row = self._consumers.get((node.op, operand))
        if row is None:
            return None, None
        shape = self._shapes[layout.variable]
        if row.rule is None:
            if layout.summed and not layout.lost:  # a product of weights that is added or scales: kernels before
                return "kernel", layout.sides(range(len(layout.dims)), shape).units or None
            return row.role if is_certain(run.graph, node, layout, self._consumers) else None, None
        if layout.lost:
            return row.role, None
        if row.rule is FLATTENED:
            return _flattened(layout, shape)
        rank = len(layout.dims)
        output = row.rule(_Consuming(run, node), rank)
        if output is None or not all(-rank <= dim < rank for dim in output):
            return row.role, None
        if node.op in PICKS_BY_PRODUCT and _meets_one_hot(run.graph, node, operand):
            picked = {dim % rank for dim in output}
            return _embedding(layout, [dim for dim in range(rank) if dim not in picked], shape)
        if row.role == "embedding":
            whole = run.graph.integer(node, "batch_dims") == 0
            return _embedding(layout, output, shape) if whole else (row.role, None)
        sides = layout.sides(output, shape)
        # The same along all that is summed: the factor of a weight norm, the scale of quantized columns.
        return (row.role, sides.units) if sides.summed else ("scale", None)


class _Consuming:
    """What a rule may ask of the op that consumes a weight."""

    def __init__(self, run: Run, node: Node) -> None:
        self._run = run
        self._node = node

    def flag(self, name: str) -> bool:
        return self._run.graph.flag(self._node, name)

    def integer(self, name: str, default: int) -> int:
        return self._run.graph.integer(self._node, name, default)

    def text(self, name: str) -> str | None:
        return self._run.graph.text(self._node, name)

    def message_integers(self, name: str, field: int) -> tuple[int, ...] | None:
        return self._run.graph.message_integers(self._node, name, field)

    def operand_integers(self, operand: int) -> tuple[int, ...] | None:
        return integers_of(self._operand(operand))

    def operand_shape(self, operand: int) -> Shape | None:
        return self._run.shape(self._operand(operand))

    def operand_is_data(self, operand: int) -> bool:
        return self._operand(operand) is None

    def _operand(self, operand: int) -> Value:
        return self._run.value(self._node.inputs[operand]) if operand < len(self._node.inputs) else None


def _embedding(layout: Layout, output: Iterable[int], shape: Shape) -> tuple[GraphRole | None, Axes | None]:
    """Rows are units where they are vectors; of a flat table of numbers nothing is told."""
    sides = layout.sides(output, shape)
    if not sides.summed:
        return None, None
    return "embedding", sides.units if len(shape) == 2 else None


def _flattened(layout: Layout, shape: Shape) -> tuple[GraphRole, Axes | None]:
    """In the buffer of cuDNN each matrix lies as (units, inputs), and after the matrices the biases."""
    axes = [axis for dim in layout.dims for atom in dim.atoms for axis in atom.axes]
    return ("kernel", (axes[0],) if len(axes) == 2 else None) if len(shape) > 1 else ("bias", None)


def _meets_one_hot(graph: Graph, node: Node, operand: int) -> bool:
    """Whether another operand is made by OneHot, and no more than shaped since."""
    for other, ref in enumerate(node.inputs):
        for _ in range(_ONE_HOT_STEPS if other != operand else 0):
            found = graph.nodes().get(ref.node)
            if found is not None and found.op == "OneHot":
                return True
            if found is None or found.op not in _SHAPING or not found.inputs:
                break
            ref = found.inputs[0]
    return False


def _origin(body: Graph, ref: Ref) -> str:
    """The node or argument whose value this is, unchanged."""
    for _ in range(_SAME_STEPS):
        node = body.nodes().get(ref.node)
        if node is None or node.op != "Identity" or not node.inputs:
            break
        ref = node.inputs[0]
    return ref.node
