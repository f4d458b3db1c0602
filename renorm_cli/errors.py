"""Everything that can go wrong in a way the user can mend; the command line catches it in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

_NAMED = 3
_NAMES_LIMIT = 120
"""Characters that the names of a list take."""

_LIMIT = 440
"""Characters of a message with its ways out, to which a path is added, and which is cut in the middle after 500."""

AND_SO_ON = ", and so on"
"""Ends what a way does where its value has not all that it is about."""


class Way(NamedTuple):
    """A way out of a problem: what it `does` to give `parameter` the `value`, e.g. "leave it out" with `exclude`.

    `{}` in `does` is the place of the parameter, where "with" and the parameter at the end do not say it: "leave out
    {}". The `value` is True for a flag; without one the user chooses it; several are given all together. Who talks to
    the user spells the parameter: `exclude=` in Python, `-x` on the command line.
    """

    parameter: str
    does: str
    value: str | tuple[str, ...] | Literal[True] = ""


def worded(text: str, ways: Sequence[Way], spell: Callable[[Way], str | None]) -> str:
    """The text and its ways out in one line; a way that `spell` has no word for is left out.

    Where the line is too long, the ways give fewer of their values, and at last the text is cut, never what to do.
    """
    told = _told(ways, spell)
    most = max((len(way.value) for way in ways if isinstance(way.value, tuple)), default=0)
    while len(text) + len(told) > _LIMIT and most > 0:
        most -= 1
        told = _told([_with_fewer(way, most) for way in ways], spell)
    if not told:
        return text
    return _cut(text, max(_LIMIT - len(told), _NAMES_LIMIT)) + told


def _told(ways: Iterable[Way], spell: Callable[[Way], str | None]) -> str:
    spelled = [_way_text(way.does, word) for way in ways if (word := spell(way)) is not None]
    return f"; {', or '.join(spelled)}" if spelled else ""


def _with_fewer(way: Way, most: int) -> Way:
    """The way with the first values alone, and words that say so."""
    if not isinstance(way.value, tuple) or len(way.value) <= most:
        return way
    does = way.does if "{}" in way.does else f"{way.does} with {{}}"
    more = "" if most == 0 or does.endswith(AND_SO_ON) else AND_SO_ON
    return way._replace(does=(does.removesuffix(AND_SO_ON) if most == 0 else does) + more, value=way.value[:most])


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


def some_names(names: Sequence[str], room: int = _NAMES_LIMIT) -> str:
    """The first few of the names, quoted, and how many more there are; long names are cut, and leave room for fewer."""
    return first_few([_cut(repr(name), room) for name in names[:_NAMED]], len(names), room)


def first_few(shown: Sequence[str], count: int, room: int = _NAMES_LIMIT) -> str:
    """The first few of `count` things, as many as fit: `'a', 'b' and 7 more`."""
    shown = shown[:_NAMED]
    named = shown[: max(1, sum(total <= room for total in accumulate(map(len, shown))))]
    more = f" and {count - len(named):,} more" if count > len(named) else ""
    return ", ".join(named) + more


def _cut(text: str, limit: int) -> str:
    """The text without its middle, where it is longer."""
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}…{text[-(limit // 2) :]}"
