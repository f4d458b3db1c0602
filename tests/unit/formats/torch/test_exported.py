"""What the graph of an exported program tells of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.files import look

from renorm_cli.formats.torch.exported import _graph, _products, exported

Node = dict[str, Any]


def node(target: str, weight: str = "p_w", **given: Any) -> Node:
    arguments = {"input": {"as_tensor": {"name": "x"}}, "weight": {"as_tensor": {"name": weight}}, **given}
    inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()]
    return {"target": f"torch.ops.aten.{target}", "inputs": inputs}


def program(*nodes: Node) -> Any:
    spec = {"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}}
    return {"graph_module": {"graph": {"nodes": list(nodes)}, "signature": {"input_specs": [spec]}}}


def told(content: bytes) -> tuple[str | None, int]:
    """The layer and the groups of the weight `w` (4, 2, 3)."""
    sizes, strides = ([{"as_int": one} for one in axes] for axes in ((4, 2, 3), (6, 3, 1)))
    meta = {"dtype": 7, "sizes": sizes, "strides": strides, "storage_offset": {"as_int": 0}}
    config = {"config": {"w": {"path_name": "weight_0", "tensor_meta": meta}}}
    ((_, tensor),) = exported(
        {"model": json.dumps(config).encode()}, {"model": content}, {"data/weights/weight_0": 96}, "m.pt2"
    )
    return tensor.layer, tensor.groups


TURNED, PLAIN = node("conv_transpose1d.default"), node("conv1d.default")
TWO, YES, NO = {"as_int": 2}, {"as_bool": True}, {"as_bool": False}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], (None, 1)),
        ([node("linear.default")], ("Linear", 1)),
        ([PLAIN], ("Conv1d", 1)),
        ([node("conv1d.padding", groups=TWO)], ("Conv1d", 2)),
        ([TURNED], ("ConvTranspose1d", 1)),
        ([node("conv_transpose1d.default", groups=TWO)], ("ConvTranspose1d", 2)),
        ([node("conv_transpose1d.default", groups={"as_expr": "s0"})], ("ConvTranspose1d", 0)),
        ([node("convolution.default", transposed=NO, groups=TWO)], ("Conv1d", 2)),
        ([node("convolution.default", transposed=YES, groups=TWO)], ("ConvTranspose1d", 2)),
        ([TURNED, TURNED], ("ConvTranspose1d", 1)),
        ([PLAIN, TURNED], ("ConvTranspose1d", 0)),
        ([node("linear.default"), node("embedding.default")], ("Embedding", 1)),
        ([node("conv_transpose1d.default", "p_other"), node("relu.default")], (None, 1)),
    ],
)
def test_the_graph_tells_the_layer_that_uses_a_weight(nodes: list[Node], expected: tuple[str | None, int]) -> None:
    assert told(json.dumps(program(*nodes)).encode()) == expected


def product(operator: str, first: str, second: str, made: str = "y", **more: Any) -> Node:
    names = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2")}.get(operator, ("self", "other"))
    given = {one: {"as_tensor": {"name": tensor}} for one, tensor in zip(names, (first, second), strict=True) if tensor}
    inputs = [{"name": name, "arg": argument} for name, argument in {**given, **more}.items()]
    return {
        "target": f"torch.ops.aten.{operator}.default",
        "inputs": inputs,
        "outputs": [{"as_tensor": {"name": made}}],
    }


def turned(operator: str = "t", **more: Any) -> Node:
    return product(operator, "p_w", "", "u", **more)


FIRST, LAST = {"as_int": 0}, {"as_int": -1}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([product("mm", "x", "p_w")], ((1,), ("mm",))),
        ([product("matmul", "p_w", "x")], ((0,), ("matmul",))),
        ([product("addmm", "x", "p_w")], ((1,), ("addmm",))),
        *(([turned(one), product("mm", "x", "u")], ((0,), ("mm",))) for one in ("t", "numpy_T", "mT")),
        ([turned(), turned(), product("mm", "x", "u")], ((0,), ("mm",))),
        ([turned(), product("t", "u", "", "v"), product("mm", "x", "v")], ((1,), ("mm",))),
        ([turned("permute", dims={"as_ints": [1, 0]}), product("mm", "u", "x")], ((1,), ("mm",))),
        ([turned("permute", dims={"as_ints": [0, 1]}), product("mm", "u", "x")], ((0,), ("mm",))),
        ([turned("transpose", dim0=FIRST, dim1=LAST), product("matmul", "x", "u")], ((0,), ("matmul",))),
        ([turned("transpose", dim0=LAST, dim1=LAST), product("matmul", "x", "u")], ((1,), ("matmul",))),
        ([product("mm", "x", "p_w"), turned(), product("matmul", "x", "u")], (None, ("matmul", "mm"))),
        ([turned(), product("mm", "p_w", "u")], None),
        ([product("mul", "x", "p_w")], None),
    ],
)
def test_a_matrix_has_units_along_the_axis_that_no_product_sums(
    nodes: list[Node], expected: tuple[tuple[int, ...] | None, tuple[str, ...]] | None
) -> None:
    parsed = _graph(json.dumps(program(*nodes)).encode())
    found = _products(parsed).get("w")
    assert expected == (found and (found.unit_axes, found.ops))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 5000,
        b'{"graph_module": {"graph": 5, "signature": {"input_specs": {"a": 1}}}}',
        json.dumps(program({"target": 5}, {"inputs": [5]}, {"target": "torch.ops.aten.linear.default", "inputs": [5]})),
        json.dumps(program({"target": "torch.ops.aten.linear.default", "inputs": [{"name": [], "arg": []}]})),
        json.dumps({"graph_module": {"signature": {"input_specs": [{"parameter": {"arg": {"name": []}}}]}}}),
    ],
    ids=range(7),
)
def test_a_damaged_graph_tells_nothing(content: bytes | str) -> None:
    assert told(content if isinstance(content, bytes) else content.encode()) == (None, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_layers_of_a_program_are_those_of_its_modules(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ConvTranspose2d(8, 8, 3),
        nn.ConvTranspose2d(8, 16, 3, groups=8),
        nn.ConvTranspose2d(16, 16, 3, groups=2),
        nn.Linear(12, 12),
    )
    program = torch.export.export(made, (torch.randn(2, 3, 8, 8),))
    for each in (program, program.run_decompositions()):
        torch.export.save(each, tmp_path / "m.pt2")
        report = look(tmp_path / "m.pt2")
        axes = {row.step.variable.name: row.step.unit_axes for row in report.rows if not row.step.is_guess}
        assert axes == {"0.weight": (0,), "1.weight": (1,), "2.weight": (0, 1), "4.weight": (0,)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_units_of_factors_are_the_columns_and_rows_that_reach_one_output(tmp_path: Path) -> None:
    """By the derivatives of the outputs, in programs as they were traced and decomposed."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Products(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for name in ("a", "b", "c", "d", "weight", "left", "tied"):
                shape = {"a": (4, 6), "c": (4, 6), "left": (5, 6), "tied": (6, 6)}.get(name, (6, 4))
                self.register_parameter(name, nn.Parameter(torch.randn(shape)))
            self.bias = nn.Parameter(torch.randn(4))

        def forward(self, x: Any) -> Any:
            a = torch.addmm(self.bias, x, self.a.t())
            b, c, d = torch.mm(x, self.b), x @ self.c.transpose(0, 1), torch.addmm(self.bias, x, self.d)
            return a, b, c, d, (self.left @ x.T).T, x @ self.weight, x @ self.tied @ self.tied.t()

    made, x = Products(), torch.randn(3, 6)
    expected = {}
    for name, output in zip(("a", "b", "c", "d", "left", "weight"), made(x), strict=False):
        (gradient,) = torch.autograd.grad(output[0, 0], [getattr(made, name)], retain_graph=True)
        rows, columns = ({int(at) for at in one} for one in torch.nonzero(gradient, as_tuple=True))
        expected[name] = (0,) if len(rows) == 1 else (1,)
        assert (len(rows) == 1) != (len(columns) == 1)
    exported_program = torch.export.export(made, (x,))
    for each in (exported_program, exported_program.run_decompositions()):
        torch.export.save(each, tmp_path / "m.pt2")
        report = look(tmp_path / "m.pt2")
        assert {row.step.variable.name: row.step.unit_axes for row in report.rows if not row.step.is_guess} == expected
        assert [row.step.variable.name for row in report.rows if row.step.is_guess] == ["tied"]
