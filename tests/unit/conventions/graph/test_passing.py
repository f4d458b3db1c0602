"""Ops that pass weights on. Each can be taken out: then weights are open, and never wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import stored_graphs
from support.graph_build import Attribute, Integers, Shape, meta_graph, node
from support.stored_graphs import Judged

from renorm_cli.conventions.graph import flow, passing, values
from renorm_cli.conventions.graph.passing import CHANGED, ELEMENTWISE, PASSING, SAME
from renorm_cli.conventions.graph.uses import Use
from renorm_cli.formats.tensorflow.graph_uses import uses_in_meta_graph

_APART = frozenset({"Enter", "ReadVariableOp"})
"""Ops that pass a weight only in their place: a loop, a resource."""


def through(op: str, *inputs: str, **attributes: Attribute) -> Use:
    """The use of a weight (4, 5) that passes one op before data is multiplied by it."""
    nodes = [
        node("x", "Placeholder"),
        node("w", "VariableV2", shape=Shape((4, 5))),
        node("two", "Const", value=Integers((2,), ())),
        node("passed", op, *inputs, **attributes),
        node("used", "MatMul", "x", "passed"),
    ]
    return uses_in_meta_graph(meta_graph(nodes), "shown", {"w": (4, 5)}).uses["w"]


@pytest.mark.parametrize("op", sorted(SAME - _APART))
def test_an_op_that_only_passes_leaves_the_weight_as_it_is(op: str) -> None:
    assert through(op, "w", "two") == Use("kernel", (1,), ("MatMul",), (), "told")


@pytest.mark.parametrize("op", sorted(CHANGED))
def test_an_op_that_changes_values_is_named(op: str) -> None:
    assert through(op, "w", "two", "two") == Use("kernel", (1,), ("MatMul",), (op,), "told")


@pytest.mark.parametrize("op", sorted(ELEMENTWISE))
def test_an_elementwise_op_of_a_weight_and_a_constant_is_named(op: str) -> None:
    assert through(op, "two", "w") == Use("kernel", (1,), ("MatMul",), (op,), "told")


def multiplied(shape: tuple[int, ...], *nodes: Any, by: str = "MatMul") -> tuple[str, tuple[int, ...] | None]:
    """State and unit axes of a weight w that passes nodes, the last of them "end", before data is multiplied by it."""
    numbers = {
        "first": (0,),
        "all": (-1,),
        "rows": (0, 1, 1, 2),
        "pairs": (2, 4),
        "tall": (-1, 8),
        "padding": (2, 0, 0, 0),
    }
    constants = [
        node(name, "Const", value=Integers(values, (len(values),) if len(values) > 1 or name == "all" else ()))
        for name, values in numbers.items()
    ]
    graph = [
        node("x", "Placeholder"),
        node("w", "VariableV2", shape=Shape(shape)),
        *constants,
        *nodes,
        node("used", by, "x", "end"),
    ]
    use = uses_in_meta_graph(meta_graph(graph), "shown", {"w": shape}).uses["w"]
    return use.state if use.role == "kernel" else str(use.role), use.unit_axes


def test_places_in_another_order_are_not_those_of_axes_that_were_joined() -> None:
    """Row 0 of (2, 4) is no longer what the first half of a line of 8 is, once that is rolled or picked from."""
    joined, split = node("line", "Reshape", "w", "all"), node("end", "Reshape", "moved", "pairs")
    assert multiplied((2, 4), joined, node("moved", "Identity", "line"), split) == ("told", (1,))
    assert multiplied((2, 4), joined, node("moved", "Roll", "line", "first", "first"), split) == ("open", None)


def test_a_padded_axis_is_as_long_as_it_is_with_its_padding() -> None:
    padded = node("padded", "Pad", "w", "padding")
    assert multiplied((2, 4), node("end", "Pad", "w", "padding")) == ("told", (1,))
    assert multiplied((2, 4), padded, node("end", "Reshape", "padded", "tall")) == ("open", None)
    by_data = node("padded", "Pad", "w", "x")
    assert multiplied((2, 4), by_data, node("end", "Identity", "padded")) == ("told", (1,))
    assert multiplied((2, 4), by_data, node("end", "Reshape", "padded", "pairs")) == ("open", None)


def test_each_axis_of_a_matrix_of_places_depends_on_what_is_picked() -> None:
    """w[i - j] is no scale: the sum over j is one over the rows of w, and i names none of them."""
    square = node("places", "Const", value=Integers((0, 1, 1, 2), (2, 2)))
    picked = node("end", "GatherV2", "w", "places", "first")
    assert multiplied((3, 5), square, picked, by="BatchMatMulV2") == ("open", None)


def test_the_first_factor_of_a_product_that_is_summed_again_is_open() -> None:
    """x @ (u @ v), for each of 2 heads: the units of u are what the product has summed."""
    v = node("v", "VariableV2", shape=Shape((2, 3, 5)))
    assert multiplied((2, 4, 3), v, node("end", "BatchMatMulV2", "w", "v"), by="BatchMatMulV2") == ("open", None)
    assert multiplied((2, 5, 4), v, node("end", "BatchMatMulV2", "v", "w"), by="BatchMatMulV2") == ("told", (0, 2))


@pytest.mark.parametrize("op", ["Sum", "Mean", "ArgMax", "Cumsum", "SomethingOfTheirOwn"])
def test_an_op_that_is_not_known_leaves_the_weight_open(op: str) -> None:
    assert through(op, "w", "two") == Use(None, None, (op,), (), "open")


def test_a_loop_passes_what_it_does_not_change() -> None:
    assert through("Enter", "w", is_constant=True).unit_axes == (1,)
    assert through("Enter", "w", is_constant=False).state == "open"


WITNESSES: dict[str, set[str]] = {
    "Identity": {"in_loop", "ref"},
    "Cast": {"cast.0"},
    "Reshape": {"heads_reshaped.0", "conv2d_unfolded.0"},
    "Transpose": {"transposed.0", "conv2d_oihw.0"},
    "ExpandDims": {"conv1d.0"},
    "Squeeze": {"squeezed.0"},
    "Split": {"split.0", "split_inputs.0"},
    "SplitV": {"split_sizes.0"},
    "Slice": {"slice_op.0"},
    "StridedSlice": {"sliced.0", "stacked.0", "new_axis.0"},
    "ConcatV2": {"parts.0", "cut/whole"},
    "Pack": {"packed.0"},
    "Unpack": {"unstacked.0"},
    "Tile": {"tiled.0"},
    "BroadcastTo": {"spread.0"},
    "GatherV2": {"reordered.0"},
    "ResourceGather": {"one_layer.0"},
    "ReverseV2": {"conv2d_flipped.0"},
    "Pad": {"conv2d_padded.0"},
    "Mul": {"weight_norm.0", "masked.0", "from_function.0"},
    "MatMul": {"lora.2", "zero_state.1"},
    "Switch": {"in_cond"},
    "Enter": {"in_loop"},
    "FakeQuantWithMinMaxArgs": {"fake_quantized.0"},
}
"""Op -> weights in the stored graphs that are not told without it."""


def fresh() -> Iterator[tuple[Judged, Use]]:
    for name in ("module.pb", "tf1.meta"):
        told = stored_graphs.uses.__wrapped__(name).uses
        yield from ((each, told[each.name]) for each in stored_graphs.judged(name))


PRESENT = sorted(
    op for op in PASSING if any(op.encode() in stored_graphs.content(name) for name in ("module.pb", "tf1.meta"))
)


@pytest.mark.slow
@pytest.mark.parametrize("op", PRESENT)
def test_without_an_op_weights_are_open_and_never_wrong(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(passing.PASSING, op)  # type: ignore[arg-type]
    missed = set()
    for truth, use in fresh():
        if truth.role in ("kernel", "embedding") and truth.state == "told" and not truth.agrees(use):
            assert use.unit_axes is None, (truth, use)
            missed.add(truth.name)
    assert missed >= WITNESSES.get(op, set())


def test_the_stored_graphs_have_all_witnesses() -> None:
    assert set(WITNESSES) <= set(PRESENT)


@pytest.mark.slow
def test_without_calls_weights_are_open_and_never_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = flow._CALLS
    for op in ("PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "If", "StatelessIf", "Case"):
        monkeypatch.setattr(flow, "_CALLS", {each: call for each, call in calls.items() if each != op})
        for truth, use in fresh():
            assert truth.agrees(use) or use.unit_axes is None or truth.units is None


def test_looking_behind_data_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """DATA saves time only, but for what a placeholder hides."""
    monkeypatch.setattr(values, "DATA", frozenset({"Placeholder", "PlaceholderWithDefault", "NextIteration"}))
    assert all(truth.agrees(use) for truth, use in fresh())
