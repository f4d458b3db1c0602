"""What is asked of a tensor, and how its graph runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from renorm_cli.model.dtypes import FLOATS

ROUNDOFF = FLOATS["float64"].roundoff

Mode = Literal["graph", "columns", "xla", "xla, small"]
"""How a graph runs: operation by operation, with sums of `columns` (`squares.rough_norms`), or compiled by XLA."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The p-norm over `axes` is at most `limit`, a float64 scalar; `axes` is a tuple or an integer tensor.

    `band` is the largest relative error of a norm from fast sums, a float64 scalar.
    """

    axes: Any
    limit: Any
    p: float
    band: Any = None

    @property
    def margin(self) -> Any:
        """What the factor limit / norm must be reduced by, relatively: d of `clip`."""
        return 2 * self.band + 32 * ROUNDOFF / min(self.p, 1.0)


def band(terms: Any, p: float) -> Any:
    """The band for units of so many elements, a number or a tensor."""
    if math.isinf(p):
        return 0.0 * terms + 4 * ROUNDOFF
    return ((terms + (2 + 4 * p)) / min(p, 1.0) + 4) * ROUNDOFF
