"""What is asked of norms, and of which variables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from renorm_cli.errors import UsageError
from renorm_cli.model.identity import Role
from renorm_cli.model.norm import EUCLIDEAN, Norm, SpectralNorm

Per = Literal["unit", "tensor", "global"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What is asked of norms: at most `limit`; without a limit they are only measured.

    `per` is what one norm runs over: a unit, a whole tensor, or all selected tensors together (a joint norm). A check
    can ask for more: a norm of at least `low`, and no weight below zero (`nonnegative`). It can allow for rounding:
    `tolerance` and `low_tolerance` say how far, relatively, a norm may be above `limit` and below `low`.

    Raises UsageError unless 0 < limit < inf.
    """

    limit: float | None = None
    norm: Norm = EUCLIDEAN
    per: Per = "unit"
    low: float | None = None
    tolerance: float = 0.0
    low_tolerance: float = 0.0
    nonnegative: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise UsageError(f"the bound must be a finite number above 0, got {self.limit}")

    @property
    def is_joint(self) -> bool:
        """Whether one norm runs over all selected tensors together."""
        return self.per == "global"

    @property
    def is_spectral(self) -> bool:
        """Whether norms are those of matrices."""
        return isinstance(self.norm, SpectralNorm)

    @property
    def highest(self) -> float | None:
        """The largest norm that is not over."""
        return None if self.limit is None else self.limit * (1 + self.tolerance)

    @property
    def lowest(self) -> float | None:
        """The smallest norm that is not under."""
        return None if self.low is None else self.low * (1 - self.low_tolerance)


@dataclass(frozen=True, slots=True)
class Selection:
    """The roles whose variables are taken, and shell-style patterns over their names and keys, which choose among them.

    Without `roles` they are those of the source of the bounds; no `include` means all. `called` is what messages call
    the patterns of `include`.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    roles: frozenset[Role] | None = None
    called: str = "include"
