"""What is told of weights in graphs that TensorFlow wrote, against a judge that differentiates."""

from __future__ import annotations

import pytest
from support import stored_graphs
from support.stored_graphs import Judged

from renorm_cli.conventions.graph.consumers import GraphRole
from renorm_cli.conventions.graph.flow import Evidence
from renorm_cli.conventions.graph.uses import UNUSED, Use, use_of

ALL = [(name, each) for name in ("module.pb", "tf1.meta") for each in stored_graphs.judged(name)]


@pytest.mark.parametrize(("name", "truth"), ALL, ids=lambda value: value.name if isinstance(value, Judged) else "")
def test_role_and_unit_axes_are_those_of_the_judge(name: str, truth: Judged) -> None:
    use = stored_graphs.uses(name).uses[truth.name]
    assert (use.role, use.unit_axes, use.state) == (truth.role, truth.units, truth.state), use


def seen(
    role: GraphRole | None,
    units: tuple[int, ...] | None = None,
    op: str = "Op",
    *,
    via: str = "",
    gradient: bool = False,
) -> Evidence:
    return Evidence(role, units, op, frozenset(via.split()), gradient)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ([], UNUSED),
        ([seen(None)], Use(None, None, ("Op",), (), "open")),
        ([seen("kernel", (1,), gradient=True)], Use(None, None, (), (), "open")),
        ([seen("kernel", (1,)), seen("kernel", (0,), gradient=True)], Use("kernel", (1,), ("Op",), (), "told")),
        ([seen("kernel", (1,)), seen("kernel", (0,))], Use("kernel", None, ("Op",), (), "conflict")),
        ([seen("kernel", (1,)), seen("kernel", (1, 2))], Use("kernel", (1,), ("Op",), (), "told")),  # axis 2 has size 1
        ([seen("kernel", (1,)), seen("kernel")], Use("kernel", (1,), ("Op",), (), "told")),
        ([seen("kernel")], Use("kernel", None, ("Op",), (), "open")),
        ([seen("kernel", (0,), "A"), seen("embedding", (0,), "B")], Use("embedding", (0,), ("A", "B"), (), "told")),
        ([seen("kernel", (1,), "A"), seen("bias", op="B")], Use("kernel", (1,), ("A",), (), "told")),
        ([seen("kernel", (1,), via="Mul Abs")], Use("kernel", (1,), ("Op",), ("Abs", "Mul"), "told")),
        ([seen("bias", op="A"), seen("scale", op="B", via="Exp")], Use("bias", None, ("A",), (), "told")),
        (
            [seen("bias", op="A"), seen("statistic", op="B", via="Exp")],
            Use("statistic", None, ("B",), ("Exp",), "told"),
        ),
        ([seen("optimizer", op="A"), seen("bias", op="B")], Use("optimizer", None, ("A",), (), "told")),
    ],
)
def test_consumers_together_give_one_answer(evidence: list[Evidence], expected: Use) -> None:
    assert use_of(evidence, (4, 5, 1)) == expected
    assert use_of(evidence[::-1], (4, 5, 1)) == expected


def test_what_was_not_followed_to_its_end_is_open() -> None:
    assert use_of([seen("kernel", (1,))], (4, 5), complete=False).state == "open"
    assert use_of([], (4, 5), complete=False).state == "open"
    assert use_of([seen("bias")], (4,), complete=False).state == "open"
