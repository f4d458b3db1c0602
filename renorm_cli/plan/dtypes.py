"""Dtypes that files do not tell, as the user says them by patterns."""

from __future__ import annotations

from collections.abc import Sequence

from renorm_cli.errors import SelectionError, UsageError, Way, some_names
from renorm_cli.model.dtypes import DTYPES, SAVED_BITS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.plan.selection import Labels
from renorm_cli.text import counted

Dtypes = tuple[tuple[str, str], ...]
"""Pairs of a pattern and a dtype; of several patterns that match a variable the last decides."""

_KNOWN = tuple(name for size in sorted(SAVED_BITS, reverse=True) for name in SAVED_BITS[size])


def parse_dtype(text: str) -> tuple[str, str]:
    """Take apart `GLOB=DTYPE`; names may have `=`. Raises UsageError where it is no such text."""
    pattern, equals, dtype = text.rpartition("=")
    if not equals or dtype not in _KNOWN:
        *names, last = _KNOWN
        raise UsageError(f"a dtype is said as GLOB=DTYPE, where it is {', '.join(names)} or {last}, got {text!r}")
    return pattern, dtype


def said_dtypes(variables: Sequence[Variable], dtypes: Dtypes, also: Sequence[Variable] = ()) -> dict[str, str]:
    """The dtypes of those variables whose file does not tell it, by key; a pattern names one of them, or in `also`.

    Raises SelectionError for a pattern that names none, and for a dtype of another size.
    """
    untold = {one.key: one for one in variables if one.untold}
    labels, others = Labels(untold.values()), Labels(one for one in also if one.untold)
    found: dict[str, str] = {}
    for pattern, dtype in dtypes:
        keys = labels.matching(pattern)
        if not keys and not others.matching(pattern):
            raise SelectionError(_nothing(pattern, [one.name for one in untold.values()]))
        for key in (key for key in untold if key in keys):
            found[key] = _fitting(untold[key], dtype)
    return found


def untold_note(variables: Sequence[Variable]) -> Note:
    """What to do about the variables whose dtype neither the file tells nor the user."""
    untold = [one for one in variables if one.untold and one.dtype not in DTYPES]
    usual = {one.untold for one in untold} == {2}  # NumPy has a float16 of its own
    say = Way("dtype", "say what it is", "*=bfloat16" if usual else "")
    return Note(f"{some_names([one.name for one in untold])}: saved without the dtype, so left alone", ways=(say,))


def _fitting(variable: Variable, dtype: str) -> str:
    size = variable.untold
    if dtype not in SAVED_BITS[size]:
        raise SelectionError(
            f"{variable.name!r} has {counted(size, 'byte')} an element, so it is no {dtype}",
            Way("dtype", "say another"),
        )
    return dtype


def _nothing(pattern: str, names: Sequence[str]) -> str:
    there = f"those are {some_names(names)}" if names else "there is none"
    return f"{pattern!r} names no variable whose dtype the file does not tell; {there}"
