"""Drawings of matrices on the page: their norms and stable ranks by depth, and what a script draws a spectrum from."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.report import Report, Row
from renorm_cli.model.spectral import Spectral
from renorm_cli.render.columns import has_operators, limits
from renorm_cli.render.page.axis import Axis, axis_along, round_step
from renorm_cli.render.page.charts import HEIGHT, WIDTH, short, tick_text
from renorm_cli.text import exact_text, matrices_text, number_text

_NUMBER = re.compile(r"(?:(?<=[./])|^)([0-9]{1,6})(?=[./])")


@dataclass(frozen=True, slots=True)
class Dots:
    """Dots of one colour, as path data of lines without length, and lines up from them."""

    colour: str
    dots: str
    lines: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """A number of each matrix by depth. `levels` and `bound` are places from the top, 0 to 1."""

    title: str
    remark: str
    described: str
    dots: tuple[Dots, ...]
    levels: tuple[tuple[str, float], ...]
    bound: tuple[str, float] | None


@dataclass(frozen=True, slots=True)
class Depth:
    """What the matrices of a checkpoint are like from the first layer to the last; `ticks` are at places 0 to 1."""

    ticks: tuple[tuple[str, float], ...]
    charts: tuple[Scatter, ...]
    facts: str


def _has_place(row: Row) -> bool:
    """Whether a row is drawn by depth: it is a matrix that is finite and not zero."""
    return row.spectral is not None and row.spectral.norm > 0


def by_depth(listed: Sequence[Row]) -> list[Row]:
    """Those of the rows that are drawn by depth, from the first layer to the last: in the order of the report, but for
    the numbers that are whole parts of names. Files of safetensors have `layers.10` before `layers.2`.
    """
    first: dict[str, int] = {}

    def key(numbered: tuple[int, Row]) -> tuple[int, int, int]:
        at, row = numbered
        before, number, _ = (*_NUMBER.split(row.step.variable.name, maxsplit=1), "0", "")[:3]
        return first.setdefault(before, at), int(number), at

    return [row for _, row in sorted(enumerate(filter(_has_place, listed)), key=key)]


def depth_of(report: Report, rows: Sequence[Row]) -> Depth | None:
    """Draw the spectral norms and stable ranks of matrices by depth; None for fewer than two."""
    if len(rows) < 2:
        return None
    left = sum(map(_has_place, report.rows)) - len(rows)
    facts = ["Matrices are in the order of the model, as far as the checkpoint tells it."]
    if has_operators(report):
        facts.append("A line leads from the norm of a convolution's matrix to that of its operator.")
    if left:
        facts.append(f"{matrices_text(left)} that the table leaves out are left out here.")
    ranks = [row.spectral.stable_rank or 0.0 for row in rows if row.spectral is not None]
    return Depth(
        tuple((f"{number:g}", _place(number - 1, len(rows))) for number in _numbers(len(rows))),
        (_norms(report, rows), _scatter("Stable rank by depth", rows, [(rank, rank) for rank in ranks], None)),
        " ".join(facts),
    )


def _norms(report: Report, rows: Sequence[Row]) -> Scatter:
    norms = [(one.norm, one.norm if one.operator is None else one.operator.upper) for one in map(_known, rows)]
    bounds = [limit for limit in limits(report) if limit is not None]
    bound = bounds[0] if len(limits(report)) == 1 and bounds else None
    title = "Spectral and operator norm by depth" if has_operators(report) else "Spectral norm by depth"
    return _scatter(title, rows, norms, bound)


def _known(row: Row) -> Spectral:
    if row.spectral is None:
        raise AssertionError("only matrices are drawn")
    return row.spectral


def _scatter(title: str, rows: Sequence[Row], values: Sequence[tuple[float, float]], bound: float | None) -> Scatter:
    """Dots at the first values, with a line to the second ones, by the role of their variable."""
    axis = axis_along([value for pair in values for value in pair], bound)
    groups: dict[str, list[tuple[float, float, float]]] = {}
    for at, (row, (low, high)) in enumerate(zip(rows, values, strict=True)):
        colour = "over" if row.over and bound is not None else row.step.role if row.step.role in BOUNDED else "other"
        groups.setdefault(colour, []).append((_place(at, len(rows)) * WIDTH, _down(axis, low), _down(axis, high)))
    lowest, highest = min(low for low, _ in values), max(high for _, high in values)
    return Scatter(
        title,
        "logarithmic axis" if axis.log else "",
        f"{matrices_text(len(rows))}, from {number_text(lowest)} to {number_text(highest)}.",
        tuple(
            Dots(
                colour,
                "".join(f"M{short(x)} {short(y)}h0" for x, y, _ in points),
                "".join(f"M{short(x)} {short(y)}V{short(top)}" for x, y, top in points if top != y),
            )
            for colour, points in groups.items()
        ),
        tuple((tick_text(tick), _down(axis, tick) / HEIGHT) for tick in axis.ticks() if tick > axis.low),
        None if bound is None or not axis.has(bound) else (exact_text(bound), _down(axis, bound) / HEIGHT),
    )


def _place(at: int, count: int) -> float:
    """The place of a matrix along the depth, with some room at both ends."""
    return round((at + 0.5) / count, 5)


def _down(axis: Axis, value: float) -> float:
    return HEIGHT * (1 - axis.place(value))


def _numbers(count: int) -> list[int]:
    """Round numbers of matrices, from the first on."""
    step = max(1, round(round_step(count / 8)))
    return [1, *(number for number in range(step, count + 1, step) if number > 1)]


def spectrum_of(row: Row) -> str:
    """What a spectrum is drawn from, in numbers with blanks between: the ends of its histogram in decimal logarithms of
    eigenvalues, the largest, the edge of a random one, alpha, xmin and distance of the power law or 0 0 0, the counts.

    Empty where there is no spectrum.
    """
    found = row.spectral
    if found is None or found.spectrum is None:
        return ""
    law = found.spectrum.power_law
    fitted = (0.0, 0.0, 0.0) if law is None else (law.alpha, law.xmin, law.distance)
    ends = (found.spectrum.low, found.spectrum.high, min(found.norm, 1e150) ** 2, random_edge(found))
    counts = ",".join(str(count) if count else "" for count in found.spectrum.counts)
    return " ".join((*(f"{number:.6g}" for number in (*ends, *fitted)), counts))


def random_edge(found: Spectral) -> float:
    """The largest eigenvalue of random matrices of that size and Frobenius norm, if they are large.

    s**2 (sqrt(rows) + sqrt(columns))**2 for independent weights of variance s**2 (Marchenko and Pastur, 1967). Those of
    several blocks are those of one.
    """
    weights = found.rows * found.columns * found.matrices
    size = found.frobenius / math.sqrt(weights) * (math.sqrt(found.rows) + math.sqrt(found.columns))
    return min(size, 1e150) ** 2
