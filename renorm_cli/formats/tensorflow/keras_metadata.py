"""Layer classes from the metadata that Keras 2 and tf_keras write into a SavedModel: one JSON text per object.

Source: tf_keras/protobuf/saved_metadata.proto and tf_keras/saving/legacy/saved_model (`keras_metadata.pb`). Until
TensorFlow 2.4 the same texts were in `saved_model.pb`, as the metadata of its objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from renorm_cli.conventions.keras.layers import LAYERS, PARTS, find_weight
from renorm_cli.formats.keras.config import LayerNode, parse_config
from renorm_cli.formats.keras.constraints import declared_for
from renorm_cli.formats.protobuf import BYTES, Budget, damaged, read_fields, read_message
from renorm_cli.formats.tensorflow.object_graph import MAX_NODES, ObjectGraph
from renorm_cli.model.variable import Declared

_MAX_BYTES = 32 << 20
_MAX_VALUES = 1_000_000
"""JSON values in all parsed texts together. A value takes up to some 200 bytes of memory, however short it is."""
_MOST = 8
"""The number of objects per shared part, and of tensors per object, that are examined. Keras has one of each."""
_PART_ATTRIBUTES = frozenset(attribute for parts in PARTS.values() for attribute in parts)


class KerasObject(NamedTuple):
    """`identifier` is the kind of object ("_tf_keras_layer"); `metadata` is JSON with class and config, or ""."""

    identifier: str
    metadata: str


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """The class of the layer that holds a variable, and its name there: "LSTM" and "kernel", or an attribute's name."""

    layer: str
    weight: str
    equation: str | None = None
    declared: Declared | None = None


def read_keras_metadata(data: bytes, shown: str) -> dict[int, KerasObject]:
    """The objects of `keras_metadata.pb` by node number in the object graph; `shown` names the file in errors.

    Raises FormatError if it is not such a message, is larger than 32 MiB, or has more than MAX_NODES objects.
    """
    if len(data) > _MAX_BYTES:
        raise damaged(shown, f"expected Keras metadata of at most {_MAX_BYTES} bytes, found {len(data)}")
    found: dict[int, KerasObject] = {}
    budget = Budget()
    for count, field in enumerate(read_fields(data, shown, budget=budget)):
        if count == MAX_NODES:
            raise damaged(shown, f"expected at most {MAX_NODES} objects, found more")
        if field.number == 1 and field.wire_type == BYTES:
            message = read_message(data, shown, field.start, field.end, budget)
            found[message.integer(2)] = KerasObject(message.text(4), message.text(5))
    return found


def layer_facts(graph: ObjectGraph, objects: Mapping[int, KerasObject], shown: str) -> dict[str, LayerFacts]:
    """The layer and the weight of every checkpoint key that a Keras object holds, also in layers of custom classes.

    A weight of a part of a layer (the cell of an LSTM, the dense layers of attention) belongs to the layer. If two
    objects hold a variable, the one whose class is known to have such a weight wins. Raises FormatError for metadata
    that is not JSON, is nested too deep, or has more than a million values.
    """
    return _Layers(graph, objects, shown).facts()


class _Layers:
    def __init__(self, graph: ObjectGraph, objects: Mapping[int, KerasObject], shown: str) -> None:
        self._nodes = graph.nodes
        self._shown = shown
        self._objects = {
            number: each
            for number, each in sorted(objects.items())
            if 0 <= number < len(graph.nodes) and each.metadata and not each.identifier.startswith("_tf_keras_metric")
        }
        self._parsed: dict[int, LayerNode] = {}
        self._wrapped: dict[int, LayerNode | None] = {}
        self._left = _MAX_VALUES

    def facts(self) -> dict[str, LayerFacts]:
        found: dict[str, LayerFacts] = {}
        wholes = self._wholes()
        for number in self._objects:
            for edge, child in self._nodes[number].children:
                for attribute in self._nodes[child].attributes[:_MOST]:
                    if attribute.name == "VARIABLE_VALUE":
                        self._add(found, attribute.key, self._candidates(number, edge, wholes.get(number, [])[:_MOST]))
        return found

    def _wholes(self) -> dict[int, list[tuple[int, str]]]:
        """For each object, the objects that hold it under an attribute that can be a part, with that attribute."""
        wholes: dict[int, list[tuple[int, str]]] = {}
        for number in self._objects:
            for edge, child in self._nodes[number].children:
                if edge.lstrip("_") in _PART_ATTRIBUTES and child in self._objects:
                    wholes.setdefault(child, []).append((number, edge.lstrip("_")))
        return wholes

    def _add(self, found: dict[str, LayerFacts], key: str, candidates: Iterator[LayerFacts]) -> None:
        for facts in candidates:
            known = find_weight(facts.layer, facts.weight)
            if known is not None:
                found[key] = replace(facts, weight=known.name)
                return
            found.setdefault(key, facts)

    def _candidates(self, number: int, edge: str, wholes: list[tuple[int, str]]) -> Iterator[LayerFacts]:
        weight = edge.lstrip("_")
        for whole, attribute in wholes:
            layer = self._layer(whole)
            part = None if layer.custom else PARTS.get(layer.class_name, {}).get(attribute)
            if part is not None:
                yield LayerFacts(layer.class_name, f"{part}/{weight}", declared=declared_for(layer, f"{part}/{weight}"))
        layer = self._layer(number)
        if not layer.class_name or (layer.custom and layer.class_name in LAYERS):
            return
        inner = self._inner(number, layer)
        if inner is not None and find_weight(inner.class_name, weight) is not None:
            layer = inner
        known = find_weight(layer.class_name, weight)
        declared = declared_for(layer, weight if known is None else known.name)
        yield LayerFacts(layer.class_name, weight, layer.equation, declared)

    def _inner(self, number: int, layer: LayerNode) -> LayerNode | None:
        """The layer of Keras whose weights a wrapper of another package holds as its own: no object of it has any."""
        if number not in self._wrapped:
            inner = layer.wrapped if layer.custom else None
            objects = [child for _, child in self._nodes[number].children if child in self._objects] if inner else []
            apart = any(self._nodes[held].attributes for child in objects for _, held in self._nodes[child].children)
            self._wrapped[number] = None if inner is None or inner.custom or apart else inner
        return self._wrapped[number]

    def _layer(self, number: int) -> LayerNode:
        """The object's class and config, parsed at most once and only on demand: a model's holds all of its layers."""
        if number not in self._parsed:
            text, where = self._objects[number].metadata, f"{self._shown}: object {number}"
            self._left -= sum(map(text.count, "[{,"))
            if self._left < 0:
                raise damaged(where, f"expected at most {_MAX_VALUES} values in the configs of layers, found more")
            self._parsed[number] = parse_config(text, where)
        return self._parsed[number]
