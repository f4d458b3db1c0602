"""Reports as GitHub flavoured Markdown, short enough for a pull request: findings first, the rest folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from renorm_cli.model.failure import MANY, Failure, Outcome
from renorm_cli.model.plan import Note, Skip
from renorm_cli.model.report import Report, Row
from renorm_cli.render.ci.fitting import Section, Table, fitted
from renorm_cli.render.columns import COLUMNS, FOREIGN, MARKS, Column, marks
from renorm_cli.render.problems import Subject, ranks, subjects, worst
from renorm_cli.render.sentences import account, verdict_parts
from renorm_cli.text import LINE_LIMIT, PATH_LIMIT, bytes_text, count_text, counted, shape_text, show

VISIBLE = 10
"""Rows of a report that are not folded."""

_KEYS = (
    *("shape", "units", "norm_median", "norm_max", "matrix", "spectral", "operator", "stable_rank"),
    *("norm_after_max", "histogram", "low", "limit", "norm_kind", "p"),
)
_VISIBLE, _FOLDED, _LAST = range(3)
"""Ranks of tables. The last are cut first: variables that hold and skipped ones, then the folded findings."""


def render_markdown(found: Sequence[Outcome], limit_bytes: int | None = None) -> str:
    """Write a heading, a verdict and the worst findings for each report, and fold all other variables.

    Of many checkpoints the worst have their sections, in order, and the others are counted.
    With `limit_bytes` the text has fewer bytes of UTF-8 than that: table rows are omitted, the least important first,
    and a last line says how many. Names from files are in code spans, where nothing is a link, a mention or markup;
    backticks and pipes in them are escaped as `show` escapes.
    """
    told = [found[at] for at in worst(found, MANY)]
    sections = [Section(summary)] if (summary := _summary(found)) else []
    if len(found) > len(told):
        text = f"The worst {count_text(len(told))} follow, {count_text(len(found) - len(told))} are left out here."
        sections.append(Section((text,)))
    return fitted([*sections, *map(_section, told)], limit_bytes)


def code(text: str, limit: int = LINE_LIMIT) -> str:
    """A foreign string as a code span that no backtick and, in a table, no pipe can end."""
    shown = show(text, limit).replace("`", r"\u{60}").replace("|", r"\u{7c}") or '""'
    pad = " " if shown.strip() and shown[0] == shown[-1] == " " else ""  # Markdown strips one blank at each end
    return f"`{pad}{shown}{pad}`"


def _summary(found: Sequence[Outcome]) -> tuple[str, ...]:
    """The result of several checks, to be read before each of them."""
    if len(found) < 2 or found[0].command != "check":
        return ()
    kinds = Counter(kind for kind, _ in ranks(found))
    unsure = f", {count_text(kinds[1])} undecided" if kinds[1] else ""
    failed = f", {count_text(kinds[0])} failed" if kinds[0] else ""
    return (f"**{count_text(kinds[2])} of {counted(len(found), 'checkpoint')} violated{unsure}{failed}**",)


def failed(failure: Failure) -> Section:
    """What stands in the place of a report."""
    return Section((f"## {code(failure.path, PATH_LIMIT)}", f"**failed**: {code(failure.text)}"))


def _section(report: Outcome) -> Section:
    if isinstance(report, Failure):
        return failed(report)
    head = [f"## {code(report.path, PATH_LIMIT)}"]
    if report.command == "check":
        word, explanation = verdict_parts(report, code)
        head.append(f"**{word}**: {explanation}")
    head.append(measured(report))
    if report.output is not None:
        head.append(f"{'Would write' if report.dry_run else 'Wrote'} {code(report.output, PATH_LIMIT)}")
    found = subjects(report)
    tables = [*_found(report, found), *_others(report, found), *_skipped(report), *notes(_FOLDED, report.notes)]
    return Section(tuple(head), tuple(tables), tuple(_legend(report)))


def measured(report: Report) -> str:
    """What was measured of which file, by what."""
    facts = f"{code(report.format)}, {bytes_text(report.bytes)}, {code(report.engine)} on {code(report.device)}"
    return " · ".join((*account(report, code), facts))


def _found(report: Report, found: Sequence[Subject]) -> Iterator[Table]:
    """The findings, the worst first: some rows visible, the others folded."""
    broken = sorted(
        (subject for subject in found if subject.findings), key=lambda subject: -subject.findings[0].severity
    )
    columns = _columns(report)
    head = _header(["variable", "finding"], columns)
    rows = [
        table_line(_name(subject.name, subject.row), subject.text, *_cells(subject.row, columns)) for subject in broken
    ]
    if rows:
        yield Table(_VISIBLE, None, head, rows[:VISIBLE])
    if rows[VISIBLE:]:
        title = f"{count_text(len(rows) - VISIBLE)} more with findings"
        yield Table(_FOLDED, title, head, rows[VISIBLE:])


def _others(report: Report, found: Sequence[Subject]) -> Iterator[Table]:
    """The constrained variables without findings."""
    columns = _columns(report)
    rows = [
        table_line(_name(subject.name, subject.row), *_cells(subject.row, columns))
        for subject in found
        if not subject.findings
    ]
    if rows:
        title = f"{counted(len(rows), 'variable')} {'that holds' if len(rows) == 1 else 'that hold'}"
        if report.command != "check":
            title = f"{counted(len(rows), 'variable')} without findings"
        yield Table(
            _LAST,
            title,
            _header(["variable"], columns),
            rows,
            unfolded=report.command == "inspect" and len(rows) <= VISIBLE,
        )


def _skipped(report: Report) -> Iterator[Table]:
    def line(skip: Skip) -> str:
        variable = skip.variable
        shape = shape_text(variable.shape, ascii=False)
        return table_line(_name(variable.name, None), skip.role, shape, code(variable.stored_dtype), code(skip.reason))

    if report.skips:
        head = _header(["variable", "role", "shape", "dtype", "reason"], ())
        yield Table(_LAST, f"{count_text(len(report.skips))} skipped", head, list(map(line, report.skips)))


def notes(rank: int, found: Sequence[Note]) -> Iterator[Table]:
    """The notes, if there are any, as a folded list."""
    if found:
        yield Table(rank, counted(len(found), "note"), (), [f"- {code(str(note))}" for note in found])


def _legend(report: Report) -> Iterator[str]:
    used = {mark for row in report.rows for mark in marks(row)}
    if any(not skip.variable.name.isascii() for skip in report.skips):
        used.add(FOREIGN)
    yield from (f"{mark} {text}" for mark, text in MARKS.items() if mark in used)


def _columns(report: Report) -> list[Column]:
    return [column for column in COLUMNS if column.key in _KEYS and column.shown(report)]


def _cells(row: Row | None, columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        text = "" if row is None else column.text(row, False)
        yield code(text) if text and column.key == "histogram" else text


def _name(name: str, row: Row | None) -> str:
    mark = marks(row) if row is not None else "" if name.isascii() else FOREIGN
    return f"{code(name)} {mark}" if mark else code(name)


def _header(titles: Sequence[str], columns: Sequence[Column]) -> tuple[str, str]:
    return table_head(
        [*titles, *(column.title for column in columns)], [False] * len(titles) + [one.right for one in columns]
    )


def table_head(titles: Sequence[str], right: Sequence[bool]) -> tuple[str, str]:
    """The two lines above the rows of a table; numbers are on the right."""
    return table_line(*titles), table_line(*("--:" if one else "---" for one in right))


def table_line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"
