"""One name of a convention: what such a weight is, how its axes lie, and where in public code the name stands."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from renorm_cli.model.identity import Role

_TERM = re.compile(r"(\*?)([0-9]*)([a-z]*)")
_NUMBERED = re.compile(r"_[0-9]{1,9}\Z")
_DIGITS = re.compile(r"[0-9]+")

ANY = "..."
"""The layout of a weight that can have every shape."""


class Row(NamedTuple):
    """What a convention calls a weight, and what such a weight is.

    `ending` are the last parts of the name. A number in a word stands for every number, and one behind "_" can also be
    absent; a part that is a number stands for itself. In a part "*" stands for what is before or behind a "_", or for
    the whole part.

    `layout` names the axes, as "h w in *out": those with "*" name units, and "*in" names inputs too. A number is an
    exact length, a word that stands twice is one length, "3n" is three times the length n. Layouts of other ranks stand
    behind "|".

    `name` and `shape` are an example of such a weight, `source` is the public repository and path that name it so.

    A `common` name means something else in other conventions: it tells only in a file that has names of this convention
    alone. `beside` are names of vectors that belong to the weight, in the place of its own last part: one of them must
    be there, and its length must be the number of the weight's units.
    """

    ending: str
    role: Role
    layout: str
    name: str
    shape: tuple[int, ...]
    source: str
    common: bool = False
    beside: tuple[str, ...] = ()


class Layout(NamedTuple):
    """The axes of an array: for each a factor and the name of a length, "" for an exact one; and those of units."""

    terms: tuple[tuple[int, str], ...]
    units: tuple[int, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape can have the layout."""
        if len(shape) != len(self.terms):
            return False
        lengths: dict[str, int] = {}
        for length, (factor, name) in zip(shape, self.terms, strict=True):
            if not name:
                if length != factor:
                    return False
            elif length % factor or lengths.setdefault(name, length // factor) != length // factor:
                return False
        return True


@cache
def layouts(text: str) -> tuple[Layout, ...]:
    """The layouts that a row declares; "" is that of a scalar."""
    return tuple(_layout(one.split()) for one in text.split("|"))


def _layout(words: Sequence[str]) -> Layout:
    found = [_TERM.fullmatch(word) for word in words]
    terms = tuple((int(one[2] or 1), one[3]) for one in found if one is not None)
    return Layout(terms, tuple(axis for axis, word in enumerate(words) if word.startswith("*")))


def unit_axes(row: Row, shape: Sequence[int], vectors: Iterable[int]) -> tuple[int, ...] | None:
    """The axes that name units in an array of this shape, () for a role without units; None if the row is not of it.

    `vectors` are the lengths of the vectors that are beside it.
    """
    if row.layout == ANY:
        return ()
    found = next((layout for layout in layouts(row.layout) if layout.fits(shape)), None)
    if found is None or (row.beside and math.prod(shape[axis] for axis in found.units) not in vectors):
        return None
    return found.units


def shared_axes(row: Row, axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """Those of the unit axes that name inputs too: a layout has them as "*in"."""
    found = (layout for layout in layouts(row.layout) if layout.units == axes) if "*in" in row.layout else ()
    return next((tuple(axis for axis in layout.units if layout.terms[axis][1] == "in") for layout in found), ())


def canonical(part: str) -> str:
    """A part of a name with "#" for its numbers, and without one behind "_": "conv2d_1" is "conv#d"."""
    return part if part.isdecimal() else _DIGITS.sub("#", _NUMBERED.sub("", part))
