"""The geometry of the page's drawings: SVG path data and positions, which consist of digits and a few letters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from renorm_cli.model.report import NormStats, Row
from renorm_cli.render.columns import bars_over, folded, own_limit
from renorm_cli.render.page.axis import Axis, round_step
from renorm_cli.render.page.pooled import Pool
from renorm_cli.text import number_text

WIDTH, HEIGHT = 1000, 100
"""The size of a large drawing, which the page stretches."""

BARS = 64
POSITIONS = 201
"""The number of bounds to try."""

SPAN = 160
"""The width of the norms' axis in a table row."""

SMALL_BARS, SMALL_BAR, SMALL_HEIGHT = 32, 3, 20


@dataclass(frozen=True, slots=True)
class Tick:
    """A number beside an axis, at `x` percent of its length; a narrow page omits `minor` ones."""

    x: str
    text: str
    minor: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """The norms of all units: bars within and over the bound, and the curve of the share of units over each bound."""

    ticks: tuple[Tick, ...]
    within: str
    over: str
    curve: str
    bound: str | None
    tallest: float

    @property
    def levels(self) -> tuple[tuple[str, float], ...]:
        """Round numbers of units up to the tallest bar, each with its height from 0 to 1."""
        step = round_step(self.tallest / 3)
        counts = [step * number for number in range(1, 4) if step * number <= self.tallest]
        return tuple((f"{count:g}", round(count / self.tallest, 4)) for count in counts)


@dataclass(frozen=True, slots=True)
class Trials:
    """Ascending bounds to try, and the number of units over each. `exact` is the index of the given bound, or None;
    `start` is the index to begin at."""

    bounds: tuple[float, ...]
    over: tuple[int, ...]
    exact: int | None
    start: int


@dataclass(frozen=True, slots=True)
class Glyph:
    """The drawings of a variable: the range of its norms before and after on the common axis, and its own histogram."""

    range: str
    middle: str
    over: str
    after: str
    bound: str
    bars: str
    bars_over: str
    bars_bound: str


def ticks(axis: Axis) -> tuple[Tick, ...]:
    """The numbers along an axis."""
    return tuple(
        Tick(_percent(axis.place(tick)), tick_text(tick), minor=bool(number % 2))
        for number, tick in enumerate(axis.ticks())
    )


def histogram(pool: Pool, axis: Axis, bound: float | None) -> Histogram:
    """Draw the norms of a pool, with or without a bound. Bars cover equal lengths of the axis."""
    edges = _edges(axis, bound)
    over = [float(count) for count in pool.over(_norms(axis, edges, bound))]
    over[0] = float(pool.units)  # the first bar also counts norms to the left of the axis
    bars = [
        (left, right, max(0.0, over[at] - over[at + 1]) / ((right - left) * BARS))
        for at, (left, right) in enumerate(pairwise(edges))
    ]
    tallest = max(height for _, _, height in bars) or 1.0
    limit = 1.0 if bound is None else axis.place(bound)
    return Histogram(
        ticks(axis),
        _bars([bar for bar in bars if bar[1] <= limit], tallest),
        _bars([bar for bar in bars if bar[1] > limit], tallest),
        _curve(pool, axis, bound),
        _percent(limit) if bound is not None and axis.has(bound) else None,
        tallest,
    )


def trials(pool: Pool, axis: Axis, bound: float | None) -> Trials:
    """Bounds along an axis, with as few digits as distinguish them; one is the given bound, if it is on the axis."""
    norms = [axis.norm(number / (POSITIONS - 1)) for number in range(POSITIONS)]
    norms = [norm for norm in norms if norm > 0]
    for digits in range(3, 18):
        bounds = sorted({float(f"{norm:.{digits}g}") for norm in norms} - {0.0, math.inf})
        if len(bounds) == len(norms):
            break
    exact = None
    if bound is not None and axis.has(bound):
        exact = min(range(len(bounds)), key=lambda at: abs(axis.place(bounds[at]) - axis.place(bound)))
        bounds[exact] = bound
    over = pool.count_over(bounds)
    few = next(at for at, count in enumerate(over) if count <= 0.05 * pool.units or at == len(over) - 1)
    return Trials(tuple(bounds), tuple(over), exact, few if exact is None else exact)


def glyph(row: Row, norm: NormStats, axis: Axis) -> Glyph:
    """Draw a row that has norms."""
    limit = own_limit(row)
    low, high = _x(axis, norm.min), _x(axis, norm.max)
    edge = high if limit is None or not row.over else max(low, _x(axis, limit))
    after = row.norm_after
    bars, bars_over, mark = _row_bars(row, norm, limit)
    return Glyph(
        range=f"M{low} 6H{max(edge, low + 1)}",
        over=f"M{edge} 6H{max(high, edge + 1)}" if row.over and limit is not None else "",
        middle=f"M{_x(axis, norm.median)} 2v8M{_x(axis, norm.p95)} 4v4",
        after="" if after is None else _after(axis, after),
        bound="" if limit is None or not axis.has(limit) else f"M{_x(axis, limit)} 0v20",
        bars=bars,
        bars_over=bars_over,
        bars_bound=mark,
    )


def _after(axis: Axis, after: NormStats) -> str:
    low, high = _x(axis, after.min), _x(axis, after.max)
    return f"M{low} 15H{max(high, low + 1)}M{_x(axis, after.median)} 12v6M{high} 12v6"


def _row_bars(row: Row, norm: NormStats, limit: float | None) -> tuple[str, str, str]:
    """Bars within the limit, bars over it, and the limit; heights are square roots, so that tails stay visible."""
    counts = folded(row.histogram, SMALL_BARS)
    top, width = max(counts, default=0), norm.max - norm.min
    heights = [math.ceil(math.sqrt(count / top) * SMALL_HEIGHT) if count else 0 for count in counts]
    split, mark = len(counts) - bars_over(row, len(counts)), ""
    if limit is not None and row.over and width and norm.min <= limit <= norm.max:
        mark = f"M{short((limit - norm.min) / width * len(counts) * SMALL_BAR)} 0v{SMALL_HEIGHT}"
    return _steps(heights[:split], 0), _steps(heights[split:], split), mark


def _steps(heights: Sequence[int], first: int) -> str:
    """The outline of adjacent bars."""
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
        f"M{short(left * WIDTH)} {HEIGHT}V{short(HEIGHT * (1 - height / tallest))}H{short(right * WIDTH)}V{HEIGHT}z"
        for left, right, height in bars
        if height > 0
    )


def _curve(pool: Pool, axis: Axis, bound: float | None) -> str:
    places = sorted({number / (POSITIONS - 1) for number in range(POSITIONS)} | _inside(axis, bound))
    shares = pool.over(_norms(axis, places, bound)) / pool.units
    points = zip(places, shares, strict=True)
    return "M" + "L".join(f"{short(place * WIDTH)} {short(HEIGHT * (1 - float(share)))}" for place, share in points)


def _edges(axis: Axis, bound: float | None) -> list[float]:
    """The edges of the bars; the edge nearest to the bound is moved to it, so that each bar is within or over it."""
    edges = [number / BARS for number in range(BARS + 1)]
    for place in _inside(axis, bound):
        nearest = round(place * BARS)
        if 0 < nearest < BARS:  # at an end, the thin remaining bar would be higher than all others
            edges[nearest] = place
    return edges


def _norms(axis: Axis, places: Sequence[float], bound: float | None) -> list[float]:
    """The norms at some places; at the bound's place exactly the bound, because counts can jump there."""
    known = dict.fromkeys(_inside(axis, bound), bound)
    return [known.get(place) or axis.norm(place) for place in places]


def _inside(axis: Axis, bound: float | None) -> set[float]:
    return set() if bound is None or not axis.has(bound) else {axis.place(bound)}


def _x(axis: Axis, norm: float) -> float:
    return round(1 + axis.place(norm) * (SPAN - 2))


def _percent(place: float) -> str:
    return short(place * 100)


def short(number: float) -> str:
    """A coordinate."""
    return f"{number:.1f}".removesuffix(".0")


def tick_text(tick: float) -> str:
    """A round number beside an axis."""
    return f"{tick:g}" if tick == 0 or 1e-3 <= tick < 1e5 else number_text(tick).replace(".000", "")
