"""One checkpoint, bounded: into a copy that is read again before it gets its name, or on trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.api.keywords import Companions, NonFinite, PathLike
from renorm_cli.api.measuring import refuse_beside, refuse_read, refuse_shared, room, say_dtypes, session_for, told
from renorm_cli.api.report import Report
from renorm_cli.formats.base import Checkpoint, Found
from renorm_cli.formats.endings import check_ending
from renorm_cli.formats.location import Location
from renorm_cli.formats.registry import open_checkpoint, open_staged
from renorm_cli.plan.planner import Request
from renorm_cli.run.session import Computing, Destination, Session
from renorm_cli.run.steps import Meter, Work
from renorm_cli.storage.journal import recover
from renorm_cli.storage.staging import Staging, save

if TYPE_CHECKING:
    from renorm_cli.model import report
    from renorm_cli.model.report import Allowed
    from renorm_cli.plan.dtypes import Dtypes
    from renorm_cli.plan.rules import Rules

    Said = Callable[..., report.Report]
    """The report of the run, from its rows."""


@dataclass(frozen=True)
class Application:
    """What `apply` was asked, decided: the verb says what each word means."""

    request: Request
    computing: Computing
    destination: Destination
    dtypes: Dtypes
    allowed: tuple[Allowed, ...]
    rules: PathLike | Rules | None
    like: PathLike | None
    force: bool
    dry_run: bool
    nonfinite: NonFinite
    verify: bool
    keep_norms: bool
    sha256: bool
    meter: Meter
    companions: Companions

    def to(self, checkpoint: PathLike | Found) -> Report:
        """Bound one checkpoint. Raises RenormError; then nothing was written."""
        started = time.monotonic()
        with checkpoint if isinstance(checkpoint, Found) else self.destination.find(Path(checkpoint)) as found:
            output = self.destination.of(found.location)
            recovered = not self.dry_run and recover(output.index)
            opened = open_checkpoint(found.path if recovered else found)
        with opened as source:
            say_dtypes(self.dtypes, source)
            self._refuse(source, found, output)
            if self.destination.in_place and found.folder is not None:
                from renorm_cli.formats.hub.folder import further_weights  # read as files, these are not looked for

                source.notes = (*source.notes, *further_weights(found.folder.path, source))
            session = session_for(source, self.request, self.like, self.computing)
            readings = session.readings()
            if readings and "guess" not in self.allowed:
                from renorm_cli.gate.doubts import refuse_guesses

                refuse_guesses(session.plan, readings, source)
            said = partial(
                session.report,
                "apply",
                started=started,
                output=output,
                readings=readings,
                allowed=self.allowed,
                sha256=self.sha256,
            )
            kept = room(session, self.keep_norms)
            advance = self.meter.advance
            work = Work(source, session.engine, bound=True, nonfinite=self.nonfinite, advance=advance, norms=kept)
            if self.dry_run:
                return self._tried(source, session, work, said)
            return self._written(source, session, work, said, output, recovered)

    def _refuse(self, source: Checkpoint, found: Found, output: Location) -> None:
        """Raise RenormError where the output would have a wrong name, or change what it is not to change."""
        check_ending(source.output_format, source.location.name, output.path)
        if found.link is not None:
            refuse_beside(found.link, source)
        if self.destination.in_place:
            refuse_shared(source)
        else:
            refuse_read(output.path, self.rules, self.like)

    def _tried(self, source: Checkpoint, session: Session, work: Work, said: Said) -> Report:
        session.start(self.meter)
        rows = session.bounded(work)
        source.check_unchanged()
        found = told(said(rows, dry_run=True), source, work.norms)
        save(self.companions(found), readers=found.readers)
        return found

    def _written(
        self, source: Checkpoint, session: Session, work: Work, said: Said, output: Location, recovered: bool
    ) -> Report:
        protected = () if self.destination.in_place else (*source.paths, *source.beside)
        replaces = self.force or self.destination.in_place or recovered  # what a killed run left is no one's output yet
        with Staging(
            force=replaces,
            protected=protected,
            readers=source.readers,
            advance=self.meter.advance,
            ready=source.check_unchanged,  # nothing newer than what was read may be replaced
        ) as staging:
            self.meter.start(session.written_bytes(), "writing")
            sink = source.stage(staging, output, session.changing())
            rows = session.bounded(replace(work, sink=sink))
            with session.threads(source.size) as imap:
                sealed = sink.seal(imap)
                source.check_unchanged()
                if self.verify:
                    from renorm_cli.run.verify import verify

                    reopen = partial(open_staged, staging, output, source)
                    verify(source, reopen, staging.parts, rows, sealed, session.measure, session.compare, self.meter)
            found = told(said(rows), source, work.norms)
            for target, content in self.companions(found).items():
                staging.companion(target, content)
        return found
