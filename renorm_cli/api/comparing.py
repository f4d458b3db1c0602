"""Two checkpoints, opened and compared."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.api.difference import DiffReport
from renorm_cli.api.measuring import identified, say_dtypes
from renorm_cli.comparison.compare import compare
from renorm_cli.comparison.plan import plan_comparison
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.norms.engines.pick import pick
from renorm_cli.run.session import damage, threads_for

if TYPE_CHECKING:
    from renorm_cli.api.keywords import PathLike
    from renorm_cli.formats.base import Checkpoint
    from renorm_cli.model.constraint import Selection
    from renorm_cli.model.plan import Note
    from renorm_cli.plan.bounds import OneBound
    from renorm_cli.plan.dtypes import Dtypes
    from renorm_cli.run.steps import Meter


def compared(
    before: PathLike,
    after: PathLike,
    bound: OneBound,
    selection: Selection,
    *,
    like: PathLike | None,
    dtypes: Dtypes,
    expected: bool,
    weights_only: bool,
    jobs: int | None,
    meter: Meter,
) -> DiffReport:
    """Compare two checkpoints; with `expected`, damage of either is a FormatError."""
    started = time.monotonic()
    with open_checkpoint(Path(before)) as one, open_checkpoint(Path(after)) as other:
        say_dtypes(dtypes, one, other)
        (old, lent), (new, lent_too) = identified(one, like), identified(other, like)
        lent = (*_of(one, lent), *_of(other, lent_too))
        how = {"expected": expected, "weights_only": weights_only}
        comparison = plan_comparison(one, other, bound, selection, **how, identified=(old, new))
        meter.start(comparison.nbytes, "reading")
        engine, _ = pick("numpy")
        with threads_for(comparison.nbytes, jobs) as imap:
            report = compare(one, other, comparison, engine, expected=expected, imap=imap, advance=meter.advance)
        damaged = [note for source in (one, other) for note in damage(source, jobs, refuse=expected)]
        for source in (one, other):
            source.check_unchanged()
    return DiffReport.of(replace(report, notes=(*report.notes, *lent, *damaged), seconds=time.monotonic() - started))


def _of(source: Checkpoint, notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """The notes on one of two checkpoints, which name it."""
    return tuple(note._replace(text=f"{str(source.path)!r}: {note.text}") for note in notes)
