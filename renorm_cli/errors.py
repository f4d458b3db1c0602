"""Everything that can go wrong in a way the user can mend; caught in one place, the command line."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


class RenormError(Exception):
    """Says what was expected, what was found, where, and what to do, in one line."""


class UsageError(RenormError):
    """The command line asks for something that makes no sense."""


class SelectionError(RenormError):
    """The patterns or the unit axes do not fit the variables of the checkpoint."""


class FormatError(RenormError):
    """The file is not a checkpoint we read, or it is damaged, or it names other files."""


class NonFiniteError(RenormError):
    """A selected variable holds NaN or Inf."""


class OutputError(RenormError):
    """The output cannot be written, or must not be."""


class EngineError(RenormError):
    """The asked engine or device is not there."""


def some_names(names: Sequence[str]) -> str:
    """The first few of the names, quoted, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
