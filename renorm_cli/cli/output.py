"""Reports on their way out: the files of `--report`, what stdout shows, and what a GitHub workflow is told."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from renorm_cli.cli import again, words
from renorm_cli.cli.targets import STDOUT, Target
from renorm_cli.cli.terminal import Colour, Printing, complain, has_colour, print_text, warn
from renorm_cli.errors import UsageError
from renorm_cli.model.failure import MANY, Failure, Outcome
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.model.report import Report
from renorm_cli.parallel.threads import parcels
from renorm_cli.render.registry import FORMATS, Kind, parts
from renorm_cli.text import counted
from renorm_cli.text import show as show_name

if TYPE_CHECKING:
    from renorm_cli.api.report import Report as PublicReport
    from renorm_cli.model.difference import DiffReport
    from renorm_cli.model.suggestion import Suggestion
    from renorm_cli.render.terminal.table import Sort

    Suggestions = Sequence[Suggestion | Failure]
    _Found = Sequence[Outcome] | DiffReport | Suggestions

SUMMARY_BYTES = 900 << 10
"""GitHub drops the summary of a step whole if it is larger than 1 MiB."""

_Noted = TypeVar("_Noted", "Report", "DiffReport")

_MORE = "--report FILE has all of them"
"""Where a gate's findings are that are not listed."""

_PART = 1 << 20
"""Characters that are written at once."""


class Lines(NamedTuple):
    """Which lines a table has, and in which order; None for those of the model, and for all."""

    sort: Sort | None = None
    top: int | None = None

    @classmethod
    def asked(cls, sort: Sort | None, top: int | None, format: str | None) -> Lines:
        """What the options say. Raises UsageError where they are said of what is no table."""
        lines = cls(sort, top)
        if lines != cls() and format not in (None, "table"):
            raise UsageError(
                f"--sort and --top are for the table, and --format {format} asks for another form;"
                " leave them out, or leave --format out"
            )
        return lines


def rendered(found: Sequence[Outcome] | DiffReport, targets: Sequence[Target]) -> dict[Path, Iterator[bytes]]:
    """The content of every report file, in parts that are made when they are asked for."""
    return _contents(_told(found), targets, _kind(found))


def rendered_suggestions(found: Suggestions, targets: Sequence[Target]) -> dict[Path, Iterator[bytes]]:
    """The same of suggestions."""
    return _contents(_suggested(found), targets, "suggestion")


def _contents(found: _Found, targets: Sequence[Target], kind: Kind) -> dict[Path, Iterator[bytes]]:
    return {one.path: map(_utf8, _parts(found, one.format, kind)) for one in targets if one.path != STDOUT}


def _kind(found: Sequence[Outcome] | DiffReport) -> Kind:
    return "report" if isinstance(found, Sequence) else "comparison"


def of_all(found: Sequence[Report]) -> Readers:
    """Who may read every checkpoint that was measured."""
    return reduce(Readers.of_both, (one.readers for one in found), EVERYONE)


def norms_file(path: Path | None, found: Sequence[PublicReport]) -> dict[Path, Iterator[bytes]]:
    """The content of the file of `--norms`, if there is one, in parts that are made when they are asked for."""
    if path is None:
        return {}
    from renorm_cli.render.data.norms_file import render_norms

    parts = (part for one in found if one.norms is not None for part in render_norms(one.rows, one.norms.parts))
    return {path: map(b"".join, parcels(parts, len, _PART))}


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _parts(found: _Found, name: str, kind: Kind) -> Iterator[str]:
    """What is written in the format of that name, small parts together."""
    return map("".join, parcels(parts(found, name, kind), len, _PART))


def _print(found: _Found, name: str, kind: Kind) -> None:
    """Print what a file would hold, in UTF-8 as there, whatever the terminal has: XML and pages say that they are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    for text in _parts(found, name, kind):
        print_text(text)


def _for_eyes(
    found: Sequence[Outcome] | DiffReport, printing: Printing, verdicts: bool, lines: Lines | None = None
) -> str:
    width, colour, ascii = _look(printing)
    if not isinstance(found, Sequence):
        from renorm_cli.render.terminal.diff_table import render_diff

        return render_diff(found, width=width, colour=colour, ascii=ascii)
    if len(found) > MANY:
        from renorm_cli.render.terminal.many import render_many

        return "".join(render_many(found, width=width, colour=colour, ascii=ascii, more=_MORE))
    reports = [one for one in found if isinstance(one, Report)]
    if verdicts:
        from renorm_cli.render.terminal.verdict import render_verdict

        return "".join(render_verdict(one, width=width, colour=colour, ascii=ascii, more=_MORE) for one in reports)
    from renorm_cli.render.terminal.table import render_table

    sort, top = lines or Lines()
    return "\n".join(render_table(one, width=width, colour=colour, ascii=ascii, sort=sort, top=top) for one in reports)


def _look(printing: Printing) -> tuple[int | None, bool, bool]:
    """The width of the terminal, None where there is none, whether there are colours, and whether only ASCII."""
    ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    width = os.get_terminal_size(sys.stdout.fileno()).columns or 80 if sys.stdout.isatty() else None
    return width, has_colour(sys.stdout, printing.color), ascii


def show(
    found: Sequence[Outcome] | DiffReport,
    printing: Printing,
    files: Sequence[Target] = (),
    *,
    gate: bool = False,
    lines: Lines | None = None,
) -> None:
    """Warnings to stderr, what was found to stdout; in a GitHub workflow also annotations and the step's summary.

    A `gate` prints verdicts instead of tables where no format was asked for. Where one of the `files` is stdout, that
    report is printed and nothing else, also where a run is quiet; and so are doubts, and warnings of what was written.
    """
    found = _told(found)
    kind = _kind(found)
    if not isinstance(found, Sequence):
        _warn((found,), printing.color, quiet=printing.quiet)
    elif len(found) <= MANY:
        _warn(found, printing.color, quiet=printing.quiet, several=len(found) > 1)
    else:
        _warn_of_many(found, printing.color)
    verdicts = gate and printing.format is None
    printed = _printed(found, kind, printing, files, lambda: _for_eyes(found, printing, verdicts, lines))
    if printed and isinstance(found, Sequence):
        _tell_github(found, printing, verdicts)


def _printed(
    found: _Found, kind: Kind, printing: Printing, files: Sequence[Target], for_eyes: Callable[[], str]
) -> bool:
    """Print what is asked for on stdout; whether that was more than the report of a file, or nothing."""
    sent = next((file.format for file in files if file.path == STDOUT), None)
    if sent is not None:
        _print(found, sent, kind)
    if sent is not None or printing.quiet:
        return False
    if printing.format in FORMATS:
        _print(found, printing.format, kind)
    else:
        print_text(for_eyes())
    return True


def show_variable(found: PublicReport, name: str, printing: Printing) -> None:
    """Warnings to stderr, the variable of that name to stdout."""
    from renorm_cli.render.terminal.variable import render_variable

    report = _in_words(found)
    _warn([report], printing.color)
    width, colour, ascii = _look(printing)
    norms = found.unit_norms(name)
    print_text(render_variable(report, found.row(name), norms, width=width, colour=colour, ascii=ascii))


def show_suggestions(found: Suggestions, printing: Printing, files: Sequence[Target] = ()) -> None:
    """Warnings to stderr, suggestions to stdout; where one of the `files` is stdout, that report and nothing else."""
    found = _suggested(found)
    measured = (one if isinstance(one, Failure) else one.measured for one in found)
    quiet = printing.quiet and not any(not isinstance(one, Failure) and one.rules for one in found)
    _warn(measured, printing.color, quiet=quiet, several=len(found) > 1)
    _printed(found, "suggestion", printing, files, lambda: _suggestions_for_eyes(found, printing))


def _suggestions_for_eyes(found: Suggestions, printing: Printing) -> str:
    from renorm_cli.render.terminal.suggest_table import Advice, render_suggestion

    advice = Advice(
        "limits are rounded up to five digits, --format json has more",
        "use one bound with --max-norm, a bound for each with -o rules.toml and then --rules rules.toml",
        "use it with --rules",
    )
    width, colour, ascii = _look(printing)
    tables = (
        render_suggestion(one, width=width, colour=colour, ascii=ascii, advice=advice)
        for one in found
        if not isinstance(one, Failure)
    )
    return "\n".join(tables)


def _told(found: Sequence[Outcome] | DiffReport) -> Sequence[Outcome] | DiffReport:
    """What one verb returned, in the words of the command; outcomes of many checkpoints are in them already."""
    if isinstance(found, list):
        return [_in_words(one) for one in found]
    return found if isinstance(found, Sequence) else _in_words(found)


def _suggested(found: Suggestions) -> Suggestions:
    """The same of suggestions."""
    if not isinstance(found, list):
        return found
    return [one if isinstance(one, Failure) else replace(one, measured=_in_words(one.measured)) for one in found]


def _in_words(report: _Noted) -> _Noted:
    """The report with its notes in the words of the command that runs, and with that command."""
    told = replace(report, notes=words.told(report.notes))
    if not isinstance(told, Report) or told.provenance is None or told.provenance.command is not None:
        return told
    made = told.provenance._replace(command=again.command_line(), bounding=again.bounding(told.path))
    return replace(told, provenance=made)


def _warn(found: Iterable[Outcome | DiffReport], colour: Colour, *, quiet: bool = False, several: bool = False) -> None:
    """Failures, warnings, and as errors the doubts that leave a verdict undecided; of `several`, each has its file."""
    for one in found:
        if isinstance(one, Failure):
            complain(f"error: {one.text}")
            continue
        of = f"'{show_name(one.path)}': " if isinstance(one, Report) and several else ""
        for note in one.notes:
            if note.doubt and isinstance(one, Report) and one.command == "check":
                complain(f"error: {of}{note.text}")
            elif note.doubt or (note.warning and not (quiet and _wrote_nothing(one))):
                warn(f"{of}{note.text}", colour)


def _wrote_nothing(report: Report | DiffReport) -> bool:
    """Whether a report is of a run that wrote no checkpoint."""
    return not isinstance(report, Report) or report.output is None or report.dry_run


def _warn_of_many(found: Sequence[Outcome], colour: Colour) -> None:
    """The same of the worst alone; of those that did not fail only the doubts."""
    from renorm_cli.render.terminal.many import BROKEN, FAILED, worst_of

    failed, left = worst_of(found, FAILED)
    _warn(failed, colour)
    if left:
        complain(f"error: {counted(left, 'more checkpoint')} failed; {_MORE}")
    _warn(worst_of(found, BROKEN)[0], colour, quiet=True, several=True)


def exit_code(found: Sequence[Outcome]) -> int:
    """2 if nothing could be told of a checkpoint, or a verdict is undecided, 1 if one is violated, else 0."""
    if len(found) > 1:
        from renorm_cli.render.problems import ranks

        kinds: set[int] = {kind for kind, _ in ranks(found)}
    else:
        kinds = {0 if isinstance(one, Failure) else _KIND[one.verdict] for one in found}
    if found and found[0].command != "check":
        return 2 if 0 in kinds else 0
    return 2 if kinds & {0, 1} else 1 if 2 in kinds else 0


_KIND = {"undecided": 1, "violated": 2, "holds": 3}


def _tell_github(found: Sequence[Outcome], printing: Printing, verdicts: bool) -> None:
    """A gate says its findings to the workflow it runs in unless a format was asked for; `github` always does."""
    unasked = verdicts and os.environ.get("GITHUB_ACTIONS") == "true"
    if unasked:
        _print(found, "github", "report")
    if unasked or printing.format == "github":
        _add_to_summary(found, printing)


def _add_to_summary(found: Sequence[Outcome], printing: Printing) -> None:
    """Append Markdown to the summary of the workflow's step, as much as fits; a summary that fails is a warning."""
    from renorm_cli.render.ci.markdown import render_markdown

    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        with os.fdopen(fd, "ab") as file:
            room = SUMMARY_BYTES - os.fstat(fd).st_size if stat.S_ISREG(os.fstat(fd).st_mode) else 0
            text = _utf8(render_markdown(found, limit_bytes=room)) if room > 0 else b""
            if not 0 < len(text) <= room:
                warn("the summary of the workflow's step is full; nothing was added to it", printing.color)
            else:
                file.write(text)
    except (OSError, ValueError):
        warn("the summary of the workflow's step cannot be written; is GITHUB_STEP_SUMMARY a file?", printing.color)
