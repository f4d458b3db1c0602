"""A model of TensorFlow Lite: its subgraphs with their tensors and operators, of which no numbers are read.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import digest
from renorm_cli.formats.tflite.flatbuffer import Flatbuffer
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.storage.files import SourceFile
from renorm_cli.untrusted import quoted

DTYPES: Mapping[int, tuple[str, int]] = {
    0: ("float32", 32),
    1: ("float16", 16),
    2: ("int32", 32),
    3: ("uint8", 8),
    4: ("int64", 64),
    5: ("string", 0),
    6: ("bool", 8),
    7: ("int16", 16),
    8: ("complex64", 64),
    9: ("int8", 8),
    10: ("float64", 64),
    11: ("complex128", 128),
    12: ("uint64", 64),
    15: ("uint32", 32),
    16: ("uint16", 16),
    17: ("int4, packed", 4),
    18: ("bfloat16", 16),
    19: ("int2, packed", 2),
    20: ("uint4, packed", 4),
}
"""Each dtype by its number in TensorType: its plain name, and bits of an element."""

NOT_WEIGHTS = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string"})
"""Dtypes of what is no weight: sizes, places, masks."""

_MOST_GRAPHS = 10_000


@dataclass(slots=True)
class Tensor:
    """A tensor of a subgraph. `key` is unique in the model; `size` is 0 where it has no numbers in the file.

    `odd` says why the bytes are not its numbers as they are, `scaling` what makes others of quantized ones.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    buffer: int
    start: int = 0
    size: int = 0
    odd: str | None = None
    scaling: str | None = None
    key: str = ""

    @property
    def may_be_weight(self) -> bool:
        return self.size > 0 and bool(self.shape) and self.dtype not in NOT_WEIGHTS


class Operator(NamedTuple):
    """An operator: its number in BuiltinOperator, the numbers of its tensors, -1 for none, and its options."""

    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: int


@dataclass(slots=True)
class Subgraph:
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    outputs: Sequence[int] = ()


def read_model(data: Flatbuffer, file: SourceFile) -> list[Subgraph]:
    """The subgraphs of a model. Raises FormatError where it is damaged, or a tensor does not fit its bytes."""
    root = data.root()
    buffers = [_buffer(data, one, file) for one in data.tables(root, 4)]
    codes = [max(data.scalar(one, 0, 1, signed=True), data.scalar(one, 3, 4)) for one in data.tables(root, 1)]
    graphs = data.tables(root, 2)
    if not graphs or len(graphs) > _MOST_GRAPHS:
        raise data.damaged(f"expected 1 to {_MOST_GRAPHS} subgraphs, found {len(graphs)}")
    found = [_subgraph(data, one, buffers, codes, file.shown) for one in graphs]
    _set_keys(found)
    return found


def _buffer(data: Flatbuffer, table: int, file: SourceFile) -> tuple[int, int]:
    """Start and size of the bytes of a Buffer: in the flatbuffer, or behind it, from 2 GB on."""
    start, size = data.vector(table, 0, 1)
    offset = data.scalar(table, 1, 8)
    if offset > 1:
        start, size = offset, data.scalar(table, 2, 8)
    if start + size > file.size:
        raise data.damaged(f"expected a buffer that ends by byte {file.size}, found its end at byte {start + size}")
    return start, size


def _subgraph(
    data: Flatbuffer, table: int, buffers: Sequence[tuple[int, int]], codes: Sequence[int], shown: str
) -> Subgraph:
    tensors = [_tensor(data, one, buffers, shown) for one in data.tables(table, 0)]
    operators = []
    for one in data.tables(table, 3):
        code = data.scalar(one, 0, 4)
        inputs, made = data.integers(one, 1) or (), data.integers(one, 2) or ()
        if code >= len(codes) or any(not -1 <= place < len(tensors) for place in (*inputs, *made)):
            raise data.damaged(f"expected an operator of tensors of its subgraph at byte {one}, found others")
        operators.append(Operator(codes[code], inputs, made, data.table(one, 4)))
    outputs = data.integers(table, 2) or ()
    return Subgraph(tensors, operators, [place for place in outputs if 0 <= place < len(tensors)])


def _tensor(data: Flatbuffer, table: int, buffers: Sequence[tuple[int, int]], shown: str) -> Tensor:
    name, sizes = data.text(table, 3), data.integers(table, 0, MOST_AXES)
    where = f"{shown!r}: the tensor {quoted(name)}"
    if sizes is None or min(sizes, default=0) < 0:
        raise FormatError(f"{where} has a shape that is no list of at most {MOST_AXES} sizes")
    number = data.scalar(table, 1, 1)
    dtype, bits = DTYPES.get(number, (f"type {number} of TensorFlow Lite", 0))
    found = Tensor(name, tuple(sizes), dtype, data.scalar(table, 2, 4))
    if data.scalar(table, 10, 4):
        raise FormatError(f"{where} lies in another file, which is not read; store it in the model")
    if found.buffer >= len(buffers):
        raise FormatError(f"{where} has buffer {found.buffer}; one of {len(buffers)} was expected")
    found.start, found.size = buffers[found.buffer]
    if not found.size or not bits:
        found.odd = f"it is of {dtype}, which is not read" if found.size else None
    elif data.field(table, 6):
        found.odd = "it is stored as a sparse tensor"
    elif -(-math.prod(found.shape) * bits // 8) != found.size:
        needed = -(-math.prod(found.shape) * bits // 8)
        raise FormatError(f"{where} needs {needed} bytes by its shape, its buffer has {found.size}")
    if found.size and dtype not in FLOATS:
        found.scaling = _scaling(data, data.table(table, 4))
    return found


def _scaling(data: Flatbuffer, table: int) -> str | None:
    """The scales, the zero points and the axis of QuantizationParameters; None where there are none."""
    scales = data.stored(table, 2, 4) if table else b""
    if not scales:
        return None
    return digest([scales, data.stored(table, 3, 8), b"%d" % data.scalar(table, 6, 4)])


def _set_keys(graphs: Sequence[Subgraph]) -> None:
    """Names need not be unique: those that come again have the numbers of their subgraph and tensor behind them."""
    seen: set[str] = set()
    for number, graph in enumerate(graphs):
        for place, tensor in enumerate(graph.tensors):
            if tensor.size:
                key = tensor.name
                while key in seen:
                    key = f"{key}#{number}.{place}"
                seen.add(key)
                tensor.key = key
