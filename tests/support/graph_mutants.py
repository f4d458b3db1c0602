"""Mutants of the stored graphs: bytes changed anywhere, and well-formed graphs whose content is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.consumers import CONSUMERS
from renorm_cli.conventions.graph.passing import PASSING
from renorm_cli.conventions.graph.protocol import Ref
from renorm_cli.formats.tensorflow.graph_def import GraphWalk, StoredGraph, read_meta_graph
from renorm_cli.formats.tensorflow.spans import META_GRAPHS, OBJECTS
from renorm_cli.formats.walk import Span
from support import stored_graphs
from support.graph_build import Integers, attribute, blob, function, meta_graph, saved_model, varint

_OPS = sorted(
    {*PASSING, *(op for op, _ in CONSUMERS), "Const", "While", "If", "Case", "PartitionedCall", "Merge", "Prod"}
)
_NUMBERS = (-5, -1, 0, 1, 2, 3, 7, 1 << 30, 1 << 62)
_EQUATIONS = (b"", b"->", b"ab,bc->ac", b"...a,ab->...b", b"a,b,c", b"abc->", b",", b"ii,ij->j", b"ab,ab->")


class Operation(NamedTuple):
    """A node with its attributes as they are encoded."""

    name: str
    op: str
    inputs: list[str]
    attributes: list[tuple[str, bytes]]

    def encoded(self) -> bytes:
        entries = (blob(5, blob(1, key) + blob(2, value)) for key, value in self.attributes)
        inputs = (blob(3, each) for each in self.inputs)
        return blob(1, self.name) + blob(2, self.op) + b"".join(inputs) + b"".join(entries)


class Body(NamedTuple):
    """A function, or with the name "" the main graph."""

    name: str
    arguments: list[str]
    nodes: list[Operation]
    results: dict[str, str]


def bodies(name: str) -> tuple[list[Body], bytes | None]:
    """The main graph and the functions of a stored graph, and its objects."""
    budget = Budget()
    walk = GraphWalk(stored_graphs.content(name), "shown", budget)
    whole = walk.whole if name.endswith(".meta") else next(walk.parts(walk.whole, META_GRAPHS))
    main, functions = read_meta_graph(walk, whole, budget)
    graphs = [main, *(graph for each in sorted(functions._spans) if (graph := functions.get(each)) is not None)]
    held = next(walk.parts(whole, OBJECTS), None)
    return [_body(graph, walk) for graph in graphs], None if held is None else walk.bytes_of(held)


def _body(graph: StoredGraph, walk: GraphWalk) -> Body:
    def shown(ref: Ref) -> str:
        if graph.name and ref.node in graph.nodes():
            return f"{ref.node}:out:{ref.output}"
        return f"{ref.node}:{ref.output}" if ref.output else ref.node

    def attributes(span: Span) -> Iterator[tuple[str, bytes]]:
        for item in walk.parts(span, 5):
            key, value = walk.entry(item)
            yield key, b"" if value is None else walk.bytes_of(value)

    nodes = [
        Operation(node.name, node.op, [shown(ref) for ref in node.inputs], list(attributes(node.attributes)))
        for node in graph.nodes().values()
    ]
    return Body(graph.name, list(graph.arguments), nodes, {f"r{i}": shown(ref) for i, ref in enumerate(graph.results)})


def encode(name: str, made: list[Body], held: bytes | None) -> bytes:
    functions = [
        function(body.name, body.arguments, [node.encoded() for node in body.nodes], body.results)
        for body in made
        if body.name
    ]
    main = [node.encoded() for body in made if not body.name for node in body.nodes]
    whole = meta_graph(main, functions, held)
    return whole if name.endswith(".meta") else saved_model(whole)


def wrong_content(name: str, made: list[Body], held: bytes | None, chance: random.Random) -> bytes:
    """A well-formed graph of which some operations are others, take other inputs or have other attributes."""
    changed = [Body(body.name, body.arguments, list(body.nodes), body.results) for body in made]
    used = [body for body in changed if body.nodes and "traced" not in body.name]
    for _ in range(chance.choice((1, 3, 10, 40))):
        nodes = chance.choice(used).nodes
        place = chance.randrange(len(nodes))
        nodes[place] = _other(nodes[place], nodes, chance)
    if held is not None and chance.random() < 0.2:
        held = changed_bytes(held, chance)
    return encode(name, changed, held)


def _other(node: Operation, nodes: list[Operation], chance: random.Random) -> Operation:
    neighbour = chance.choice(nodes)
    inputs = list(node.inputs)
    attributes = list(node.attributes)
    match chance.randrange(6):
        case 0:
            return node._replace(op=chance.choice(_OPS))
        case 1 if inputs:
            inputs[chance.randrange(len(inputs))] = neighbour.name + chance.choice(("", ":out:0", ":out:1"))
        case 2:
            inputs.append(neighbour.name)
        case 3 if inputs:
            del inputs[chance.randrange(len(inputs))]
        case 4 if attributes:
            place = chance.randrange(len(attributes))
            key = attributes[place][0]
            values = {"equation": [blob(2, each) for each in _EQUATIONS], "value": [_constant(chance)]}
            attributes[place] = (
                key,
                chance.choice(values.get(key, [attribute(each) for each in (*_NUMBERS, True, False)])),
            )
        case _ if attributes and neighbour.attributes:
            attributes[chance.randrange(len(attributes))] = chance.choice(neighbour.attributes)
    return Operation(node.name, node.op, inputs, attributes)


def _constant(chance: random.Random) -> bytes:
    numbers = [chance.choice(_NUMBERS) for _ in range(chance.randrange(5))]
    sizes = [chance.choice((-1, 0, 1, 2, 3)) for _ in range(chance.randrange(3))]
    return attribute(Integers(numbers, sizes, chance.choice((3, 9, 10))))


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, copied or left out, at a few places."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(found))
        match chance.randrange(4):
            case 0:
                found[at] = chance.randrange(256)
            case 1:
                found[at] ^= 1 << chance.randrange(8)
            case 2:
                source, size = chance.randrange(len(found)), chance.randrange(1, 64)
                found[at : at + size] = found[source : source + size]
            case _:
                found[at : at + 3] = varint(chance.randrange(1 << 14))
    return bytes(found)
