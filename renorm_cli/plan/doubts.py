"""What keeps a gate from a verdict, and the ways out: guessed unit axes, and matrices that nothing identifies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renorm_cli.conventions.identify import identity_of
from renorm_cli.errors import AND_SO_ON, SelectionError, Way
from renorm_cli.model.coverage import some_matrices
from renorm_cli.model.plan import Note, Skip, Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.selection import Labels, pattern_of
from renorm_cli.text import LINE_LIMIT, count_text, counted, matrices_text, show

_ROOM = LINE_LIMIT // 5
"""Characters of patterns in a way, which a message gives twice."""

_LIKE = Way("like", "lend what they are", "CHECKPOINT")


def guess_note(guessed: Sequence[Step], among: Sequence[Variable], *, listed: bool = True) -> Note:
    """A doubt about variables whose unit axes are a guess; all those of the checkpoint are `among`.

    Unless they are `listed`, a verdict names them, and the note tells how many there are.
    """
    variables = [step.variable for step in guessed]
    conflicts = [(show(one.name), conflict) for one in variables if (conflict := identity_of(one).conflict) is not None]
    told = f": of '{conflicts[0][0]}', {show(conflicts[0][1])}" if conflicts else ""
    whose = _named(variables) if listed else counted(len(variables), "variable")
    text = f"the unit axes of {whose} are a guess{told}"
    like = () if len(conflicts) == len(variables) else (_LIKE,)  # a further opinion settles no conflict
    return Note(
        text, True, (*like, *_by_name(variables, among, axes=True), Way("allow_guess", "accept it", True)), True
    )


def convolution_note(steps: Sequence[Step], among: Sequence[Variable], *, listed: bool = True) -> Note:
    """A doubt about variables that may be convolutions, where their operator norm is bounded; as `guess_note`."""
    variables = [step.variable for step in steps]
    whose = _named(variables) if listed else counted(len(variables), "variable")
    text = f"it is not known of {whose} whether it is a convolution: the norm is that of a matrix"
    return Note(
        text, True, (_LIKE, *_by_name(variables, among, axes=False), Way("allow_guess", "accept it", True)), True
    )


def unidentified_note(unseen: Sequence[Skip], matrices: int, among: Sequence[Variable], *, listed: bool = True) -> Note:
    """A doubt about matrices, of all there are, that were neither measured nor left out by the user.

    `listed` is as in `guess_note`.
    """
    variables = [skip.variable for skip in unseen]
    text = f"{count_text(len(variables))} of {matrices_text(matrices)} not identified"
    text += f": {_named(variables)}" if listed else ""
    nameless = all(skip.code in ("unidentified", "unused") for skip in unseen)  # no other can be measured at all
    ways = (*([_LIKE] if nameless else []), *_by_name(variables, among, axes=nameless))
    return Note(text, True, (*ways, Way("allow_unidentified", "accept it", True)), True)


def _named(variables: Sequence[Variable]) -> str:
    return some_matrices([(f"'{show(one.name)}'", one.shape) for one in variables[:4]], len(variables))


def _by_name(variables: Sequence[Variable], among: Sequence[Variable], *, axes: bool) -> Iterator[Way]:
    """The ways that name the variables, as many as there is room for."""
    patterns = _patterns(variables, among)
    more = "" if len(patterns) == len(variables) else AND_SO_ON
    if axes:
        yield Way("units", f"say the axes with {{}}{more}", tuple(f"{one}=AXES" for one in patterns))
    yield Way("exclude", f"leave {'it' if len(variables) == 1 else 'them'} out with {{}}{more}", tuple(patterns))


def _patterns(variables: Sequence[Variable], among: Sequence[Variable]) -> list[str]:
    """Patterns that name the first of the variables, each alone, without repetition; none where they are too long."""
    found: dict[str, None] = {}
    room, labels = _ROOM, Labels(among)
    for variable in variables[:_ROOM]:
        try:
            pattern = _printable(pattern_of(variable, labels))
        except SelectionError:
            break
        if not labels.matching(pattern) <= {variable.key, *variable.copies}:
            break
        room -= len(pattern) + 1 if pattern not in found else 0
        if room < 0:
            break
        found[pattern] = None
    return list(found)


def _printable(pattern: str) -> str:
    """The pattern as it can be printed and typed: `?` stands for what cannot."""
    return "".join(char if show(char, None) == char else "?" for char in pattern)
