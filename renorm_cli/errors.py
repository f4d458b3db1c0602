"""Everything that can go wrong in a way the user can mend; the command line catches it in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

_NAMED = 3


class Way(NamedTuple):
    """A way out of a problem: what it `does` to give `parameter` the `value`, e.g. "leave it out" with `exclude`.

    `{}` in `does` is the place of the parameter, where "with" and the parameter at the end do not say it: "leave out
    {}". The `value` is True for a flag; without one the user chooses it; several are given all together. Who talks to
    the user spells the parameter: `exclude=` in Python, `-x` on the command line.
    """

    parameter: str
    does: str
    value: str | tuple[str, ...] | Literal[True] = ""


def worded(text: str, ways: Iterable[Way], spell: Callable[[Way], str | None]) -> str:
    """The text and its ways out in one line; a way that `spell` has no word for is left out."""
    spelled = [_way_text(way.does, word) for way in ways if (word := spell(way)) is not None]
    return f"{text}; {', or '.join(spelled)}" if spelled else text


def _way_text(does: str, word: str) -> str:
    return does.replace("{}", word) if "{}" in does else f"{does} with {word}"


def as_keyword(way: Way) -> str:
    """How Python spells a way: `exclude=`, `force=True`, or `device='cpu'`."""
    value = way.value[0] if isinstance(way.value, tuple) and len(way.value) == 1 else way.value
    return f"{way.parameter}={repr(value) if value else ''}"


class RenormError(Exception):
    """Says what was expected, what was found and where (`text`), and what to do (`ways`), in one line."""

    __module__ = "renorm_cli"

    def __init__(self, text: str, *ways: Way) -> None:
        super().__init__(text, *ways)
        self.text = text
        self.ways = ways

    def __str__(self) -> str:
        return worded(self.text, self.ways, as_keyword)


class UsageError(RenormError):
    """What is asked for makes no sense, whatever the checkpoint."""

    __module__ = "renorm_cli"


class SelectionError(RenormError):
    """The patterns or the unit axes do not fit the variables of the checkpoint."""

    __module__ = "renorm_cli"


class FormatError(RenormError):
    """The file is not a checkpoint we read, or it is damaged, or it names other files."""

    __module__ = "renorm_cli"


class NonFiniteError(RenormError):
    """A selected variable holds NaN or Inf."""

    __module__ = "renorm_cli"


class OutputError(RenormError):
    """The output cannot be written, or must not be."""

    __module__ = "renorm_cli"


class EngineError(RenormError):
    """The asked engine or device is not there."""

    __module__ = "renorm_cli"


def not_installed(error: ModuleNotFoundError) -> str:
    """What to do where a package is not there. Raises the error again if the module is one of ours: that is a bug."""
    name = (error.name or "renorm_cli").partition(".")[0]
    if name == "renorm_cli":
        raise error
    return f"the module {name!r} is needed for this and not installed; install it: pip install {name}"


def some_names(names: Sequence[str]) -> str:
    """The first few of the names, quoted, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
