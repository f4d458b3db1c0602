"""The command line: parse, call, render, exit."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

import typer

from renorm_cli import __version__
from renorm_cli.cli import groups
from renorm_cli.cli import options as opt
from renorm_cli.cli.terminal import complain, print_error, print_text, progress
from renorm_cli.errors import RenormError, UsageError

if TYPE_CHECKING:
    from renorm_cli.api.verbs import Options
    from renorm_cli.cli.output import Output
    from renorm_cli.cli.terminal import Meter
    from renorm_cli.formats.location import Location
    from renorm_cli.gate.baseline import Reference
    from renorm_cli.model.report import Report
    from renorm_cli.model.suggestion import Suggestion

_Found = TypeVar("_Found")

app = typer.Typer(
    name="renorm-ckpt",
    help="Bound the norm of every unit in a weight checkpoint, and report the norms.",
    epilog=opt.EXIT_CODES,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_text(f"renorm-ckpt {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print_text(context.get_help() + "\n")
        raise typer.Exit(2)


@app.command(cls=opt.Command, epilog=opt.APPLY_EPILOG)
def apply(
    checkpoint: opt.Checkpoint,
    max_norm: opt.Limit = None,
    p: opt.P = 2.0,
    per: opt.Scope = "unit",
    rules: opt.RulesFile = None,
    declared: opt.Declared = False,
    units: opt.Units = "auto",
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    strict: opt.Strict = False,
    output: opt.OutputPath = None,
    in_place: opt.InPlace = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    nonfinite: opt.NonFinite = "refuse",
    verify: opt.Verify = True,
    engine: opt.Engine = "auto",
    device: opt.Device = "auto",
    jobs: opt.Jobs = None,
    report: opt.Reports = None,
    format: opt.Format = None,
    color: opt.Colour = "auto",
    quiet: opt.Quiet = False,
) -> None:
    """Write a renormalized checkpoint and a report: no unit's norm exceeds the bound, all else keeps its bytes."""
    from renorm_cli.api import verbs as api
    from renorm_cli.cli.output import Output, Target, rendered, show, targets
    from renorm_cli.formats.location import locate

    groups.need_bound(max_norm, declared or rules is not None)
    wanted = (max_norm, p, units, per, include, exclude, strict, engine, device, jobs)
    options = groups.options(*wanted, declared="apply" if declared else None, rules=rules)
    destination = api.Destination(output, in_place, force, dry_run, verify)
    written = destination.of(locate(checkpoint))
    files = targets(report or [], [checkpoint, written.path, written.index, *groups.given(rules)])
    if report is None and not dry_run:
        files = [Target(written.report(), "json")]
    with _untouched([checkpoint], written), progress(str(checkpoint), quiet, color) as meter:
        done = api.apply(checkpoint, options, destination, nonfinite, meter, lambda r: rendered([r], files))
    if dry_run:
        api.save(rendered([done], files))
    show([done], Output(format, color, quiet))


@app.command(cls=opt.Command, epilog=opt.INSPECT_EPILOG)
def inspect(
    checkpoint: opt.Checkpoints,
    max_norm: opt.Limit = None,
    p: opt.P = 2.0,
    per: opt.Scope = "unit",
    rules: opt.RulesFile = None,
    units: opt.Units = "auto",
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    strict: opt.Strict = False,
    engine: opt.Engine = "auto",
    device: opt.Device = "auto",
    jobs: opt.Jobs = None,
    report: opt.Reports = None,
    format: opt.Format = None,
    color: opt.Colour = "auto",
    quiet: opt.Quiet = False,
) -> None:
    """Report the norms; with a bound, also how many units are over it."""
    from renorm_cli.cli.output import Output

    wanted = (max_norm, p, units, per, include, exclude, strict, engine, device, jobs)
    options = groups.options(*wanted, must_act=False, rules=rules, measures=True)
    _, failed = _examine(checkpoint, "inspect", options, report, Output(format, color, quiet), groups.given(rules))
    raise typer.Exit(2 if failed else 0)


@app.command(cls=opt.Command, epilog=opt.CHECK_EPILOG)
def check(
    checkpoint: opt.Checkpoints,
    max_norm: opt.Limit = None,
    p: opt.P = 2.0,
    per: opt.Scope = "unit",
    rules: opt.RulesFile = None,
    declared: opt.Declared = False,
    units: opt.Units = "auto",
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    strict: opt.Strict = False,
    baseline: opt.BaselineFile = None,
    max_growth: opt.MaxGrowth = None,
    allow_new: opt.AllowNew = False,
    allow_gone: opt.AllowGone = False,
    engine: opt.Engine = "auto",
    device: opt.Device = "auto",
    jobs: opt.Jobs = None,
    report: opt.Reports = None,
    format: opt.CheckFormat = None,
    color: opt.Colour = "auto",
    quiet: opt.Quiet = False,
) -> None:
    """Tell by the exit code whether the bound holds: 0 it does, 1 it does not, 2 could not tell."""
    from renorm_cli.cli.output import Output

    reference = groups.reference(baseline, max_growth, allow_new, allow_gone)
    groups.need_bound(max_norm, declared or rules is not None or baseline is not None)
    wanted = (max_norm, p, units, per, include, exclude, strict, engine, device, jobs)
    use: Literal["check"] | None = "check" if declared else None
    options = groups.options(*wanted, declared=use, rules=rules, measures=baseline is not None)
    output = Output(format, color, quiet, gate=True)
    taken = [*groups.given(rules), *groups.given(baseline)]
    found, failed = _examine(checkpoint, "check", options, report, output, taken, reference)
    raise typer.Exit(2 if failed else 0 if all(one.holds for one in found) else 1)


@app.command(cls=opt.Command, epilog=opt.DIFF_EPILOG)
def diff(
    before: opt.Before,
    after: opt.After,
    expect_renorm: opt.ExpectRenorm = False,
    max_norm: opt.Limit = None,
    p: opt.P = 2.0,
    per: opt.DiffScope = "unit",
    units: opt.Units = "auto",
    include: opt.DiffInclude = None,
    exclude: opt.Exclude = None,
    jobs: opt.Jobs = None,
    report: opt.DiffReports = None,
    format: opt.DiffFormats = "table",
    color: opt.Colour = "auto",
    quiet: opt.Quiet = False,
) -> None:
    """Tell what changed between two checkpoints, and by the exit code whether it was only a renorm."""
    from renorm_cli.api import verbs as api
    from renorm_cli.cli.output import Output, rendered, show, targets
    from renorm_cli.render.registry import DIFF_FORMATS

    groups.need_bound(max_norm, not expect_renorm)
    wanted = (max_norm, p, units, per, include, exclude, False, "numpy", "cpu", jobs)
    options = groups.options(*wanted, must_act=False)
    files = targets(report or [], [before, after], DIFF_FORMATS)
    with _untouched([before, after]), progress(str(after), quiet, color) as meter:
        done = api.diff(before, after, options, meter, expected=expect_renorm)
    api.save(rendered(done, files))
    show(done, Output(format, color, quiet))
    raise typer.Exit(done.exit_code)


@app.command(cls=opt.Command, epilog=opt.SUGGEST_EPILOG)
def suggest(
    checkpoint: opt.Checkpoints,
    clip: opt.Clip = None,
    one_bound: opt.OneBound = False,
    p: opt.P = 2.0,
    per: opt.DiffScope = "unit",
    units: opt.Units = "auto",
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    strict: opt.Strict = False,
    output: opt.RulesPath = None,
    force: opt.Force = False,
    engine: opt.Engine = "auto",
    device: opt.Device = "auto",
    jobs: opt.Jobs = None,
    format: opt.DiffFormats = "table",
    color: opt.Colour = "auto",
    quiet: opt.Quiet = False,
) -> None:
    """Find bounds: which share of the units each would clip, for all together and for each variable."""
    from renorm_cli.api import verbs as api
    from renorm_cli.cli.output import Output, show_suggestions
    from renorm_cli.suggest import parse_aim

    if output is not None and len(checkpoint) > 1:
        raise UsageError(f"-o writes the rules of one checkpoint, {len(checkpoint)} are given; give one")
    aim = parse_aim(clip, one_bound=one_bound)
    options = groups.options(None, p, units, per, include, exclude, strict, engine, device, jobs)
    rules = None if output is None else api.RulesOutput(output, force)
    look = Output(format, color, quiet)

    def find(path: Path, meter: Meter) -> Suggestion:
        return api.suggest(path, options, aim, meter, rules)

    found, failed = _each(checkpoint, look, find)
    show_suggestions(found, look)
    raise typer.Exit(2 if failed else 0)


def _examine(
    paths: list[Path],
    command: Literal["inspect", "check"],
    options: Options,
    report: list[str] | None,
    output: Output,
    taken: Sequence[Path],
    reference: Reference | None = None,
) -> tuple[list[Report], bool]:
    """Measure every checkpoint that can be read; whether one could not, said on stderr where there are several."""
    from renorm_cli.api import verbs as api
    from renorm_cli.cli.output import rendered, show, targets

    files = targets(report or [], [*paths, *taken])

    def measure(path: Path, meter: Meter) -> Report:
        return api.examine(path, command, options, meter, reference)

    found, failed = _each(paths, output, measure)
    api.save(rendered(found, files))
    show(found, output)
    return found, failed


def _each(paths: list[Path], output: Output, do: Callable[[Path, Meter], _Found]) -> tuple[list[_Found], bool]:
    """Do it for every checkpoint that can be read; whether one could not, said on stderr where there are several."""
    found: list[_Found] = []
    failed = False
    for path in paths:
        try:
            with _untouched(paths), progress(str(path), output.quiet, output.colour) as meter:
                found.append(do(path, meter))
        except RenormError as error:
            if len(paths) == 1:
                raise
            failed = True
            complain(f"error: {error}")
    return found, failed


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal asked the run to end; carries the exit code, and what to say of the files."""

    def __init__(self, signum: int) -> None:
        self.code = 128 + signum
        self.files = "no unfinished output was left"


@contextmanager
def _untouched(paths: Sequence[Path], output: Location | None = None) -> Iterator[None]:
    """Say of a signal in this block that the files at `paths`, which it only reads, are as they were.

    Where there is an `output`, say whether it was written: a signal has to wait while it gets its name.
    """
    before = _identity(output)
    try:
        yield
    except _Stopped as stopped:
        if output is not None and _identity(output) != before:
            stopped.files = f"{str(output.path)!r} was written before"
        else:
            others = f" and {len(paths) - 1} more are as they were" if len(paths) > 1 else " is as it was"
            stopped.files = f"{str(paths[0])!r}{others}{'' if output is None else ', no output was written'}"
        raise


def _identity(output: Location | None) -> tuple[int, int, int] | None:
    try:
        found = None if output is None else output.index.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino, found.st_mtime_ns)


def _stop(signum: int, frame: object) -> NoReturn:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # cleaning up is not to be stopped half-way
    raise _Stopped(signum)


_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""The parser's base class of all usage errors; typer gives it no public name of its own."""


_COMPLETING = "_RENORM_CKPT_COMPLETE"
"""What the shell sets to ask for completions."""


def _run(call: Callable[[], object]) -> int:
    """Run the parser and turn what it raises into an exit code; only our own errors and the parser's are caught."""
    try:
        result = call()
    except RenormError as error:
        complain(f"error: {error}")
        return 2
    except _UsageProblem as problem:
        message = problem.format_message()  # type: ignore[attr-defined]
        complain(f"error: {message.rstrip('.')}; see `renorm-ckpt --help`")
        return 2
    except _Stopped as stopped:
        complain(f"error: stopped; {stopped.files}")
        return stopped.code
    except SystemExit as left:
        if _COMPLETING in os.environ:  # its code is an answer to the shell
            return left.code if isinstance(left.code, int) else 0
        return 0  # how the parser leaves where the reader of its help has gone
    except Exception:  # noqa: BLE001  (a bug of ours: show it, but never as a finding, which exit code 1 would say)
        print_error(traceback.format_exc())
        return 2
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The entry point: exits with 0, 1 or 2, or 128 plus the signal that ended the run."""
    heard = [signum for signum in _STOPPING if signal.getsignal(signum) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    try:
        for signum in heard:
            signal.signal(signum, _stop)
        code = _run(lambda: app(standalone_mode=False, prog_name="renorm-ckpt"))
        for signum in heard:
            signal.signal(signum, signal.SIG_DFL)
    except _Stopped as stopped:  # between two lines up there, or while an error was told
        code = stopped.code
    sys.exit(code)
