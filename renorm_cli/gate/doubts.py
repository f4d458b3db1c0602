"""What keeps a run from a verdict, or from writing, as an error or as notes in its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from renorm_cli.errors import SelectionError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.model.plan import Note, Plan, Step
from renorm_cli.model.report import Readings, Report
from renorm_cli.plan.doubts import guess_note, unidentified_note


def refuse_guesses(plan: Plan, readings: Mapping[str, Readings], source: Checkpoint) -> None:
    """Raise SelectionError where what is written depends on a guess: a unit is over the bound, along some axes."""
    guessed = [step for step in plan.steps if readings.get(step.variable.key, "hold") != "hold"]
    if guessed:
        note = guess_note(guessed, source.variables)
        raise SelectionError(f"{note.text}; nothing was written", *note.ways)


def told(found: Report, source: Checkpoint) -> Report:
    """The report with notes on what makes a verdict, or a bound, less than it seems."""
    guessed = () if "guess" in found.allowed else _guessed(found)
    unseen = () if "unidentified" in found.allowed else found.unidentified
    notes: list[Note] = []
    listed = found.command != "check"  # the verdict names them
    if unseen:
        notes.append(unidentified_note(unseen, found.totals.matrices, source.variables, listed=listed))
    if guessed:
        notes.append(guess_note(guessed, source.variables, listed=listed))
    if notes and found.command == "inspect":
        notes = [note._replace(doubt=False) for note in notes]  # a look gives no verdict
    return replace(found, notes=(*found.notes, *notes))


def _guessed(found: Report) -> Sequence[Step]:
    if found.command == "check":
        return [row.step for row in found.guessed]
    return [row.step for row in found.rows if row.step.axis_source == "guess" and row.readings != "hold"]
