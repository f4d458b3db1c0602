"""Errors and notes in the words of the command that runs: their ways out name its options, and no other."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from renorm_cli.errors import NonFiniteError, RenormError, SelectionError, Way, worded

_Note = TypeVar("_Note", bound=Any)


class Words(NamedTuple):
    """The options of a command by the names of their parameters: `exclude` is `-x`. Can be sent to another process."""

    options: Mapping[str, str]

    def spelled(self, way: Way) -> str | None:
        """How the command spells a way: `-x`, `--nonfinite skip`, `--force`; None where it has no such option."""
        option = self.options.get(way.parameter)
        if not option or not way.value or way.value is True:
            return option
        values = way.value if isinstance(way.value, tuple) else (way.value,)
        return " ".join(f"{option} {shlex.quote(value)}" for value in values)

    def error(self, error: RenormError, of: str | None = None) -> str:
        """The error and its ways out; one of several checkpoints, `of`, is named where it is about its variables."""
        about = f"{of!r}: " if of is not None and isinstance(error, SelectionError | NonFiniteError) else ""
        return worded(f"{about}{error.text}", error.ways, self.spelled)

    def notes(self, notes: Iterable[_Note]) -> tuple[_Note, ...]:
        """The notes with their ways out in the text."""
        return tuple(note._replace(text=worded(note.text, note.ways, self.spelled), ways=()) for note in notes)


_spoken = Words({})


def speak_of(params: Iterable[Any]) -> None:
    """Name these parameters of a command from now on, each by its shortest option."""
    global _spoken
    options = [param for param in params if param.param_type_name == "option"]
    _spoken = Words({param.name: min(param.opts, key=len) for param in options})


def spoken() -> Words:
    """The words of the command that runs."""
    return _spoken


def spelled(way: Way) -> str | None:
    return _spoken.spelled(way)


def error_text(error: RenormError) -> str:
    return _spoken.error(error)


def told(notes: Iterable[_Note]) -> tuple[_Note, ...]:
    return _spoken.notes(notes)
