"""Figures of all singular values: effective rank, condition number, a power law, a histogram."""

from __future__ import annotations

import math

import numpy as np

from renorm_cli.model.spectral import MOST_CONDITION, PowerLaw, Spectrum
from renorm_cli.norms.error_free import Float64

BINS = 48

_ALIKE = 1e-6
"""Logarithms that are so near are one: those of an orthogonal matrix differ by rounding."""

_TAIL = 8
"""The fewest eigenvalues that a power law is fitted to."""

_MOST_FITTED = 1 << 15
"""Eigenvalues above which none is fitted: it would take the square of their number of steps."""

_WIDEST = 700.0
"""The largest natural logarithm, up or down, of an eigenvalue that is told."""


def singular_values(upper: Float64) -> Float64:
    """The singular values of a matrix by its Gram matrix, of which the diagonal and what is above it are stored.

    Those below a millionth of the largest are not known. Takes the room of another matrix of that size.
    """
    return np.asarray(np.sqrt(np.maximum(np.linalg.eigvalsh(upper, "U"), 0.0)))


def spectrum(values: Float64) -> Spectrum:
    """The figures of singular values, one of which at least is above zero."""
    largest, smallest = float(values.max()), float(values.min())
    shares = values[values > 0] / values.sum()
    known = values[values > largest / MOST_CONDITION]
    logs = 2 * np.log10(np.maximum(values, max(largest / MOST_CONDITION, math.ulp(0.0))))
    low, high = float(logs.min()), float(logs.max())
    if high - low < _ALIKE:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(logs, BINS, (low, high))
    return Spectrum(
        effective_rank=float(np.exp(-(shares * np.log(shares)).sum())),
        condition=largest / smallest if smallest * MOST_CONDITION > largest else None,
        power_law=power_law(known),
        low=low,
        high=high,
        counts=tuple(counts.tolist()),
    )


def power_law(values: Float64) -> PowerLaw | None:
    """The power law that fits the squares of singular values best.

    None where there are too few, or too many, or where the squares are near the ends of float64's range.

    Of all least eigenvalues that leave a tail, the one with the least distance between the tail and its law, whose
    alpha is that of the largest likelihood (Clauset, Shalizi and Newman, Power-law distributions in empirical data,
    SIAM Review 2009, equation 3.1).
    """
    count = values.size
    if not _TAIL < count <= _MOST_FITTED:
        return None
    logs = 2 * np.log(np.sort(values))
    if not -_WIDEST < logs[0] <= logs[-1] < _WIDEST:
        return None
    sizes = count - np.arange(count)
    spread = np.cumsum(logs[::-1])[::-1] - sizes * logs
    best: PowerLaw | None = None
    for first in range(count - _TAIL):
        if spread[first] <= 0:
            continue
        alpha = 1 + sizes[first] / float(spread[first])
        law = -np.expm1((1 - alpha) * (logs[first:] - logs[first]))
        distance = float(np.abs(law - np.arange(sizes[first]) / sizes[first]).max())
        if best is None or distance < best.distance:
            best = PowerLaw(alpha, math.exp(logs[first]), distance)
    return best
