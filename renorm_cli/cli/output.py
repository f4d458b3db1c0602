"""Reports on their way out: the files of `--report`, what stdout shows, and what a GitHub workflow is told."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from renorm_cli.cli import again, words
from renorm_cli.cli.terminal import Colour, Printing, Reporting, complain, has_colour, print_text, warn
from renorm_cli.errors import OutputError, UsageError, Way
from renorm_cli.model.failure import MANY, Failure, Outcome
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.model.report import Report
from renorm_cli.parallel.threads import parcels
from renorm_cli.render.registry import FORMATS, Format, Kind, format_of, parts
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


STDOUT = Path("-")


class Target(NamedTuple):
    """A file that a report is written to, or STDOUT, and the name of its format."""

    path: Path
    format: str


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


def targets(
    reporting: Reporting,
    taken: Sequence[Path | None],
    formats: Mapping[str, Format] = FORMATS,
    *,
    journals: Sequence[Path | None] = (),
) -> list[Target]:
    """Take apart what `--report` was given: `FILE`, whose ending chooses the format, or `FORMAT=FILE`.

    Raises UsageError for a file of no known format, under the name of a file that is read (`taken`) or of one of the
    `journals`, or named twice, and for stdout where `--format` has a use for it.
    """
    texts = reporting.report
    names, kept = ({os.path.realpath(path) for path in paths if path is not None} for paths in (taken, journals))
    found: dict[str, Target] = {}
    for text in texts or ():
        said, _, rest = text.partition("=")
        target = Target(Path(rest), said) if said in FORMATS and rest else _by_ending(text, formats)
        if target.format not in formats:
            raise UsageError(f"--report {text!r}: this command writes {_all(formats)} only")
        if target.path == STDOUT and reporting.format in FORMATS:
            raise UsageError(f"--report {text!r} is stdout, which --format {reporting.format} has; leave out one")
        real = os.path.realpath(target.path)
        if real in kept:
            raise UsageError(f"--report {text!r} is a journal of this run; give the report another name")
        if real in names:
            raise UsageError(
                f"--report {text!r} is a checkpoint of this run, or its baseline; give the report another name"
            )
        if real in found:
            raise UsageError(f"--report {text!r}: another report of this run has that name; give it one of its own")
        found[real] = target
    return list(found.values())


def refuse_taken(files: Iterable[Target], about: Sequence[Path], *, force: bool) -> None:
    """Raise OutputError for a file that is there, unless it is a report of ours on these checkpoints alone."""
    mine = {os.path.normpath(path) for path in about}
    for file in files:
        if force or file.path == STDOUT or not os.path.lexists(file.path):
            continue
        from renorm_cli.render.earlier import checkpoints_in, is_told

        there = checkpoints_in(file.path, file.format)
        if there is None or not {os.path.normpath(path) for path in there} <= mine:
            those = "this checkpoint" if len(about) == 1 else "these checkpoints"
            why = f", and is no report on {those}" if is_told(file.format) else ""
            ways = Way("report", "give another"), Way("force", "replace it", True)
            raise OutputError(f"{str(file.path)!r} exists{why}", *ways)


def _by_ending(text: str, formats: Mapping[str, Format]) -> Target:
    if text == str(STDOUT):
        raise UsageError("--report '-' is stdout, which has no ending; say the format, as in --report json=-")
    name = format_of(text, formats)
    if name is None:
        endings = [ending for one in formats.values() for ending in one.endings[:1]]
        raise UsageError(
            f"--report {text!r}: the ending chooses the format; use {', '.join(endings[:-1])} or {endings[-1]},"
            f" or say it as FORMAT=FILE ({_all(formats)})"
        )
    return Target(Path(text), name)


def _all(formats: Mapping[str, Format]) -> str:
    return ", ".join(formats)


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


def refuse_norms(path: Path, taken: Sequence[Path | None], *, force: bool) -> None:
    """Raise UsageError where `--norms` asks for what it cannot write, or for a file that the run has a use for.

    Raises OutputError where the file is there, without `force`.
    """
    if path.suffix != ".npz":
        raise UsageError(f"--norms {str(path)!r}: a file of NumPy arrays is written; give it a name that ends in .npz")
    if os.path.realpath(path) in {os.path.realpath(one) for one in taken if one is not None}:
        raise UsageError(f"--norms {str(path)!r} is another file of this run; give the norms a name of their own")
    if os.path.lexists(path) and not force:
        raise OutputError(f"{str(path)!r} exists", Way("norms", "give another"), Way("force", "replace it", True))


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
    measured = [one if isinstance(one, Failure) else one.measured for one in found]
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
    return [one if isinstance(one, Failure) else replace(one, measured=_in_words(one.measured)) for one in found]


def _in_words(report: _Noted) -> _Noted:
    """The report with its notes in the words of the command that runs, and with that command."""
    told = replace(report, notes=words.told(report.notes))
    if not isinstance(told, Report) or told.provenance is None or told.provenance.command is not None:
        return told
    made = told.provenance._replace(command=again.command_line(), bounding=again.bounding(told.path))
    return replace(told, provenance=made)


def _warn(found: Sequence[Outcome | DiffReport], colour: Colour, *, quiet: bool = False, several: bool = False) -> None:
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
