"""What verbs have in common: one checkpoint, opened, planned, measured, and what is told of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from renorm_cli.api.keywords import PathLike
from renorm_cli.api.report import Report
from renorm_cli.conventions.identify import identify, role_of
from renorm_cli.errors import FormatError, OutputError, Way
from renorm_cli.formats.base import Checkpoint, Found
from renorm_cli.formats.registry import is_one_of, open_checkpoint, sharing
from renorm_cli.model.dtypes import DTYPES, FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.session import Computing, Session
from renorm_cli.run.steps import Meter, Work

if TYPE_CHECKING:
    from renorm_cli.gate.baseline import Reference
    from renorm_cli.model import report
    from renorm_cli.model.report import Allowed
    from renorm_cli.model.variable import Variable
    from renorm_cli.plan.dtypes import Dtypes
    from renorm_cli.plan.rules import Rules
    from renorm_cli.run.unit_norms import UnitNorms


def measured(
    command: Literal["inspect", "check"],
    path: Path | Found,
    request: Request,
    like: PathLike | None,
    computing: Computing,
    keep_norms: bool,
    meter: Meter,
    reference: Reference | None = None,
    allowed: tuple[Allowed, ...] = (),
    *,
    spectrum: bool = False,
    sha256: bool = False,
    dtypes: Dtypes = (),
) -> Report:
    """Measure one checkpoint, and hold it against an earlier report, if one is given."""
    started = time.monotonic()
    with open_checkpoint(path) as source:
        say_dtypes(dtypes, source)
        session = session_for(source, request, like, computing)
        session.start(meter)
        kept = room(session, keep_norms)
        rows = session.run(Work(source, session.engine, advance=meter.advance, spectrum=spectrum, norms=kept))
        readings = session.readings()
        damaged = session.damage(refuse=command == "check")
        source.check_unchanged()
        found = session.report(
            command, rows, started, readings=readings, allowed=allowed, damage=damaged, sha256=sha256
        )
    if reference is not None:
        from renorm_cli.gate.baseline import held_against

        found = held_against(found, reference)
    return told(found, source, kept)


def say_dtypes(dtypes: Dtypes, *sources: Checkpoint) -> None:
    """Take what was saved without its dtype as of the dtypes that are said; each pattern is for one of the checkpoints.

    Raises SelectionError.
    """
    if dtypes:
        from renorm_cli.plan.dtypes import said_dtypes

        also = [variable for source in sources for variable in source.variables]
        for source, said in [(source, said_dtypes(source.variables, dtypes, also)) for source in sources]:
            source.take_dtypes(said)


def refuse_read(output: Path, *read: PathLike | Rules | None) -> None:
    """Raise OutputError where an output has the name of what the run reads besides the input: rules, or what lends."""
    paths = [Path(one if isinstance(one, str | os.PathLike) else one.path) for one in read if one is not None]
    if is_one_of(output, paths):
        raise OutputError(f"{str(output)!r} is another file that this run reads", Way("output", "give another name"))


def refuse_beside(link: Path, source: Checkpoint) -> None:
    """Raise OutputError where other files than those of the checkpoint that a link leads to are read through it."""
    for path in source.paths:
        beside = link.with_name(path.name)
        is_main = path == source.location.index
        if not is_main and os.path.lexists(beside) and os.path.realpath(beside) != os.path.realpath(path):
            raise OutputError(
                f"{str(link)!r} is a link, and {str(beside)!r} beside it is no file of what it leads to; give"
                f" {str(source.path)!r}"
            )


def refuse_shared(source: Checkpoint) -> None:
    """Raise OutputError where another checkpoint of the folder names a file of this one, and would change with it."""
    other = sharing(source)
    if other is not None:
        raise OutputError(
            f"{str(other)!r} names files of {str(source.path)!r} too, and would change with it",
            Way("output", "write to another place"),
        )


def session_for(source: Checkpoint, request: Request, like: PathLike | None, computing: Computing) -> Session:
    """The plan for a checkpoint, and what carries it out. Raises FormatError where there is nothing to measure."""
    if not any(variable.dtype in FLOATS for variable in source.variables):
        among = f"floating variable among its {len(source.variables)}" if source.variables else "variable"
        ways = [way for note in _untold(source.variables) for way in note.ways]
        quantized = sum(role_of(variable) == "quantized" for variable in identify(source.variables))
        if quantized:
            among += f", {quantized} of which {'is' if quantized == 1 else 'are'} quantized"
        raise FormatError(f"{str(source.path)!r} holds no {among}: there is nothing to measure", *ways)
    variables, notes = identified(source, like)
    return Session(source, make_plan(variables, (*source.notes, *notes), request), computing)


def identified(source: Checkpoint, like: PathLike | None) -> tuple[Sequence[Variable], tuple[Note, ...]]:
    """The variables of a checkpoint, with what another one lends them, and notes on that and on what is not told."""
    untold = _untold(source.variables)
    if like is None:
        return identify(source.variables), untold
    from renorm_cli.plan.like import Like, lent

    with open_checkpoint(Path(like)) as other:
        variables, notes = lent(source.variables, Like.of(str(other.path), other.variables))
    return variables, (*untold, *notes)


def _untold(variables: Sequence[Variable]) -> tuple[Note, ...]:
    """A note on variables whose dtype neither the file tells nor the user."""
    if not any(variable.untold and variable.dtype not in DTYPES for variable in variables):
        return ()
    from renorm_cli.plan.dtypes import untold_note

    return (untold_note(variables),)


def room(session: Session, keep_norms: bool) -> UnitNorms | None:
    """Room for the norms of all units, if they are to be kept."""
    if not keep_norms:
        return None
    from renorm_cli.run.unit_norms import UnitNorms

    return UnitNorms.of(session.plan.steps)


def told(found: report.Report, source: Checkpoint, kept: UnitNorms | None = None) -> Report:
    """The public report, with notes on what makes a verdict, or a bound, less than it seems."""
    if found.unidentified or any(row.step.axis_source == "guess" or row.readings is not None for row in found.rows):
        from renorm_cli.gate import doubts

        found = doubts.told(found, source)
    return Report.of(found, kept)
