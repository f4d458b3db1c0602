"""The unit norms of many variables together, estimated from their histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from renorm_cli.model.report import Row

Float64 = npt.NDArray[np.float64]


class Pool:
    """The finite unit norms of some rows, known by equal bins between each row's smallest and largest norm.

    `units` is their number; `low` and `high` are the smallest and the largest. Norms count as evenly distributed within
    a bin; counts are exact at the limit of a row, and at `low` and `high`.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        known = [row for row in rows if row.norm is not None and any(row.histogram)]
        stats = [row.norm for row in known if row.norm is not None]
        self.units = sum(sum(row.histogram) for row in known)
        self.low = min((norm.min for norm in stats), default=0.0)
        self.high = max((norm.max for norm in stats), default=0.0)
        self._curves = [_curve(row, norm.min, norm.max) for row, norm in zip(known, stats, strict=True)]

    def over(self, bounds: Sequence[float]) -> Float64:
        """The number of units over each bound, interpolated and therefore not whole."""
        at = np.asarray(bounds, dtype=np.float64)
        over = np.zeros(at.shape)
        for norms, within in self._curves:
            if norms.size == 1:  # all units of the row have one norm
                over += np.where(at < norms[0], within[-1], 0.0)
            else:
                over += within[-1] - np.interp(at, norms, within, left=0.0)
        return over

    def count_over(self, bounds: Sequence[float]) -> list[int]:
        """The number of units over each bound, rounded; 0 only if no unit is over, all only if all are."""
        at, over = np.asarray(bounds, dtype=np.float64), np.rint(self.over(bounds))
        least = np.where(at < self.high, 1, 0)
        most = np.where(at >= self.low, self.units - 1, self.units) if self.units else least
        return [int(count) for count in np.maximum(np.minimum(over, most), least)]

    def quantile(self, share: float) -> float:
        """A norm that about this share of the units does not exceed; 0 without units."""
        if not self._curves:
            return 0.0
        norms = np.concatenate([norms for norms, _ in self._curves])
        counts = np.concatenate([np.diff(within, prepend=0.0) for _, within in self._curves])
        order = np.argsort(norms, kind="stable")
        reached = np.cumsum(counts[order])
        place = np.searchsorted(reached, share * reached[-1])
        return float(norms[order][min(int(place), norms.size - 1)])


def _curve(row: Row, low: float, high: float) -> tuple[Float64, Float64]:
    """Ascending norms, and the number of units that are not over each."""
    total = float(sum(row.histogram))
    if low == high:
        return np.array([low]), np.array([total])
    norms = np.linspace(low, high, len(row.histogram) + 1)
    within = np.concatenate([[0.0], np.cumsum(list(row.histogram), dtype=np.float64)])
    highest = row.step.constraint.highest
    if highest is None or not low <= highest < high or row.step.constraint.is_joint:
        return norms, within
    at, known = int(np.searchsorted(norms, highest)), total - row.over
    within = np.concatenate([np.minimum(within[:at], known), [known], np.maximum(within[at:], known)])
    return np.insert(norms, at, highest), within
