"""A Gram matrix that stays on the device of TensorFlow: parts of the matrix go there, and vectors come back.

Operations run one by one, each on the device. Nothing is subnormal here but what is far below the rounding of the rest:
the caller widens narrow weights, and scales those of float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from renorm_cli.norms.error_free import Float64


class TensorFlowGram:
    """See `GramSum`."""

    def __init__(self, tf: Any, place: str, side: int) -> None:
        self._tf = tf
        self._place = place
        with self._there():
            self._gram = tf.zeros((side, side), tf.float64)

    def add(self, rows: Float64) -> None:
        """Add B'B, for rows B of the matrix."""
        with self._there():
            here = self._tf.constant(rows)
            self._gram += self._tf.linalg.matmul(here, here, transpose_a=True)

    def add_sides(self, slabs: Iterable[Float64], columns: int) -> None:
        """Add BB' for the whole matrix B, which is held on the device until the end."""
        tf = self._tf
        with self._there():
            whole = tf.concat([tf.constant(slab) for slab in slabs], axis=0)
            for at in range(0, whole.shape[1], columns):
                part = whole[:, at : at + columns]
                self._gram += tf.linalg.matmul(part, part, transpose_b=True)

    def diagonal(self) -> Float64:
        """The sums of squares of the columns of what was added."""
        with self._there():
            return np.asarray(self._tf.linalg.diag_part(self._gram).numpy())

    def times(self, vectors: Float64) -> Float64:
        """The product with vectors, of shape (side, count)."""
        with self._there():
            return np.asarray(self._tf.linalg.matmul(self._gram, self._tf.constant(vectors)).numpy())

    def factored(self, omega: float, panel: int) -> tuple[float, float]:
        """The largest sums of a row of |D|, or the like column, and of |L||L'|; not finite where no factor is found.

        TensorFlow says so by NaN on the diagonal of L, and leaves anything above it, or (older versions) by an error.
        """
        tf = self._tf
        with self._there():
            shifted = tf.linalg.set_diag(-self._gram, omega - tf.linalg.diag_part(self._gram))
            try:
                lower = tf.linalg.band_part(tf.linalg.cholesky(shifted), -1, 0)
            except tf.errors.InvalidArgumentError:
                return math.nan, math.nan
            for at in range(0, lower.shape[1], panel):
                part = lower[:, at : at + panel]
                shifted -= tf.linalg.matmul(part, part, transpose_b=True)
            differences, sizes = tf.abs(shifted), tf.abs(lower)
            seen = (tf.reduce_sum(differences, axis=0) + tf.reduce_sum(differences, axis=1)) / 2
            spread = tf.linalg.matvec(sizes, tf.reduce_sum(sizes, axis=0))
            return float(np.max(seen.numpy())), float(np.max(spread.numpy()))

    def whole(self) -> Float64:
        """The matrix itself."""
        with self._there():
            return np.asarray(self._gram.numpy())

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            with self._tf.device(self._place):
                yield
        except self._tf.errors.ResourceExhaustedError as error:
            raise MemoryError(f"{self._place} has no room") from error
