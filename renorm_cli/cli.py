"""The command line: parse, call, render, exit."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from renorm_cli import __version__
from renorm_cli.errors import RenormError, UsageError
from renorm_cli.terminal import complain, print_text, progress, rendered, show

if TYPE_CHECKING:
    from renorm_cli.commands import Options
    from renorm_cli.model import Report

EXIT_CODES = """Exit codes: 0 done, or the bound holds; 1 `check` found a unit over the bound or not finite, `diff` a
difference; 2 it could not be done (usage, unreadable or damaged file, nothing matched, disk full), and nothing was
written."""

DIFF_EXIT_CODES = """Exit codes: 0 the same, or the expected renorm and nothing else; 1 different, or not proven;
2 it could not be told (usage, unreadable or unrelated files, bytes that cannot be compared)."""

app = typer.Typer(
    name="renorm-ckpt",
    help="Bound the norm of every unit in a weight checkpoint, and report the norms.",
    epilog=EXIT_CODES,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

Paths = Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...", help="Checkpoint files.", show_default=False)]
Limit = Annotated[float | None, typer.Option("--max-norm", metavar="C", help="The bound on the norm of every unit.")]
P = Annotated[float, typer.Option("--p", metavar="P", help="The norm is the p-norm, 0 < P <= inf.")]
Units = Annotated[
    str,
    typer.Option("--units", metavar="AXES", help="Axes that name units (kept, not reduced): auto, or -1, or 0,1."),
]
Scope = Annotated[
    Literal["unit", "tensor", "global"],
    typer.Option("--per", help="What one norm runs over: a unit, a tensor, or all selected tensors together."),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", "-i", metavar="GLOB", help="Variables to take instead of all kernels and embeddings."),
]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", "-x", metavar="GLOB", help="Variables to leave out.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make guessed unit axes and unknown variables an error.")]
Declared = Annotated[
    bool,
    typer.Option("--declared", help="Take limits and axes from the constraints that the file's own config declares."),
]
Device = Annotated[Literal["auto", "cpu", "gpu"], typer.Option("--device", help="Where to compute.")]
Engine = Annotated[
    Literal["auto", "numpy", "tensorflow"],
    typer.Option("--engine", help="What computes; auto is TensorFlow if a GPU is there, else NumPy."),
]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", min=1, help="Threads; one per processor by default.")]
Reports = Annotated[
    list[Path] | None,
    typer.Option("--report", metavar="FILE", help="Also write the report here; .json or .csv. Repeatable."),
]
Format = Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="What is printed on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


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


@app.command(epilog=EXIT_CODES)
def apply(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint file.", show_default=False)],
    max_norm: Limit = None,
    p: P = 2.0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Where to write; model-renorm.h5 beside model.h5 if absent."
        ),
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the input, in one step.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be done; write nothing.")] = False,
    nonfinite: Annotated[
        Literal["refuse", "skip"],
        typer.Option("--nonfinite", help="On NaN or Inf: write nothing, or leave those units alone."),
    ] = "refuse",
    units: Units = "auto",
    per: Scope = "unit",
    include: Include = None,
    exclude: Exclude = None,
    declared: Declared = False,
    strict: Strict = False,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: Jobs = None,
    report: Reports = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Write a renormalized checkpoint and a report: no unit's norm exceeds the bound, all else keeps its bytes."""
    from renorm_cli import commands
    from renorm_cli.formats.location import locate

    options = _options(
        max_norm,
        p,
        units,
        per,
        include,
        exclude,
        strict,
        engine,
        device,
        jobs,
        needs_limit=True,
        declared="apply" if declared else None,
    )
    destination = commands.Destination(output, in_place, force, dry_run)
    written = destination.of(locate(checkpoint))
    targets = report or ([] if dry_run else [written.report()])
    _check_targets(targets, [checkpoint, written.path, written.index])
    with progress(str(checkpoint), quiet) as meter:
        done = commands.apply(checkpoint, options, destination, nonfinite, meter, lambda r: rendered([r], targets))
    if dry_run:
        commands.save(rendered([done], targets))
    show([done], format, quiet)


@app.command(epilog=EXIT_CODES)
def inspect(
    checkpoint: Paths,
    max_norm: Limit = None,
    p: P = 2.0,
    units: Units = "auto",
    per: Scope = "unit",
    include: Include = None,
    exclude: Exclude = None,
    strict: Strict = False,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: Jobs = None,
    report: Reports = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Report the norms; with a bound, also how many units are over it."""
    options = _options(max_norm, p, units, per, include, exclude, strict, engine, device, jobs, must_act=False)
    _, failed = _examine(checkpoint, "inspect", options, report, format, quiet)
    raise typer.Exit(2 if failed else 0)


@app.command(epilog=EXIT_CODES)
def check(
    checkpoint: Paths,
    max_norm: Limit = None,
    p: P = 2.0,
    units: Units = "auto",
    per: Scope = "unit",
    include: Include = None,
    exclude: Exclude = None,
    declared: Declared = False,
    strict: Strict = False,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: Jobs = None,
    report: Reports = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Tell by the exit code whether the bound holds: 0 it does, 1 it does not, 2 could not tell."""
    options = _options(
        max_norm,
        p,
        units,
        per,
        include,
        exclude,
        strict,
        engine,
        device,
        jobs,
        needs_limit=True,
        declared="check" if declared else None,
    )
    found, failed = _examine(checkpoint, "check", options, report, format, quiet)
    raise typer.Exit(2 if failed else 0 if all(one.holds for one in found) else 1)


@app.command(epilog=DIFF_EXIT_CODES)
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A checkpoint.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="What became of it.", show_default=False)],
    expect_renorm: Annotated[
        bool,
        typer.Option("--expect-renorm", help="Prove that AFTER is BEFORE renormed within --max-norm, else unchanged."),
    ] = False,
    max_norm: Limit = None,
    p: P = 2.0,
    units: Units = "auto",
    per: Annotated[
        Literal["unit", "tensor"], typer.Option("--per", help="What one norm runs over: a unit, or a tensor.")
    ] = "unit",
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            "-i",
            metavar="GLOB",
            help="Variables to compare; with --expect-renorm those that may be renormed, as for apply.",
        ),
    ] = None,
    exclude: Exclude = None,
    jobs: Jobs = None,
    report: Reports = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Tell what changed between two checkpoints, and by the exit code whether it was only a renorm."""
    from renorm_cli import commands

    options = _options(
        max_norm,
        p,
        units,
        per,
        include,
        exclude,
        False,
        "numpy",
        "cpu",
        jobs,
        needs_limit=expect_renorm,
        must_act=False,
    )
    targets = report or []
    _check_targets(targets, [before, after])
    with progress(str(after), quiet) as meter:
        done = commands.diff(before, after, options, meter, expected=expect_renorm)
    commands.save(rendered(done, targets))
    show(done, format, quiet)
    raise typer.Exit(done.exit_code)


def _options(
    max_norm: float | None,
    p: float,
    units: str,
    per: Literal["unit", "tensor", "global"],
    include: list[str] | None,
    exclude: list[str] | None,
    strict: bool,
    engine: str,
    device: str,
    jobs: int | None,
    *,
    needs_limit: bool = False,
    must_act: bool = True,
    declared: Literal["apply", "check"] | None = None,
) -> Options:
    from renorm_cli.commands import Options
    from renorm_cli.model import MaxNorm, Selection
    from renorm_cli.plan import Wanted, parse_units

    if needs_limit and max_norm is None and declared is None:
        raise UsageError("a bound is needed: give it with --max-norm C")
    selection = Selection(tuple(include or ()), tuple(exclude or ()))
    wanted = Wanted(MaxNorm(max_norm, p, per), selection, parse_units(units), strict, must_act, declared)
    return Options(wanted, engine, device, jobs)


def _examine(
    paths: list[Path],
    command: Literal["inspect", "check"],
    options: Options,
    targets: list[Path] | None,
    format: str,
    quiet: bool,
) -> tuple[list[Report], bool]:
    """Measure every checkpoint that can be read; whether one could not, said on stderr where there are several."""
    from renorm_cli import commands

    _check_targets(targets or [], paths)
    found: list[Report] = []
    failed = False
    for path in paths:
        try:
            with progress(str(path), quiet) as meter:
                found.append(commands.examine(path, command, options, meter))
        except RenormError as error:
            if len(paths) == 1:
                raise
            failed = True
            complain(f"error: {error}")
    commands.save(rendered(found, targets or []))
    show(found, format, quiet)
    return found, failed


def _check_targets(targets: Sequence[Path], taken: Sequence[Path]) -> None:
    """Raise UsageError for a report in no known format, or under the name of a checkpoint."""
    names = {os.path.realpath(path) for path in taken}
    for target in targets:
        if target.suffix not in (".json", ".csv"):
            raise UsageError(f"--report {str(target)!r}: the ending chooses the format; use .json or .csv")
        if os.path.realpath(target) in names:
            raise UsageError(f"--report {str(target)!r} is a checkpoint of this run; give the report another name")


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal asked the run to end; carries the exit code."""

    def __init__(self, signum: int) -> None:
        self.code = 128 + signum


def _stop(signum: int, frame: object) -> NoReturn:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # cleaning up is not to be stopped half-way
    raise _Stopped(signum)


_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""The parser's base class of all usage errors; typer gives it no public name of its own."""


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
        complain("error: stopped; no unfinished output was left")
        return stopped.code
    except Exception:  # noqa: BLE001  (a bug of ours: show it, but never as a finding, which exit code 1 would say)
        traceback.print_exc()
        return 2
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The entry point: exits with 0, 1 or 2, or 128 plus the signal that ended the run."""
    for signum in _STOPPING:
        signal.signal(signum, _stop)
    sys.exit(_run(lambda: app(standalone_mode=False, prog_name="renorm-ckpt")))
