"""What the commands do, from plain options to a report; nothing here parses a command line or prints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from renorm_cli import __version__
from renorm_cli.errors import FormatError, NonFiniteError, OutputError, UsageError, some_names
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.location import Location, locate, refuse_folders
from renorm_cli.formats.registry import open_checkpoint, open_staged
from renorm_cli.model.plan import Note, Plan, Step
from renorm_cli.model.report import Report, Row
from renorm_cli.norms.engines.pick import pick
from renorm_cli.parallel.threads import Imap, threads
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.steps import Work, run
from renorm_cli.storage.journal import recover
from renorm_cli.storage.staging import Staging

# Rooms that one command or option alone has a use for are imported there: the others start sooner.
if TYPE_CHECKING:
    from renorm_cli.gate.baseline import Reference
    from renorm_cli.model.difference import DiffReport
    from renorm_cli.model.suggestion import Suggestion
    from renorm_cli.suggest import Aim

_WORTH_THREADS = 4 << 20
"""Bytes of weights below which starting threads would take longer than the work."""


class Options(NamedTuple):
    """The options that all commands share."""

    request: Request
    engine: str = "auto"
    device: str = "auto"
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where `apply` writes: `output`, over the input, or (neither) beside it under a default name."""

    output: Path | None = None
    in_place: bool = False
    force: bool = False
    dry_run: bool = False
    verify: bool = True

    def __post_init__(self) -> None:
        if self.in_place and self.output is not None:
            raise UsageError("--in-place writes over the input; leave out -o/--output, or leave out --in-place")

    def of(self, source: Location) -> Location:
        """Where the output will be. Raises OutputError where that is the input, without --in-place."""
        if self.in_place:
            return source.resolved()  # a link stays, its target is replaced
        output = source.default_output() if self.output is None else source.output(self.output)
        if os.path.realpath(output.index) == os.path.realpath(source.index):
            raise OutputError(f"{str(output.path)!r} is the input; give another -o, or --in-place to replace it")
        refuse_folders(source, output)
        return output


class RulesOutput(NamedTuple):
    """The file that `suggest` writes rules to."""

    path: Path
    force: bool = False

    def check(self, source: Checkpoint) -> None:
        """Raises OutputError where the path is that of a file of the checkpoint, or is taken and not to be replaced."""
        here = os.path.realpath(self.path)
        if here in {os.path.realpath(path) for path in (source.path, *(file.path for file in source.files))}:
            raise OutputError(f"{str(self.path)!r} is the checkpoint; give the rules another name")
        if os.path.lexists(self.path) and not self.force:
            raise OutputError(f"{str(self.path)!r} exists; give the rules another name, or --force to replace it")


class Meter(Protocol):
    """Told how much work lies ahead, and of each part that is done; a progress bar, perhaps."""

    def start(self, total: int) -> None: ...

    def advance(self, nbytes: int) -> None: ...


def examine(
    path: Path,
    command: Literal["inspect", "check"],
    options: Options,
    meter: Meter,
    reference: Reference | None = None,
) -> Report:
    """Measure a checkpoint, and hold it against an earlier report if there is one. Raises RenormError."""
    started = time.monotonic()
    with open_checkpoint(path) as source:
        plan = make_plan(source.variables, source.notes, options.request)
        nbytes = _bytes(plan.steps)
        meter.start(nbytes)
        session = _Session(options, nbytes)
        rows = session.run(plan.steps, Work(source, session.engine, advance=meter.advance))
        plan = _with_damage(plan, source, options.jobs, refuse=command == "check")
        source.check_unchanged()
        report = session.report(command, source, plan, rows, started)
    if reference is None:
        return report
    from renorm_cli.gate.baseline import held_against

    return held_against(report, reference)


def apply(
    path: Path,
    options: Options,
    destination: Destination,
    nonfinite: Literal["refuse", "skip"],
    meter: Meter,
    publish_with: Callable[[Report], Mapping[Path, Iterable[bytes]]],
) -> Report:
    """Write a renormalized copy of a checkpoint, together with the files that `publish_with` makes of the report.

    They all get their names at the end, or none does. Raises RenormError.
    """
    started = time.monotonic()
    recovered = not destination.dry_run and recover(destination.of(locate(path)).index)
    output = destination.of(locate(path))
    with open_checkpoint(path) as source:
        plan = make_plan(source.variables, source.notes, options.request)
        nbytes = _bytes(plan.steps)
        meter.start(nbytes + (0 if destination.dry_run else source.size))
        session = _Session(options, nbytes)
        work = Work(source, session.engine, bound=True, nonfinite=nonfinite, advance=meter.advance)
        if destination.dry_run:
            rows = _bounded(session, plan, work, source, options.jobs)
            source.check_unchanged()
            return replace(session.report("apply", source, plan, rows, started), output=str(output.path), dry_run=True)
        protected = () if destination.in_place else [file.path for file in source.files]
        force = destination.force or destination.in_place or recovered  # what a killed run left is no one's output yet
        with Staging(force=force, protected=protected, advance=meter.advance) as staging:
            sink = source.stage(staging, output, [step.variable for step in plan.steps])
            rows = _bounded(session, plan, replace(work, sink=sink), source, options.jobs)
            with session.threads(source.size) as imap:
                sealed = sink.seal(imap)
                source.check_unchanged()
                if destination.verify:
                    from renorm_cli.run.verify import verify

                    reopen = partial(open_staged, staging, output, source)
                    measure = partial(session.measure, plan.steps)
                    verify(source, reopen, staging.parts, rows, sealed, measure, imap)
            report = replace(session.report("apply", source, plan, rows, started), output=str(output.path))
            for target, content in publish_with(report).items():
                staging.companion(target, content)
            source.check_unchanged()  # nothing newer than what was read may be replaced
    return report


def diff(before: Path, after: Path, options: Options, meter: Meter, *, expected: bool) -> DiffReport:
    """Compare two checkpoints; with `expected`, to see whether the one is a renorm of the other. Raises RenormError."""
    from renorm_cli.diff.compare import compare  # here, as only this command needs it, and the others start sooner
    from renorm_cli.diff.plan import plan_comparison

    started = time.monotonic()
    with open_checkpoint(before) as one, open_checkpoint(after) as other:
        comparison = plan_comparison(one, other, _one_bound(options), options.request.selection, expected=expected)
        meter.start(comparison.nbytes)
        engine, _ = pick("numpy")
        with _threads(options.jobs, comparison.nbytes) as imap:
            report = compare(
                one,
                other,
                comparison,
                engine,
                expected=expected,
                imap=imap,
                advance=meter.advance,
            )
        damage = [note for source in (one, other) for note in _damage(source, options.jobs, refuse=expected)]
        for source in (one, other):
            source.check_unchanged()
    return replace(report, notes=(*report.notes, *damage), seconds=time.monotonic() - started)


def suggest(path: Path, options: Options, aim: Aim, meter: Meter, rules: RulesOutput | None = None) -> Suggestion:
    """Look for bounds that clip the shares of units aimed at; write rules if there is a file for them.

    Raises RenormError.
    """
    from renorm_cli.plan.rules_toml import rules_text
    from renorm_cli.suggest import Collector, remarks, rules_for

    started = time.monotonic()
    with open_checkpoint(path) as source:
        if rules is not None:
            rules.check(source)
        plan = make_plan(source.variables, source.notes, options.request)
        nbytes = _bytes(plan.steps)
        meter.start(nbytes)
        session = _Session(options, nbytes)
        collector = Collector(plan.steps, aim)
        rows = session.run(plan.steps, Work(source, session.engine, advance=meter.advance, collect=collector.take))
        plan = _with_damage(plan, source, options.jobs, refuse=False)
        source.check_unchanged()
        found = collector.suggestion(session.report("inspect", source, plan, rows, started))
        if rules is None:
            return found
        made = rules_for(found, aim, _one_bound(options).units, source.variables)
        save({rules.path: [rules_text(made, remarks(found, made, aim)).encode("ascii")]})
    return replace(found, rules=str(rules.path))


def save(files: Mapping[Path, Iterable[bytes]]) -> None:
    """Write files, each whole or not at all. Raises OutputError."""
    with Staging() as staging:
        for target, content in files.items():
            staging.companion(target, content)


class _Session:
    """The chosen executor and its jobs."""

    def __init__(self, options: Options, nbytes: int) -> None:
        self.engine, self._notes = pick(options.engine, options.device, nbytes)
        self._jobs = options.jobs

    def run(self, steps: Sequence[Step], work: Work) -> tuple[Row, ...]:
        with self.threads(_bytes(steps)) as imap:
            if not (steps and steps[0].constraint.is_joint):
                return run(steps, work, imap)
            from renorm_cli.run.joint import run_joint

            return run_joint(steps, work, imap)

    def measure(self, steps: Sequence[Step], source: Checkpoint) -> tuple[Row, ...]:
        """The norms of what was planned for another checkpoint of the same variables."""
        return self.run(steps, Work(source, self.engine))

    def threads(self, nbytes: int) -> AbstractContextManager[Imap]:
        """The jobs for so much work."""
        return _threads(self._jobs, nbytes)

    def report(
        self,
        command: Literal["apply", "inspect", "check"],
        source: Checkpoint,
        plan: Plan,
        rows: tuple[Row, ...],
        started: float,
    ) -> Report:
        notes: tuple[Note, ...] = (*self._notes, *plan.notes)
        if rows and rows[0].step.constraint.is_joint:
            from renorm_cli.run.joint import joint_note

            notes = (*notes, joint_note(rows))
        if command == "check" and rows and rows[0].step.axis_source == "declared":
            from renorm_cli.plan.declared import excess_notes

            notes = (*notes, *excess_notes(rows))
        return Report(
            command=command,
            version=__version__,
            path=str(source.path),
            format=source.format,
            bytes=source.size,
            engine=self.engine.name,
            device=self.engine.device,
            rows=rows,
            skips=plan.skips,
            notes=notes,
            seconds=time.monotonic() - started,
        )


def _bounded(session: _Session, plan: Plan, work: Work, source: Checkpoint, jobs: int | None) -> tuple[Row, ...]:
    """Bound what is planned of a sound checkpoint; of a damaged one that is said, rather than what the damage made."""
    try:
        rows = session.run(plan.steps, work)
    except NonFiniteError:
        _damage(source, jobs, refuse=True)
        raise
    _damage(source, jobs, refuse=True)
    return rows


def _with_damage(plan: Plan, source: Checkpoint, jobs: int | None, *, refuse: bool) -> Plan:
    return replace(plan, notes=(*plan.notes, *_damage(source, jobs, refuse=refuse)))


def _damage(source: Checkpoint, jobs: int | None, *, refuse: bool) -> tuple[Note, ...]:
    """What to say of tensors whose checksums are wrong; FormatError if that is a reason to `refuse`.

    To be asked when the checkpoint was read for other reasons: what was read then is not read again.
    """
    with _threads(jobs, source.size) as imap:
        wrong = source.damage(imap)
    if not wrong:
        return ()
    text = f"{str(source.path)!r} is damaged: the checksum of {some_names(wrong)} does not match the bytes"
    if refuse:
        raise FormatError(f"{text}; get a sound copy of it")
    return (Note(text, warning=True),)


def _one_bound(options: Options) -> OneBound:
    """The bound of a command that takes no other source of bounds."""
    if not isinstance(options.request.source, OneBound):
        raise AssertionError("this command takes one bound")
    return options.request.source


def _threads(jobs: int | None, nbytes: int) -> AbstractContextManager[Imap]:
    """The jobs for so much work."""
    return threads(jobs if nbytes > _WORTH_THREADS else 1)


def _bytes(steps: Sequence[Step]) -> int:
    return sum(step.variable.nbytes for step in steps)
