"""What the graph of an exported program tells of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.files import look

from renorm_cli.formats.torch.exported import exported

Node = dict[str, Any]


def node(target: str, weight: str = "p_w", **given: Any) -> Node:
    arguments = {"input": {"as_tensor": {"name": "x"}}, "weight": {"as_tensor": {"name": weight}}, **given}
    inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()]
    return {"target": f"torch.ops.aten.{target}", "inputs": inputs}


def graph(*nodes: Node) -> Any:
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
    assert told(json.dumps(graph(*nodes)).encode()) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 5000,
        b'{"graph_module": {"graph": 5, "signature": {"input_specs": {"a": 1}}}}',
        json.dumps(graph({"target": 5}, {"inputs": [5]}, {"target": "torch.ops.aten.linear.default", "inputs": [5]})),
        json.dumps(graph({"target": "torch.ops.aten.linear.default", "inputs": [{"name": [], "arg": []}]})),
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
