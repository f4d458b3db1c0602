"""A suggestion as tables for people: one bound for all units, and a bound for each variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from renorm_cli.model.suggestion import SuggestedBound, Suggestion
from renorm_cli.render.sentences import account
from renorm_cli.render.suggested import bound_text, share_text
from renorm_cli.render.terminal.layout import Filled, Look, note_lines, table_lines, title_lines
from renorm_cli.text import NAME_LIMIT, PATH_LIMIT, bytes_text, count_text, shape_text


class Advice(NamedTuple):
    """The caller's advice in a suggestion: on its `digits`, and on the use of the `bounds` or of a file of `rules`."""

    digits: str
    bounds: str
    rules: str


def render_suggestion(found: Suggestion, *, width: int | None, colour: bool, ascii: bool, advice: Advice) -> str:
    """Write a suggestion for people: the checkpoint, bounds for all units together, and bounds for each variable.

    `width`, `colour` and `ascii` are as in `render_table`. Ends with a newline.
    """
    look = Look(width, colour, ascii)
    parts = [list(_title(found, look)), list(_together(found, look)), list(_each(found, look))]
    return "\n\n".join("\n".join(part) for part in (*parts, list(_closing(found, look, advice))) if part) + "\n"


def _title(found: Suggestion, look: Look) -> Iterator[str]:
    report = found.measured
    engine = f"{look.show(report.engine)} on {look.show(report.device)}"
    facts = look.joined(look.show(report.format), bytes_text(report.bytes), engine)
    yield from title_lines(look.show(report.path), facts, look)


def _together(found: Suggestion, look: Look) -> Iterator[str]:
    """A line for each share: the bound for all units, and how many it would clip."""
    shares = [f"to clip {share_text(bound.share)}" for bound in found.together]
    yield from table_lines([Filled("one bound for all", shares), *_outcome(found.together)], look)


def _outcome(bounds: Sequence[SuggestedBound]) -> list[Filled]:
    """Columns with the limit of each bound, and how many units it would clip."""
    limits = [bound_text(bound.limit) for bound in bounds]
    clips = [f"{count_text(bound.over)} of {count_text(bound.units)}" for bound in bounds]
    shares = [f"{bound.clipped * 100:.2f}%" for bound in bounds]
    return [
        Filled("limit", limits, right=True, rank=1),
        Filled("units clipped", clips, right=True, rank=4),
        Filled("share", shares, right=True, rank=3),
    ]


def _each(found: Suggestion, look: Look) -> Iterator[str]:
    """A line for each variable: its bounds for all shares, or for one share the bound and how many it would clip."""
    rows = found.measured.rows
    table = [
        Filled("a bound for each", [look.show(row.step.variable.name, NAME_LIMIT) for row in rows]),
        Filled("shape", [shape_text(row.step.variable.shape, ascii=look.ascii) for row in rows], rank=12),
    ]
    if len(found.shares) == 1:
        yield from table_lines([*table, *_outcome([bound for (bound,) in found.bounds])], look)
        return
    table.append(Filled("units", [count_text(row.units) for row in rows], right=True, rank=11))
    for place, share in enumerate(found.shares):
        limits = [bound_text(bounds[place].limit) for bounds in found.bounds]
        title = share_text(share) if place else f"to clip {share_text(share)}"
        rank = 3 if place in (0, len(found.shares) - 1) else 3 + place
        table.append(Filled(title, limits, right=True, rank=rank))
    yield from table_lines(table, look)


def _closing(found: Suggestion, look: Look, advice: Advice) -> Iterator[str]:
    yield from note_lines(found.measured.notes, look)
    yield from look.folded(look.joined(*account(found.measured, look.quoted)))
    yield from (look.paint(line, "dim") for line in look.folded(advice.digits))
    if found.rules is not None:
        yield f"wrote {look.show(found.rules, PATH_LIMIT)}; {advice.rules}"
    else:
        yield from (look.paint(line, "dim") for line in look.folded(advice.bounds))
