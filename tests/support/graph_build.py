"""Graphs of TensorFlow written as bytes by hand, so that tests can make what TensorFlow would not; without TensorFlow.

Field numbers: tensorflow/core/framework/{graph,function,node_def,op_def,attr_value,tensor,tensor_shape}.proto and
tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from support.raw_tables import varint


def blob(number: int, content: bytes | str) -> bytes:
    """A field of bytes, a string or a message."""
    encoded = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(encoded)) + encoded


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value % (1 << 64))


def shape(sizes: Iterable[int]) -> bytes:
    """A TensorShapeProto."""
    return b"".join(blob(2, number(1, size)) for size in sizes)


class Integers(NamedTuple):
    """A tensor of integers: numbers one by one, or `content` as it is."""

    numbers: Sequence[int] = ()
    sizes: Sequence[int] | None = None
    dtype: int = 3
    content: bytes | None = None


class Shape(NamedTuple):
    """An attribute that is a shape."""

    sizes: Sequence[int]


class Function(NamedTuple):
    """An attribute that names functions: one, or a list."""

    names: Sequence[str]


Attribute = int | bool | str | bytes | Sequence[int] | Integers | Shape | Function | Mapping[str, bytes]


def attribute(value: Attribute) -> bytes:
    """An AttrValue; a mapping {"raw": bytes} is one already encoded."""
    if isinstance(value, bool):
        return number(5, value)
    if isinstance(value, int):
        return number(3, value)
    if isinstance(value, str | bytes):
        return blob(2, value)
    if isinstance(value, Shape):
        return blob(7, shape(value.sizes))
    if isinstance(value, Function):
        named = [blob(1, name) for name in value.names]
        return blob(10, named[0]) if len(named) == 1 else blob(1, b"".join(blob(9, each) for each in named))
    if isinstance(value, Integers):
        sizes = value.sizes if value.sizes is not None else (len(value.numbers),)
        tensor = number(1, value.dtype) + blob(2, shape(sizes))
        if value.content is not None:
            return blob(8, tensor + blob(4, value.content))
        field = {3: 7, 9: 10, 10: 11}.get(value.dtype, 7)
        return blob(8, tensor + b"".join(number(field, each) for each in value.numbers))
    if isinstance(value, Mapping):
        return value["raw"]
    return blob(1, b"".join(number(3, each) for each in value))


def strings(values: Iterable[str]) -> dict[str, bytes]:
    """A tensor of strings, as the value of a Const."""
    found = list(values)
    tensor = number(1, 7) + blob(2, shape((len(found),))) + b"".join(blob(8, each) for each in found)
    return {"raw": blob(8, tensor)}


def node(name: str, op: str, *inputs: str, **attributes: Attribute) -> bytes:
    """A NodeDef."""
    entries = (blob(5, blob(1, key) + blob(2, attribute(value))) for key, value in attributes.items())
    return blob(1, name) + blob(2, op) + b"".join(blob(3, each) for each in inputs) + b"".join(entries)


def function(
    name: str, arguments: Iterable[str], nodes: Iterable[bytes], results: Mapping[str, str] | None = None
) -> bytes:
    """A FunctionDef; `results` are the tensors that it returns by name."""
    returned = results or {}
    signature = blob(1, name) + b"".join(blob(2, blob(1, each)) for each in arguments)
    signature += b"".join(blob(3, blob(1, each)) for each in returned)
    body = b"".join(blob(3, each) for each in nodes)
    return blob(1, signature) + body + b"".join(blob(4, blob(1, k) + blob(2, v)) for k, v in returned.items())


def meta_graph(nodes: Iterable[bytes] = (), functions: Iterable[bytes] = (), objects: bytes | None = None) -> bytes:
    """A MetaGraphDef, which is what a .meta file is."""
    library = b"".join(blob(1, each) for each in functions)
    graph = b"".join(blob(1, each) for each in nodes) + (blob(2, library) if library else b"")
    return blob(2, graph) + (blob(7, objects) if objects is not None else b"")


def objects(
    variables: Iterable[tuple[str, Sequence[int]]],
    bound: Iterable[tuple[str, Sequence[int]]],
    signatures: Sequence[str] = (),
    *,
    trained: bool = True,
) -> bytes:
    """A SavedObjectGraph: variables, numbered from 0, then the signature map and the functions of it."""
    nodes = [
        blob(7, number(1, 1) + blob(2, shape(sizes)) + number(3, int(trained)) + blob(6, name))
        for name, sizes in variables
    ]
    first = len(nodes) + 1
    children = b"".join(blob(1, number(1, first + place)) for place in range(len(signatures)))
    nodes.append(children + blob(4, blob(1, "signature_map")))
    nodes += [blob(8, blob(1, name)) for name in signatures]
    taken = (
        blob(2, blob(1, name) + blob(2, blob(2, b"".join(varint(each) for each in numbers)))) for name, numbers in bound
    )
    return b"".join(blob(1, each) for each in nodes) + b"".join(taken)


def saved_model(*meta_graphs: bytes) -> bytes:
    return number(1, 1) + b"".join(blob(2, each) for each in meta_graphs)
