"""Every row of the table of consumers, by a graph of its own; each is broken in turn, and the break is seen."""

from __future__ import annotations

import pytest
from support.graph_rows import ROWS, Row

from renorm_cli.conventions.graph import consumers
from renorm_cli.conventions.graph.consumers import CONSUMERS, Consumer, einsum_dims
from renorm_cli.conventions.graph.passing import MAY_BE_DATA, PASSING
from renorm_cli.conventions.graph.uses import Use
from renorm_cli.conventions.graph.values import DATA
from renorm_cli.formats.tensorflow.graph_uses import uses_in_meta_graph

BY_KEY: dict[tuple[str, int], list[Row]] = {}
for _row in ROWS:
    BY_KEY.setdefault(_row.key, []).append(_row)


def use(row: Row) -> Use:
    return uses_in_meta_graph(row.graph(), "shown", {row.name: row.shape}).uses[row.name]


def is_right(row: Row) -> bool:
    found = use(row)
    return (found.role, found.unit_axes, found.state) == (row.role, row.units, "told")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{row.units}")
def test_an_op_tells_the_role_and_the_unit_axes_of_the_weight_it_takes(row: Row) -> None:
    found = use(row)
    assert (found.role, found.unit_axes, found.state) == (row.role, row.units, "told")
    assert found.ops == (row.op,)


def test_every_row_of_the_table_has_a_graph_that_judges_it() -> None:
    assert set(CONSUMERS) == set(BY_KEY) | {("XlaEinsum", place) for place in range(2, 8)}


@pytest.mark.parametrize("key", BY_KEY, ids=lambda key: f"{key[0]}-{key[1]}")
def test_a_row_that_is_missing_leaves_the_weight_open(key: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(consumers.CONSUMERS, key)  # type: ignore[arg-type]
    for row in BY_KEY[key]:
        assert use(row) == Use(None, None, (row.op,), (), "open")


@pytest.mark.parametrize("key", BY_KEY, ids=lambda key: f"{key[0]}-{key[1]}")
def test_a_row_with_another_role_or_rule_is_seen(key: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    role, rule = CONSUMERS[key]
    others = [Consumer("bias" if role != "bias" else "scale", None)]
    if rule is not None and rule is not consumers.FLATTENED:
        others += [Consumer(role, rule=lambda op, rank, axis=axis: (axis,)) for axis in range(2)]
        others.append(Consumer(role, consumers.last_two))
    for other in others:
        monkeypatch.setitem(consumers.CONSUMERS, key, other)  # type: ignore[arg-type]
        assert _says_the_same(other, key) or not all(map(is_right, BY_KEY[key]))


def _says_the_same(other: Consumer, key: tuple[str, int]) -> bool:
    """Whether a rule, which asks nothing of the op, is right by chance."""
    if other.rule is None:
        return False
    told = [(row, other.rule(None, len(row.shape)) or ()) for row in BY_KEY[key]]  # type: ignore[arg-type]
    return all({axis % len(row.shape) for axis in axes} == set(row.units or ()) for row, axes in told)


@pytest.mark.parametrize(
    ("equation", "operand", "rank", "expected"),
    [
        ("ab,bc->ac", 1, 2, (1,)),
        ("ab,bc->ac", 0, 2, (0,)),
        ("abc,cde->abde", 1, 3, (1, 2)),
        ("abc,dc->abd", 1, 2, (0,)),
        ("ab, bc -> ac", 1, 2, (1,)),
        ("ab,bc", 1, 2, (1,)),  # without an arrow: the letters that are there once
        ("...a,ab->...b", 1, 2, (1,)),
        ("a...,...ab->...b", 1, 4, (0, 1, 3)),
        ("ab,bc->ac", 2, 2, None),
        ("ab,bc->ac", 1, 3, None),
        ("ab,b(->a(", 1, 2, None),
        ("ab,bbc->ac", 1, 3, None),
        ("ab,ac,bcd->ad", 2, 3, (2,)),
        ("", 0, 2, None),
        ("->", 1, 0, None),
    ],
)
def test_the_letters_of_an_equation_that_are_in_the_output_name_units(
    equation: str, operand: int, rank: int, expected: tuple[int, ...] | None
) -> None:
    assert einsum_dims(equation, operand, rank) == expected


_NOT_LINKED = {"FusedConv2DBiasActivation"}
"""Ops that TensorFlow registers for GPUs alone."""

_OF_ONNX = {"Clip", "DequantizeLinear", "Flatten", "Gemm", "QuantizeLinear", "Unsqueeze"}
_MADE = {"Either", "SliceAxes"}
"""Names under which the reader of ONNX has what no op of TensorFlow does."""


@pytest.mark.slow
def test_operands_have_the_numbers_that_tensorflow_gives_them() -> None:
    from tensorflow.python.framework import op_def_registry

    for row in ROWS:
        definition = op_def_registry.get(row.op)
        if definition is None:
            assert row.op in _NOT_LINKED
            continue
        arguments = [argument.name for argument in definition.input_arg]
        many = next((place for place, argument in enumerate(definition.input_arg) if argument.number_attr), 99)
        assert arguments[min(row.operand, many)] == row.argument, (row, arguments)


@pytest.mark.slow
def test_all_ops_that_are_known_are_ops_of_tensorflow_or_of_onnx() -> None:
    from tensorflow.python.framework import op_def_registry

    known = {*PASSING, *MAY_BE_DATA, *DATA, *consumers.IGNORED, *(op for op, _ in CONSUMERS)}
    assert {op for op in known if op_def_registry.get(op) is None} == _NOT_LINKED | _OF_ONNX | _MADE
