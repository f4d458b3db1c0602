"""Which variables are matrices of weights, and how much of them was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from renorm_cli.errors import first_few
from renorm_cli.model.dtypes import is_floating
from renorm_cli.model.identity import BOUNDED, Role
from renorm_cli.model.plan import REQUESTED, Skip, SkipCode, Step
from renorm_cli.model.variable import Variable
from renorm_cli.text import shape_text

Coverage = Literal["measured", "left out", "unidentified"]
"""What became of a matrix: measured, left out because the user asked for it, or not, as nothing tells what it is."""

_MATRICES: frozenset[Role] = BOUNDED | {"unknown"}
_ASKED: frozenset[SkipCode] = REQUESTED | {"role", "undeclared", "not_enforced"}


def is_matrix(variable: Variable, role: Role) -> bool:
    """Whether a variable of this role is a matrix of weights, or may be one.

    These are floating arrays with two axes or more that are longer than 1: any other has one unit, or units of one
    weight, whatever its axes mean. Kernels and embeddings are matrices, and so is what nothing identifies.
    """
    return (
        role in _MATRICES
        and is_floating(variable.dtype)
        and variable.elements > 0
        and sum(length > 1 for length in variable.shape) > 1
    )


def coverage(one: Step | Skip) -> Coverage | None:
    """What became of a variable that is a matrix; None for any other."""
    if not is_matrix(one.variable, one.role):
        return None
    if isinstance(one, Step):
        return "measured"
    return "left out" if one.code in _ASKED else "unidentified"


class Matrices(NamedTuple):
    """The number of matrices, how many of them are identified and measured, and their weights.

    Copies of one weight are counted once.
    """

    number: int = 0
    identified: int = 0
    measured: int = 0
    elements: int = 0
    measured_elements: int = 0

    @property
    def share(self) -> float | None:
        """The share of the weights of all matrices that was measured; None without matrices."""
        return self.measured_elements / self.elements if self.elements else None


def matrices(found: Iterable[Step | Skip]) -> Matrices:
    """Count the matrices among all variables of a checkpoint."""
    seen: set[str] = set()
    count = unidentified = measured = elements = measured_elements = 0
    for one in found:
        kind, variable = coverage(one), one.variable
        if kind is None or not seen.isdisjoint(variable.copies):
            continue
        seen.add(variable.key)
        count += 1
        elements += variable.elements
        unidentified += kind == "unidentified"
        measured += kind == "measured"
        measured_elements += variable.elements if kind == "measured" else 0
    return Matrices(count, count - unidentified, measured, elements, measured_elements)


def some_matrices(found: Sequence[tuple[str, Sequence[int]]], count: int) -> str:
    """Write the first few of `count` matrices, given as names and shapes: `'a' (4x3), 'b' (4x3) and 7 more`."""
    return first_few([f"{name} ({shape_text(shape)})" for name, shape in found], count)
