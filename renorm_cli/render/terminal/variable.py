"""One variable for people: its norms, their distribution, and the units to look at and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.model.report import Report, Row
from renorm_cli.render.columns import MATRIX_COLUMNS, axes_text, bars_over, folded, marks, own_limit
from renorm_cli.render.terminal.layout import Filled, Look, fits, note_lines, table_lines, title_lines
from renorm_cli.text import NAME_LIMIT, bytes_text, count_text, counted, exact_text, number_text, shape_text, sparkline

Norms = npt.NDArray[np.float64]

LISTED = 8
"""Units of the largest norms, and of the least, that are listed."""

BINS = 16
"""Lines of the histogram."""

BAR = 40
"""Cells of its longest bar."""

PARTS = 64
"""Parts that all units, in their order, are cut into to show where the large norms are."""

_KEYS = 5
"""Keys of stored copies that are named."""


def render_variable(report: Report, row: Row, norms: Norms, *, width: int | None, colour: bool, ascii: bool) -> str:
    """Write one measured variable for people; `norms` are those of all its units, as its unit grid.

    `width`, `colour` and `ascii` are as in `render_table`. Ends with a newline.
    """
    look = Look(width, colour, ascii)
    flat = norms.ravel()
    parts = [
        list(_title(report, row, look)),
        list(_facts(row, look)),
        list(_histogram(row, look)),
        list(_places(flat, row, look)),
        list(_units(norms, row, look)),
        list(note_lines(report.notes, look)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(report: Report, row: Row, look: Look) -> Iterator[str]:
    step, variable = row.step, row.step.variable
    name = look.show(variable.name, NAME_LIMIT)
    suffix = "".join(look.mark(mark) for mark in marks(row))
    shape = shape_text(variable.shape, ascii=look.ascii)
    facts = look.joined(look.show(variable.layer or ""), step.role, shape, look.show(variable.stored_dtype))
    yield from title_lines(f"{name} {suffix}".rstrip(), facts, look)
    keys = [look.show(one.key, NAME_LIMIT) for one in step.stored]
    more = f" and {count_text(len(keys) - _KEYS)} more" if len(keys) > _KEYS else ""
    whole = f"{look.show(report.path, NAME_LIMIT)} ({look.show(report.format)}, {bytes_text(report.bytes)})"
    yield from look.folded(f"stored as {', '.join(keys[:_KEYS])}{more} in {whole}", 2)


def _facts(row: Row, look: Look) -> Iterator[str]:
    constraint, norm = row.step.constraint, row.norm
    p = "" if constraint.norm == EUCLIDEAN else f", {constraint.norm.text}"
    if row.step.unit_axes:
        axes = f"{'axis' if len(row.step.unit_axes) == 1 else 'axes'} {axes_text(row)}"
        where = f"along {axes}, from {row.step.axis_source}"
    else:
        where = "the whole array"
    yield from look.folded(f"{counted(row.units, 'unit')}: {where}{p}", 2)
    if norm is not None:
        values = (
            ("min", norm.min), ("median", norm.median), ("mean", norm.mean), ("p95", norm.p95), ("max", norm.max)
        )  # fmt: skip
        yield from look.folded(look.joined(*(f"{what} {number_text(value)}" for what, value in values)), 2)
    if row.spectral is not None:
        there = [column for column in MATRIX_COLUMNS if column.value(row) is not None]
        figures = (f"{column.title} {column.text(row, look.ascii)}" for column in there)
        yield from look.folded(look.joined(*figures), 2)
    if row.nonfinite:
        yield look.paint(f"{counted(row.nonfinite, 'unit')} not finite", "bad")
    if own_limit(row) is not None:
        text = f"{count_text(row.over)} over {exact_text(own_limit(row))}"
        yield look.paint(text, "bad") if row.over else text


def _histogram(row: Row, look: Look) -> Iterator[str]:
    """A line for each bin: its least norm, a bar, its units."""
    counts, norm = folded(row.histogram, BINS), row.norm
    if norm is None or norm.min == norm.max or not counts:
        return
    step, tallest = (norm.max - norm.min) / len(counts), max(counts)
    first_over = len(counts) - bars_over(row, len(counts))
    edges = [number_text(norm.min + step * at) for at in range(len(counts))]
    wide, digits = max(map(len, edges)), len(count_text(tallest))
    room = BAR if look.width is None else max(8, min(BAR, look.width - wide - digits - 4))
    for at, (edge, count) in enumerate(zip(edges, counts, strict=True)):
        bar = ("#" if look.ascii else "█") * (max(1, round(count / tallest * room)) if count else 0)
        painted = look.paint(bar, "bad" if at >= first_over else "")
        yield f"{edge:>{wide}}  {count_text(count):>{digits}}  {painted}".rstrip()


def _places(flat: Norms, row: Row, look: Look) -> Iterator[str]:
    """Where the large norms are: a bar for each part of the units in their order, as high as its largest norm."""
    if flat.size < 2 or row.norm is None or row.norm.max == 0:
        return
    room = PARTS if look.width is None else max(8, min(PARTS, look.width))
    parts = np.array_split(np.where(np.isfinite(flat), flat, 0.0), min(room, flat.size))
    heights = [round(float(part.max()) / row.norm.max * 1000) for part in parts]
    each = "each unit" if len(parts) == flat.size else f"{len(parts)} parts of the units, the largest of each"
    yield from look.folded(f"norms of {each}, in the order of the array:", 2)
    yield sparkline([height * height for height in heights], look.ascii).rstrip()


def _units(norms: Norms, row: Row, look: Look) -> Iterator[str]:
    flat = norms.ravel()
    if flat.size < 2:
        return
    rank = np.where(np.isfinite(flat), flat, np.inf)
    order = np.argsort(rank, kind="stable")
    least = [at for at in order[:LISTED] if np.isfinite(flat[at])]
    largest = sorted(order[-LISTED:], key=lambda at: (-rank[at], at))
    limit = row.step.constraint.highest
    tables = []
    for title, chosen in (("largest", largest), ("least", least)):
        texts = [(_index(int(at), norms.shape, row.step.unit_axes), _norm(float(flat[at]))) for at in chosen]
        padded = [pair or ("", "") for pair, _ in zip_longest(texts, range(len(largest)))]
        over = [at < len(chosen) and (limit is not None and not flat[chosen[at]] <= limit) for at in range(len(padded))]
        names, values = [name for name, _ in padded], [value for _, value in padded]
        bad = [len(value) if wrong else 0 for value, wrong in zip(values, over, strict=True)]
        tables.append([Filled(title, names), Filled("norm", values, right=True, rank=1, bad=bad)])
    beside = [filled for table in tables for filled in table]
    if fits(beside, look):
        yield from table_lines(beside, look)
        return
    for number, table in enumerate(tables):
        yield from [""] if number else []
        yield from filter(None, table_lines(table, look))  # the shorter table is filled up with empty lines


def _index(number: int, grid: Sequence[int], axes: Sequence[int]) -> str:
    place = np.unravel_index(number, grid)
    return f"unit {', '.join(str(int(place[axis])) for axis in axes)}"


def _norm(norm: float) -> str:
    return number_text(norm) if np.isfinite(norm) else "not finite"
