"""What keeps a run from a verdict, or from writing, as an error or as notes in its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from renorm_cli.errors import SelectionError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.model.plan import Note, Plan, Step
from renorm_cli.model.report import Readings, Report
from renorm_cli.plan.doubts import convolution_note, guess_note, unidentified_note


def refuse_guesses(plan: Plan, readings: Mapping[str, Readings], source: Checkpoint) -> None:
    """Raise SelectionError where what is written depends on a guess: a unit is over the bound, along some axes."""
    guessed = [step for step in plan.steps if readings.get(step.variable.key, "hold") != "hold"]
    if guessed:
        note = _notes(guessed, source)[0]
        raise SelectionError(f"{note.text}; nothing was written", *note.ways)


def told(found: Report, source: Checkpoint) -> Report:
    """The report with notes on what makes a verdict, or a bound, less than it seems."""
    guessed = () if "guess" in found.allowed else _guessed(found)
    unseen = () if "unidentified" in found.allowed else found.unidentified
    notes: list[Note] = []
    listed = found.command != "check"  # the verdict names them
    if unseen:
        notes.append(unidentified_note(unseen, found.totals.matrices, source.variables, listed=listed))
    notes += _notes(guessed, source, listed=listed)
    if notes and found.command == "inspect":
        notes = [note._replace(doubt=False) for note in notes]  # a look gives no verdict
    return replace(found, notes=(*found.notes, *notes))


def _notes(guessed: Sequence[Step], source: Checkpoint, *, listed: bool = True) -> list[Note]:
    """What is a guess: the unit axes, or that something is no convolution."""
    axes = [step for step in guessed if step.axis_source == "guess"]
    others = [step for step in guessed if step.axis_source != "guess"]
    found = [guess_note(axes, source.variables, listed=listed)] if axes else []
    return [*found, *([convolution_note(others, source.variables, listed=listed)] if others else [])]


def _guessed(found: Report) -> Sequence[Step]:
    if found.command == "check":
        return [row.step for row in found.guessed]
    return [
        row.step
        for row in found.rows
        if (row.step.axis_source == "guess" and row.readings != "hold") or row.readings in ("differ", "fail")
    ]
