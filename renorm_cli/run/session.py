"""One run over one checkpoint: what computes, on how many threads, what is damaged, and where the output goes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from renorm_cli import __version__
from renorm_cli.errors import FormatError, NonFiniteError, OutputError, UsageError, Way, some_names
from renorm_cli.formats.base import Checkpoint, Found
from renorm_cli.formats.location import Location
from renorm_cli.formats.registry import find
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note, Plan, Step
from renorm_cli.model.report import Allowed, Readings, Report, Row
from renorm_cli.norms.engines.estimate import Load
from renorm_cli.norms.engines.pick import pick
from renorm_cli.parallel.threads import Imap, default_jobs, threads
from renorm_cli.run.provenance import provenance_of
from renorm_cli.run.steps import Meter, Told, Work, run
from renorm_cli.storage.files import reason
from renorm_cli.storage.hub_cache import repository_of
from renorm_cli.storage.staging import existing

if TYPE_CHECKING:
    from renorm_cli.model.variable import Variable
    from renorm_cli.run.shares import Workers
    from renorm_cli.run.verify import Copied

_WORTH_THREADS = 4 << 20
"""Bytes of weights up to which starting threads takes longer than the work."""


class Computing(NamedTuple):
    """What computes, where, and on how many threads: one per processor, at most 8, where `jobs` is None.

    With `workers`, these measure and write what can be shared out.
    """

    engine: str = "auto"
    device: str = "auto"
    jobs: int | None = None
    workers: Workers | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an output is written: to `output`, over the input, or (neither) beside it under a default name.

    Beside is the current folder, where the input is in the cache of Hugging Face.
    """

    output: Path | None = None
    in_place: bool = False

    def __post_init__(self) -> None:
        if self.in_place and self.output is not None:
            raise UsageError(
                "an output in place is written over the input, and another place is given",
                Way("output", "leave out {}"),
                Way("in_place", "leave out {}", True),
            )

    def find(self, path: Path) -> Found:
        """What `path` leads to, where this is the place of the output. Raises FormatError and OutputError."""
        return find(path, in_place=self.in_place, output=self.output)

    def of(self, source: Location) -> Location:
        """The place of the output.

        Raises OutputError where nothing can have its name, or where it is the input and `in_place` does not ask for it.
        """
        if self.in_place:
            return source.resolved()  # a link stays, its target is replaced
        if self.output is None:
            output = source.default_output()
            if repository_of(source.path) is not None:  # what is no download is lost there
                output = source.output(Path(output.name))
        else:
            existing(self.output)
            output = source.output(self.output)
        if os.path.realpath(output.index) == os.path.realpath(source.index):
            raise OutputError(
                f"{str(output.path)!r} is the input",
                Way("output", "give another"),
                Way("in_place", "replace it", True),
            )
        try:
            source.check_output(output)
        except OSError as error:  # a folder there may not be looked into
            raise OutputError(
                f"{str(output.path)!r} cannot be looked at: {reason(error)}", Way("output", "give another")
            ) from None
        return output

    def report(self, found: Found, output: Location) -> Path:
        """Where the report is if no place is said: beside the output, and in place, beside the folder that was
        given."""
        replaced = found.folder if self.in_place else None
        return output.report() if replaced is None else replaced.resolved().report()


class Session:
    """A plan for an open checkpoint, and the engine and the threads that carry it out."""

    def __init__(self, source: Checkpoint, plan: Plan, computing: Computing) -> None:
        """Raises EngineError where the engine or the device that is asked for is not there."""
        self.source = source
        self.plan = plan
        self.nbytes = sum(step.variable.nbytes for step in plan.steps)
        engine = computing.engine if computing.workers is None else "numpy"
        self.engine, self._notes = pick(engine, computing.device, _load(plan.steps, computing.jobs))
        self._jobs = computing.jobs
        self._workers = computing.workers
        text = None if self._workers is None else self._unshared()
        if text is not None:
            self._workers = None
            self._notes = (*self._notes, Note(f"{text} is not shared out: this machine alone computed it"))

    def run(self, work: Work) -> tuple[Row, ...]:
        """Carry out the plan."""
        steps = self.plan.steps
        if self._workers is not None and work.source is self.source:
            from renorm_cli.run.shares import lies_alike, run_shared

            if lies_alike(self.source, work):
                return run_shared(steps, work, self._workers)
        with self.threads(self.nbytes) as imap:
            if any(step.constraint.is_spectral for step in steps):
                from renorm_cli.run.matrices import run_matrices

                return run_matrices(steps, work, imap)
            if not _is_joint(steps):
                return run(steps, work, imap)
            from renorm_cli.run.joint import run_joint

            return run_joint(steps, work, imap)

    def start(self, meter: Meter) -> None:
        """Start a meter of what is read, and tell it of work that takes long."""
        spectral = any(step.constraint.is_spectral for step in self.plan.steps)
        if spectral and self.engine.device == "cpu" and isinstance(meter, Told):
            from renorm_cli.run.matrices import ahead

            if (text := ahead(self.plan.steps)) is not None:
                meter.tell(text)
        meter.start(self.nbytes, "reading")

    def measure(self, source: Checkpoint) -> tuple[Row, ...]:
        """The norms of the planned variables in another checkpoint."""
        return self.run(Work(source, self.engine))

    def bounded(self, work: Work) -> tuple[Row, ...]:
        """Carry out the plan. Raises FormatError for a damaged checkpoint, also where the damage looks like NaN."""
        try:
            rows = self.run(work)
        except NonFiniteError:
            self.damage(refuse=True)
            raise
        self.damage(refuse=True)
        return rows

    def readings(self) -> Mapping[str, Readings]:
        """What becomes of the bound where unit axes are a guess, or it is not known what is a convolution, by key."""
        steps = [step for step in self.plan.steps if step.constraint.limit is not None]
        steps = [step for step in steps if step.axis_source == "guess" or step.may_convolve]
        if not steps:
            return {}
        from renorm_cli.run.readings import readings_of

        with self.threads(sum(step.variable.nbytes for step in steps)) as imap:
            return readings_of(steps, self.source, self.engine, imap)

    def damage(self, *, refuse: bool) -> tuple[Note, ...]:
        return damage(self.source, self._jobs, refuse=refuse)

    def _unshared(self) -> str | None:
        """What is not shared out, if this is not."""
        from renorm_cli.run.shares import unshared

        if _is_joint(self.plan.steps):
            return "one norm over all variables"
        if any(variable.fixed is not None for step in self.plan.steps for variable in step.stored):
            return "what does not lie as plain bytes"  # their bytes are not their numbers
        return unshared(self.source)

    def changing(self) -> Sequence[Variable]:
        """The variables whose bytes an output gets from the plan: those that may change, and all where they are shared
        out, so that the workers copy the others, too."""
        if self._workers is not None:
            return self.source.variables
        return [variable for step in self.plan.steps for variable in step.stored]

    def compare(self, copied: Sequence[Copied], advance: Callable[[int], None]) -> Iterator[tuple[Copied, bool]]:
        """Whether ranges of an output are as in the input."""
        if self._workers is not None:
            from renorm_cli.run.shares import compared_by

            yield from compared_by(self._workers, copied, advance)
            return
        from renorm_cli.run.verify import compared

        with self.threads(self.source.size) as imap:
            yield from compared(copied, advance, imap)

    def written_bytes(self) -> int:
        """The bytes that pass while an output is written: its own, and once more what does not lie in it plainly."""
        stored = [(step.variable, step.copies) for step in self.plan.steps]
        anew = sum(one.nbytes for one, _ in stored if self.source.extent(one) is None)
        alike = sum(copy.nbytes for _, copies in stored for copy in copies if self.source.extent(copy) is not None)
        return self.source.size + anew - alike

    def threads(self, nbytes: int) -> AbstractContextManager[Imap]:
        """The threads for so many bytes of work."""
        return threads_for(nbytes, self._jobs)

    def report(
        self,
        command: Literal["apply", "inspect", "check"],
        rows: tuple[Row, ...],
        started: float,
        *,
        readings: Mapping[str, Readings] | None = None,
        allowed: tuple[Allowed, ...] = (),
        damage: tuple[Note, ...] = (),
        output: Location | None = None,
        dry_run: bool = False,
        sha256: bool = True,
    ) -> Report:
        """The report of a run that `started` at that time of the monotonic clock; with `sha256` it has the file's."""
        if readings:
            rows = tuple(replace(row, readings=readings.get(row.step.variable.key)) for row in rows)
        notes: tuple[Note, ...] = (*self._notes, *self.plan.notes, *damage)
        if _is_joint(self.plan.steps):
            from renorm_cli.run.joint import joint_note

            notes = (*notes, joint_note(rows))
        if command == "check" and rows and rows[0].step.axis_source == "declared":
            from renorm_cli.plan.declared import excess_notes

            notes = (*notes, *excess_notes(rows))
        return Report(
            command=command,
            version=__version__,
            path=str(self.source.path),
            format=self.source.format,
            bytes=self.source.size,
            engine=self.engine.name,
            device=self.engine.device,
            rows=rows,
            skips=self.plan.skips,
            notes=notes,
            output=None if output is None else str(output.path),
            dry_run=dry_run,
            allowed=allowed,
            seconds=time.monotonic() - started,
            provenance=provenance_of(self.source, started, sha256=sha256),
            readers=self.source.readers,
        )


def _load(steps: Sequence[Step], jobs: int | None) -> Load:
    weights: Counter[tuple[str, float]] = Counter()
    products = 0.0
    for step in steps:
        norm = step.constraint.norm
        weights[step.variable.dtype, norm.p if isinstance(norm, PNorm) else 2.0] += step.variable.nbytes
        if step.constraint.is_spectral:
            from renorm_cli.norms.spectral.measured import on_device

            products += on_device(step)
    return Load(weights, products, jobs or default_jobs())


def _is_joint(steps: Sequence[Step]) -> bool:
    return bool(steps) and steps[0].constraint.per == "global"


def damage(source: Checkpoint, jobs: int | None, *, refuse: bool) -> tuple[Note, ...]:
    """A warning of tensors whose checksums are wrong; a FormatError instead if that is a reason to `refuse`.

    Asked after the checkpoint was read for other reasons: what was read then is not read again.
    """
    with threads_for(source.size, jobs) as imap:
        wrong = source.damage(imap)
    if not wrong:
        return ()
    text = f"{str(source.path)!r} is damaged: the checksum of {some_names(wrong)} does not match the bytes"
    if refuse:
        raise FormatError(f"{text}; get a sound copy of it")
    return (Note(text, warning=True),)


def threads_for(nbytes: int, jobs: int | None) -> AbstractContextManager[Imap]:
    """The threads for so many bytes of work."""
    return threads(jobs if nbytes > _WORTH_THREADS else 1)
