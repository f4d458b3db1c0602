"""The command line: parse, call, render, exit."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from renorm_cli import __version__
from renorm_cli.cli import completion, groups, help, words
from renorm_cli.cli import options as opt
from renorm_cli.cli.groups import grouped, is_one, keywords
from renorm_cli.cli.signals import Stopped, Written, heard, untouched
from renorm_cli.cli.terminal import complain, print_error, print_text, progress, warn
from renorm_cli.errors import RenormError, not_installed

WIDEST = 1000
"""Columns of help: those of the terminal, which the parser would else take 80 of."""

app = typer.Typer(
    name="renorm-ckpt",
    cls=help.Group,
    add_completion=False,  # its options take no name of a shell
    help="Bound the norm of every unit in a weight checkpoint, and report the norms.",
    epilog=help.EXIT_CODES,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_text(f"renorm-ckpt {__version__}\n")
        raise typer.Exit


def _show_completion(shell: str | None) -> None:
    if shell is not None:
        print_text(completion.shown(shell) + "\n")
        raise typer.Exit


def _install_completion(shell: str | None) -> None:
    if shell is not None:
        print_text(completion.installed(shell) + "\n")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            metavar="[SHELL]",
            help="Set up completion in bash, zsh or fish; in $SHELL if none is given.",
            callback=_install_completion,
            is_eager=True,
        ),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            metavar="[SHELL]",
            help="Print what that sets up.",
            callback=_show_completion,
            is_eager=True,
        ),
    ] = None,
) -> None:
    if context.invoked_subcommand is None:
        print_text(context.get_help() + "\n")
        raise typer.Exit(2)


@app.command(cls=help.Command, epilog=help.APPLY)
@grouped
def apply(
    checkpoint: opt.Checkpoint,
    bound: groups.Bound,
    declared: groups.Declared,
    which: groups.Which,
    accepting: groups.Accepting,
    writing: groups.Writing,
    computing: groups.Computing,
    clustered: groups.Clustered,
    reporting: groups.Reporting,
) -> None:
    """Write a renormalized checkpoint and a report: no unit's norm exceeds the bound, all else keeps its bytes."""
    from renorm_cli.api import verbs
    from renorm_cli.cli.output import rendered, show
    from renorm_cli.cli.targets import Target, refuse_inside, refuse_taken, targets
    from renorm_cli.run.session import Destination

    asked = keywords(bound, declared, which, accepting, writing, computing)
    destination = Destination(writing.output, writing.in_place)
    with destination.find(checkpoint) as found:
        asked |= _shared(clustered, asked, found.path)
        written = destination.of(found.location)
        files = targets(reporting, [checkpoint, written.path, written.index, bound.rules, which.like])
        if reporting.report is None and not writing.dry_run:
            files = [Target(destination.report(found, written), "json")]
        if not writing.dry_run:
            refuse_inside(files, written)
        refuse_taken(files, [found.path], force=writing.force)
        outputs = [Written(written.path, written.index), *(Written(file.path, file.path) for file in files)]
        with untouched([checkpoint], outputs):
            with progress(str(checkpoint), reporting) as meter:
                companions = lambda report: rendered([report], files)  # noqa: E731
                done = verbs.apply(found, **asked, keep_norms=False, meter=meter, companions=companions)
            show([done], reporting, files)


@app.command(cls=help.Command, epilog=help.INSPECT)
@grouped
def inspect(
    checkpoint: opt.Checkpoints,
    searched: groups.Searched,
    kept: groups.Kept,
    bound: groups.Bound,
    which: groups.Which,
    computing: groups.Computing,
    clustered: groups.Clustered,
    matrices: groups.Matrices,
    reporting: groups.InspectReporting,
) -> None:
    """Report the norms; with a bound, also how many units are over it."""
    asked = keywords(bound, which, computing, matrices) | {"keep_norms": reporting.norms is not None}
    taken, said = [bound.rules, which.like], (bound, which, matrices)
    raise typer.Exit(_examined("inspect", checkpoint or [], searched, kept, clustered, asked, said, reporting, taken))


@app.command(cls=help.Command, epilog=help.SHOW)
@grouped
def show(
    checkpoint: opt.Checkpoint,
    name: opt.Variable,
    bound: groups.ShownBound,
    units: groups.ShownUnits,
    computing: groups.Computing,
    reporting: groups.ShowReporting,
) -> None:
    """Show one variable: the distribution of its norms, its largest and least units, and where they are."""
    from renorm_cli.api import verbs
    from renorm_cli.cli.output import show_variable

    with untouched([checkpoint]), progress(str(checkpoint), reporting) as meter:
        found = verbs.show(checkpoint, name, **keywords(bound, units, computing), meter=meter)
    show_variable(found, name, reporting)


@app.command(cls=help.Command, epilog=help.CHECK)
@grouped
def check(
    checkpoint: opt.Checkpoints,
    searched: groups.Searched,
    wholes: groups.Wholes,
    kept: groups.Kept,
    bound: groups.Bound,
    declared: groups.Declared,
    which: groups.Which,
    accepting: groups.Accepting,
    earlier: groups.Earlier,
    computing: groups.Computing,
    clustered: groups.Clustered,
    reporting: groups.GateReporting,
) -> None:
    """Tell by the exit code whether the bound holds: 0 it does, 1 it does not, 2 could not tell."""
    from renorm_cli.formats import registry

    asked = keywords(bound, declared, which, accepting, earlier, computing) | {"keep_norms": False}
    taken, said = [bound.rules, which.like, earlier.baseline], (bound, declared, which, accepting, earlier)
    paths = checkpoint or []
    if wholes.whole:
        paths, others = registry.wholes(paths)
        for path in others:
            warn(f"{str(path)!r} is passed over: it is no checkpoint, and no part of one")
        if others and not paths and searched.listed is None:
            raise typer.Exit(0)
    raise typer.Exit(_examined("check", paths, searched, kept, clustered, asked, said, reporting, taken))


@app.command(cls=help.Command, epilog=help.DIFF)
@grouped
def diff(
    before: opt.Before,
    after: opt.After,
    bound: groups.DiffBound,
    which: groups.DiffWhich,
    computing: groups.DiffComputing,
    reporting: groups.DiffReporting,
) -> None:
    """Tell what changed between two checkpoints, and by the exit code whether it was only a renorm."""
    from renorm_cli.api import verbs
    from renorm_cli.cli.output import rendered, show
    from renorm_cli.cli.targets import refuse_taken, targets
    from renorm_cli.render.registry import DIFF_FORMATS
    from renorm_cli.storage.staging import save

    asked = keywords(bound, which, computing)
    files = targets(reporting, [before, after, which.like], DIFF_FORMATS)
    refuse_taken(files, [before, after], force=reporting.force)
    with untouched([before, after], [Written(file.path, file.path) for file in files]):
        with progress(str(after), reporting) as meter:
            done = verbs.diff(before, after, **asked, meter=meter)
        save(rendered(done, files), readers=done.readers)
        show(done, reporting, files)
    raise typer.Exit(done.exit_code)


@app.command(cls=help.Command, epilog=help.SUGGEST)
@grouped
def suggest(
    checkpoint: opt.Checkpoints,
    searched: groups.Searched,
    bound: groups.SoughtBound,
    which: groups.Which,
    writing: groups.RulesWriting,
    computing: groups.Computing,
    reporting: groups.SuggestReporting,
) -> None:
    """Find bounds: which share of the units each would clip, for all together and for each variable."""
    asked, taken = keywords(bound, which, writing, computing), [which.like, writing.output]
    if not is_one(checkpoint or [], searched):
        from renorm_cli.cli.many import suggest_all

        raise typer.Exit(suggest_all(checkpoint or [], searched, asked, reporting, taken, force=writing.force))
    from renorm_cli.api import verbs
    from renorm_cli.cli.output import of_all, rendered_suggestions, show_suggestions
    from renorm_cli.cli.targets import refuse_taken, targets
    from renorm_cli.render.registry import SUGGEST_FORMATS
    from renorm_cli.storage.staging import save

    (path,) = checkpoint or []
    files = targets(reporting, [path, *taken], SUGGEST_FORMATS)
    refuse_taken(files, [path], force=writing.force)
    outputs = [*(file.path for file in files), *([] if writing.output is None else [writing.output])]
    with untouched([path], [Written(path, path) for path in outputs]):
        with progress(str(path), reporting) as meter:
            found = verbs.suggest(path, **asked, meter=meter)
        save(rendered_suggestions([found], files), readers=of_all([found.measured]))
        show_suggestions([found], reporting, files)


@app.command(cls=help.Command, epilog=help.REPORT)
@grouped
def report(journal: opt.Journals, reporting: groups.GateReporting) -> None:
    """Report what journals hold, all together, with the exit code that one run would have had."""
    from renorm_cli.cli.many import report_all

    raise typer.Exit(report_all(journal, reporting))


def _examined(
    verb: Literal["inspect", "check"],
    paths: list[Path],
    searched: groups.Searched,
    kept: groups.Kept,
    clustered: groups.Clustered,
    asked: dict[str, Any],
    said: tuple[Any, ...],
    reporting: groups.InspectReporting | groups.GateReporting,
    taken: list[Path | None],
) -> int:
    """Measure one checkpoint, or many, and report; returns the exit code. `said` are the options that ask."""
    from renorm_cli.cli.output import Lines, exit_code, norms_file, of_all, rendered, show
    from renorm_cli.cli.targets import refuse_norms, refuse_taken, targets

    lines = Lines.asked(getattr(reporting, "sort", None), getattr(reporting, "top", None), reporting.format)
    written = reporting.report or kept.journal or reporting.format not in (None, "table")
    asked = asked | {"sha256": bool(written)}
    if not is_one(paths, searched, kept):
        from renorm_cli.cli.many import examine_all

        return examine_all(verb, paths, searched, kept, clustered, asked, said, reporting, taken, lines)
    from renorm_cli.formats.registry import find
    from renorm_cli.storage.staging import save

    shared = _shared(clustered, asked, paths[0])
    files, norms = targets(reporting, [*paths, *taken]), getattr(reporting, "norms", None)
    refuse_taken(files, paths, force=reporting.force)
    if norms is not None:
        refuse_norms(norms, [*paths, *taken, *(file.path for file in files)], force=reporting.force)
    outputs = [*(file.path for file in files), *([] if norms is None else [norms])]
    with untouched(paths, [Written(path, path) for path in outputs]):
        with find(paths[0]) as place, progress(str(paths[0]), reporting) as meter:
            place.begin()
            from renorm_cli.api import verbs  # takes as long as another process to load what reads the file

            found = [getattr(verbs, verb)(place, **asked, **shared, meter=meter)]
        save(rendered(found, files) | norms_file(norms, found), readers=of_all(found))
        show(found, reporting, files, gate=verb == "check", lines=lines)
    return exit_code(found)


def _shared(clustered: groups.Clustered, asked: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The keyword that shares one checkpoint out to the workers of a cluster, if one is asked for."""
    if clustered == groups.Clustered():
        return {}
    from renorm_cli.cli.many import sharing

    return {"workers": sharing(clustered, asked, path)}


_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""The parser's base class of all usage errors; typer gives it no public name of its own."""


_COMPLETING = "_RENORM_CKPT_COMPLETE"
"""What the shell sets to ask for completions."""


def _run(call: Callable[[], object]) -> int:
    """Run the parser and turn what it raises into an exit code; only our own errors and the parser's are caught."""
    try:
        result = call()
    except RenormError as error:
        complain(f"error: {words.error_text(error)}")
        return 2
    except _UsageProblem as problem:
        complain(f"error: {help.problem_text(problem)}")
        return 2
    except Stopped as stopped:
        complain(f"error: stopped; {stopped.files}")
        return stopped.code
    except ModuleNotFoundError as error:
        complain(f"error: {not_installed(error)}")
        return 2
    except SystemExit as left:
        if _COMPLETING in os.environ:  # its code is an answer to the shell
            return left.code if isinstance(left.code, int) else 0
        complain("error: a pipe broke: a process of this run ended early")  # which the parser takes for its reader
        return 2
    except Exception as error:  # noqa: BLE001  (a bug of ours: show it, but never as a finding, which 1 would say)
        if isinstance(error, FileNotFoundError) and not _has_working_directory():
            complain("error: the working directory is gone; go to another, or give absolute paths only")
            return 2
        print_error(traceback.format_exc())
        return 2
    return result if isinstance(result, int) else 0


def _has_working_directory() -> bool:
    """Whether there is a folder that relative paths begin in: it can be removed while a shell is in it."""
    try:
        return bool(os.getcwd())  # noqa: PTH109
    except FileNotFoundError:
        return False


@contextmanager
def _only_named(words: Sequence[str]) -> Iterator[None]:
    """Where the first word is a command, have the parser build that one alone, for which it takes as long as for each.

    Completion, help of all, and words that are no command need the others.
    """
    commands = app.registered_commands
    named = [one for one in commands if one.callback is not None and [one.callback.__name__] == [*words[:1]]]
    if named and _COMPLETING not in os.environ:
        app.registered_commands = named
    try:
        yield
    finally:
        app.registered_commands = commands


def main() -> NoReturn:
    """The entry point: exits with 0, 1 or 2, or 128 plus the signal that ended the run."""
    try:
        with heard():
            if _COMPLETING in os.environ:
                completion.prepare()
            with _only_named(sys.argv[1:]):
                code = _run(lambda: app(standalone_mode=False, prog_name="renorm-ckpt"))
    except Stopped as stopped:  # between two lines up there, or while an error was told
        code = stopped.code
    sys.exit(code)
