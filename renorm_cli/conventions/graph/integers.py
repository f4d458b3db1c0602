"""Arithmetic of small integers, as graphs compute shapes, orders of axes and the like from constants."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.layout import Constant, Shape
from renorm_cli.conventions.graph.operation import Operation
from renorm_cli.conventions.graph.ops import ops

_UNKNOWN = Constant()
_LARGEST = 1 << 62


def compute(op: Operation) -> Constant:
    """The output of an op whose operands are all constants; unknown where it is not computed."""
    rule = _RULES.get(op.node.op)
    found = _UNKNOWN if rule is None else rule(op)
    if found.integers is not None and (
        len(found.integers) > Budget.INTEGERS or any(abs(number) >= _LARGEST for number in found.integers)
    ):
        return Constant(None, found.shape)
    return found


def _shape(op: Operation, operand: int = 0) -> Shape | None:
    value = op.operands[operand]
    return value.shape if isinstance(value, Constant) else None


def _same(op: Operation) -> Constant:
    value = op.operands[op.output if op.node.op == "IdentityN" else 0]
    return value if isinstance(value, Constant) else _UNKNOWN


def _elementwise(apply: Callable[[int, int], int] | None) -> Callable[[Operation], Constant]:
    def rule(op: Operation) -> Constant:
        shapes = [shape for operand in range(len(op.operands)) if (shape := _shape(op, operand)) is not None]
        shape = max(shapes, key=len, default=None)
        if apply is None or len(op.operands) != 2:
            return Constant(None, shape)
        left, right = op.integers(0), op.integers(1)
        if left is None or right is None or not (len(left) == len(right) or 1 in (len(left), len(right))):
            return Constant(None, shape)
        count = max(len(left), len(right))
        left, right = (each * count if len(each) == 1 else each for each in (left, right))
        return Constant(tuple(apply(a, b) for a, b in zip(left, right, strict=True)), shape)

    return rule


def _unary(op: Operation) -> Constant:
    return Constant(None, _shape(op))


def _negative(op: Operation) -> Constant:
    numbers = op.integers(0)
    return Constant(None if numbers is None else tuple(-number for number in numbers), _shape(op))


def _pack(op: Operation) -> Constant:
    numbers = [op.integer(operand) for operand in range(len(op.operands))]
    known = [number for number in numbers if number is not None]
    return Constant(tuple(known), (len(known),)) if len(known) == len(numbers) else _UNKNOWN


def _concat(op: Operation) -> Constant:
    """ConcatV2 of vectors; its last operand is the axis."""
    parts = [op.integers(operand) for operand in range(len(op.operands) - 1)]
    if any(part is None or len(_shape(op, operand) or ()) != 1 for operand, part in enumerate(parts)):
        return _UNKNOWN
    joined = tuple(number for part in parts for number in part or ())
    return Constant(joined, (len(joined),))


def _product(op: Operation) -> Constant:
    numbers = op.integers(0)
    return _UNKNOWN if numbers is None else Constant((prod(numbers),), ())


def _range(op: Operation) -> Constant:
    start, limit, step = op.integer(0), op.integer(1), op.integer(2)
    if start is None or limit is None or not step:
        return _UNKNOWN
    found = range(start, limit, step)
    return Constant(tuple(found[: Budget.INTEGERS]), (len(found),)) if len(found) <= Budget.INTEGERS else _UNKNOWN


def _gather(op: Operation) -> Constant:
    numbers, places = op.integers(0), op.integers(1)
    if numbers is None or places is None or len(_shape(op) or ()) != 1:
        return _UNKNOWN
    if not all(0 <= place < len(numbers) for place in places):
        return _UNKNOWN
    return Constant(tuple(numbers[place] for place in places), _shape(op, 1))


def _reshape(op: Operation) -> Constant:
    numbers, shape = op.integers(0), op.integers(1)
    if numbers is None or shape is None:
        return Constant(None, shape if shape is not None and min(shape, default=0) >= 0 else None)
    if min(shape, default=0) >= 0:
        return Constant(numbers, shape)
    return Constant(numbers, (len(numbers),)) if len(shape) == 1 else _UNKNOWN


def _expand(op: Operation) -> Constant:
    return Constant(op.integers(0), (1,)) if _shape(op) == () else _UNKNOWN


def _squeeze(op: Operation) -> Constant:
    numbers = op.integers(0)
    return Constant(numbers, ()) if numbers is not None and len(numbers) == 1 else _UNKNOWN


def _part(op: Operation) -> Constant:
    """StridedSlice of a vector."""
    numbers, begin, end, stride = op.integers(0), op.integer(1), op.integer(2), op.integer(3)
    if numbers is None or begin is None or end is None or not stride or len(_shape(op) or ()) != 1:
        return _UNKNOWN
    masks = {name: op.graph.integer(op.node, f"{name}_mask") for name in ("begin", "end", "shrink_axis")}
    if masks["shrink_axis"]:
        return Constant((numbers[begin],), ()) if -len(numbers) <= begin < len(numbers) else _UNKNOWN
    found = numbers[None if masks["begin"] else begin : None if masks["end"] else end : stride]
    return Constant(found, (len(found),))


def _fill(op: Operation) -> Constant:
    return Constant(None, op.integers(0))


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": int.__add__,
    "AddV2": int.__add__,
    "Sub": int.__sub__,
    "Mul": int.__mul__,
    "FloorDiv": lambda left, right: left // right if right else 0,
    "Maximum": max,
    "Minimum": min,
}

_RULES: dict[str, Callable[[Operation], Constant]] = {
    **dict.fromkeys(ops("Identity IdentityN Cast StopGradient EnsureShape Enter RefEnter Switch RefSwitch"), _same),
    **dict.fromkeys(ops("Exit RefExit PreventGradient Snapshot ReadVariableOp"), _same),
    **dict.fromkeys(ops("RealDiv Div Pow SquaredDifference Select SelectV2 AddN"), _elementwise(None)),
    **{op: _elementwise(apply) for op, apply in _ARITHMETIC.items()},
    **dict.fromkeys(ops("Sqrt Rsqrt Square Exp Abs"), _unary),
    "Neg": _negative,
    "Pack": _pack,
    "ConcatV2": _concat,
    "Prod": _product,
    "Range": _range,
    "Gather": _gather,
    "GatherV2": _gather,
    "Reshape": _reshape,
    "ExpandDims": _expand,
    "Unsqueeze": _expand,
    "Squeeze": _squeeze,
    "StridedSlice": _part,
    "Fill": _fill,
}
