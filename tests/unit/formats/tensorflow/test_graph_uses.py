"""What the graph beside a checkpoint tells of its entries: by key, and only where name and shape are the same."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support import graph_build as build
from support import stored_graphs
from support.graph_build import Function, Shape, function, node, strings

from renorm_cli.conventions.graph.uses import UNUSED, Use
from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.graph_uses import GraphUses, uses_in_meta_graph, uses_in_saved_model
from renorm_cli.formats.tensorflow.object_graph import Attribute, Node, ObjectGraph

DENSE = Use("kernel", (1,), ("MatMul",), (), "told")


def dense(name: str) -> bytes:
    body = [node("r", "ReadVariableOp", "w"), node("m", "MatMul", "x", "r:value:0")]
    return function(name, "xw", body, {"y": "m:product:0"})


def exported(*saved_as: str, name: str = "kernel", copy: str = "copy") -> bytes:
    """As Keras 3 exports: an object bound to a function, which the main graph calls with a variable of its own."""
    names = saved_as or ("all/0",)
    saver = [
        node("r", "ReadVariableOp", "v"),
        node("i", "Identity", "r:value:0"),
        node("keys", "Const", value=strings(names)),
        node("slices", "Const", value=strings([""] * len(names))),
        node("s", "SaveV2", "p", "keys:output:0", "slices:output:0", *["i:output:0"] * len(names)),
    ]
    nodes = [
        node("x", "Placeholder"),
        node("v", "VarHandleOp", shape=Shape((4, 5))),
        node("serve", "StatefulPartitionedCall", "x", "v", f=Function(["f"])),
        node("save", "StatefulPartitionedCall", "p", "v", f=Function(["saver"])),
    ]
    held = build.objects([(name, (4, 5)), (copy, (4, 5))], [("f", [0])], ["f"])
    return build.saved_model(build.meta_graph(nodes, [dense("f"), function("saver", "pv", saver)], held))


OBJECTS = ObjectGraph(
    (
        Node(attributes=(Attribute("VARIABLE_VALUE", "kernel", "variables/0"),)),
        Node(attributes=(Attribute("VARIABLE_VALUE", "copy", "all/0"),)),
    )
)


def told(data: bytes, objects: ObjectGraph | None = OBJECTS, **shapes: tuple[int, ...]) -> GraphUses:
    return uses_in_saved_model(data, "shown", objects, {"variables/0": (4, 5), "all/0": (4, 5), **shapes})


def test_copies_of_one_weight_are_paired_by_their_place() -> None:
    found = told(exported())
    assert found.uses == {"variables/0": DENSE, "all/0": DENSE}
    assert found.copies == (("variables/0", "all/0"),)


def test_a_place_that_is_saved_as_something_else_is_no_copy() -> None:
    assert told(exported("elsewhere")).copies == ()
    assert told(exported("elsewhere")).uses["all/0"] == UNUSED
    assert told(exported("variables/0")).copies == ()


def test_a_variable_that_is_saved_under_two_keys_is_one_weight() -> None:
    """As tf_keras exports weights that it casts."""
    assert told(exported("variables/0", "all/0")).copies == (("variables/0", "all/0"),)
    assert told(exported("variables/0", "all/0", "all/1"), **{"all/1": (4, 5)}).copies == ()


def test_a_variable_that_has_the_name_of_a_used_one_may_be_its_copy_and_is_not_called_unused() -> None:
    objects = ObjectGraph((*OBJECTS.nodes[:1], Node(attributes=(Attribute("VARIABLE_VALUE", "kernel", "all/0"),))))
    assert told(exported("elsewhere", copy="kernel"), objects).uses == {"variables/0": DENSE}


def test_copies_of_other_shapes_are_none() -> None:
    data = exported()
    found = uses_in_saved_model(data, "shown", OBJECTS, {"variables/0": (4, 5), "all/0": (5, 4)})
    assert found.copies == ()


def test_a_variable_of_another_name_or_shape_is_not_told_of() -> None:
    assert "variables/0" not in told(exported(name="another")).uses
    found = uses_in_saved_model(exported(), "shown", OBJECTS, {"variables/0": (5, 4)})
    assert found.uses == {}
    assert told(exported(), ObjectGraph(())).uses == {}


def test_without_an_object_graph_the_main_graph_tells() -> None:
    assert told(exported(), None).uses == {"all/0": DENSE}


def part(number: int, sizes: tuple[int, ...]) -> bytes:
    return node(f"part{number}", "VariableV2", shape=Shape(sizes))


def partitioned(whole: str = "9 5") -> bytes:
    return build.meta_graph(
        [
            part(0, (5, 5)),
            part(1, (4, 5)),
            node("x", "Placeholder"),
            node("axis", "Const", value=build.Integers((0,), ())),
            node("all", "ConcatV2", "part0", "part1", "axis"),
            node("m", "MatMul", "x", "all"),
            node("keys", "Const", value=strings(["w", "w"])),
            node("slices", "Const", value=strings([f"{whole} 0,5:0,5", f"{whole} 5,4:0,5"])),
            node("save", "SaveV2", "p", "keys", "slices", "part0", "part1"),
        ]
    )


def test_the_parts_of_a_partitioned_variable_tell_of_the_whole() -> None:
    assert uses_in_meta_graph(partitioned(), "shown", {"w": (9, 5)}).uses == {"w": DENSE}
    assert uses_in_meta_graph(partitioned(), "shown", {"w": (9, 6)}).uses == {}
    assert uses_in_meta_graph(partitioned("9 x"), "shown", {"w": (9, 5)}).uses == {}


@pytest.mark.parametrize(
    ("attributes", "key"), [({}, "v"), ({"shared_name": "shared"}, "shared")], ids=["node", "shared"]
)
def test_a_variable_that_nothing_saves_has_its_own_name(attributes: Mapping[str, str], key: str) -> None:
    nodes = [node("x", "Placeholder"), node("v", "VarHandleOp", shape=Shape((4, 5)), **attributes)]
    nodes += [node("r", "ReadVariableOp", "v"), node("m", "MatMul", "x", "r")]
    assert uses_in_meta_graph(build.meta_graph(nodes), "shown", {key: (4, 5)}).uses == {key: DENSE}


@pytest.mark.parametrize("name", ["gradients/i", "model/dense_grad/i", "gradient_tape/i"])
def test_a_weight_is_not_followed_through_a_backward_pass(name: str) -> None:
    """What takes it there says nothing, but the weight is used."""
    nodes = [part(0, (4, 5)), node("x", "Placeholder"), node(name, "Identity", "part0"), node("m", "MatMul", "x", name)]
    found = uses_in_meta_graph(build.meta_graph(nodes), "shown", {"part0": (4, 5)}).uses
    assert found == {"part0": Use(None, None, (), (), "open")}


def test_a_variable_that_is_only_assigned_and_saved_is_unused() -> None:
    nodes = [
        part(0, (4, 5)),
        node("r", "Identity", "part0"),
        node("a", "Assign", "part0", "i"),
        node("i", "Placeholder"),
    ]
    assert uses_in_meta_graph(build.meta_graph(nodes), "shown", {"part0": (4, 5)}).uses == {"part0": UNUSED}


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_file_that_is_cut_off_is_an_error_that_names_it(cut: int) -> None:
    data = exported()
    with pytest.raises(FormatError, match=r"^shown: .*; the file is damaged, use an intact copy$"):
        told(data[: len(data) - cut])


def test_signatures_are_run_before_other_functions() -> None:
    """Of a function that shows the weight otherwise nothing is seen where a signature shows it."""
    other = function("g", "xw", [node("r", "ReadVariableOp", "w"), node("m", "MatMul", "r:value:0", "x")])
    nodes: list[bytes] = []
    for bound, expected in ((["f"], (1,)), (["g"], (0,))):
        held = build.objects([("kernel", (4, 5))], [("f", [0]), ("g", [0])], bound)
        data = build.saved_model(build.meta_graph(nodes, [dense("f"), other], held))
        assert told(data).uses["variables/0"].unit_axes == expected


def test_the_stored_graphs_have_no_copies_and_spend_no_budget() -> None:
    for name in ("module.pb", "tf1.meta"):
        assert stored_graphs.uses(name).copies == ()
        assert stored_graphs.uses(name).spent is None


def test_calls_of_one_function_that_saves_much_spend_the_budget_of_what_it_saves() -> None:
    count = 1500
    keys = [node("keys", "Const", value=strings(["v"] * count)), node("slices", "Const", value=strings([""] * count))]
    saver = function(
        "saver", "pv", [*keys, node("s", "SaveV2", "p", "keys:output:0", "slices:output:0", *["v"] * count)]
    )
    calls = [node(f"c{number}", "PartitionedCall", "p", "v", f=Function(["saver"])) for number in range(count)]
    nodes = [node("p", "Placeholder"), node("v", "VarHandleOp", shape=Shape((4, 5)))]
    assert uses_in_meta_graph(build.meta_graph([*nodes, *calls[:10]], [saver]), "shown", {"v": (4, 5)}).spent is None
    assert uses_in_meta_graph(build.meta_graph([*nodes, *calls], [saver]), "shown", {"v": (4, 5)}).spent == "values"
