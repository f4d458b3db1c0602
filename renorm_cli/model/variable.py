"""A stored array, as a header describes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import Identity, Role
from renorm_cli.text import exact_text

ConstraintKind = Literal["MaxNorm", "MinMaxNorm", "UnitNorm", "NonNeg", "RenormConstraint", "unknown"]


class Declared(NamedTuple):
    """What a layer's config declares for one of its weights; `name` is the class as the file has it.

    A norm is at most `limit` and at least `low` (0 where there is no lower bound). `axis` are the axes Keras reduces,
    as declared: the opposite of unit axes, negative ones possible, None for all. `rate` is how far MinMaxNorm goes in
    one step. `problem` says why the kind is "unknown". A RenormConstraint (`renorm_cli.tf`) has the axes that name
    `units`, as declared, or "auto" for those of the layer, and bounds the `p`-norm.
    """

    kind: ConstraintKind
    name: str
    limit: float | None = None
    low: float | None = None
    rate: float = 1.0
    axis: tuple[int, ...] | None = None
    problem: str | None = None
    units: tuple[int, ...] | Literal["auto"] | None = None
    p: float = 2.0

    @property
    def bounds_norm(self) -> bool:
        return self.limit is not None

    @property
    def text(self) -> str:
        """One line: "MinMaxNorm(0.5 to 1.0, rate 0.5, axis 0)"."""
        if self.kind == "unknown":
            return f"{self.name!r}, which is unknown: {self.problem}"
        if self.kind == "NonNeg":
            return "NonNeg"
        if self.kind == "RenormConstraint":
            units = self.units if isinstance(self.units, str) else " ".join(map(str, self.units or ())) or "none"
            return f"RenormConstraint({self.limit}, units {units}, p {exact_text(self.p)})"
        axes = "all axes" if self.axis is None else f"axis {' '.join(map(str, self.axis)) or 'none'}"
        bounds = {"MaxNorm": f"{self.limit}, ", "MinMaxNorm": f"{self.low} to {self.limit}, "}.get(self.kind, "")
        rate = f"rate {self.rate}, " if self.rate != 1 else ""
        return f"{self.kind}({bounds}{rate}{axes})"


@dataclass(frozen=True, slots=True)
class Hint:
    """What a file tells of a weight beyond its name and shape, in the words of the convention that it follows.

    `layer` is the class of the layer, "Conv2DTranspose", known from the file's own config or from a default name, as
    `source` has it. `weight` is the weight's own name inside its layer, "kernel" or "query/kernel", `equation` that of
    an EinsumDense layer. `order` are the axes that the framework sees, in the order in which they are stored, where
    that is another one. `groups` are those of a convolution.
    """

    convention: str = "keras"
    layer: str | None = None
    source: Literal["layer", "name"] = "layer"
    weight: str | None = None
    equation: str | None = None
    order: tuple[int, ...] | None = None
    groups: int = 1


NO_HINT = Hint()


@dataclass(frozen=True, slots=True)
class GraphUse:
    """How the graph stored with a model uses a variable.

    `role` is what its consumers make of it, and `unit_axes` are the axes that name units of a kernel or an embedding,
    non-negative and sorted; None for other roles. `ops` are these consumers, empty for a variable that no op uses.
    `via` are ops that change its values on the way there.
    """

    role: Role = "unknown"
    unit_axes: tuple[int, ...] | None = None
    ops: tuple[str, ...] = ()
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """What a header says of one stored array.

    `key` is the storage address, unique in the checkpoint. `name` is the friendly name, shared by all
    stored copies of one weight; `copies` holds the keys of the others. `aliases` are further names of the
    same bytes (hard links). `dtype` is a plain name such as "float32", "bfloat16" or "int64", whatever the byte order.
    """

    __module__ = "renorm_cli"

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    hint: Hint = NO_HINT
    state: Role | None = None
    """Set where the file itself tells that this is no trainable weight: "optimizer", "quantized", "state"."""
    locked: str | None = None
    """Why the stored bytes cannot be read or changed (an unknown filter), if they cannot."""
    fixed: str | None = None
    """Why they can be read and not changed, if so."""
    quantization: str | None = None
    """The type of blocks that the file stores, "Q4_K", where `dtype` is that of the numbers dequantized from them."""
    scaling: str | None = None
    """What makes its numbers of the stored integers, where the file tells that apart; the same text means the same."""
    declared: Declared | None = None
    """What the file's own config declares for it, which loading does not enforce."""
    use: GraphUse | None = None
    """How the model's graph uses it, where a graph was read and tells that."""
    identity: Identity | None = None
    """What it is taken for, once all variables of the file were looked at together."""
    aliases: tuple[str, ...] = ()
    tied: str | None = None
    """The one of the aliases that only a file beside the checkpoint tells."""
    copies: tuple[str, ...] = ()
    untold: int = 0
    """Bytes of an element, where the file does not tell its dtype; 0 where it does."""

    @property
    def layer(self) -> str | None:
        """The class of its layer."""
        return self.hint.layer

    @property
    def stored_dtype(self) -> str:
        """The dtype that reports tell, as the file has it."""
        return self.quantization or self.dtype

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the plain C-order array; 0 for a dtype we do not read."""
        found = FLOATS.get(self.dtype)
        return 0 if found is None else self.elements * found.nbytes


def logical(variable: Variable) -> tuple[int, ...]:
    """The shape that the framework sees."""
    order = variable.hint.order
    if order is None:
        return variable.shape
    shape = [0] * len(order)
    for stored, axis in enumerate(order):
        shape[axis] = variable.shape[stored]
    return tuple(shape)


def stored(axes: Iterable[int], variable: Variable) -> tuple[int, ...]:
    """Axes of the framework as axes of the stored array."""
    order = variable.hint.order
    return tuple(sorted(axes if order is None else (order.index(axis) for axis in axes)))
