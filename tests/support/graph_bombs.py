"""Graphs made to cost time or memory: a few megabytes that lead to much more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from support.graph_build import Function, Integers, Shape, function, meta_graph, node, objects, saved_model, strings

CALL = "PartitionedCall"


def _model(
    functions: Iterable[bytes], bound: Iterable[tuple[str, list[int]]], count: int = 1, shape: tuple[int, ...] = (4, 4)
) -> bytes:
    """A SavedModel whose variables "v0", "v1", ... its functions take as their last arguments."""
    held = objects([(f"v{number}", shape) for number in range(count)], bound)
    return saved_model(meta_graph((), functions, held))


def _one(nodes: Iterable[bytes], *more: bytes, arguments: Iterable[str] = ("a",)) -> bytes:
    return _model([function("f", arguments, [node("r", "ReadVariableOp", "a"), *nodes]), *more], [("f", [0])])


def recursive() -> bytes:
    return _one([node("c", CALL, "a", f=Function(["f"]))])


def mutual() -> bytes:
    made = [
        function(one, "a", [node("c", CALL, "a", f=Function([other]))], {"o": "c:output:0"})
        for one, other in ("fg", "gf")
    ]
    return _model(made, [("f", [0])])


def deep_calls() -> bytes:
    made = [
        function(f"f{i}", "a", [node("c", CALL, "a", f=Function([f"f{i + 1}"]))], {"o": "c:output:0"})
        for i in range(20_000)
    ]
    made.append(function("f20000", "a", [node("r", "ReadVariableOp", "a")], {"o": "r:value:0"}))
    return _model(made, [("f0", [0])])


def fan_out() -> bytes:
    """Two calls a function: 2**60 in all."""
    made = [
        function(f"f{i}", "a", [node(each, CALL, "a", f=Function([f"f{i + 1}"])) for each in "cd"]) for i in range(30)
    ]
    return _model([*made, function("f30", "a", [])], [("f0", [0])])


def permuted_fan_out() -> bytes:
    """The same with arguments in another order each time."""
    names = [f"a{i}" for i in range(12)]
    made = []
    for i in range(25):
        callee = Function([f"f{i + 1}"])
        nodes = [node("c", CALL, *names[1:], names[0], f=callee)]
        nodes.append(node("d", CALL, names[1], names[0], *names[2:], f=callee))
        made.append(function(f"f{i}", names, nodes))
    return _model([*made, function("f25", names, [])], [("f0", list(range(12)))], 12)


def long_chain() -> bytes:
    chain = (node(f"n{i}", "Identity", f"n{i - 1}:o:0" if i else "r:value:0") for i in range(600_000))
    return _one(chain)


def long_way_back() -> bytes:
    nodes = [node("n0", "Relu", "x"), *(node(f"n{i}", "Relu", f"n{i - 1}:o:0") for i in range(1, 300_000))]
    return _one([*nodes, node("m", "Mul", "n299999:o:0", "r:value:0")], arguments=("x", "a"))


def cycles() -> bytes:
    count = 50_000
    nodes = [node("n0", "AddV2", "r:v:0", f"n{count - 1}:o:0")]
    nodes += [node(f"n{i}", "AddV2", f"n{i - 1}:o:0", f"n{i * 7919 % count}:o:0") for i in range(1, count)]
    return _one(nodes)


def wide_node() -> bytes:
    return _one([node("c", "AddN", *["r:v:0"] * 390_000)])


def many_outputs_of_a_wide_node() -> bytes:
    nodes = [node("c", "IdentityN", *["r:v:0"] * 20_000)]
    return _one([*nodes, *(node(f"i{i}", "Identity", f"c:o:{i}") for i in range(20_000))])


def many_calls() -> bytes:
    calls = [node(f"c{i}", CALL, *["r:v:0"] * 100, f=Function(["g"])) for i in range(3000)]
    return _one(calls, function("g", [f"a{i}" for i in range(100)], []))


def many_weights_in_one() -> bytes:
    names = [f"a{i}" for i in range(4000)]
    nodes = [node(f"r{i}", "ReadVariableOp", f"a{i}") for i in range(4000)]
    nodes += [node(f"s{i}", "AddV2", f"s{i - 1}:v:0" if i > 1 else "r0:v:0", f"r{i}:v:0") for i in range(1, 4000)]
    return _model([function("f", names, nodes)], [("f", list(range(4000)))], 4000)


def growing_rank() -> bytes:
    nodes = [node("k", "Const", value=Integers((0,), ()))]
    nodes += [node(f"e{i}", "ExpandDims", f"e{i - 1}:o:0" if i else "r:v:0", "k:output:0") for i in range(20_000)]
    return _one(nodes)


def large_rank() -> bytes:
    return _model([function("f", "a", [])], [("f", [0])], shape=(2,) * 100_000)


def many_attributes() -> bytes:
    nodes = [node("t", "Squeeze", "r:v:0", **{f"z{i}": 1 for i in range(60_000)})]
    return _one([*nodes, *(node(f"s{i}", "Squeeze", "t:o:0") for i in range(3000))])


def nested_loops() -> bytes:
    made = []
    for i in range(400):
        body = Function([f"b{i + 1}"])
        made.append(function(f"b{i}", "ia", [node("w", "While", "i", "a", body=body, cond=body)], {"x": "i", "y": "a"}))
    made.append(function("b400", "ia", [], {"x": "i", "y": "a"}))
    return _model(made, [("b0", [0])])


def many_outputs() -> bytes:
    returned = {f"o{i}": "a" for i in range(200_000)}
    return _one([node("c", CALL, "a", f=Function(["g"]))], function("g", "a", [], returned))


def many_branches() -> bytes:
    case = node("c", "Case", "p", "a", branches=Function(["g"] * 100_000))
    return _one([case], function("g", "a", []), arguments=("p", "a"))


def many_functions() -> bytes:
    return _model((function(f"f{i}", "a", []) for i in range(100_000)), [(f"f{i}", [0]) for i in range(100_000)])


def one_name() -> bytes:
    twice = function("f", "a", [node("r", "ReadVariableOp", "a")] * 2)
    return _model([twice, twice], [("f", [0] * 50)])


def huge_constant() -> bytes:
    nodes = [node("k", "Const", value=Integers((1 << 62,), (1 << 40,), 9))]
    return _one([*nodes, node("s", "Reshape", "r:v:0", "k:o:0"), node("t", "BroadcastTo", "r:v:0", "k:o:0")])


def long_equation() -> bytes:
    equation = "(" * 100_000 + "a" * 100_000 + "," + "A" * 200_000 + "->" + "a" * 100_000
    return _one([node("e", "Einsum", "x", "r:v:0", equation=equation)], arguments=("x", "a"))


def many_variables() -> bytes:
    """A .meta file; all are saved, and joined."""
    names = [f"v{i}" for i in range(100_000)]
    nodes = [node(name, "VariableV2", shape=Shape((2, 2))) for name in names]
    nodes.append(node("keys", "Const", value=strings(names)))
    nodes.append(node("save", "SaveV2", "p", "keys", "none", *names))
    return meta_graph(
        [*nodes, node("axis", "Const", value=Integers((0,), ())), node("all", "ConcatV2", *names, "axis")]
    )


BOMBS: list[Callable[[], bytes]] = [
    recursive,
    mutual,
    deep_calls,
    fan_out,
    permuted_fan_out,
    long_chain,
    long_way_back,
    cycles,
    wide_node,
    many_outputs_of_a_wide_node,
    many_calls,
    many_weights_in_one,
    growing_rank,
    large_rank,
    many_attributes,
    nested_loops,
    many_outputs,
    many_branches,
    many_functions,
    one_name,
    huge_constant,
    long_equation,
    many_variables,
]
