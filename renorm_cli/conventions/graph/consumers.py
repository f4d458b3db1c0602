"""Which op, by which operand, makes of a weight what: its role, and which of the operand's dims reach the output.

The ops are TensorFlow's, defined in tensorflow/core/ops/{nn,math,linalg,array,rnn,cudnn_rnn,training}_ops.cc; those of
XLA in tensorflow/compiler/tf2xla/ops/xla_ops.cc. One unit is what an op sums for one element of its output: the dims
that are not summed name units. A gather takes one unit at once: the gathered dim names units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias

from renorm_cli.conventions.graph.layout import Axes, Shape
from renorm_cli.conventions.graph.ops import ops

GraphRole: TypeAlias = Literal["kernel", "embedding", "bias", "scale", "statistic", "optimizer", "quantized", "state"]


class Asked(Protocol):
    """What a rule may ask of the op that consumes a weight."""

    def flag(self, name: str) -> bool: ...

    def integer(self, name: str, default: int) -> int: ...

    def text(self, name: str) -> str | None: ...

    def message_integers(self, name: str, field: int) -> tuple[int, ...] | None: ...

    def operand_integers(self, operand: int) -> tuple[int, ...] | None: ...

    def operand_shape(self, operand: int) -> Shape | None: ...

    def operand_is_data(self, operand: int) -> bool: ...


Rule: TypeAlias = Callable[[Asked, int], Axes | None]
"""(the op, the rank of its operand) -> the dims of the operand that name units, negative ones too; None if none do."""


class Consumer(NamedTuple):
    """What a weight is that an op takes by one of its operands. A row without a rule has no units."""

    role: GraphRole
    rule: Rule | None = None


def last(op: Asked, rank: int) -> Axes:
    """A filter (height, width, in, out)."""
    return (-1,)


def last_two(op: Asked, rank: int) -> Axes:
    """A depthwise filter (height, width, in, multiplier): an output channel for each pair."""
    return (-2, -1)


def last_but_one(op: Asked, rank: int) -> Axes:
    """A filter that is used backward, (height, width, out, in)."""
    return (-2,)


def first(op: Asked, rank: int) -> Axes:
    return (0,)


def transposed(op: Asked, rank: int) -> Axes | None:
    """A filter that is used backward; with groups it has out / groups rows, and a unit is no whole slice of it.

    Groups show where the output's size is a constant. Elsewhere one group is assumed, as Keras has no other.
    """
    sizes, shape = op.operand_integers(0), op.operand_shape(1)
    if sizes is not None and shape is not None and len(sizes) == len(shape) == rank >= 2:
        channels = sizes[1] if (op.text("data_format") or "").startswith("NC") else sizes[-1]
        if channels != shape[-2]:
            return None
    return (-2,)


def filter_format(op: Asked, rank: int) -> Axes:
    return (0,) if (op.text("filter_format") or "").startswith("OIHW") else (-1,)


def matrix(operand: Literal[0, 1], flag: str) -> Rule:
    """A factor of (..., n, k) @ (..., k, m): k is summed; `flag` says that the factor is transposed."""

    def rule(op: Asked, rank: int) -> Axes | None:
        if rank < 2:
            return None
        return (*range(rank - 2), rank - 1 if (operand == 1) != op.flag(flag) else rank - 2)

    return rule


def einsum(operand: int) -> Rule:
    """A weight tells nothing whose letters are summed together with those of another weight, which is a further layer.

    In "bi,io,oj->bj" the sum over o is that of the second layer, and o names the units of the first.
    """

    def rule(op: Asked, rank: int) -> Axes | None:
        equation = op.text("equation")
        if equation is None:
            return None
        operands, output = _terms(equation)
        summed = set("".join(operands[operand : operand + 1])) - set(output)
        for other, letters in enumerate(operands):
            if other != operand and not summed.isdisjoint(letters) and not op.operand_is_data(other):
                return None
        return einsum_dims(equation, operand, rank)

    return rule


def _terms(equation: str) -> tuple[list[str], str]:
    """The letters of the operands, and those of the output."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    if not arrow:  # then the output has the letters that are there once
        right = "..." + "".join(letter for letter in set(left) if letter.isalpha() and left.count(letter) == 1)
    return left.split(","), right


def einsum_dims(equation: str, operand: int, rank: int) -> Axes | None:
    """The dims of an operand whose letters, or whose ellipsis, are in the output; None for no such equation.

    None for a letter that an operand has twice, too: then only its diagonal is used.
    """
    operands, right = _terms(equation)
    if operand >= len(operands):
        return None
    found = re.fullmatch(r"([A-Za-z]*)(\.\.\.)?([A-Za-z]*)", operands[operand])
    if found is None:
        return None
    before, dots, after = found.groups()
    middle = rank - len(before) - len(after)
    if middle < 0 or (middle and not dots) or len({*before, *after}) < len(before) + len(after):
        return None
    return tuple(dim for dim, letter in enumerate([*before, *["..."] * middle, *after]) if letter in right)


def gathered(op: Asked, rank: int) -> Axes | None:
    """The axis of GatherV2 is its operand 2."""
    axis = op.operand_integers(2)
    return axis if axis is not None and len(axis) == 1 else None


def xla_dot(operand: Literal[0, 1]) -> Rule:
    """The dims that are not contracted: fields 1 and 2 of xla.DotDimensionNumbers (xla/xla_data.proto)."""

    def rule(op: Asked, rank: int) -> Axes | None:
        summed = op.message_integers("dimension_numbers", 1 + operand)
        return None if summed is None else tuple(dim for dim in range(rank) if dim not in summed)

    return rule


def xla_convolution(op: Asked, rank: int) -> Axes | None:
    """kernel_output_feature_dimension, field 4 of xla.ConvolutionDimensionNumbers (xla/xla_data.proto), 0 if absent."""
    found = op.message_integers("dimension_numbers", 4)
    return None if found is None else found or (0,)


def flattened(op: Asked, rank: int) -> Axes | None:
    """The buffer of cuDNN, in which matrices (units, in) lie one after another: see `Flow`, which knows their axes."""
    return None


_NORMALIZATIONS = "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 _FusedBatchNormEx"
_QUANTIZERS = (
    "FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 "
    "QuantizeAndDequantizeV4 QuantizeV2"
)
_PICKED = (
    "ResourceGather Gather GatherNd ResourceGatherNd SparseSegmentSum SparseSegmentMean SparseSegmentSqrtN "
    "SparseSegmentSumWithNumSegments SparseSegmentMeanWithNumSegments SparseSegmentSqrtNWithNumSegments"
)

_ROWS: tuple[tuple[str, Iterable[int], GraphRole, Rule | None], ...] = (
    ("Conv2D Conv3D Conv _FusedConv2D _FusedConv3D QuantizedConv2D Dilation2D", (1,), "kernel", last),
    ("DepthwiseConv2dNative _FusedDepthwiseConv2dNative QuantizedDepthwiseConv2D", (1,), "kernel", last_two),
    ("Conv2DBackpropInput Conv2DBackpropInputV2 Conv3DBackpropInput Conv3DBackpropInputV2", (1,), "kernel", transposed),
    ("DepthwiseConv2dNativeBackpropInput", (1,), "kernel", last_but_one),
    ("FusedConv2DBiasActivation", (1,), "kernel", filter_format),
    ("FusedConv2DBiasActivation", (2,), "bias", None),
    ("MatMul SparseMatMul _FusedMatMul QuantizedMatMul", (0,), "kernel", matrix(0, "transpose_a")),
    ("MatMul SparseMatMul _FusedMatMul QuantizedMatMul", (1,), "kernel", matrix(1, "transpose_b")),
    ("BatchMatMul BatchMatMulV2 BatchMatMulV3", (0,), "kernel", matrix(0, "adj_x")),
    ("BatchMatMul BatchMatMulV2 BatchMatMulV3", (1,), "kernel", matrix(1, "adj_y")),
    ("SparseTensorDenseMatMul", (3,), "kernel", matrix(1, "adjoint_b")),
    *(("Einsum XlaEinsum", (operand,), "kernel", einsum(operand)) for operand in range(8)),
    ("XlaDot XlaDotV2", (0,), "kernel", xla_dot(0)),
    ("XlaDot XlaDotV2", (1,), "kernel", xla_dot(1)),
    ("XlaConv XlaConvV2", (1,), "kernel", xla_convolution),
    (_PICKED, (0,), "embedding", first),
    ("GatherV2", (0,), "embedding", gathered),
    ("CudnnRNN CudnnRNNV2 CudnnRNNV3", (3,), "kernel", flattened),
    ("BlockLSTM BlockLSTMV2", (4,), "kernel", last),
    ("BlockLSTM BlockLSTMV2", (5, 6, 7), "scale", None),
    ("BlockLSTM BlockLSTMV2", (8,), "bias", None),
    ("LSTMBlockCell", (3,), "kernel", last),
    ("LSTMBlockCell", (4, 5, 6), "scale", None),
    ("LSTMBlockCell", (7,), "bias", None),
    ("GRUBlockCell", (2, 3), "kernel", last),
    ("GRUBlockCell", (4, 5), "bias", None),
    (_NORMALIZATIONS, (1,), "scale", None),
    (_NORMALIZATIONS, (2,), "bias", None),
    (f"{_NORMALIZATIONS}", (3, 4), "statistic", None),
    ("BatchNormWithGlobalNormalization", (1, 2), "statistic", None),
    ("BatchNormWithGlobalNormalization", (3,), "bias", None),
    ("BatchNormWithGlobalNormalization", (4,), "scale", None),
    ("BiasAdd BiasAddV1 Add AddV2 Sub", (0, 1), "bias", None),
    ("AddN", range(8), "bias", None),
    ("Mul RealDiv Div MulNoNan DivNoNan TruncateDiv", (0, 1), "scale", None),
    (_QUANTIZERS, (1, 2), "quantized", None),
)

CONSUMERS: Mapping[tuple[str, int], Consumer] = {
    (op, operand): Consumer(role, rule)
    for names, operands, role, rule in _ROWS
    for op in ops(names)
    for operand in operands
}
"""(op, operand) -> what a weight is that comes there."""

FLATTENED: Rule = flattened

PICKS_BY_PRODUCT = frozenset(ops("MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum"))
"""Ops that gather rows where their other operand is one-hot."""


def trains(op: str) -> bool:
    """Whether it is `ApplyAdam(var, m, v, ...)` or its like: operand 0 is trained, other variables are its slots."""
    return op.removeprefix("Resource").removeprefix("Sparse").startswith("Apply")


IGNORED = frozenset(
    ops("""
    Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp BroadcastGradientArgs
    Conv2DBackpropFilter Conv3DBackpropFilterV2 DepthwiseConv2dNativeBackpropFilter DestroyResourceOp DisableCopyOnRead
    Assert HistogramSummary IsVariableInitialized L2Loss MergeV2Checkpoints NoOp OnesLike Print PrintV2 Rank
    ResourceScatterAdd ResourceScatterSub ResourceScatterUpdate Save SaveSlices SaveV2 ScalarSummary ScatterAdd
    ScatterSub ScatterUpdate Shape ShapeN Size VarIsInitializedOp VariableShape WriteHistogramSummary
    WriteScalarSummary ZerosLike
    """)
)
"""Ops that take a weight and tell nothing of it: they save, set, show or measure it."""
