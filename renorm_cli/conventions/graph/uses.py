"""One answer of all that the consumers of a weight say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from renorm_cli.conventions.graph.consumers import GraphRole
from renorm_cli.conventions.graph.flow import Evidence
from renorm_cli.conventions.graph.layout import Axes, Shape

State: TypeAlias = Literal["told", "open", "conflict", "unused"]

_MATRICES: Collection[GraphRole] = ("kernel", "embedding")
_OTHERS: tuple[GraphRole, ...] = ("optimizer", "quantized", "statistic", "scale", "bias", "state")
_CERTAIN: Collection[GraphRole] = ("optimizer", "quantized", "statistic")


@dataclass(frozen=True, slots=True)
class Use:
    """How a stored graph uses a variable.

    `unit_axes` are the axes that name units of a kernel or an embedding, non-negative and sorted. `ops` are the ops
    that tell the role. `via` are ops that change the weight before it comes there: then a bound of the stored weight is
    none of the weight in effect. `state` is

    - "told": the graph tells the role, and of a kernel or an embedding the unit axes;
    - "open": ops use it, but their table does not tell its role, or no whole axes name its units;
    - "conflict": ops use it along different axes;
    - "unused": no op uses it, apart from assigning and saving.
    """

    role: GraphRole | None
    unit_axes: Axes | None
    ops: tuple[str, ...]
    via: tuple[str, ...]
    state: State


UNUSED = Use(None, None, (), (), "unused")


def settles(evidence: Collection[Evidence]) -> bool:
    """Whether some op of a forward pass tells the role."""
    return any(each.role is not None and not each.gradient for each in evidence)


def use_of(evidence: Collection[Evidence], shape: Shape, *, complete: bool = True) -> Use:
    """The use of a variable of `shape`, all of whose consumers were seen if `complete`.

    Ops of backward passes do not count: the gradient of a convolution is the transposed one. Kernels and embeddings
    come before what adds and scales, and all ops must agree on the unit axes, but for axes of size 1; what is gathered
    anywhere is an embedding. Of other roles that of the plainest use counts, and of a matrix only if all ops tell one.
    """
    forward = [each for each in evidence if not each.gradient]
    matrices = [each for each in forward if each.role in _MATRICES]
    if matrices:
        return _matrix(matrices, shape, complete=complete)
    if not evidence and complete:
        return UNUSED
    told = [each for each in forward if each.role is not None]
    least = min((len(each.via) for each in told), default=0)
    plainest = [each for each in told if len(each.via) == least or each.role in _CERTAIN]
    roles = {each.role for each in plainest}
    role = next((role for role in _OTHERS if role in roles), None) if complete else None
    if role not in _CERTAIN and len(told) < len(forward) and sum(length != 1 for length in shape) > 1:
        role = None
    telling = [each for each in plainest if each.role == role] if role else forward
    return Use(role, None, _ops(telling), _via(telling), "told" if role else "open")


def _matrix(evidence: Collection[Evidence], shape: Shape, *, complete: bool) -> Use:
    told: dict[Axes, Axes] = {}
    for units in sorted({each.units for each in evidence if each.units is not None}):
        told.setdefault(tuple(axis for axis in units if shape[axis] != 1), units)
    role: GraphRole = "embedding" if any(each.role == "embedding" for each in evidence) else "kernel"
    agreed = next(iter(told.values())) if len(told) == 1 and complete else None
    state: State = "conflict" if len(told) > 1 else "open" if agreed is None else "told"
    return Use(role, agreed, _ops(evidence), _via(evidence), state)


def _ops(evidence: Collection[Evidence]) -> tuple[str, ...]:
    return tuple(sorted({each.op for each in evidence}))


def _via(evidence: Collection[Evidence]) -> tuple[str, ...]:
    return tuple(sorted({op for each in evidence for op in each.via}))
