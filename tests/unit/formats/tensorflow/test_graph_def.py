"""How graphs and functions are read from bytes, against TensorFlow's own messages and against bytes made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import graph_build as build
from support import stored_graphs
from support.graph_build import Attribute, Function, Integers, Shape

from renorm_cli.conventions.graph.budget import Budget, SpentError
from renorm_cli.conventions.graph.layout import Constant
from renorm_cli.conventions.graph.protocol import Node, Ref
from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.graph_def import (
    GraphWalk,
    StoredFunctions,
    StoredGraph,
    parse_ref,
    read_meta_graph,
)


def read(data: bytes, budget: Budget | None = None) -> tuple[StoredGraph, StoredFunctions]:
    budget = budget or Budget()
    walk = GraphWalk(data, "shown", budget)
    return read_meta_graph(walk, walk.whole, budget)


def only(**attributes: Attribute) -> tuple[StoredGraph, Node]:
    graph, _ = read(build.meta_graph([build.node("n", "Op", **attributes)]))
    return graph, graph.nodes()["n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", Ref("x", 0)),
        ("x:3", Ref("x", 3)),
        ("x:output:2", Ref("x", 2)),
        ("merge:value_index:0", Ref("merge", 1)),
        ("a/b:y:0", Ref("a/b", 0)),
        ("x:-1", Ref("x", 0)),
        ("x:99999999999", Ref("x", 0)),
        ("x:²", Ref("x", 0)),
        ("", Ref("", 0)),
    ],
)
def test_an_input_names_a_node_and_an_output(text: str, expected: Ref) -> None:
    assert parse_ref(text) == expected


def test_control_inputs_are_no_inputs() -> None:
    graph, _ = read(build.meta_graph([build.node("n", "Op", "a", "^b", "c:1")]))
    assert graph.nodes()["n"].inputs == (Ref("a", 0), Ref("c", 1))


@pytest.mark.parametrize("inputs", [["a" * 127], ["a" * 128], ["a" * 2000, "b"], [f"in{n:06}" for n in range(300)]])
@pytest.mark.parametrize("attributes", [{}, {"T": 3}])
def test_long_names_and_many_inputs_are_read_as_short_ones(inputs: list[str], attributes: dict[str, Attribute]) -> None:
    name = "n" * len(inputs[0])
    graph, _ = read(build.meta_graph([build.node(name, "Op", *inputs, **attributes)]))
    assert graph.nodes()[name][:3] == (name, "Op", tuple(Ref(each, 0) for each in inputs))


def test_uses_name_each_node_once_and_outputs_that_are_taken() -> None:
    nodes = [build.node("a", "Op"), build.node("b", "Op", "a", "a:2"), build.node("c", "Op", "a:1", "b")]
    graph, _ = read(build.meta_graph(nodes))
    assert [node.name for node in graph.uses()["a"]] == ["b", "c"]
    assert set(graph.outputs(graph.nodes()["a"])) == {0, 1, 2}
    assert set(graph.outputs(graph.nodes()["c"])) == set()


def test_attributes_have_their_type_or_are_absent() -> None:
    graph, node = only(
        i=-5, yes=True, no=False, s="text", some=(1, -2, 3), f=Function(["g"]), many=Function(["g", "h"])
    )
    assert (graph.integer(node, "i"), graph.integer(node, "none", 7)) == (-5, 7)
    assert (graph.flag(node, "yes"), graph.flag(node, "no"), graph.flag(node, "none")) == (True, False, False)
    assert (graph.text(node, "s"), graph.text(node, "i")) == ("text", None)
    assert (graph.integers(node, "some"), graph.integers(node, "s")) == ((1, -2, 3), None)
    assert (graph.functions(node, "f"), graph.functions(node, "many"), graph.functions(node, "i")) == (
        ["g"],
        ["g", "h"],
        [],
    )
    graph, node = only(shape=Shape((3, -1, 0)))
    assert graph.shape(node, "shape") == (3, -1, 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Integers((1, 2, 3)), Constant((1, 2, 3), (3,))),
        (Integers((7,), ()), Constant((7,), ())),
        (Integers((7,), (3,)), Constant((7, 7, 7), (3,))),  # the last number is repeated
        (Integers((1, 2), (4,)), Constant((1, 2, 2, 2), (4,))),
        (Integers((), (2,)), Constant((0, 0), (2,))),
        (Integers((), (0,)), Constant((), (0,))),
        (Integers((-1, 5), (2,), 9), Constant((-1, 5), (2,))),
        (Integers((1, 0), (2,), 10), Constant((1, 0), (2,))),
        (Integers((), (2,), 3, b"\1\0\0\0\xff\xff\xff\xff"), Constant((1, -1), (2,))),
        (Integers((), (1,), 9, b"\2" + bytes(7)), Constant((2,), (1,))),
        (Integers((), (2,), 10, b"\0\1"), Constant((0, 1), (2,))),
        (Integers((), (2,), 3, b"\1\0\0\0"), Constant(None, (2,))),  # too few bytes
        (Integers((1,), (65,)), Constant(None, (65,))),  # too many numbers
        (Integers((1,), (1 << 40, 1 << 40)), Constant(None, (1 << 40, 1 << 40))),
        (Integers((1,) * 65, (2,)), Constant(None, (2,))),
        (Integers((1,), (-1,)), Constant(None, (-1,))),
        (Integers((1,), (1,), 1), Constant(None, (1,))),  # not integers
    ],
)
def test_small_integers_are_read(value: Integers, expected: Constant) -> None:
    graph, node = only(value=value)
    assert graph.constant(node) == expected


def test_a_function_has_its_arguments_and_results() -> None:
    body = [build.node("r", "Op", "a"), build.node("s", "Op", "r:out:1")]
    _, functions = read(build.meta_graph((), [build.function("f", "ab", body, {"x": "s:out:0", "y": "b"})]))
    found = functions.get("f")
    assert found is not None
    assert (found.name, found.arguments, found.results) == ("f", ["a", "b"], [Ref("s", 0), Ref("b", 0)])
    assert found.nodes()["s"].inputs == (Ref("r", 1),)
    assert ("f" in functions, "g" in functions, functions.get("g")) == (True, False, None)


def test_a_function_is_read_only_when_it_is_asked_for() -> None:
    damaged = build.blob(1, build.blob(1, "f")) + b"\xff"
    _, functions = read(build.meta_graph((), [damaged]))
    assert "f" in functions
    with pytest.raises(FormatError, match="the file is damaged"):
        functions.get("f")


@pytest.mark.parametrize("name", ["gradients/x", "a/gradients_1/b", "gradient_tape/x", "model/x_grad/y"])
def test_nodes_of_backward_passes_are_told_by_name(name: str) -> None:
    graph, _ = read(build.meta_graph([build.node(name, "Op"), build.node(f"my{name}", "Op")]))
    forward, backward = graph.nodes()[f"my{name}"], graph.nodes()[name]
    assert graph.is_gradient(backward)
    assert graph.is_gradient(forward) == ("/" in name and not name.startswith("gradient"))


def test_functions_of_backward_passes_are_told_by_name() -> None:
    body = [build.node("n", "Op")]
    _, functions = read(build.meta_graph((), [build.function(name, "a", body) for name in ("__backward_f", "f")]))
    for name, expected in (("__backward_f", True), ("f", False)):
        graph = functions.get(name)
        assert graph is not None
        assert graph.is_gradient(graph.nodes()["n"]) == expected


@pytest.mark.parametrize("what", ["fields", "parsed"])
def test_what_is_read_is_counted(what: str) -> None:
    data = build.meta_graph([build.node(f"n{number}", "Op", "a", "b") for number in range(50)])
    assert len(read(data)[0].nodes()) == 50
    with pytest.raises(SpentError):
        read(data, Budget(**{what: 100}))[0].nodes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["module.pb", "tf1.meta"])
def test_graphs_are_what_protobuf_reads(name: str) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    data = stored_graphs.content(name)
    budget = Budget()
    walk = GraphWalk(data, "shown", budget)
    if name == "module.pb":
        meta = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0]
        main, functions = read_meta_graph(walk, next(walk.graphs()), budget)
    else:
        meta = meta_graph_pb2.MetaGraphDef.FromString(data)
        main, functions = read_meta_graph(walk, walk.whole, budget)
    _compare(main, meta.graph_def.node)
    for function in meta.graph_def.library.function:
        found = functions.get(function.signature.name)
        assert found is not None
        assert found.arguments == [each.name for each in function.signature.input_arg]
        assert found.results == [parse_ref(function.ret[each.name]) for each in function.signature.output_arg]
        _compare(found, function.node_def)


def _compare(found: StoredGraph, nodes: Any) -> None:
    import tensorflow as tf

    assert list(found.nodes()) == [node.name for node in nodes]
    for node in nodes:
        ours = found.nodes()[node.name]
        assert ours.op == node.op
        assert ours.inputs == tuple(parse_ref(each) for each in node.input if not each.startswith("^"))
        for key, value in node.attr.items():
            if value.HasField("i"):
                assert found.integer(ours, key) == value.i
            elif value.HasField("b"):
                assert found.flag(ours, key) == value.b
            elif value.HasField("func"):
                assert found.functions(ours, key) == [value.func.name]
        if node.op == "Const":
            values = np.asarray(tf.make_ndarray(node.attr["value"].tensor))
            constant = found.constant(ours)
            assert constant.shape == values.shape
            if values.dtype.kind in "ib" and values.dtype.itemsize in (1, 4, 8) and values.size <= Budget.INTEGERS:
                assert constant.integers == tuple(map(int, values.ravel()))
