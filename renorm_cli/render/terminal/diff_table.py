"""A comparison as a table for people: differing variables first, identical ones only counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renorm_cli.model.difference import DiffReport, DiffRow, Verdict
from renorm_cli.render.diff_columns import DIFF_COLUMNS, DiffColumn
from renorm_cli.render.terminal.layout import Filled, Look, note_lines, table_lines, title_lines
from renorm_cli.text import bytes_text, count_text, counted, exact_text

REASONS_ON_A_TERMINAL = 20

_PLACES: tuple[Verdict, ...] = (
    "other",
    "shape changed",
    "dtype changed",
    "renamed",
    "missing",
    "added",
    "not compared",
    "pure renorm",
)
"""The verdicts whose variables get a line, the worst first."""

_SCOPE = "Variables were compared; a model's configuration, graph and other files were not."
_CONTEXT = "Variables were compared, and configuration, attributes, graph and other files to the byte."


def render_diff(report: DiffReport, *, width: int | None, colour: bool, ascii: bool) -> str:
    """Write a comparison for people: the two checkpoints, a line per differing variable, and totals.

    `width`, `colour` and `ascii` are as in `render_table`. Ends with a newline.
    """
    look = Look(width, colour, ascii)
    listed = [row for verdict in _PLACES for row in report.rows if row.verdict == verdict]
    parts = [
        list(_title(report, look)),
        list(_rows(report, listed, look)),
        list(_reasons(report, listed, look)),
        list(_context(report, look)),
        list(_closing(report, look)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(report: DiffReport, look: Look) -> Iterator[str]:
    for side in (report.before, report.after):
        facts = look.joined(look.show(side.format), bytes_text(side.bytes))
        yield from title_lines(look.show(side.path), facts, look)


def _rows(report: DiffReport, listed: Sequence[DiffRow], look: Look) -> Iterator[str]:
    if listed:
        wanted = [column for column in DIFF_COLUMNS if column.rank is not None and column.shown(report)]
        yield from table_lines([_filled(column, report, listed, look) for column in wanted], look)


def _filled(column: DiffColumn, report: DiffReport, listed: Sequence[DiffRow], look: Look) -> Filled:
    texts = [column.text(row, look.ascii) for row in listed]
    faulty = [
        (column.key == "over" and row.over) or (column.key == "verdict" and not _is_fine(row, report)) for row in listed
    ]
    bad = [len(text) if fault else 0 for text, fault in zip(texts, faulty, strict=True)]
    return Filled(column.title, texts, right=column.right, rank=column.rank, bad=bad)


def _is_fine(row: DiffRow, report: DiffReport) -> bool:
    return row.is_renorm_within(report.constraint) if report.expected else row.verdict == "pure renorm"


def _reasons(report: DiffReport, listed: Sequence[DiffRow], look: Look) -> Iterator[str]:
    """The reasons of the verdicts that need one."""
    explained = [(row, reason) for row in listed if (reason := _reason(row, report))]
    shown = explained if look.width is None else explained[:REASONS_ON_A_TERMINAL]
    for row, reason in shown:
        line = f"{look.show(row.name, 120)}: {look.show(reason)}"
        yield from (look.paint(part, "dim") for part in look.folded(line, 2))
    if len(explained) > len(shown):
        yield look.paint(f"and {count_text(len(explained) - len(shown))} more, all in the JSON", "dim")


def _context(report: DiffReport, look: Look) -> Iterator[str]:
    """What differs besides the variables."""
    found = report.context or ()
    shown = found if look.width is None else found[:REASONS_ON_A_TERMINAL]
    for row in shown:
        yield from look.folded(f"{row.verdict}: {look.show(row.name, 200)}", 2)
    if len(found) > len(shown):
        yield look.paint(f"and {count_text(len(found) - len(shown))} more, all in the JSON", "dim")


def _reason(row: DiffRow, report: DiffReport) -> str | None:
    if row.reason is not None or row.verdict != "pure renorm" or not report.expected:
        return row.reason
    found = [f"{counted(row.over, 'unit')} over {exact_text(report.constraint.limit)}"] if row.over else []
    found += [f"{counted(row.nonfinite, 'unit')} not finite"] if row.nonfinite else []
    return ", ".join(found) or None


def _closing(report: DiffReport, look: Look) -> Iterator[str]:
    yield from note_lines(report.notes, look)
    counts = [f"{count_text(count)} {verdict}" for verdict, count in report.totals.items() if count]
    yield from look.folded(f"{counted(len(report.rows), 'variable')}: {', '.join(counts)}")
    yield from (
        look.paint(line, "dim")
        for line in look.folded(_SCOPE if not report.expected or report.context is None else _CONTEXT)
    )
    style = "good" if report.exit_code == 0 else "bad"
    yield from (look.paint(line, style) for line in look.folded(_verdict(report)))


def _beside(report: DiffReport) -> str:
    """Why a renorm of the variables is not all that happened, or not known to be."""
    if report.guessed:
        return f"of {counted(len(report.guessed), 'variable')} it is a guess which axes name units"
    if report.context is None:
        return "the variables are, but what else is in files of two formats cannot be compared"
    unknown = sum(row.verdict == "not compared" for row in report.context)
    if unknown == len(report.context):
        return f"the variables are, but {count_text(unknown)} besides them could not be compared"
    return f"the variables are, but {count_text(len(report.context) - unknown)} besides them changed"


def _verdict(report: DiffReport) -> str:
    totals = report.totals
    changed = counted(totals["pure renorm"], "variable")
    if report.expected:
        bound = exact_text(report.constraint.limit)
        if not report.proven:
            if report.is_renorm_within(report.constraint):
                return f"not proven: {_beside(report)}"
            wrong = sum(row.verdict != "identical" and not _is_fine(row, report) for row in report.rows)
            return f"not proven: {counted(wrong, 'variable')} neither identical nor a pure renorm within {bound}"
        if not totals["pure renorm"]:
            return "proven: nothing changed"
        return f"proven: {changed} changed by a renorm within {bound} alone, all others are identical"
    if report.same:
        return "same"
    if report.renorm_only:
        return f"different: {changed} changed, by a renorm alone"
    if report.exit_code == 1:
        return "different"
    unknown = totals["not compared"]
    return f"unknown: {counted(unknown, 'variable')} {'was' if unknown == 1 else 'were'} not compared"
