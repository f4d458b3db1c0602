"""An axis of norms: the place of a norm on it, and the round numbers beside it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from renorm_cli.render.page.pooled import Pool

_WIDE = 30.0
"""The ratio of the largest norm to small norms above which an axis is logarithmic."""

_FAR = 3.0
"""A bound beyond this multiple of the largest norm is not on the axis."""

_TICKS = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """Norms from `low` to `high` on an axis of length 1, logarithmic or linear; `low` < `high`, and > 0 if `log`."""

    low: float
    high: float
    log: bool

    def place(self, norm: float) -> float:
        """The place of a norm, 0 to 1; a norm beyond the axis is at its end."""
        if norm <= self.low:
            return 0.0
        if norm >= self.high:
            return 1.0
        if self.log:
            start = math.log10(self.low)
            return (math.log10(norm) - start) / (math.log10(self.high) - start)
        return (norm - self.low) / (self.high - self.low)

    def norm(self, place: float) -> float:
        """The norm at a place from 0 to 1."""
        if self.log:
            start, end = math.log10(self.low), math.log10(self.high)
            norm = self.high if place >= 1 else 10 ** (start + (end - start) * place)
        else:
            norm = self.low + (self.high - self.low) * place
        return min(max(norm, self.low), self.high)

    def has(self, norm: float) -> bool:
        """Whether a norm is on the axis."""
        return self.low <= norm <= self.high

    def ticks(self) -> tuple[float, ...]:
        """Ascending round numbers on the axis."""
        found = self._decades() if self.log else self._steps()
        return tuple(tick for tick in found if self.has(tick))

    def _steps(self) -> list[float]:
        step = round_step((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step)
        return [float(f"{(first + number) * step:.12g}") for number in range(2 * _TICKS)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        stride = max(1, math.ceil((last - first) / _TICKS))
        digits = (1, 2, 5) if math.log10(self.high) - math.log10(self.low) < 2.5 else (1,)
        powers = range(first, last + 1, stride)
        return [float(f"{digit}e{power}") for power in powers for digit in digits]


def axis_of(pool: Pool, limits: Sequence[float]) -> Axis:
    """An axis for the norms of a pool that has units, and for their limits.

    A few dead units do not stretch it: on a logarithmic axis, norms far below all others are at its left end.
    """
    near = [limit for limit in limits if limit <= _FAR * pool.high]
    high = max(pool.high, *near, sys.float_info.min) if near else max(pool.high, sys.float_info.min)
    small = next((norm for norm in map(pool.quantile, (0.05, 0.25, 0.5, 0.75, 0.95)) if norm > 0), high)
    small = min(small, *near) if near else small
    if high / small > _WIDE:
        least = pool.quantile(0.01)
        low = min(least, small) if least > small / 10 else small / 10
        return _logarithmic(low, high)
    low = min(pool.low, *near) if near else pool.low
    if low < 0.25 * high:
        low = 0.0
    pad = 0.04 * (high - low) or 0.25 * high
    return Axis(max(0.0, low - pad) if low else 0.0, min(high + pad, sys.float_info.max), log=False)


def axis_along(values: Sequence[float], bound: float | None = None) -> Axis:
    """An axis for some numbers above zero, and for a bound that is not far above them."""
    low, high = min(values), max(values)
    if bound is not None and low / _FAR <= bound <= _FAR * high:
        low, high = min(low, bound), max(high, bound)
    return _logarithmic(low, high) if high / low > _WIDE else Axis(0.0, min(1.06 * high, sys.float_info.max), log=False)


def _logarithmic(low: float, high: float) -> Axis:
    """A logarithmic axis with some room at both ends, within float64's normal numbers."""
    start, end = math.log10(max(low, sys.float_info.min)), math.log10(high)
    room = max(0.1, 0.03 * (end - start))
    return Axis(10 ** max(start - room, -307.6), 10 ** min(end + room, 308.25), log=True)


def round_step(step: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(max(step, sys.float_info.min)))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= step * 0.999), 10 * power)
