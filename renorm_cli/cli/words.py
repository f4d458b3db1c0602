"""Errors and notes in the words of the command that runs: their ways out name its options, and no other."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, TypeVar

from renorm_cli.errors import NonFiniteError, RenormError, SelectionError, Way, worded

_Note = TypeVar("_Note", bound=Any)

_options: dict[str, str] = {}
"""The options of the command that runs by the names of their parameters: `exclude` is `-x`."""


def speak_of(params: Iterable[Any]) -> None:
    """Name these parameters of a command from now on, each by its shortest option."""
    options = [param for param in params if param.param_type_name == "option"]
    _options.clear()
    _options.update((param.name, min(param.opts, key=len)) for param in options)


def spelled(way: Way) -> str | None:
    """How the command spells a way: `-x`, `--nonfinite skip`, `--force`; None where it has no such option."""
    option = _options.get(way.parameter)
    if not option or not way.value or way.value is True:
        return option
    values = way.value if isinstance(way.value, tuple) else (way.value,)
    return " ".join(f"{option} {shlex.quote(value)}" for value in values)


def error_text(error: RenormError, of: str | None = None) -> str:
    """The error and its ways out; one of several checkpoints, `of`, is named where the error is about its variables."""
    about = f"{of!r}: " if of is not None and isinstance(error, SelectionError | NonFiniteError) else ""
    return worded(f"{about}{error.text}", error.ways, spelled)


def told(notes: Iterable[_Note]) -> tuple[_Note, ...]:
    """The notes with their ways out in the text."""
    return tuple(note._replace(text=worded(note.text, note.ways, spelled), ways=()) for note in notes)
