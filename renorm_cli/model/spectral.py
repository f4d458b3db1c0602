"""What is found of a matrix by its singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class PowerLaw(NamedTuple):
    """A power law fitted to the largest eigenvalues, from `xmin` on: their density falls with the power `-alpha`.

    `distance` is that of Kolmogorov and Smirnov: above some 0.1 the eigenvalues follow no power law, whatever alpha is.
    """

    alpha: float
    xmin: float
    distance: float


class Spectrum(NamedTuple):
    """All singular values in a few figures; their squares are the eigenvalues of the Gram matrix.

    `effective_rank` is the exponential of the entropy of the singular values as shares of their sum (Roy and Vetterli,
    2007). `condition` is the ratio of the largest to the smallest, None where it is above `MOST_CONDITION`: smaller
    ones are not known. `counts` are the eigenvalues in equal bins of their decimal logarithm, from `low` to `high`;
    those below are in the first.
    """

    effective_rank: float
    condition: float | None
    power_law: PowerLaw | None
    low: float
    high: float
    counts: tuple[int, ...]


class Span(NamedTuple):
    """What a number is proven to be between."""

    lower: float
    upper: float


MOST_CONDITION = 1e6


@dataclass(frozen=True, slots=True)
class Spectral:
    """The matrix that a variable is, by its singular values; it may have `matrices` blocks on its diagonal.

    Each block has `rows` (inputs) and `columns` (outputs). `norm` is the spectral norm, the largest singular value of
    any block, which is proven to be from `lower` to `upper`. `frobenius` is the Frobenius norm of all blocks together.
    They are those of the checkpoint, before anything was bounded. `spectrum` is there where it was asked for and there
    is a singular value above zero, `operator` where the operator norm of a convolution was.
    """

    rows: int
    columns: int
    matrices: int
    lower: float
    norm: float
    upper: float
    frobenius: float
    spectrum: Spectrum | None = None
    operator: Span | None = None

    @property
    def stable_rank(self) -> float | None:
        """The squared ratio of the Frobenius norm to the spectral norm; None for zeros."""
        return (self.frobenius / self.norm) ** 2 if self.norm else None

    @property
    def rms_norm(self) -> float:
        """The RMS-to-RMS operator norm: how much larger the root mean square of a vector can get."""
        return self.norm * math.sqrt(self.rows / self.columns)
