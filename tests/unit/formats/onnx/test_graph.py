"""What the graph of a model tells of a weight, judged by which weights reach which outputs in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from support import onnx_files
from support.files import look
from support.found import file_at
from support.graph_build import blob, number
from support.memory_file import MemoryFile
from support.onnx_files import GRAPH, TENSOR, graph, model, node, tensor, value_info

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.onnx import ATTRIBUTES, CONSUMERS
from renorm_cli.formats.onnx.checkpoint import open_onnx
from renorm_cli.model.variable import Variable

Shape = tuple[int, ...]
Axes = tuple[int, ...] | None


class Row(NamedTuple):
    """Nodes that make `y` of the weight `w` and of data, and the axes of `w` that name units."""

    name: str
    nodes: Sequence[bytes]
    shape: Shape
    units: Axes
    data: Mapping[str, Shape] = {}
    numbers: Mapping[str, np.ndarray] = {}
    role: str = "kernel"
    is_run: bool = True
    """False where its units are finer than what reaches an output, or onnx does not know the op."""

    def model(self, *, fed: bool = False) -> bytes:
        """With `fed`, the weight comes from outside."""
        tensors = [tensor(name, array) for name, array in self.numbers.items()]
        tensors += [] if fed else [tensor("w", weight(self.shape))]
        data = {**self.data, "w": self.shape} if fed else self.data
        inputs = [value_info(name, 7 if name == "ids" else 1, shape) for name, shape in data.items()]
        return model(graph(self.nodes, tensors, inputs, [blob(1, "y") + blob(2, blob(1, number(1, 1)))]))


def weight(shape: Shape) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _matmul(*steps: bytes, last: str = "v", width: int = 4) -> tuple[Sequence[bytes], Mapping[str, Shape]]:
    return [*steps, node("MatMul", ["x", last], ["y"])], {"x": (2, width)}


def _passing(name: str, shape: Shape, units: Axes, width: int, *steps: bytes, **numbers: np.ndarray) -> Row:
    nodes, data = _matmul(*steps, width=width)
    return Row(name, nodes, shape, units, data, numbers)


def _fused(operands: str, flags: Iterable[str]) -> bytes:
    return node("FusedMatMul", operands, ["y"], domain="com.microsoft", **dict.fromkeys(flags, 1))


ROWS = (
    Row("Conv", [node("Conv", ["x", "w"], ["y"])], (4, 3, 2, 2), (0,), {"x": (1, 3, 2, 2)}),
    Row("Conv of groups", [node("Conv", ["x", "w"], ["y"], group=2)], (4, 3, 2), (0,), {"x": (1, 6, 2)}),
    Row("Conv, depthwise", [node("Conv", ["x", "w"], ["y"], group=3)], (3, 1, 2), (0,), {"x": (1, 3, 2)}),
    Row("ConvTranspose", [node("ConvTranspose", ["x", "w"], ["y"])], (3, 4, 1), (1,), {"x": (1, 3, 2)}),
    Row(
        "ConvTranspose, depthwise",
        [node("ConvTranspose", ["x", "w"], ["y"], group=3)],
        (3, 2, 1),
        (0, 1),
        {"x": (1, 3, 2)},
    ),
    Row("Gemm", [node("Gemm", ["x", "w"], ["y"])], (4, 3), (1,), {"x": (2, 4)}),
    Row("Gemm transB", [node("Gemm", ["x", "w"], ["y"], transB=1)], (3, 4), (0,), {"x": (2, 4)}),
    Row("Gemm A", [node("Gemm", ["w", "x"], ["y"])], (3, 4), (0,), {"x": (4, 2)}),
    Row("Gemm transA", [node("Gemm", ["w", "x"], ["y"], transA=1)], (4, 3), (1,), {"x": (4, 2)}),
    Row("MatMul", [node("MatMul", ["x", "w"], ["y"])], (4, 3), (1,), {"x": (2, 4)}),
    Row("MatMul A", [node("MatMul", ["w", "x"], ["y"])], (3, 4), (0,), {"x": (4, 2)}),
    Row("MatMul of several", [node("MatMul", ["x", "w"], ["y"])], (2, 4, 3), (0, 2), {"x": (2, 1, 4)}),
    *(
        Row(f"FusedMatMul, {' '.join(flags) or 'plain'}", [_fused(operands, flags)], shape, units, {"x": other})
        for operands, flags, shape, units, other in (
            ("xw", [], (2, 4, 3), (0, 2), (2, 1, 4)),
            ("xw", ["transB"], (2, 3, 4), (0, 1), (2, 1, 4)),
            ("xw", ["transBatchB"], (4, 2, 3), (1, 2), (2, 1, 4)),
            ("xw", ["transB", "transBatchB"], (3, 2, 4), (0, 1), (2, 1, 4)),
            ("wx", ["transA"], (2, 4, 3), (0, 2), (2, 4, 1)),
            ("wx", ["transBatchA"], (3, 2, 4), (0, 1), (2, 4, 1)),
            ("wx", ["transA", "transBatchA"], (4, 2, 3), (1, 2), (2, 4, 1)),
        )
    ),
    Row("Einsum", [node("Einsum", ["x", "w"], ["y"], equation="abc,cde->abde")], (4, 2, 3), (1, 2), {"x": (1, 2, 4)}),
    Row("Einsum, first", [node("Einsum", ["w", "x"], ["y"], equation="ed,bd->be")], (3, 4), (0,), {"x": (2, 4)}),
    Row("Gather", [node("Gather", ["w", "ids"], ["y"])], (5, 3), (0,), {"ids": (5,)}, role="embedding", is_run=False),
    Row(
        "Gather axis",
        [node("Gather", ["w", "ids"], ["y"], axis=1)],
        (3, 5),
        (1,),
        {"ids": (5,)},
        role="embedding",
        is_run=False,
    ),
    *(
        Row(op, [node(op, ["x", "w"], ["y"], hidden_size=2)], (1, gates * 2, 3), (0, 1), {"x": (1, 1, 3)}, is_run=False)
        for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    ),
    Row("LSTM R", [node("LSTM", ["x", "v", "w"], ["y"])], (1, 8, 2), (0, 1), {"x": (1, 1, 3)}, is_run=False),
    Row(
        "FusedConv",
        [node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft")],
        (4, 3, 2),
        (0,),
        {"x": (1, 3, 2)},
        is_run=False,
    ),
    Row(
        "Attention",
        [node("Attention", ["x", "w"], ["y"], domain="com.microsoft")],
        (4, 6),
        (1,),
        {"x": (1, 2, 4)},
        is_run=False,
    ),
    _passing("Transpose", (3, 4), (0,), 4, node("Transpose", ["w"], ["v"])),
    _passing("Transpose perm", (3, 2, 4), (0, 1), 4, node("Transpose", ["w"], ["v"], perm=[1, 2, 0])),
    _passing("Identity, Cast", (4, 3), (1,), 4, node("Identity", ["w"], ["i"]), node("Cast", ["i"], ["v"], to=1)),
    _passing("Reshape 0", (4, 3, 2), (1, 2), 4, node("Reshape", ["w", "s"], ["v"]), s=ints(0, -1)),
    _passing("Reshape", (12,), None, 4, node("Reshape", ["w", "s"], ["v"]), s=ints(4, 3)),
    _passing("Flatten", (4, 3, 2), (1, 2), 4, node("Flatten", ["w"], ["v"])),
    _passing("Flatten axis", (2, 2, 3), (2,), 4, node("Flatten", ["w"], ["v"], axis=2)),
    _passing(
        "Unsqueeze, Squeeze",
        (3, 4),
        (0,),
        4,
        node("Unsqueeze", ["w", "a"], ["u"]),
        node("Transpose", ["u"], ["t"], perm=[0, 3, 2, 1]),
        node("Squeeze", ["t", "a"], ["v"]),
        a=ints(2, 0),
    ),
    _passing(
        "Slice",
        (4, 6),
        (1,),
        4,
        node("Slice", ["w", "from", "to", "a"], ["v"]),
        **{"from": ints(0), "to": ints(6), "a": ints(1)},
    ),
    _passing("Concat", (4, 3), (1,), 4, node("Concat", ["w", "w"], ["v"], axis=1)),
    Row(
        "Split",
        [
            node("Split", ["w", "s"], ["a", "b"], axis=1),
            node("MatMul", ["x", "a"], ["ya"]),
            node("MatMul", ["x", "b"], ["yb"]),
            node("Concat", ["ya", "yb"], ["y"], axis=1),
        ],
        (4, 6),
        (1,),
        {"x": (2, 4)},
        {"s": ints(2, 4)},
    ),
)


def opened(content: bytes) -> dict[str, Variable]:
    with open_onnx(file_at(Path("m.onnx"), MemoryFile(Path("m.onnx"), content))) as source:
        return {variable.key: variable for variable in source.variables}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_operator_tells_the_role_and_the_unit_axes_of_the_weight_it_takes(row: Row) -> None:
    use = opened(row.model())["w"].use
    assert (use and use.role, use and use.unit_axes) == ((row.role, row.units) if row.units else (None, None))


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.is_run and row.units], ids=lambda row: row.name)
def test_weights_of_one_unit_are_those_that_reach_the_same_outputs(row: Row) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(row.model(fed=True), providers=["CPUExecutionProvider"])
    chance = np.random.default_rng(1)
    feeds = {name: chance.uniform(1, 2, shape).astype(np.float32) for name, shape in row.data.items()}

    def outputs(w: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {**feeds, "w": w})[0])

    before = weight(row.shape)
    told, reached = {}, {}
    plain = outputs(before)
    for place in np.ndindex(row.shape):
        changed = before.copy()
        changed[place] += 1
        reached[place] = frozenset(map(int, np.flatnonzero(outputs(changed) != plain)))
        told[place] = tuple(place[axis] for axis in row.units or ())
    assert all(reached.values())
    pairs = {(told[place], reached[place]) for place in told}
    assert len(pairs) == len(set(told.values())) == len(set(reached.values()))


OTHERS = [
    *((op, place, "bias") for op in ("Conv", "ConvTranspose", "Gemm", "LayerNormalization") for place in (2,)),
    *((op, place, role) for op in ("LSTM", "GRU", "RNN") for place, role in ((3, "bias"), (5, "state"))),
    ("LSTM", 6, "state"),
    *(("Add", place, "bias") for place in (0, 1)),
    ("Sum", 1, "bias"),
    ("LSTM", 7, "scale"),
    *(("Mul", place, "scale") for place in (0, 1)),
    ("Div", 1, "scale"),
    ("PRelu", 1, "scale"),
    *((op, 1, "scale") for op in ("BatchNormalization", "LayerNormalization", "GroupNormalization")),
    *(("BatchNormalization", place, "statistic") for place in (3, 4)),
    *((op, place, "quantized") for op in ("QuantizeLinear", "DequantizeLinear") for place in (1, 2)),
    *(("QLinearConv", place, "quantized") for place in (1, 3, 4, 6)),
    *(("QLinearMatMul", place, "quantized") for place in (1, 3, 4)),
]


@pytest.mark.parametrize(("op", "place", "role"), OTHERS)
def test_what_is_added_scales_or_quantizes_is_no_kernel_whatever_its_rank(op: str, place: int, role: str) -> None:
    for shape in [(4,), (4, 1) if op in ("Mul", "Div") else (4, 3)]:
        inputs = [f"x{number}" for number in range(place)]
        after = ["z"] if op in ("Add", "Mul") else []
        content = model(graph([node(op, [*inputs, "w", *after], ["y"])], [tensor("w", weight(shape))]))
        variable = opened(content)["w"]
        assert (variable.use and variable.use.role, variable.state) == (role, role if role == "quantized" else None)


_SQUARED = [node("Pow", ["d", "two"], ["s"]), node("ReduceSum", ["s", "a"], ["y"])]
BY_HAND = {
    "product": [node("Mul", ["x", "w"], ["p"]), node("ReduceSum", ["p", "a"], ["y"])],
    "ratio": [node("Div", ["x", "w"], ["p"]), node("ReduceSum", ["p", "a"], ["y"])],
    "distance": [node("Sub", ["x", "w"], ["d"]), *_SQUARED],
    "distance, shaped": [node("Add", ["x", "w"], ["e"]), node("Unsqueeze", ["e", "a"], ["d"]), *_SQUARED],
    "distance, multiplied": [node("Add", ["x", "w"], ["d"]), node("Mul", ["d", "d"], ["y"])],
    "kernel and data": [node("Add", ["w", "z"], ["k"]), node("MatMul", ["x", "k"], ["y"])],
    "kernel by data": [node("Mul", ["w", "z"], ["k"]), node("MatMul", ["x", "k"], ["y"])],
    "unknown op": [node("Add", ["x", "w"], ["y"]), node("Strange", ["w", "x"], ["z"])],
}


@pytest.mark.parametrize("nodes", BY_HAND.values(), ids=BY_HAND)
def test_a_matrix_that_may_be_multiplied_element_by_element_is_neither_bias_nor_scale(nodes: Sequence[bytes]) -> None:
    numbers = [tensor("a", ints(1)), tensor("two", np.array(2, np.float32))]
    for shape, certain in [((4, 3), False), ((4, 1), True)]:
        found = opened(model(graph(nodes, [tensor("w", weight(shape)), *numbers])))["w"]
        assert (found.use is not None) is certain, shape


def test_a_table_of_positions_or_of_a_mask_that_is_added_is_a_bias() -> None:
    ways = (
        [node("Add", ["x", "w"], ["s"]), node("MatMul", ["s", "z"], ["y"])],
        [node("Add", ["x", "w"], ["s"]), node("Relu", ["s"], ["y"])],
        [node("Gather", ["w", "row"], ["r"]), node("Mul", ["x", "r"], ["y"])],  # a row of it is a vector
    )
    for nodes, role in zip(ways, ("bias", "bias", "scale"), strict=True):
        use = opened(model(graph(nodes, [tensor("w", weight((4, 3))), tensor("row", np.array(1))])))["w"].use
        assert use is not None
        assert use.role == role


def test_every_operator_of_the_table_is_one_that_a_test_here_asks_for_or_of_microsoft() -> None:
    asked = {row.name.split(",")[0].split(" ")[0] for row in ROWS} | {op for op, _, _ in OTHERS}
    known = {op for op, _ in CONSUMERS if "." not in op}
    assert known - asked == {
        "ConvInteger", "DeformConv", "GatherND", "InstanceNormalization", "MatMulInteger", "RMSNormalization",
        "SimplifiedLayerNormalization", "Sub", "AddN",
    }  # fmt: skip


def test_a_grouped_transposed_convolution_has_no_whole_axis_of_units() -> None:
    content = model(graph([node("ConvTranspose", ["x", "w"], ["y"], group=2)], [tensor("w", weight((4, 3, 2)))]))
    assert opened(content)["w"].use is None


@pytest.mark.parametrize(
    ("equation", "units"),
    [("bi,io,oj->bj", None), ("bi,ho,ohj->bj", None), ("bi,io,oj->boj", (1,)), ("bo,oi,bj->bij", (1,))],
)
def test_a_product_with_another_weight_tells_only_what_is_not_summed_over_both(equation: str, units: Axes) -> None:
    tensors = [tensor("w", weight((4, 4))), tensor("v", weight((4,) * len(equation.split("->")[0].split(",")[2])))]
    content = model(graph([node("Einsum", ["x", "w", "v"], ["y"], equation=equation)], tensors))
    use = opened(content)["w"].use
    assert (use and use.unit_axes) == units


@pytest.mark.parametrize(("part", "units"), [({}, (0,)), ({"start": 1}, None), ({"end": 1}, None)])
def test_a_weight_that_is_reshaped_by_a_part_of_a_shape_is_open(part: Mapping[str, int], units: Axes) -> None:
    nodes = [
        node("Shape", ["v"], ["s"], **part),
        node("Reshape", ["w", "s"], ["r"]),
        node("MatMul", ["r", "x"], ["y"]),
    ]
    content = model(graph(nodes, [tensor(name, weight((4, 4))) for name in "wv"]))
    use = opened(content)["w"].use
    assert (use and use.unit_axes) == units


@pytest.mark.parametrize(
    "split", [node("Split", ["w", "s"], ["a", "b"], axis=1), node("Split", ["w"], ["a", "b"], axis=1, split=[2, 4])]
)
def test_the_parts_of_a_split_have_the_sizes_that_an_operand_tells_or_an_attribute(split: bytes) -> None:
    """Of another size, a part could not be reshaped so; the attribute is that of versions before 13."""
    for sizes, units in (((1, 4, 2), (1,)), ((1, 4, 3), None)):
        nodes = [split, node("Reshape", ["a", "r"], ["c"]), node("MatMul", ["x", "c"], ["y"])]
        tensors = [tensor("w", weight((4, 6))), tensor("s", ints(2, 4)), tensor("r", ints(*sizes))]
        use = opened(model(graph(nodes, tensors)))["w"].use
        assert (use and use.unit_axes) == units


def test_a_weight_of_few_bits_is_quantized_and_never_a_kernel() -> None:
    eight = tensor("w", np.ones((4, 3), np.int8))
    for nodes in (
        [node("DequantizeLinear", ["w", "s"], ["v"]), node("MatMul", ["x", "v"], ["y"])],
        [node("QLinearMatMul", ["a", "as", "az", "w", "s", "wz", "ys", "yz"], ["y"])],
        [node("Cast", ["w"], ["v"], to=1), node("MatMul", ["x", "v"], ["y"])],
    ):
        found = opened(model(graph(nodes, [eight, tensor("s", weight((4, 3)))])))
        assert found["w"].state == "quantized"
        assert found["s"].state in ("quantized", None)
        assert found["s"].use is None or found["s"].use.role != "kernel"


def test_a_weight_that_is_quantized_and_back_is_a_kernel_that_the_model_changes() -> None:
    nodes = [
        node("QuantizeLinear", ["w", "s", ""], ["q"]),
        node("DequantizeLinear", ["q", "s"], ["v"]),
        node("MatMul", ["x", "v"], ["y"]),
    ]
    use = opened(model(graph(nodes, [tensor("w", weight((4, 3))), tensor("s", weight((3,)))])))["w"].use
    assert use is not None
    assert (use.role, use.unit_axes, use.via) == ("kernel", (1,), ("DequantizeLinear", "QuantizeLinear"))


def _body(nodes: Sequence[bytes], output: str, tensors: Sequence[bytes] = ()) -> tuple[int, bytes]:
    return GRAPH, graph(nodes, tensors, outputs=[value_info(output, 1, [])])


def test_weights_in_bodies_and_those_that_bodies_see_around_them_are_told() -> None:
    inner = _body(
        [node("Constant", [], ["k"], value=(TENSOR, tensor("", weight((4, 3))))), node("MatMul", ["x", "k"], ["i"])],
        "i",
    )
    outer = _body([node("If", ["c"], ["deep"], then_branch=inner, else_branch=inner)], "deep")
    other = _body([node("Gemm", ["x", "w"], ["o"], transB=1)], "o")
    nodes = [node("If", ["c"], ["y"], then_branch=outer, else_branch=other)]
    found = opened(model(graph(nodes, [tensor("w", weight((3, 4)))])))
    axes = {key: variable.use and variable.use.unit_axes for key, variable in found.items()}
    path = "y/then_branch/deep"
    assert axes == {f"{path}/then_branch/k": (1,), f"{path}/else_branch/k": (1,), "w": (0,)}


def test_a_weight_that_an_if_chooses_is_used_where_its_output_is() -> None:
    bodies = {
        name: _body([node("Identity", [weight], ["i"])], "i")
        for name, weight in (("then_branch", "a"), ("else_branch", "b"))
    }
    nodes = [node("If", ["c"], ["chosen"], **bodies), node("MatMul", ["x", "chosen"], ["y"])]
    found = opened(model(graph(nodes, [tensor(name, weight((4, 3))) for name in "ab"])))
    assert {variable.use and variable.use.unit_axes for variable in found.values()} == {(1,)}


def test_what_a_loop_starts_from_or_the_model_returns_is_open_and_what_nothing_takes_is_unused() -> None:
    outputs = [value_info(name, 1, []) for name in ("next", "given")]
    body = GRAPH, graph([node("MatMul", ["carried", "w"], ["next"])], outputs=outputs)
    nodes = [node("Loop", ["n", "c", "start"], ["y"], body=body)]
    tensors = [tensor(name, weight((4, 4))) for name in ("w", "start", "given", "returned", "left")]
    found = opened(model(graph(nodes, tensors, outputs=[value_info("returned", 1, [4, 4])])))
    told = {key: variable.use for key, variable in found.items()}
    assert told["w"] is not None
    assert told["w"].unit_axes == (1,)
    assert [told[name] for name in ("start", "given", "returned")] == [None] * 3
    assert told["left"] is not None
    assert told["left"].ops == ()


def test_weights_are_followed_into_functions_and_those_inside_are_told() -> None:
    function = onnx_files.function(
        "own",
        "block",
        ["a", "b"],
        ["r"],
        [
            node("MatMul", ["a", "b"], ["m"]),
            node("Constant", [], ["k"], value=(TENSOR, tensor("", weight((3, 2))))),
            node("MatMul", ["m", "k"], ["r"]),
        ],
    )
    content = model(
        graph([node("block", ["x", "w"], ["y"], domain="own")], [tensor("w", weight((4, 3)))]), [function], ["own"]
    )
    found = opened(content)
    assert {key: variable.use and variable.use.unit_axes for key, variable in found.items()} == {
        "w": (1,),
        "own.block/k": (1,),
    }


@pytest.mark.parametrize(("overload", "units"), [("", None), ("one", (0,)), ("two", (1,)), ("three", None)])
def test_of_functions_that_differ_in_their_overload_the_called_one_is_followed(overload: str, units: Axes) -> None:
    functions = [
        onnx_files.function("own", "F", ["a", "b"], ["r"], [node("Gemm", ["a", "b"], ["r"], transB=turned)], name)
        for name, turned in (("one", 1), ("two", 0))
    ]
    called = node("F", ["x", "w"], ["y"], domain="own", overload=overload)
    use = opened(model(graph([called], [tensor("w", weight((4, 4)))]), functions, ["own"]))["w"].use
    assert (use and use.unit_axes) == units


def test_consumers_that_disagree_are_told_and_the_weight_is_left_alone(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "w"], ["y"]), node("Gemm", ["z", "w"], ["v"], transB=1)]
    (tmp_path / "m.onnx").write_bytes(model(graph(nodes, [tensor("w", weight((4, 4)))])))
    report = look(tmp_path / "m.onnx")
    assert not report.rows
    assert [skip.code for skip in report.skips] == ["unidentified"]
    assert any("'w': its consumers tell different unit axes" in note.text for note in report.notes)


def test_an_operator_of_another_domain_is_not_the_one_of_its_name() -> None:
    content = model(graph([node("MatMul", ["x", "w"], ["y"], domain="own")], [tensor("w", weight((4, 3)))]))
    assert opened(content)["w"].use is None


def test_an_operator_with_an_attribute_that_is_not_known_tells_no_axes() -> None:
    told = {(op, place): row for (op, place), row in CONSUMERS.items() if row.rule is not None}
    assert {op for op, _ in told} == set(ATTRIBUTES)
    for op, place in told:
        domain, _, name = op.rpartition(".")
        inputs = [*(f"x{number}" for number in range(place)), "w"]
        content = node(name, inputs, ["y"], domain=domain, equation=",".join(["ab"] * (place + 1)) + "->a", other=1)
        use = opened(model(graph([content], [tensor("w", weight((4, 3)))])))["w"].use
        assert use is None, op


@pytest.mark.slow
def test_the_attributes_of_operators_are_those_of_their_schemas() -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    found: dict[str, set[str]] = {}
    schemas = runtime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    for schema in [*onnx.defs.get_all_schemas_with_history(), *schemas]:
        name = f"{schema.domain}.{schema.name}" if schema.domain else schema.name
        found.setdefault(name, set()).update(schema.attributes)
    recurrent = {"LSTM", "GRU", "RNN"}
    assert {op: found[op] for op in ATTRIBUTES if op not in recurrent} == {
        op: known for op, known in ATTRIBUTES.items() if op not in recurrent
    }
    assert all(found[op] <= ATTRIBUTES[op] for op in recurrent)


def test_the_name_that_an_exporter_gave_is_told_and_the_node_is_its_alias(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", name], [f"y{name}"], name=f"/{name[:3]}/MatMul") for name in ("onnx::MatMul_9", "fc.w")
    ]
    (tmp_path / "m.onnx").write_bytes(
        model(graph(nodes, [tensor(n, weight((4, 3))) for n in ("onnx::MatMul_9", "fc.w")]))
    )
    report = look(tmp_path / "m.onnx")
    assert {row.step.variable.name: row.step.variable.aliases for row in report.rows} == {
        "onnx::MatMul_9": ("/onn/MatMul",),
        "fc.w": (),
    }
    assert ["'onnx::MatMul_9'" in note.text for note in report.notes] == [True]


def test_a_graph_of_more_than_is_followed_tells_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "DEPTH", 0)
    (tmp_path / "m.onnx").write_bytes(onnx_files.small_model())
    report = look(tmp_path / "m.onnx")
    assert not report.rows
    assert any("tells nothing of the weights" in note.text for note in report.notes)
