"""Ops that pass weights on: how the axes of each lie in their output.

Everything here sees weights and constants only. An op that is not in the table leaves no axis of a weight; one whose
axes cannot be followed leaves a lost layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import TypeAlias

from renorm_cli.conventions.graph.budget import Budget
from renorm_cli.conventions.graph.layout import DERIVED, Constant, Dim, Layout, Shape, Value, Weights
from renorm_cli.conventions.graph.operation import Operation, integers_of
from renorm_cli.conventions.graph.ops import ops

Rule: TypeAlias = Callable[[Operation], Value]

SAME = frozenset(
    ops("""
    Cast CheckNumerics Copy CopyHost CopyToMesh DebugIdentity DebugIdentityV2 DebugIdentityV3 DeepCopy EnsureShape Enter
    Exit Identity PreventGradient ReadVariableOp RefEnter RefExit RefIdentity RefSwitch Relayout
    Snapshot StopGradient Switch XlaOptimizationBarrier XlaSharding XlaSpmdFullToShardShape XlaSpmdShardToFullShape
    _SwitchN
    """)
)
"""Ops whose outputs are their operand 0."""

CHANGED = frozenset(
    ops("""
    Abs Ceil Clip ClipByValue Cos Dequantize DequantizeLinear Elu Erf Exp Expm1 FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Floor Inv LeakyRelu Log Log1p LogSoftmax Neg
    QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
    QuantizeLinear QuantizeV2 Reciprocal Relu Relu6 Reverse ReverseV2 Rint Round Rsqrt Selu Sigmoid Sign Sin
    Softmax Softplus Softsign Sqrt Square Tanh UniformDequantize UniformQuantize
    """)
)
"""Ops that change the values of operand 0 and leave its axes where they are."""

ELEMENTWISE = frozenset(
    ops("""
    Add AddN AddV2 Atan2 BiasAdd BiasAddV1 Div DivNoNan FloorDiv FloorMod Maximum Minimum Mod Mul MulNoNan Pow RealDiv
    Select SelectV2 SquaredDifference Sub TruncateDiv TruncateMod
    """)
)
"""Ops that broadcast their operands."""

MAY_BE_DATA: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(ops("BroadcastTo ExpandDims MirrorPad Pad Reshape Reverse ReverseV2 Switch RefSwitch"), (1,)),
    **dict.fromkeys(ops("Squeeze Tile Transpose Unsqueeze"), (1,)),
    **dict.fromkeys(ops("Clip ClipByValue PadV2 Roll Slice SplitV"), (1, 2)),
    "SliceAxes": (1, 2, 3, 4),
    "Split": (0,),
    "StridedSlice": (1, 2, 3),
}
"""Operands that say where, not what: the output is still the weight where they come from outside."""


def pass_on(op: Operation) -> Value:
    """What the output of an op is made of whose operands are made of weights and constants."""
    rule = PASSING.get(op.node.op)
    return DERIVED if rule is None else rule(op)


def _each(value: Value, change: Callable[[Layout], Layout]) -> Value:
    return value.each(change) if isinstance(value, Weights) else DERIVED


def _joined(values: Iterable[Value]) -> Value:
    layouts = tuple(dict.fromkeys(each for value in values if isinstance(value, Weights) for each in value.layouts))
    return Weights(layouts) if layouts else DERIVED


def _shape(value: Value) -> Shape | None:
    return value.shape if isinstance(value, (Weights, Constant)) else None


def _same(op: Operation) -> Value:
    return op.operands[0]


def _changed(op: Operation) -> Value:
    return _each(op.operands[0], lambda each: each.changed(op.node.op))


def _roll(op: Operation) -> Value:
    return _each(op.operands[0], lambda each: each.roll().changed(op.node.op))


def _pad(op: Operation) -> Value:
    """Pad(value, paddings): two numbers for each dim, of what is put before and behind."""
    added = op.integers(1)

    def change(each: Layout) -> Layout:
        for axis, dim in enumerate(each.dims):
            size = -1 if added is None or dim.size < 0 else dim.size + sum(added[2 * axis : 2 * axis + 2])
            each = each.resize(axis, size)
        return each.changed(op.node.op)

    return _each(op.operands[0], change)


def _elementwise(op: Operation) -> Value:
    shapes = [shape for shape in map(_shape, op.operands) if shape is not None]
    rank = max(map(len, shapes), default=0)
    if rank > Budget.RANK:
        return _joined(_each(value, Layout.lose) for value in op.operands)
    shape = tuple(
        max((each[place - rank + len(each)] for each in shapes if place - rank + len(each) >= 0), default=1)
        for place in range(rank)
    )
    return _joined(_each(value, lambda each: each.broadcast(shape).changed(op.node.op)) for value in op.operands)


def _by_integers(change: Callable[[Layout, tuple[int, ...]], Layout]) -> Rule:
    """An op whose operand 1 says what to do; the axes are lost where it is not known."""

    def rule(op: Operation) -> Value:
        integers = op.integers(1)
        return _each(op.operands[0], Layout.lose if integers is None else lambda each: change(each, integers))

    return rule


def _transpose(op: Operation) -> Value:
    """By the order that operand 1 has, or else from the last axis to the first."""
    if len(op.operands) == 1:
        return _each(op.operands[0], lambda each: each.transpose(range(len(each.dims))[::-1]))
    return _by_integers(Layout.transpose)(op)


def _flatten(op: Operation) -> Value:
    """To a matrix, whose rows are all axes before `axis`."""
    axis = op.graph.integer(op.node, "axis", 1)

    def change(each: Layout) -> Layout:
        return each.reshape((prod(each.shape[:axis]), prod(each.shape[axis:])))

    return _each(op.operands[0], change)


def _unsqueeze(each: Layout, axes: Sequence[int]) -> Layout:
    """More dims of size 1, at these places of the result."""
    rank = len(each.dims) + len(axes)
    for axis in sorted(axis + rank if axis < 0 else axis for axis in axes):
        each = each.expand(axis)
    return each


def _squeeze(op: Operation) -> Value:
    if len(op.operands) > 1:
        return _by_integers(Layout.squeeze)(op)
    axes = op.graph.integers(op.node, "squeeze_dims") or op.graph.integers(op.node, "axis") or ()
    return _each(op.operands[0], lambda each: each.squeeze(axes))


def _split(op: Operation) -> Value:
    """Split(axis, value): parts of one size."""
    axis, count = op.integer(0), op.graph.integer(op.node, "num_split", 1)
    if axis is None or count < 1:
        return _each(op.operands[1], Layout.lose)
    return _each(op.operands[1], lambda each: each.resize(axis, each.dims[each.axis(axis)].size // count))


def _split_sizes(op: Operation) -> Value:
    """SplitV(value, sizes, axis)."""
    axis, sizes = op.integer(2), op.integers(1)
    size = sizes[op.output] if sizes is not None and op.output < len(sizes) else -1
    return _each(op.operands[0], Layout.lose if axis is None else lambda each: each.resize(axis, size))


def _slice(op: Operation) -> Value:
    """Slice(value, begin, sizes), where a size of -1 is all that is left."""
    begin, sizes = op.integers(1), op.integers(2)

    def change(each: Layout) -> Layout:
        if any(given is not None and len(given) != len(each.dims) for given in (begin, sizes)):
            return each.lose()
        for axis, dim in enumerate(each.dims):
            size = -1 if sizes is None else sizes[axis]
            each = each.resize(axis, size if size >= 0 or begin is None else max(dim.size - begin[axis], -1))
        return each

    return _each(op.operands[0], change)


def _slice_axes(op: Operation) -> Value:
    """SliceAxes(value, begin, end, axes, steps): of some axes, the first ones where it does not say which."""
    begin, end, axes, steps = (op.integers(operand) if operand < len(op.operands) else None for operand in range(1, 5))
    known = begin or end or axes or ()
    if len(op.operands) > 3 and axes is None:
        return _each(op.operands[0], Layout.lose)

    def change(each: Layout) -> Layout:
        for place, axis in enumerate(axes if axes is not None else range(len(known))):
            size = -1
            if begin is not None and end is not None and (steps is not None or len(op.operands) < 5):
                step = 1 if steps is None else steps[place]
                part = slice(begin[place], end[place], step)
                size = len(range(*part.indices(max(each.dims[each.axis(axis)].size, 0))))
            each = each.resize(axis, size)
        return each if known else each.lose()

    return _each(op.operands[0], change)


def _strided_slice(op: Operation) -> Value:
    names = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    masks = {name: op.graph.integer(op.node, f"{name}_mask") for name in names}
    begin, end, strides = (op.integers(operand) for operand in (1, 2, 3))
    count = next((len(each) for each in (begin, end, strides) if each is not None), None)
    if count is None or count > 2 * Budget.RANK:
        return _each(op.operands[0], Layout.lose)

    def taken(dim: Dim, place: int) -> Dim:
        all_before, all_after = masks["begin"] >> place & 1, masks["end"] >> place & 1
        if begin is None or end is None or strides is None:
            return dim if all_before and all_after else dim.resized(-1)
        part = slice(None if all_before else begin[place], None if all_after else end[place], strides[place])
        return dim.resized(len(range(*part.indices(max(dim.size, 0)))))

    def change(each: Layout) -> Layout:
        dims: list[Dim] = []
        kept = set(each.kept)
        at = 0
        for place in range(count):
            if masks["ellipsis"] >> place & 1:
                after = sum(not masks["new_axis"] >> later & 1 for later in range(place + 1, count))
                width = max(len(each.dims) - at - after, 0)
                dims += each.dims[at : at + width]
                at += width
            elif masks["new_axis"] >> place & 1:
                dims.append(Dim(1))
            else:
                dim = each.dims[at]
                at += 1
                if masks["shrink_axis"] >> place & 1:
                    kept.update(dim.axes)
                else:
                    dims.append(taken(dim, place))
        return each._replace(dims=(*dims, *each.dims[at:]), kept=tuple(sorted(kept)))

    return _each(op.operands[0], change)


def _concat(op: Operation) -> Value:
    """ConcatV2(values..., axis) and Concat(axis, values...)."""
    place, parts = (-1, op.operands[:-1]) if op.node.op == "ConcatV2" else (0, op.operands[1:])
    axis = integers_of(op.operands[place])
    shapes = [_shape(part) for part in parts]
    known = [shape for shape in shapes if shape]
    if not axis or len(known) != len(shapes):
        return _joined(_each(part, Layout.lose) for part in parts)
    if any(not -len(shape) <= axis[0] < len(shape) for shape in known):
        return _joined(_each(part, Layout.lose) for part in parts)
    sizes = [shape[axis[0]] for shape in known]
    total = -1 if min(sizes) < 0 else sum(sizes)
    return _joined(_each(part, lambda each: each.resize(axis[0], total)) for part in parts)


def _pack(op: Operation) -> Value:
    axis = op.graph.integer(op.node, "axis")
    return _joined(_each(value, lambda each: each.expand(axis, len(op.operands))) for value in op.operands)


def _unpack(op: Operation) -> Value:
    axis = op.graph.integer(op.node, "axis")
    return _each(op.operands[0], lambda each: each.pick(axis))


def _tile(op: Operation) -> Value:
    times = op.integers(1)
    return _each(op.operands[0], lambda each: each.tile(times))


def _gather(op: Operation) -> Value:
    """Rows picked by constants: one is an index, several are the dim itself in another order.

    Of a matrix of places, as of relative positions, each dim depends on what is picked.
    """
    picked = op.operands[1]
    axis = op.integer(2) if len(op.operands) > 2 else 0
    if not isinstance(picked, Constant) or picked.shape is None or axis is None:
        return _each(op.operands[0], Layout.lose)
    shape = picked.shape

    def change(each: Layout) -> Layout:
        if not shape:
            return each.pick(axis)
        place = each.axis(axis)
        more = tuple(each.dims[place].mixed(size) for size in shape)
        return each._replace(dims=each.dims[:place] + more + each.dims[place + 1 :])

    return _each(op.operands[0], change)


def _matrix_product(flags: tuple[str, str]) -> Rule:
    def rule(op: Operation) -> Value:
        shapes = [_shape(value) for value in op.operands]
        known = [shape for shape in shapes if shape is not None and 2 <= len(shape) <= Budget.RANK]
        if len(known) != 2 or len(shapes) != 2:
            return _lost_product(op)
        left, right = (op.graph.flag(op.node, flag) for flag in flags)
        batch = "abcdefghijklmnop"[: max(map(len, known)) - 2]
        return _product(
            op,
            [
                batch[len(batch) + 2 - len(known[0]) :] + ("KN" if left else "NK"),
                batch[len(batch) + 2 - len(known[1]) :] + ("MK" if right else "KM"),
            ],
            f"{batch}NM",
        )

    return rule


def _einsum(op: Operation) -> Value:
    left, arrow, right = (op.graph.text(op.node, "equation") or "").replace(" ", "").partition("->")
    return _product(op, left.split(","), right) if arrow and "." not in left else _lost_product(op)


def _product(op: Operation, letters: Sequence[str], right: str) -> Value:
    """A product of weights alone; `letters` name the dims of each operand, `right` those of the output."""
    shapes = [_shape(value) for value in op.operands]
    if len(letters) != len(shapes) or len(right) > Budget.RANK:
        return _lost_product(op)
    sizes: dict[str, int] = {}
    for shape, names in zip(shapes, letters, strict=True):
        if shape is None or len(shape) != len(names):
            return _lost_product(op)
        for size, letter in zip(shape, names, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))

    def place(names: str) -> Callable[[Layout], Layout]:
        def change(each: Layout) -> Layout:
            if len(each.dims) != len(names):
                return each.lose()
            dims = [
                each.dims[names.index(letter)] if letter in names else Dim(sizes.get(letter, -1)) for letter in right
            ]
            summed = [number for number, letter in enumerate(names) if letter not in right]
            return each.multiplied(dims, summed).changed(op.node.op)

        return change

    return _joined(_each(value, place(names)) for value, names in zip(op.operands, letters, strict=True))


def _lost_product(op: Operation) -> Value:
    return _joined(_each(value, lambda each: each.changed(op.node.op).lose()) for value in op.operands)


PASSING: Mapping[str, Rule] = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(CHANGED, _changed),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "Reshape": _by_integers(Layout.reshape),
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Unsqueeze": _by_integers(_unsqueeze),
    "SliceAxes": _slice_axes,
    "Either": lambda op: _joined(op.operands),
    "ConjugateTranspose": _by_integers(Layout.transpose),
    "ExpandDims": _by_integers(lambda each, axis: each.expand(axis[0])),
    "BroadcastTo": _by_integers(Layout.broadcast),
    "Squeeze": _squeeze,
    "Split": _split,
    "SplitV": _split_sizes,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Concat": _concat,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Unpack": _unpack,
    "Tile": _tile,
    "Roll": _roll,
    **dict.fromkeys(ops("MirrorPad Pad PadV2"), _pad),
    "Gather": _gather,
    "GatherV2": _gather,
    "ResourceGather": _gather,
    "MatMul": _matrix_product(("transpose_a", "transpose_b")),
    "Gemm": _matrix_product(("transA", "transB")),
    **dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matrix_product(("adj_x", "adj_y"))),
    "Einsum": _einsum,
}
"""Op -> what becomes of the axes of the weights that go in."""
