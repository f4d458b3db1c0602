"""What the stored graph of a checkpoint tells of its variables, by checkpoint key.

In a SavedModel of TF2 the objects say which function takes which variables, and their numbers are those of the
checkpoint's object graph; elsewhere variables are nodes of the main graph, and its SaveV2 names their keys.

Source: tensorflow/core/protobuf/saved_object_graph.proto; tensorflow/python/saved_model/{save,load}.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from renorm_cli.conventions.graph.budget import Budget, SpentError
from renorm_cli.conventions.graph.flow import Evidence, Flow
from renorm_cli.conventions.graph.layout import Handle, Shape, Value, VariableId
from renorm_cli.conventions.graph.protocol import Node, Ref
from renorm_cli.conventions.graph.uses import Use, settles, use_of
from renorm_cli.formats.tensorflow.graph_def import (
    GraphWalk,
    StoredFunctions,
    StoredGraph,
    read_meta_graph,
)
from renorm_cli.formats.tensorflow.object_graph import MAX_NODES, ObjectGraph
from renorm_cli.formats.tensorflow.spans import OBJECTS
from renorm_cli.formats.walk import Span

_SAVERS = {"SaveV2": (1, 2, 3), "SaveSlices": (1, 2, 3), "Save": (1, None, 2)}
"""Op -> its operands that are the names, the shapes and slices, and the first tensor (array_ops, io_ops.cc)."""

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_UNCHANGED = ("Identity", "ReadVariableOp")
_STEPS = 10
"""Nodes between a variable and the op that saves it or the call that takes it."""


@dataclass(frozen=True, slots=True)
class GraphUses:
    """What the graph tells, by checkpoint key; only of variables whose name and shape are those of the graph.

    `copies` are (key, key) of one weight that is stored twice, told by its places in the graph. `places` are the names
    of ops in functions that use the variable, with their scopes. `spent` says what the
    graph had too much of; then nothing is told.
    """

    uses: Mapping[str, Use] = field(default_factory=dict)
    copies: tuple[tuple[str, str], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    spent: str | None = None


def uses_in_saved_model(
    data: bytes | memoryview, shown: str, objects: ObjectGraph | None, shapes: Mapping[str, Shape]
) -> GraphUses:
    """What `saved_model.pb`, whose content is `data`, tells of the variables of the checkpoint beside it.

    `objects` is the object graph of that checkpoint, if it has one, and `shapes` are its tensors by key. Raises
    FormatError for a file that is damaged; `shown` names it.
    """
    budget = Budget()
    walk = GraphWalk(data, shown, budget)
    try:
        for meta_graph in walk.graphs():
            for part in walk.parts(meta_graph, OBJECTS):
                stored = _read_objects(walk, part)
                if objects is not None and stored.bound and stored.variables:
                    return _uses_of_objects(walk, meta_graph, budget, stored, _keys(stored, objects, shapes), shapes)
        return _uses_of_main_graphs(walk, walk.graphs(), budget, shapes)
    except SpentError as error:
        return GraphUses(spent=str(error))


def uses_in_meta_graph(data: bytes | memoryview, shown: str, shapes: Mapping[str, Shape]) -> GraphUses:
    """What a `.meta` file beside a checkpoint of TF1 tells; as `uses_in_saved_model`."""
    budget = Budget()
    walk = GraphWalk(data, shown, budget)
    try:
        return _uses_of_main_graphs(walk, iter((walk.whole,)), budget, shapes)
    except SpentError as error:
        return GraphUses(spent=str(error))


class _Objects(NamedTuple):
    """The objects of a SavedModel by number.

    `variables` have a name and a shape; `constants` are nodes of the main graph. `bound` are, by function, the objects
    that its last arguments are.
    """

    variables: Mapping[int, tuple[str, Shape]]
    constants: Mapping[int, str]
    bound: Mapping[str, Sequence[int]]
    signatures: Collection[str]


def _read_objects(walk: GraphWalk, span: Span) -> _Objects:
    """SavedObjectGraph{nodes=1, concrete_functions=2}; of a SavedObject the kinds that matter."""
    variables: dict[int, tuple[str, Shape]] = {}
    constants: dict[int, str] = {}
    bound: dict[str, list[int]] = {}
    concrete: dict[int, str] = {}
    maps: list[int] = []
    children: dict[int, list[int]] = {}
    count = 0
    for item in walk.inside(span):
        if item.number == 2:
            name, function = walk.entry(item)
            inputs = () if function is None else walk.parts(function, 2)
            bound[name] = [number for each in inputs for number in walk.numbers(each)]
        if item.number != 1:
            continue
        if count == MAX_NODES:
            raise walk.damaged(f"expected at most {MAX_NODES} objects, found more")
        for kind in walk.inside(item):
            if kind.number == 7:
                shape = next((walk.shape(each) for each in walk.parts(kind, 2)), ())
                if shape is not None and min(shape, default=0) >= 0:
                    variables[count] = walk.string(kind, 6), shape
            elif kind.number == 8:  # a function without a Python function: that of a signature
                concrete[count] = walk.string(kind, 1)
            elif kind.number == 9:
                constants[count] = walk.string(kind, 1)
            elif kind.number == 4 and walk.string(kind, 1) == "signature_map":
                maps.append(count)
            elif kind.number == 1:
                number = next((walk.integer(each) for each in walk.parts(kind, 1)), 0)
                children.setdefault(count, []).append(number)
        count += 1
    signatures = [concrete[child] for each in maps for child in children.get(each, ()) if child in concrete]
    return _Objects(variables, constants, bound, frozenset(signatures))


def _keys(stored: _Objects, objects: ObjectGraph, shapes: Mapping[str, Shape]) -> dict[int, str]:
    """The checkpoint keys of the objects that the graph and the checkpoint describe alike."""
    found: dict[int, str] = {}
    for number, (name, shape) in stored.variables.items():
        attributes = objects.nodes[number].attributes if number < len(objects.nodes) else ()
        keys = [each.key for each in attributes if each.full_name == name and shapes.get(each.key) == shape]
        if len(keys) == 1:
            found[number] = keys[0]
    return found


def _uses_of_objects(
    walk: GraphWalk,
    meta_graph: Span,
    budget: Budget,
    stored: _Objects,
    keys: Mapping[int, str],
    shapes: Mapping[str, Shape],
) -> GraphUses:
    """By the functions of the objects: signatures first, then those that take most, until all variables are seen."""
    main, functions = read_meta_graph(walk, meta_graph, budget)
    flow = Flow(functions, {number: shape for number, (_, shape) in stored.variables.items()}, budget)
    unseen = set(keys)
    for name in sorted(stored.bound, key=lambda name: (name not in stored.signatures, -len(stored.bound[name]), name)):
        numbers = stored.bound[name]
        graph = None if unseen.isdisjoint(numbers) else functions.get(name)
        if graph is None or len(numbers) > len(graph.arguments):
            continue
        captured = graph.arguments[len(graph.arguments) - len(numbers) :]
        arguments: dict[str, Value] = dict.fromkeys(graph.arguments)
        for argument, number in zip(captured, numbers, strict=True):
            held = main.nodes().get(stored.constants.get(number, ""))
            if number in stored.variables:
                arguments[argument] = Handle(number)
            elif held is not None and held.op == "Const":
                arguments[argument] = main.constant(held)
        flow.follow(graph, arguments)
        unseen -= {number for number in numbers if settles(flow.evidence.get(number, ()))}
    # An object that no op uses can be another view of a weight that is used: such copies have one name.
    used = {stored.variables[number] for number in flow.evidence if isinstance(number, int)}
    uses = {
        key: use_of(flow.evidence.get(number, ()), stored.variables[number][1], complete=number not in flow.left)
        for number, key in keys.items()
        if number in flow.evidence or stored.variables[number] not in used
    }
    copies = _copies(main, functions, stored, keys, shapes, budget)
    for key, copy in copies:
        if key in uses and (uses.get(copy) is None or uses[copy].state == "unused"):
            uses[copy] = uses[key]
    return GraphUses(uses, copies, {key: flow.places[number] for number, key in keys.items() if number in flow.places})


def _copies(
    main: StoredGraph,
    functions: StoredFunctions,
    stored: _Objects,
    keys: Mapping[int, str],
    shapes: Mapping[str, Shape],
    budget: Budget,
) -> tuple[tuple[str, str], ...]:
    """Keys of one weight: a function is bound to an object where the main graph calls it with a variable.

    The export of Keras 3 stores a weight once for each of these views of it.
    """
    saved = _saved_names(main, functions, budget)
    found: dict[str, set[str]] = {}
    for node in main.nodes().values():
        names = main.functions(node, "f") if node.op in _CALLS else ()
        numbers = stored.bound.get(names[0], ()) if names else ()
        if not numbers or len(numbers) > len(node.inputs):
            continue
        for ref, number in zip(node.inputs[len(node.inputs) - len(numbers) :], numbers, strict=True):
            if number in keys:
                copies = {name for name, _ in saved.get(_origin(main, ref), ()) if name in shapes}
                found.setdefault(keys[number], set()).update(copies - {keys[number]})
    return tuple(
        (key, copy)
        for key, copies in found.items()
        if len(copies) == 1
        for copy in copies
        if shapes[copy] == shapes[key]
    )


def _uses_of_main_graphs(
    walk: GraphWalk, meta_graphs: Iterator[Span], budget: Budget, shapes: Mapping[str, Shape]
) -> GraphUses:
    """By the variables in main graphs. The parts of a partitioned variable tell of the whole."""
    evidence: dict[str, set[Evidence]] = {}
    left: set[str] = set()
    for meta_graph in meta_graphs:
        main, functions = read_meta_graph(walk, meta_graph, budget)
        own: dict[VariableId, Shape] = {}
        for name in main.variables:
            found = main.shape(main.nodes()[name], "shape")
            if found is not None and min(found, default=0) >= 0:
                own[name] = found
        flow = Flow(functions, own, budget)
        flow.follow(main, {})
        saved = _saved_names(main, functions, budget)
        for name in main.variables:
            node, shape = main.nodes()[name], own.get(name)
            if shape is None:
                continue
            for key, whole in saved.get(node.name) or [(main.text(node, "shared_name") or node.name, None)]:
                if shapes.get(key) == (whole or shape):
                    evidence.setdefault(key, set()).update(flow.evidence.get(name, ()))
                    if name in flow.left:
                        left.add(key)
    return GraphUses({key: use_of(seen, shapes[key], complete=key not in left) for key, seen in evidence.items()})


def _saved_names(
    main: StoredGraph, functions: StoredFunctions, budget: Budget
) -> dict[str, list[tuple[str, Shape | None]]]:
    """The keys under which a main graph saves each of its variables; of a part with the shape of the whole.

    A graph saves by itself, or by a function that it calls. Raises SpentError.
    """
    found: dict[str, list[tuple[str, Shape | None]]] = {}
    by_function: dict[str, list[tuple[str, str, Shape | None]]] = {}  # many nodes can call one
    for origin, name, whole in _saved(main):
        found.setdefault(origin, []).append((name, whole))
    for node in main.nodes().values():
        for function in main.functions(node, "f") if node.op in _CALLS else ():
            graph = functions.get(function)
            if graph is None or len(graph.arguments) != len(node.inputs):
                continue
            if function not in by_function:
                by_function[function] = list(_saved(graph))
            budget.value(len(node.inputs) + len(by_function[function]))
            given = dict(zip(graph.arguments, node.inputs, strict=True))
            for argument, name, whole in by_function[function]:
                if argument in given:
                    found.setdefault(_origin(main, given[argument]), []).append((name, whole))
    return found


def _saved(graph: StoredGraph) -> Iterator[tuple[str, str, Shape | None]]:
    """What the ops of a graph save: the variable or the argument, its key and, of a part, the shape of the whole."""
    for node in graph.nodes().values():
        for ref, name, whole in _saved_by(graph, node) if node.op in _SAVERS else ():
            yield _origin(graph, ref), name, whole


def _saved_by(graph: StoredGraph, node: Node) -> Iterator[tuple[Ref, str, Shape | None]]:
    """What an op saves: the tensor, its key and, of a part, the shape of the whole."""
    names, slices, first = _SAVERS[node.op]
    if len(node.inputs) < first:
        return
    keys = graph.strings(node.inputs[names])
    parts = None if slices is None else graph.strings(node.inputs[slices])
    tensors = node.inputs[first:]
    if keys is None or len(keys) != len(tensors):
        return
    for number, (ref, key) in enumerate(zip(tensors, keys, strict=True)):
        yield ref, key, _whole_shape(parts[number]) if parts is not None and number < len(parts) else None


def _whole_shape(part: str) -> Shape | None:
    """The shape in a text of shape and slice, "9 4 0,3:-"; None for a tensor that is stored as it is, ""."""
    sizes = part.split(" ")[:-1]
    return tuple(map(int, sizes)) if sizes and all(size.isdecimal() and len(size) < 20 for size in sizes) else None


def _origin(graph: StoredGraph, ref: Ref) -> str:
    """The variable or the argument that is read there, by name."""
    for _ in range(_STEPS):
        node = graph.nodes().get(ref.node)
        if node is None or node.op not in _UNCHANGED or not node.inputs:
            break
        ref = node.inputs[0]
    return ref.node
