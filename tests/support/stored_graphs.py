"""The graphs in tests/data/graphs, which TensorFlow wrote, and what their maker's judge says of their weights."""

from __future__ import annotations

import functools
import json
import zipfile
from typing import NamedTuple

from renorm_cli.conventions.graph.uses import Use
from renorm_cli.formats.tensorflow.graph_uses import GraphUses, uses_in_meta_graph, uses_in_saved_model
from renorm_cli.formats.tensorflow.object_graph import Attribute, Node, ObjectGraph
from support.places import DATA


class Judged(NamedTuple):
    """What the judge says of a weight."""

    name: str
    shape: tuple[int, ...]
    role: str | None
    units: tuple[int, ...] | None
    state: str
    number: int

    def agrees(self, use: Use) -> bool:
        return (use.role, use.unit_axes, use.state) == (self.role, self.units, self.state)


@functools.cache
def content(name: str) -> bytes:
    with zipfile.ZipFile(DATA / "graphs" / "graphs.zip") as archive:
        return archive.read(name)


@functools.cache
def judged(name: str) -> tuple[Judged, ...]:
    return tuple(
        Judged(
            each["name"],
            tuple(each["shape"]),
            each["role"],
            None if each["units"] is None else tuple(each["units"]),
            each["state"],
            each.get("object", 0),
        )
        for each in json.loads(content("truth.json"))[name]
    )


def objects() -> ObjectGraph:
    """The object graph of the checkpoint of module.pb, whose keys are the names of the variables."""
    by_number = {each.number: each.name for each in judged("module.pb")}
    return ObjectGraph(
        tuple(
            Node(attributes=(Attribute("VARIABLE_VALUE", by_number[n], by_number[n]),) if n in by_number else ())
            for n in range(max(by_number) + 1)
        )
    )


@functools.cache
def uses(name: str, data: bytes | None = None) -> GraphUses:
    """What we tell of one of the graphs, or of `data` in its place."""
    shapes = {each.name: each.shape for each in judged(name)}
    data = content(name) if data is None else data
    if name.endswith(".meta"):
        return uses_in_meta_graph(data, "shown", shapes)
    return uses_in_saved_model(data, "shown", objects(), shapes)
