"""The consumers of weights among the operators of TensorFlow Lite, for `Flow`; see `consumers`.

Source: tensorflow/lite/kernels/*.cc, which say how each operator reads its operands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from renorm_cli.conventions.graph.consumers import (
    Consumer,
    GraphRole,
    Rule,
    first,
    gathered,
    last,
    last_but_one,
    matrix,
)
from renorm_cli.conventions.graph.ops import ops

_LSTM = "LSTM UNIDIRECTIONAL_SEQUENCE_LSTM"
_RNN = "RNN UNIDIRECTIONAL_SEQUENCE_RNN"

_ROWS: tuple[tuple[str, Iterable[int], GraphRole, Rule | None], ...] = (
    ("CONV_2D TRANSPOSE_CONV FULLY_CONNECTED", (1,), "kernel", first),
    ("DEPTHWISE_CONV_2D CONV_3D", (1,), "kernel", last),
    ("CONV_3D_TRANSPOSE", (1,), "kernel", last_but_one),
    ("CONV_2D DEPTHWISE_CONV_2D CONV_3D FULLY_CONNECTED", (2,), "bias", None),
    ("TRANSPOSE_CONV CONV_3D_TRANSPOSE", (3,), "bias", None),
    ("BATCH_MATMUL", (0,), "kernel", matrix(0, "adj_x")),
    ("BATCH_MATMUL", (1,), "kernel", matrix(1, "adj_y")),
    ("EMBEDDING_LOOKUP", (1,), "embedding", first),
    ("Gather", (0,), "embedding", gathered),
    ("GATHER_ND", (0,), "embedding", first),
    (_LSTM, (*range(1, 9), 16), "kernel", first),
    (_LSTM, (*range(9, 12), *range(20, 24)), "scale", None),
    (_LSTM, (*range(12, 16), 17), "bias", None),
    (_LSTM, (18, 19), "state", None),
    (_RNN, (1, 2), "kernel", first),
    (_RNN, (3,), "bias", None),
    ("PRELU", (1,), "scale", None),
    ("Add Sub", (0, 1), "bias", None),
    ("Mul Div", (0, 1), "scale", None),
)

CONSUMERS: Mapping[tuple[str, int], Consumer] = {
    (op, operand): Consumer(role, rule)
    for names, operands, role, rule in _ROWS
    for op in ops(names)
    for operand in operands
}
"""(operator, operand) -> what a weight is that comes there. Gather has its axis as operand 2."""
