"""What is asked of norms, and of which variables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from renorm_cli.errors import UsageError

Per = Literal["unit", "tensor", "global"]


_LARGEST_P = 512.0


@dataclass(frozen=True, slots=True)
class Constraint:
    """The constraint: the `p`-norm of every unit is at most `limit`; without a limit norms are only measured.

    `per` widens what one norm runs over: a unit, a whole tensor, or all selected tensors together. A check alone can
    have more: `low`, the least a norm may be, `slack_above` and `slack_below`, how far relatively a norm may be above
    `limit` and below `low`, and `nonnegative`, whether weights below zero count.

    Raises UsageError unless 0 < limit < inf and 0 < p <= 512 or p is inf: 0.5 ** p must stay a normal float64.
    """

    limit: float | None = None
    p: float = 2.0
    per: Per = "unit"
    low: float | None = None
    slack_above: float = 0.0
    slack_below: float = 0.0
    nonnegative: bool = False

    @property
    def ceiling(self) -> float | None:
        """The largest norm that is not over."""
        return None if self.limit is None else self.limit * (1 + self.slack_above)

    @property
    def floor(self) -> float | None:
        """The smallest norm that is not under."""
        return None if self.low is None else self.low * (1 - self.slack_below)

    def __post_init__(self) -> None:
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise UsageError(f"--max-norm must be a finite number above 0, got {self.limit}")
        if not (0 < self.p <= _LARGEST_P or self.p == math.inf):
            raise UsageError(f"--p must be above 0 and at most {_LARGEST_P:g}, or inf, got {self.p}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which variables to constrain: shell-style patterns over names and keys; no `include` means the default."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
