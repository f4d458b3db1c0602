"""The norms that can be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from renorm_cli.errors import UsageError
from renorm_cli.text import exact_text

LEAST_P, LARGEST_P = 1 / 512, 512.0
"""The least and the largest finite p. 0.5 ** p must stay a normal float64; and the p-th root of a sum has 1 / p times
its relative error, while two weights of 1 have the norm 2 ** (1 / p), which must be a float64 too."""


@dataclass(frozen=True, slots=True)
class PNorm:
    """The p-norm: the p-th root of the sum of |x| ** p over the elements of a unit, for p = inf the largest |x|.

    Raises UsageError unless LEAST_P <= p <= LARGEST_P or p is inf.
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        if not (LEAST_P <= self.p <= LARGEST_P or self.is_max):
            raise UsageError(f"p must be from 1/512 to {LARGEST_P:g}, or inf, got {exact_text(self.p)}")

    kind: ClassVar[Literal["p"]] = "p"
    noun: ClassVar[str] = "norm"

    @property
    def is_max(self) -> bool:
        """Whether it is the largest |x|, p = inf."""
        return self.p == math.inf

    @property
    def text(self) -> str:
        """What people call it."""
        return f"p = {exact_text(self.p)}"

    @property
    def record(self) -> float | Literal["inf"]:
        """p as reports have it; JSON has no infinity."""
        return "inf" if self.is_max else self.p


@dataclass(frozen=True, slots=True)
class SpectralNorm:
    """The spectral norm of a matrix: its largest singular value, by which it can make a vector longer.

    It cannot be told in floating point whether that of an identity is above 1, so that a norm may be above its limit by
    `tolerance`, relatively: at half of that it counts as over, and it is known better than to the other half.

    With `operator`, that of a convolution is an upper bound of its norm as an operator on images of every size.
    """

    operator: bool = False

    kind: ClassVar[Literal["spectral"]] = "spectral"
    noun: ClassVar[str] = "spectral norm"
    tolerance: ClassVar[float] = 2e-8

    @property
    def text(self) -> str:
        """What people call it."""
        return "operator norm" if self.operator else "spectral norm"

    @property
    def record(self) -> None:
        """It has no p."""
        return None


Norm = PNorm | SpectralNorm

SPECTRAL = SpectralNorm()
EUCLIDEAN = PNorm(2.0)
