"""The consumers of weights among the operators of ONNX, for `Flow`; see `consumers`.

Source: onnx/docs/Operators.md 1.23; onnxruntime/docs/ContribOperators.md 1.32 for those of com.microsoft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from renorm_cli.conventions.graph.consumers import (
    Asked,
    Consumer,
    GraphRole,
    Rule,
    einsum,
    first,
    gathered,
    last,
    matrix,
)
from renorm_cli.conventions.graph.layout import Axes
from renorm_cli.conventions.graph.ops import ops


def transposed(op: Asked, rank: int) -> Axes | None:
    """A filter (in, out / group, *k): with groups a unit has only the rows of its group, and is no whole slice of it.

    Where each group has one row, the row and the output together name units.
    """
    group, shape = op.integer("group", 1), op.operand_shape(1)
    if group == 1:
        return (1,)
    return (0, 1) if shape is not None and len(shape) == rank and shape[0] == group else None


def fused(operand: Literal[0, 1], letter: str) -> Rule:
    """A factor of FusedMatMul; by its own flag, the rows are before the dims of several matrices, not behind them."""
    plain = matrix(operand, f"trans{letter}")

    def rule(op: Asked, rank: int) -> Axes | None:
        units = plain(op, rank)
        if units is None or not op.flag(f"transBatch{letter}"):
            return units
        return tuple({rank - 1: rank - 1, rank - 2: 0}.get(dim, dim + 1) for dim in units)

    return rule


def gates(op: Asked, rank: int) -> Axes:
    """The kernels of a recurrent layer, (directions, gates * hidden, in)."""
    return (0, 1)


_NORMALIZATIONS = "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization"
_MICROSOFT_NORMALIZATIONS = "SimplifiedLayerNormalization com.microsoft.GroupNorm"
_SKIPPING = "com.microsoft.SkipLayerNormalization com.microsoft.SkipSimplifiedLayerNormalization"
_RECURRENT = "LSTM GRU RNN"
_GEMM = "Gemm com.microsoft.FusedGemm"

_ROWS: tuple[tuple[str, Iterable[int], GraphRole, Rule | None], ...] = (
    ("Conv com.microsoft.FusedConv DeformConv", (1,), "kernel", first),
    ("Conv com.microsoft.FusedConv ConvTranspose", (2,), "bias", None),
    ("DeformConv", (3,), "bias", None),
    ("ConvTranspose", (1,), "kernel", transposed),
    (_GEMM, (0,), "kernel", matrix(0, "transA")),
    (_GEMM, (1,), "kernel", matrix(1, "transB")),
    (_GEMM, (2,), "bias", None),
    ("MatMul", (0,), "kernel", matrix(0, "transA")),
    ("MatMul", (1,), "kernel", matrix(1, "transB")),
    ("com.microsoft.FusedMatMul", (0,), "kernel", fused(0, "A")),
    ("com.microsoft.FusedMatMul", (1,), "kernel", fused(1, "B")),
    *(("Einsum", (operand,), "kernel", einsum(operand)) for operand in range(8)),
    (_RECURRENT, (1, 2), "kernel", gates),
    (_RECURRENT, (3,), "bias", None),
    (_RECURRENT, (5,), "state", None),
    ("LSTM", (6,), "state", None),
    ("LSTM", (7,), "scale", None),
    ("com.microsoft.Attention", (1,), "kernel", last),
    ("com.microsoft.Attention", (2,), "bias", None),
    ("com.microsoft.EmbedLayerNormalization", (2, 3, 4), "embedding", first),
    ("com.microsoft.EmbedLayerNormalization", (5,), "scale", None),
    ("com.microsoft.EmbedLayerNormalization", (6,), "bias", None),
    ("com.microsoft.BiasGelu com.microsoft.FastGelu", (1,), "bias", None),
    ("Gather", (0,), "embedding", gathered),
    ("GatherND", (0,), "embedding", first),
    (f"{_NORMALIZATIONS} {_MICROSOFT_NORMALIZATIONS}", (1,), "scale", None),
    (f"{_NORMALIZATIONS} {_MICROSOFT_NORMALIZATIONS}", (2,), "bias", None),
    ("BatchNormalization", (3, 4), "statistic", None),
    (_SKIPPING, (2,), "scale", None),
    (_SKIPPING, (3, 4), "bias", None),
    ("PRelu", (1,), "scale", None),
    ("Add Sub", (0, 1), "bias", None),
    ("AddN", range(8), "bias", None),
    ("Mul Div", (0, 1), "scale", None),
    ("DequantizeLinear QuantizeLinear", (1, 2), "quantized", None),
    ("ConvInteger MatMulInteger", range(4), "quantized", None),
    ("QLinearConv", range(1, 9), "quantized", None),
    ("QLinearMatMul com.microsoft.QGemm com.microsoft.QAttention", range(9), "quantized", None),
    ("com.microsoft.MatMulNBits com.microsoft.DynamicQuantizeMatMul", range(1, 5), "quantized", None),
    ("com.microsoft.GatherBlockQuantized", (0, 2, 3), "quantized", None),
)

CONSUMERS: Mapping[tuple[str, int], Consumer] = {
    (op, operand): Consumer(role, rule)
    for names, operands, role, rule in _ROWS
    for op in ops(names)
    for operand in operands
}
"""(operator, operand) -> what a weight is that comes there. Gather has its axis as operand 2."""

_CONVOLVES = "dilations group kernel_shape pads strides"
_MULTIPLIES = "alpha beta transA transB"
_RECURS = "activation_alpha activation_beta activations clip direction hidden_size layout output_sequence"

ATTRIBUTES: Mapping[str, frozenset[str]] = {
    op: frozenset(ops(attributes))
    for names, attributes in (
        ("Conv", f"{_CONVOLVES} auto_pad"),
        ("DeformConv", f"{_CONVOLVES} offset_group"),
        ("com.microsoft.FusedConv", f"{_CONVOLVES} auto_pad activation activation_params"),
        ("ConvTranspose", f"{_CONVOLVES} auto_pad output_padding output_shape"),
        ("Gemm", f"{_MULTIPLIES} broadcast"),
        (
            "com.microsoft.FusedGemm",
            f"{_MULTIPLIES} activation activation_alpha activation_beta activation_gamma",
        ),
        ("MatMul", ""),
        ("com.microsoft.FusedMatMul", "alpha transA transB transBatchA transBatchB"),
        ("Einsum", "equation"),
        (_RECURRENT, f"{_RECURS} input_forget linear_before_reset"),
        (
            "com.microsoft.Attention",
            "do_rotary mask_filter_value num_heads past_present_share_buffer qkv_hidden_sizes rotary_embedding_dim "
            "scale unidirectional",
        ),
        ("com.microsoft.EmbedLayerNormalization", "epsilon mask_index_type"),
        ("Gather", "axis"),
        ("GatherND", "batch_dims"),
    )
    for op in ops(names)
}
"""The attributes of the operators that tell axes, of all versions: one with another attribute tells nothing."""
