"""The fields of a model's graph: of a SavedModel of up to 2 GiB little is looked at.

Source: tensorflow/core/protobuf/{saved_model,meta_graph}.proto and tensorflow/core/framework/{graph,function}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

from renorm_cli.formats import walk
from renorm_cli.formats.protobuf import BYTES, Budget, Message, read_message
from renorm_cli.formats.walk import Span

MAX_COPIED = 32 << 20
"""Bytes of the messages that are copied into memory: variables, Keras layers, collections."""

META_GRAPHS, GRAPH, COLLECTIONS, OBJECTS = 2, 2, 4, 7
GRAPH_NODE, LIBRARY, FUNCTION, FUNCTION_NODE = 1, 2, 1, 3

VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable", "AutoReloadVariable"})
"""The ops that make or hold a variable."""


class Walk(walk.Walk):
    """Finds the fields of a model."""

    def __init__(self, data: bytes | memoryview, shown: str) -> None:
        super().__init__(data, shown)
        self._content = data
        self._copies = MAX_COPIED
        self._budget = Budget()

    def graphs(self) -> Iterator[Span]:
        """The MetaGraphDefs, one per set of tags."""
        none = True
        for graph in self.parts(self.whole, META_GRAPHS):
            none = False
            yield graph
        if none:
            raise self.damaged("expected a SavedModel with a graph, found none")

    def operations(self) -> Iterator[Span]:
        """The NodeDefs of every graph and of every function in its library."""
        for graph in self.graphs():
            for part in self.parts(graph, GRAPH):
                for item in self.inside(part):
                    if item.number == GRAPH_NODE:
                        yield item
                    elif item.number == LIBRARY:
                        for function in self.parts(item, FUNCTION):
                            yield from self.parts(function, FUNCTION_NODE)

    def message(self, span: Span) -> Message:
        """A small message, copied into memory."""
        if span.wire_type != BYTES:
            raise self.damaged(f"expected field {span.number} at byte {span.start} as a message, found a number")
        self._copies -= span.end - span.start
        if self._copies < 0:
            raise self.damaged(f"expected at most {MAX_COPIED} bytes about variables and layers, found more")
        return read_message(self._content, self._shown, span.start, span.end, self._budget)

    def message_of(self, encoded: bytes) -> Message:
        """A message nested in a small message."""
        return read_message(encoded, self._shown, budget=self._budget)
