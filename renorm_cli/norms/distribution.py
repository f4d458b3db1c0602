"""The distribution of unit norms: exact up to a number that fits in memory, in fine buckets above it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from renorm_cli.model.report import NormStats, UnitNorm

BINS = 64
"""Bins of the histogram in a report."""

WORST = 5
"""Units of one variable that a report names."""

KEEP = 1 << 22
"""Up to this many norms (32 MiB) are kept; more are only counted, in buckets 2**-10 wide (0.1 %)."""

_LIFT = 1e-11
"""How far, relatively, a limit is lifted above the norm it comes from: summed in another order, that norm can be
slightly larger, and must not be over."""

_DIGITS = 9

_FEW = 6
"""Binary logarithm: fewer norms than a 64th of the number of buckets are counted one by one."""

_SHIFT = 42  # of a float64's bits, the sign, the exponent and 10 bits of the significand remain


class Distribution:
    """Collects finite norms >= 0. Above `KEEP` units the median and p95 have an error of 0.1 %; the rest is exact."""

    def __init__(self, units: int) -> None:
        self._kept: list[npt.NDArray[np.float64]] | None = [] if units <= KEEP else None
        self._buckets = np.zeros(0 if self._kept is not None else 1 << (63 - _SHIFT), dtype=np.int64)
        self._count = 0
        self._total = 0.0
        self._least = np.inf
        self._largest = 0.0

    def add(self, norms: npt.NDArray[np.float64]) -> None:
        """Add the norms of some units, without those that are not finite."""
        finite = norms[np.isfinite(norms)]
        if not finite.size:
            return
        self._count += finite.size
        with np.errstate(over="ignore"):  # the mean of norms near the end of float64's range is shown as the largest
            self._total += float(finite.sum())
        self._least = min(self._least, float(finite.min()))
        self._largest = max(self._largest, float(finite.max()))
        if self._kept is not None:
            self._kept.append(finite)
        else:
            buckets = finite.view(np.int64) >> _SHIFT
            if buckets.size < self._buckets.size >> _FEW:
                np.add.at(self._buckets, buckets, 1)
            else:
                self._buckets += np.bincount(buckets, minlength=self._buckets.size)

    def stats(self) -> NormStats | None:
        """Least, median, mean, 95th percentile and largest norm; None if there is none."""
        if not self._count:
            return None
        middle, high = self._quantiles((0.5, 0.95))
        mean = min(max(self._total / self._count, self._least), self._largest)
        return NormStats(self._least, middle, mean, high, self._largest)

    def merge(self, other: Distribution) -> None:
        """Add all norms of another distribution, of at most as many units."""
        if other._kept is not None:
            for norms in other._kept:
                self.add(norms)
            return
        self._buckets += other._buckets
        self._count += other._count
        self._total += other._total
        self._least = min(self._least, other._least)
        self._largest = max(self._largest, other._largest)

    @property
    def count(self) -> int:
        """The number of norms."""
        return self._count

    def limits(self, shares: Sequence[float]) -> list[tuple[float, int]]:
        """For each share, a limit that about this share of the norms is over, and the exact number of those norms.

        The limit is the quantile of 1 - share, rounded up to nine digits. Above `KEEP` units it is the upper end of the
        bucket with that quantile, at most 0.1 % above it. There must be norms.
        """
        return self._kept_limits(shares) if self._kept is not None else self._bucket_limits(shares)

    def _kept_limits(self, shares: Sequence[float]) -> list[tuple[float, int]]:
        ordered = np.sort(np.concatenate(self._kept or []))
        found = [_rounded_up(_between(ordered, (1 - share) * (ordered.size - 1))) for share in shares]
        return [(limit, ordered.size - int(np.searchsorted(ordered, limit, side="right"))) for limit in found]

    def _bucket_limits(self, shares: Sequence[float]) -> list[tuple[float, int]]:
        reached = np.cumsum(self._buckets)
        places = np.searchsorted(reached, [(1 - share) * (self._count - 1) for share in shares], side="right")
        ends = (((places.astype(np.int64) + 1) << _SHIFT) - 1).view(np.float64)
        ends[places == 0] = 0  # the bucket of zero
        return [
            (float(end), over) if (over := self._count - int(reached[place])) else (_rounded_up(self._largest), 0)
            for place, end in zip(places, ends, strict=True)
        ]

    def histogram(self) -> Sequence[int]:
        """Counts in `BINS` equal bins from the least to the largest norm; empty if there is none."""
        if not self._count:
            return ()
        if self._least == self._largest:
            return _compact([*(0,) * (BINS // 2), self._count, *(0,) * (BINS - BINS // 2 - 1)])
        norms, weights = self._values()
        place = (norms - self._least) / (self._largest - self._least) * BINS
        counts = np.bincount(np.clip(place, 0, BINS - 1).astype(np.int64), weights=weights, minlength=BINS)
        return _compact(counts.astype(np.int64).tolist())

    def _quantiles(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        if self._kept is not None:
            ordered = np.sort(np.concatenate(self._kept))
            return tuple(_between(ordered, share * (ordered.size - 1)) for share in shares)
        reached = np.cumsum(self._buckets)
        found = np.searchsorted(reached, [share * (self._count - 1) for share in shares], side="right")
        return tuple(float(min(max(value, self._least), self._largest)) for value in _middles(found))

    def _values(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64] | None]:
        if self._kept is not None:
            return np.concatenate(self._kept), None
        used = np.flatnonzero(self._buckets)
        return _middles(used), self._buckets[used]


def _compact(counts: Sequence[int]) -> Sequence[int]:
    """Counts as bytes where all of them fit: a report of 100,000 variables takes 45 MB less."""
    return tuple(counts) if max(counts) > 255 else bytes(counts)


def _rounded_up(norm: float) -> float:
    from decimal import ROUND_CEILING, Context

    lifted = min(norm * (1 + _LIFT), sys.float_info.max)
    return min(float(Context(_DIGITS, ROUND_CEILING).create_decimal_from_float(lifted)), sys.float_info.max)


def _between(ordered: npt.NDArray[np.float64], position: float) -> float:
    """The value at a position between two elements, on the line through them, counted from the nearer of the two."""
    below = int(position)
    part = position - below
    low, high = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


def _middles(buckets: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """The norm in the middle of each bucket."""
    return ((buckets.astype(np.int64) << _SHIFT) + (1 << (_SHIFT - 1))).view(np.float64)


class Worst:
    """Collects the few units to look at first: those that are not finite, then those with the largest norms.

    Units are numbered in the order of the unit grid, of shape `grid`; equal norms keep that order.
    """

    def __init__(self, grid: tuple[int, ...], unit_axes: tuple[int, ...], most: int = WORST) -> None:
        self._grid = grid
        self._axes = unit_axes
        self._most = most
        self._found: list[tuple[float, int]] = []

    def add(self, norms: npt.NDArray[np.float64], first: int) -> None:
        """Add the norms of consecutive units, the first of which has the number `first`."""
        rank = np.where(np.isfinite(norms), norms, np.inf)
        if rank.size > self._most:
            edge = np.partition(rank, rank.size - self._most)[rank.size - self._most]
            places = np.concatenate([np.flatnonzero(rank > edge), np.flatnonzero(rank == edge)[: self._most]])
        else:
            places = np.arange(rank.size)
        found = [*self._found, *((float(norms[place]), first + int(place)) for place in places)]
        self._found = sorted(found, key=_worst_first)[: self._most]

    def units(self) -> tuple[UnitNorm, ...]:
        """The units found, worst first."""
        return tuple(UnitNorm(_index(number, self._grid, self._axes), norm) for norm, number in self._found)


@lru_cache(maxsize=1024)
def _index(number: int, grid: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The index of a unit along the axes; cached, because variables of one shape share it."""
    place = np.unravel_index(number, grid)
    return tuple(int(place[axis]) for axis in axes)


def _worst_first(unit: tuple[float, int]) -> tuple[float, int]:
    norm, number = unit
    return (-norm if math.isfinite(norm) else -math.inf, number)
