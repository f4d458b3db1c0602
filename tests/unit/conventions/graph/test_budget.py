"""What a graph may cost: less than seconds and memory that a user would notice, or nothing is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import graph_bombs, stored_graphs
from support.graph_build import Attribute, Function, Integers, Shape, function, meta_graph, node
from support.places import ROOT, TESTS

from renorm_cli.conventions.graph import budget
from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.uses import UNUSED
from renorm_cli.formats.tensorflow import graph_uses
from renorm_cli.formats.tensorflow.graph_uses import GraphUses, uses_in_meta_graph

SECONDS, MEGABYTES = 15.0, 250
"""Of the processor, on a slow machine, and of memory beyond that of the file itself."""

RUN = """
import resource, sys, time
from support import graph_bombs
from renorm_cli.formats.tensorflow.graph_uses import uses_in_meta_graph, uses_in_saved_model
from renorm_cli.formats.tensorflow.object_graph import Attribute, Node, ObjectGraph
name = sys.argv[1]
data = getattr(graph_bombs, name)()
shape = {"large_rank": (2,) * 100_000, "many_variables": (2, 2)}.get(name, (4, 4))
names = [f"v{number}" for number in range(100_000 if name == "many_variables" else 4_000)]
objects = ObjectGraph(tuple(Node(attributes=(Attribute("VARIABLE_VALUE", each, each),)) for each in names))
shapes = dict.fromkeys(names, shape)
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
if name == "many_variables":
    found = uses_in_meta_graph(data, "shown", shapes)
else:
    found = uses_in_saved_model(data, "shown", objects, shapes)
print(time.process_time() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
assert found.spent or found.uses, found
"""


@pytest.mark.slow
@pytest.mark.parametrize("bomb", graph_bombs.BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_graph_made_to_harm_costs_little(bomb: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, bomb.__name__],  # type: ignore[attr-defined]
        env={"PYTHONPATH": f"{ROOT}:{TESTS}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


@pytest.mark.parametrize("name", ["module.pb", "tf1.meta"])
@pytest.mark.parametrize("what", ["fields", "parsed", "nodes", "values", "runs"])
def test_where_the_budget_is_spent_nothing_is_told(what: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Budget()
    monkeypatch.setattr(graph_uses, "Budget", lambda: left)
    assert stored_graphs.uses.__wrapped__(name).spent is None
    used = getattr(Budget(), what) - getattr(left, what) if what != "fields" else 1_000
    assert used > 0
    left = Budget(**{what: used - 1})
    assert stored_graphs.uses.__wrapped__(name) == GraphUses(
        spent={"parsed": "nodes held in memory", "runs": "functions run"}.get(what, what)
    )


def test_a_real_graph_takes_a_small_part_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    left = Budget()
    monkeypatch.setattr(graph_uses, "Budget", lambda: left)
    stored_graphs.uses.__wrapped__("module.pb")
    for what in ("parsed", "nodes", "values", "runs"):
        assert getattr(left, what) > 0.95 * getattr(Budget(), what)


@pytest.mark.parametrize(("depth", "spent"), [(30, None), (40, "calls inside of calls")])
def test_calls_may_be_nested_but_not_without_end(depth: int, spent: str | None) -> None:
    functions = [
        function(f"f{i}", "xa", [node("c", "PartitionedCall", "x", "a", f=Function([f"f{i + 1}"]))])
        for i in range(depth)
    ]
    last = function(f"f{depth}", "xa", [node("r", "ReadVariableOp", "a"), node("m", "MatMul", "x", "r:value:0")])
    nodes = [node("x", "Placeholder"), node("w", "VarHandleOp", shape=Shape((4, 5)))]
    nodes.append(node("call", "PartitionedCall", "x", "w", f=Function(["f0"])))
    found = uses_in_meta_graph(meta_graph(nodes, [*functions, last]), "shown", {"w": (4, 5)})
    assert found.spent == spent
    assert spent or found.uses["w"].unit_axes == (1,)


@pytest.mark.parametrize(("count", "told"), [(Budget.LAYOUTS, True), (Budget.LAYOUTS + 1, False)])
def test_weights_beyond_the_limit_of_one_tensor_are_open(count: int, told: bool) -> None:
    names = [f"w{number}" for number in range(count)]
    nodes = [node(name, "VariableV2", shape=Shape((4, 5))) for name in names]
    nodes += [node("x", "Placeholder"), node("axis", "Const", value=Integers((1,), ()))]
    nodes += [node("all", "ConcatV2", *names, "axis"), node("m", "MatMul", "x", "all")]
    found = uses_in_meta_graph(meta_graph(nodes), "shown", dict.fromkeys(names, (4, 5)))
    assert found.uses[names[0]].unit_axes == (1,)
    assert (found.uses[names[-1]].state == "told") == told
    assert found.uses[names[-1]] != UNUSED


def chained(op: str, times: int, **attributes: Attribute) -> GraphUses:
    nodes = [node("x", "Placeholder"), node("n0", "VariableV2", shape=Shape((4, 5)))]
    nodes.append(node("zero", "Const", value=Integers((0,), ())))
    nodes += [node(f"n{i}", op, f"n{i - 1}", "zero", **attributes) for i in range(1, times + 1)]
    nodes.append(node("m", "BatchMatMulV2", "x", f"n{times}"))
    return uses_in_meta_graph(meta_graph(nodes), "shown", {"n0": (4, 5)})


def test_a_layout_of_too_many_dims_is_lost() -> None:
    assert chained("ExpandDims", Budget.RANK - 2).uses["n0"].unit_axes == (1,)
    assert chained("ExpandDims", Budget.RANK - 1).uses["n0"].state == "open"


def test_a_deep_graph_needs_no_deep_recursion() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        assert chained("Identity", 20_000).uses["n0"].unit_axes == (1,)
    finally:
        sys.setrecursionlimit(limit)


def test_every_limit_is_told_of_in_one_place() -> None:
    limits = {name for name in vars(Budget) if name.isupper()} | set(Budget.__slots__)
    per_tensor = {"RANK", "ATOMS", "CHANGES", "LAYOUTS", "INTEGERS", "BRANCHES", "DEPTH"}
    assert limits == per_tensor | {"fields", "parsed", "nodes", "values", "runs"}
    assert budget.__doc__
