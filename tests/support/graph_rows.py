"""One small graph for every op that takes a weight: what TensorFlow calls the operand, and what the weight is there.

The names of operands are those of TensorFlow's op definitions, against which a test holds them. The unit axes are what
the op's documentation says of the operand's dims (tensorflow/core/api_def/base_api, tensorflow/core/ops/*_ops.cc).
"""

from __future__ import annotations

from typing import NamedTuple

from support.graph_build import Attribute, Integers, Shape, blob, meta_graph, node, number


class Row(NamedTuple):
    """`operands` are the inputs of the op: "w" the weight, "x" data, "1" and the like a constant."""

    op: str
    operands: str
    argument: str
    shape: tuple[int, ...]
    role: str
    units: tuple[int, ...] | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()
    flat: bool = False
    """Whether the weight is flattened first."""

    @property
    def operand(self) -> int:
        return self.operands.split().index("w")

    @property
    def key(self) -> tuple[str, int]:
        return self.op, self.operand

    @property
    def name(self) -> str:
        return f"{self.op}-{self.operand}"

    def graph(self) -> bytes:
        """A .meta file in which the op, and no other, uses the variable of the row's name."""
        nodes = [
            node("x", "Placeholder"),
            node(self.name, "VariableV2", shape=Shape(self.shape)),
            node("read", "Identity", self.name),
            node("all", "Const", value=Integers((-1,))),
            node("flat", "Reshape", "read", "all"),
        ]
        weight = "flat" if self.flat else "read"
        inputs = []
        for each in self.operands.split():
            if each not in ("w", "x"):
                nodes.append(node(f"c{each}", "Const", value=Integers((int(each),), ())))
            inputs.append({"w": weight, "x": "x"}.get(each, f"c{each}"))
        nodes.append(node("used", self.op, *inputs, **dict(self.attributes)))
        return meta_graph(nodes)


_DOT = (("dimension_numbers", blob(1, b"\2") + blob(2, b"\0\1")),)  # lhs dim 2 with rhs dims 0 and 1
_CONVOLUTION = (("dimension_numbers", number(3, 2) + number(4, 3)),)
_IMAGE, _VOLUME, _MATRIX, _BATCH, _VECTOR = (3, 3, 4, 5), (2, 3, 3, 4, 5), (4, 5), (2, 4, 5), (5,)
_FLIPPED = (("transpose_a", True), ("transpose_b", True))
_ADJOINT = (("adj_x", True), ("adj_y", True))


def _einsum(op: str, places: int) -> list[Row]:
    """The weight at each place of an equation."""
    rows = []
    for place in range(places):
        operands = " ".join("w" if each == place else "x" for each in range(places))
        letters = ",".join("bcd" if each == place else "ab" for each in range(places))
        argument = "ab"[place] if op == "XlaEinsum" else "inputs"
        rows.append(Row(op, operands, argument, (3, 4, 5), "kernel", (2,), (("equation", f"{letters}->ad"),)))
    return rows


ROWS: list[Row] = [
    *(Row(op, "x w", "filter", _IMAGE, "kernel", (3,)) for op in ("Conv2D", "QuantizedConv2D", "Conv")),
    Row("_FusedConv2D", "x w x x", "filter", _IMAGE, "kernel", (3,)),
    *(Row(op, "x w", "filter", _VOLUME, "kernel", (4,)) for op in ("Conv3D", "_FusedConv3D")),
    Row("Dilation2D", "x w", "filter", (3, 3, 4), "kernel", (2,)),
    Row("DepthwiseConv2dNative", "x w", "filter", _IMAGE, "kernel", (2, 3)),
    Row("_FusedDepthwiseConv2dNative", "x w x", "filter", _IMAGE, "kernel", (2, 3)),
    Row("QuantizedDepthwiseConv2D", "x w x x x x", "filter", _IMAGE, "kernel", (2, 3)),
    *(Row(op, "x w x", "filter", _IMAGE, "kernel", (2,)) for op in ("Conv2DBackpropInput", "Conv2DBackpropInputV2")),
    *(Row(op, "x w x", "filter", _VOLUME, "kernel", (3,)) for op in ("Conv3DBackpropInput", "Conv3DBackpropInputV2")),
    Row("DepthwiseConv2dNativeBackpropInput", "x w x", "filter", _IMAGE, "kernel", (2,)),
    Row("FusedConv2DBiasActivation", "x w x x x x", "filter", _IMAGE, "kernel", (3,)),
    Row(
        "FusedConv2DBiasActivation",
        "x w x x x x",
        "filter",
        _IMAGE,
        "kernel",
        (0,),
        (("filter_format", "OIHW"),),
    ),
    Row("FusedConv2DBiasActivation", "x x w x x x", "bias", _VECTOR, "bias"),
    *(
        Row(op, operands, argument, _MATRIX, "kernel", (units,), flags)
        for op in ("MatMul", "SparseMatMul", "_FusedMatMul", "QuantizedMatMul")
        for operands, argument, plain in (("w x", "a", 0), ("x w", "b", 1))
        for flags, units in (((), plain), (_FLIPPED, 1 - plain))
    ),
    *(
        Row(op, operands, argument, _BATCH, "kernel", (0, units), flags)
        for op in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
        for operands, argument, plain in (("w x", "x", 1), ("x w", "y", 2))
        for flags, units in (((), plain), (_ADJOINT, 3 - plain))
    ),
    Row("SparseTensorDenseMatMul", "x x x w", "b", _MATRIX, "kernel", (1,)),
    Row("SparseTensorDenseMatMul", "x x x w", "b", _MATRIX, "kernel", (0,), (("adjoint_b", True),)),
    *(row for places in range(2, 9) for row in _einsum("Einsum", places)),
    *_einsum("XlaEinsum", 2),
    *(Row(op, "w x", "lhs", (2, 4, 5), "kernel", (0, 1), _DOT) for op in ("XlaDot", "XlaDotV2")),
    *(Row(op, "x w", "rhs", (2, 4, 5), "kernel", (2,), _DOT) for op in ("XlaDot", "XlaDotV2")),
    *(Row(op, "x w x x x x x", "rhs", _IMAGE, "kernel", (3,), _CONVOLUTION) for op in ("XlaConv", "XlaConvV2")),
    *(Row(op, "w x", "params", _MATRIX, "embedding", (0,)) for op in ("Gather", "GatherNd")),
    *(Row(op, "w x", "resource", _MATRIX, "embedding", (0,)) for op in ("ResourceGather", "ResourceGatherNd")),
    Row("GatherV2", "w x 0", "params", _MATRIX, "embedding", (0,)),
    Row("GatherV2", "w x 1", "params", _MATRIX, "embedding", (1,)),
    *(
        Row(f"SparseSegment{kind}{more}", f"w x x{' x' if more else ''}", "data", _MATRIX, "embedding", (0,))
        for kind in ("Sum", "Mean", "SqrtN")
        for more in ("", "WithNumSegments")
    ),
    *(Row(op, "x x x w", "params", (7, 5), "kernel", (0,), (), True) for op in ("CudnnRNN", "CudnnRNNV2")),
    Row("CudnnRNNV3", "x x x w x", "params", (7, 5), "kernel", (0,), (), True),
    Row("CudnnRNNV3", "x x x w x", "params", (7,), "bias"),
    *(
        row
        for op in ("BlockLSTM", "BlockLSTMV2")
        for row in (
            Row(op, "x x x x w x x x x", "w", (9, 20), "kernel", (1,)),
            Row(op, "x x x x x w x x x", "wci", _VECTOR, "scale"),
            Row(op, "x x x x x x w x x", "wcf", _VECTOR, "scale"),
            Row(op, "x x x x x x x w x", "wco", _VECTOR, "scale"),
            Row(op, "x x x x x x x x w", "b", (20,), "bias"),
        )
    ),
    Row("LSTMBlockCell", "x x x w x x x x", "w", (9, 20), "kernel", (1,)),
    Row("LSTMBlockCell", "x x x x w x x x", "wci", _VECTOR, "scale"),
    Row("LSTMBlockCell", "x x x x x w x x", "wcf", _VECTOR, "scale"),
    Row("LSTMBlockCell", "x x x x x x w x", "wco", _VECTOR, "scale"),
    Row("LSTMBlockCell", "x x x x x x x w", "b", (20,), "bias"),
    Row("GRUBlockCell", "x x w x x x", "w_ru", (9, 10), "kernel", (1,)),
    Row("GRUBlockCell", "x x x w x x", "w_c", (9, 5), "kernel", (1,)),
    Row("GRUBlockCell", "x x x x w x", "b_ru", (10,), "bias"),
    Row("GRUBlockCell", "x x x x x w", "b_c", _VECTOR, "bias"),
    *(
        row
        for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx")
        for row in (
            Row(op, "x w x x x", "scale", _VECTOR, "scale"),
            Row(op, "x x w x x", "offset", _VECTOR, "bias"),
            Row(op, "x x x w x", "mean", _VECTOR, "statistic"),
            Row(op, "x x x x w", "variance", _VECTOR, "statistic"),
        )
    ),
    Row("BatchNormWithGlobalNormalization", "x w x x x", "m", _VECTOR, "statistic"),
    Row("BatchNormWithGlobalNormalization", "x x w x x", "v", _VECTOR, "statistic"),
    Row("BatchNormWithGlobalNormalization", "x x x w x", "beta", _VECTOR, "bias"),
    Row("BatchNormWithGlobalNormalization", "x x x x w", "gamma", _VECTOR, "scale"),
    *(
        Row(op, operands, argument, _VECTOR, "bias")
        for op, arguments in (
            ("BiasAdd", ("value", "bias")),
            ("BiasAddV1", ("value", "bias")),
            ("Add", ("x", "y")),
            ("AddV2", ("x", "y")),
            ("Sub", ("x", "y")),
        )
        for operands, argument in zip(("w x", "x w"), arguments, strict=True)
    ),
    *(
        Row("AddN", " ".join("w" if each == place else "x" for each in range(8)), "inputs", _VECTOR, "bias")
        for place in range(8)
    ),
    *(
        Row(op, operands, argument, _VECTOR, "scale")
        for op in ("Mul", "RealDiv", "Div", "MulNoNan", "DivNoNan", "TruncateDiv")
        for operands, argument in (("w x", "x"), ("x w", "y"))
    ),
    *(
        Row(op, operands, argument, (), "quantized")
        for op, arguments in (
            ("FakeQuantWithMinMaxVars", ("min", "max")),
            ("FakeQuantWithMinMaxVarsPerChannel", ("min", "max")),
            ("QuantizeV2", ("min_range", "max_range")),
        )
        for operands, argument in zip(("x w x", "x x w"), arguments, strict=True)
    ),
    *(
        Row(f"QuantizeAndDequantizeV{version}", operands, argument, (), "quantized")
        for version in (2, 3, 4)
        for operands, argument in (("x w x x", "input_min"), ("x x w x", "input_max"))
    ),
]
