"""The largest eigenvalue of a symmetric matrix, by Lanczos with full reorthogonalization."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from renorm_cli.norms.error_free import Float64

_MOST_STEPS = 400
_LOOK_EVERY = 5


class Multiplied(Protocol):
    """A symmetric matrix, as far as vectors are multiplied by it."""

    size: int

    def times(self, vector: Float64) -> Float64:
        """The product with a vector."""
        ...


class Ritz(NamedTuple):
    """A value that is at most the largest eigenvalue, but for rounding, and its vector."""

    value: float
    vector: Float64


def start_vector(size: int, seed: int = 0) -> Float64:
    """Normal deviates that are the same everywhere: the stream of RandomState is frozen."""
    return np.random.RandomState(seed).standard_normal(size)


def largest(matrix: Multiplied, start: Float64, residual: float) -> Ritz:
    """The largest Ritz pair that can be reached from `start`; it keeps up to 400 vectors.

    It stops at a `residual`, relatively: the error of the value is about the square of that, and in a cluster of
    eigenvalues up to the residual itself.
    """
    steps = min(_MOST_STEPS, matrix.size)
    basis = np.empty((steps + 1, matrix.size))
    basis[0] = start / np.linalg.norm(start)
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        found = matrix.times(basis[step])
        diagonal[step] = basis[step] @ found
        known = basis[: step + 1]
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            found -= known.T @ (known @ found)
        beside[step] = np.linalg.norm(found)
        last = step == steps - 1 or beside[step] <= 1e-15 * np.abs(diagonal[: step + 1]).max()
        if last or step % _LOOK_EVERY == _LOOK_EVERY - 1:
            inside = beside[:step]
            small = np.diag(diagonal[: step + 1]) + np.diag(inside, 1) + np.diag(inside, -1)
            values, vectors = np.linalg.eigh(small)
            if last or beside[step] * abs(vectors[-1, -1]) <= residual * values[-1]:
                return Ritz(float(values[-1]), known.T @ vectors[:, -1])
        basis[step + 1] = found / beside[step]
    raise AssertionError("the last step returns")
