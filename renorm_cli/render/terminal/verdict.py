"""The output of a gate: one line per checkpoint, followed by the findings if it does not hold."""

from __future__ import annotations

from collections.abc import Iterator

from renorm_cli.model.findings import findings
from renorm_cli.model.report import Report
from renorm_cli.render.sentences import verdict_parts
from renorm_cli.render.terminal.layout import Look, note_lines
from renorm_cli.text import PATH_LIMIT, counted

FINDINGS = 20
"""Findings that are listed; the others are only counted."""

MORE = "a JSON report has all of them"


def render_verdict(
    report: Report, *, width: int | None, colour: bool, ascii: bool, more: str = MORE, most: int = FINDINGS
) -> str:
    """Write the verdict in one line, followed by the findings, the worst first, unless the checkpoint holds.

    `width`, `colour` and `ascii` are as in `render_table`; `more` says where the findings are that are not
    listed, beyond the first `most`.
    Ends with a newline.
    """
    look = Look(width, colour, ascii)
    head = ": ".join(verdict_parts(report, look.quoted, f" of {look.quoted(report.path, PATH_LIMIT)}"))
    lines = [look.paint(line, "good" if report.holds else "bad") for line in look.folded(head, 2)]
    if not report.holds:
        lines += _details(report, look, more, most)
    return "\n".join(lines) + "\n"


def _details(report: Report, look: Look, more: str, most: int) -> Iterator[str]:
    found = findings(report)
    for finding in found[:most]:
        yield from look.folded(f"  '{look.show(finding.name)}': {finding.text}", 4)
    if len(found) > most:
        yield f"  and {counted(len(found) - most, 'more finding')}; {more}"
    yield from note_lines(report.notes, look, "  ", 4)
