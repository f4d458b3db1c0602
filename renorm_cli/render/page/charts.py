"""The geometry of the page's drawings: SVG path data and places, made of digits and a few letters alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from renorm_cli.model.report import NormStats, Row
from renorm_cli.render.columns import folded
from renorm_cli.render.page.pooled import Pool
from renorm_cli.render.page.scale import Scale
from renorm_cli.text import number_text

WIDTH, HEIGHT = 1000, 100
"""The size of a large drawing, which is stretched to the page."""

BARS = 64
POSITIONS = 201
"""Bounds that can be tried."""

SPAN = 160
"""The width of the norms' axis in a table row."""

SMALL_BARS, SMALL_BAR, SMALL_HEIGHT = 32, 3, 20


@dataclass(frozen=True, slots=True)
class Tick:
    """A number beside an axis, at `x` percent of its length; a `minor` one is left out where the page is narrow."""

    x: str
    text: str
    minor: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """The norms of all units: histogram bars within and over the bound, the curve of the share over each bound."""

    ticks: tuple[Tick, ...]
    within: str
    over: str
    curve: str
    bound: str | None
    tallest: int


@dataclass(frozen=True, slots=True)
class Trials:
    """Bounds to try in ascending order, and how many units are over each. `exact` is the place of the bound given,
    None where there is none, and `start` the place to begin at."""

    bounds: tuple[float, ...]
    over: tuple[int, ...]
    exact: int | None
    start: int


@dataclass(frozen=True, slots=True)
class Glyph:
    """One variable: the range of its norms before and after on the common axis, and its histogram on its own."""

    range: str
    middle: str
    over: str
    after: str
    bound: str
    bars: str
    bars_over: str
    bars_bound: str


def ticks(scale: Scale) -> tuple[Tick, ...]:
    """The numbers along an axis."""
    return tuple(
        Tick(_percent(scale.place(tick)), _tick_text(tick), minor=bool(number % 2))
        for number, tick in enumerate(scale.ticks())
    )


def spread(pool: Pool, scale: Scale, bound: float | None) -> Spread:
    """Draw the norms of a pool with a bound, or without. Bars stand for equal lengths of the axis."""
    edges = _edges(scale, bound)
    over = [float(count) for count in pool.over(_norms(scale, edges, bound))]
    over[0] = float(pool.units)  # what is left of the axis counts in its first bar
    bars = [
        (left, right, max(0.0, over[at] - over[at + 1]) / ((right - left) * BARS))
        for at, (left, right) in enumerate(pairwise(edges))
    ]
    tallest = max(height for _, _, height in bars) or 1.0
    limit = 1.0 if bound is None else scale.place(bound)
    return Spread(
        ticks(scale),
        _bars([bar for bar in bars if bar[1] <= limit], tallest),
        _bars([bar for bar in bars if bar[1] > limit], tallest),
        _curve(pool, scale, bound),
        _percent(limit) if bound is not None and scale.has(bound) else None,
        round(tallest),
    )


def trials(pool: Pool, scale: Scale, bound: float | None) -> Trials:
    """Bounds along an axis, as few digits as tell them apart, with the one given among them if it is on the axis."""
    norms = [scale.norm(number / (POSITIONS - 1)) for number in range(POSITIONS)]
    norms = [norm for norm in norms if norm > 0]
    for digits in range(3, 18):
        bounds = sorted({float(f"{norm:.{digits}g}") for norm in norms} - {0.0, math.inf})
        if len(bounds) == len(norms):
            break
    exact = None
    if bound is not None and scale.has(bound):
        exact = min(range(len(bounds)), key=lambda at: abs(scale.place(bounds[at]) - scale.place(bound)))
        bounds[exact] = bound
    over = pool.count_over(bounds)
    few = next(at for at, count in enumerate(over) if count <= 0.05 * pool.units or at == len(over) - 1)
    return Trials(tuple(bounds), tuple(over), exact, few if exact is None else exact)


def glyph(row: Row, norm: NormStats, scale: Scale) -> Glyph:
    """Draw one row that has norms."""
    limit = row.step.constraint.limit
    low, high = _x(scale, norm.min), _x(scale, norm.max)
    edge = high if limit is None or not row.over else max(low, _x(scale, limit))
    after = row.norm_after
    bars, bars_over, mark = _histogram(row, norm, limit)
    return Glyph(
        range=f"M{low} 6H{max(edge, low + 1)}",
        over=f"M{edge} 6H{max(high, edge + 1)}" if row.over else "",
        middle=f"M{_x(scale, norm.median)} 2v8M{_x(scale, norm.p95)} 4v4",
        after="" if after is None else _after(scale, after),
        bound="" if limit is None or not scale.has(limit) else f"M{_x(scale, limit)} 0v20",
        bars=bars,
        bars_over=bars_over,
        bars_bound=mark,
    )


def _after(scale: Scale, after: NormStats) -> str:
    low, high = _x(scale, after.min), _x(scale, after.max)
    return f"M{low} 15H{max(high, low + 1)}M{_x(scale, after.median)} 12v6M{high} 12v6"


def _histogram(row: Row, norm: NormStats, limit: float | None) -> tuple[str, str, str]:
    """Bars within the limit, bars over it, and the limit; heights grow with the square root, so that tails show."""
    counts = folded(row.histogram, SMALL_BARS)
    top, width = max(counts, default=0), norm.max - norm.min
    heights = [math.ceil(math.sqrt(count / top) * SMALL_HEIGHT) if count else 0 for count in counts]
    split, mark = len(counts), ""
    if limit is not None and row.over:
        place = (limit - norm.min) / width if width else -1.0
        split = max(0, math.ceil(place * len(counts) - 0.5))
        if 0 <= place <= 1:
            mark = f"M{_short(place * len(counts) * SMALL_BAR)} 0v{SMALL_HEIGHT}"
    return _steps(heights[:split], 0), _steps(heights[split:], split), mark


def _steps(heights: Sequence[int], first: int) -> str:
    """The outline of bars that stand side by side."""
    parts, inside = [], False
    for at, height in enumerate(heights, first):
        if not height:
            inside = False
            continue
        start = "" if inside else f"M{at * SMALL_BAR} {SMALL_HEIGHT}"
        end = "" if at + 1 < first + len(heights) and heights[at + 1 - first] else f"V{SMALL_HEIGHT}"
        parts.append(f"{start}V{SMALL_HEIGHT - height}h{SMALL_BAR}{end}")
        inside = True
    return "".join(parts)


def _bars(bars: Iterable[tuple[float, float, float]], tallest: float) -> str:
    return "".join(
        f"M{_short(left * WIDTH)} {HEIGHT}V{_short(HEIGHT * (1 - height / tallest))}H{_short(right * WIDTH)}V{HEIGHT}z"
        for left, right, height in bars
        if height > 0
    )


def _curve(pool: Pool, scale: Scale, bound: float | None) -> str:
    places = sorted({number / (POSITIONS - 1) for number in range(POSITIONS)} | _inside(scale, bound))
    shares = pool.over(_norms(scale, places, bound)) / pool.units
    points = zip(places, shares, strict=True)
    return "M" + "L".join(f"{_short(place * WIDTH)} {_short(HEIGHT * (1 - float(share)))}" for place, share in points)


def _edges(scale: Scale, bound: float | None) -> list[float]:
    """The ends of the bars; the nearest one is moved to the bound, so that each bar is within it or over it."""
    edges = [number / BARS for number in range(BARS + 1)]
    for place in _inside(scale, bound):
        nearest = round(place * BARS)
        if 0 < nearest < BARS:  # a bar as thin as what is left at an end would tower over all others
            edges[nearest] = place
    return edges


def _norms(scale: Scale, places: Sequence[float], bound: float | None) -> list[float]:
    """The norms at some places; at that of the bound it is the bound itself, where counts can jump."""
    known = dict.fromkeys(_inside(scale, bound), bound)
    return [known.get(place) or scale.norm(place) for place in places]


def _inside(scale: Scale, bound: float | None) -> set[float]:
    return set() if bound is None or not scale.has(bound) else {scale.place(bound)}


def _x(scale: Scale, norm: float) -> float:
    return round(1 + scale.place(norm) * (SPAN - 2))


def _percent(place: float) -> str:
    return _short(place * 100)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _tick_text(tick: float) -> str:
    return f"{tick:g}" if tick == 0 or 1e-3 <= tick < 1e5 else number_text(tick).replace(".000", "")
