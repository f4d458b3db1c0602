"""Suggestions as GitHub flavoured Markdown: one bound for all units, and a bound for each variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renorm_cli.model.failure import Failure
from renorm_cli.model.suggestion import SuggestedBound, Suggestion
from renorm_cli.render.ci.fitting import Section, Table, fitted
from renorm_cli.render.ci.markdown import code, failed, measured, notes, table_head, table_line
from renorm_cli.render.suggested import bound_text, share_text
from renorm_cli.text import PATH_LIMIT, count_text, shape_text


def render_suggest_markdown(found: Sequence[Suggestion | Failure]) -> str:
    """Write a heading and two tables for each suggestion; names from files are as `markdown.code` makes them."""
    return fitted([_section(one) for one in found], None)


def _section(found: Suggestion | Failure) -> Section:
    if isinstance(found, Failure):
        return failed(found)
    report = found.measured
    head = [f"## {code(report.path, PATH_LIMIT)}", measured(report)]
    if found.rules is not None:
        head.append(f"Wrote {code(found.rules, PATH_LIMIT)}")
    return Section(tuple(head), tuple(_tables(found)), ("Limits are rounded up to five digits.",))


def _tables(found: Suggestion) -> Iterator[Table]:
    head = table_head(["one bound for all", "limit", "units clipped", "share"], [False, True, True, True])
    yield Table(0, None, head, [_together(bound) for bound in found.together])
    shares = [f"to clip {share_text(share)}" for share in found.shares]
    head = table_head(["a bound for each", "shape", "units", *shares], [False, False, True, *(True for _ in shares)])
    rows = [
        table_line(
            code(row.step.variable.name),
            shape_text(row.step.variable.shape, ascii=False),
            count_text(row.units),
            *(bound_text(bound.limit) for bound in bounds),
        )
        for row, bounds in zip(found.measured.rows, found.bounds, strict=True)
    ]
    yield Table(1, None, head, rows)
    yield from notes(2, found.measured.notes)


def _together(bound: SuggestedBound) -> str:
    clipped = f"{count_text(bound.over)} of {count_text(bound.units)}"
    return table_line(f"to clip {share_text(bound.share)}", bound_text(bound.limit), clipped, f"{bound.clipped:.2%}")
