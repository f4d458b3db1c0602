"""The command line that runs, and one like it that bounds the same weights, for reports."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SHARED = (
    *("p", "norm", "conv", "per", "role", "include", "exclude", "units", "like"),
    *("allow_guess", "allow_unidentified"),
)
"""Options that choose the same weights and units for another command."""

_SPECTRAL = {"spectral", "spectrum"}
"""Options of `inspect` that are short for a norm."""

_OTHER_BOUNDS = {"rules", "declared"}

_words: list[str] = []
_has_one_bound = False


def remember(params: Iterable[Any], values: Mapping[str, Any]) -> None:
    """Take in the options of the command that runs, and their values."""
    global _has_one_bound
    params = list(params)
    given = {param.name: param for param in params if values.get(param.name) not in (None, param.default)}
    _words[:] = [word for name in _SHARED if name in given for word in _spelled(given[name], values[name])]
    if given.keys() & _SPECTRAL and "norm" not in given:
        _words.extend(("--norm", "spectral"))
    _has_one_bound = any(param.name == "max_norm" for param in params) and not given.keys() & _OTHER_BOUNDS


def command_line() -> str:
    """The command line that runs, as a shell takes it."""
    return shlex.join(["renorm-ckpt", *sys.argv[1:]])


def bounding(path: str) -> str | None:
    """A command line that bounds the weights of a checkpoint, `{bound}` standing for the bound.

    None where the bounds are not one number.
    """
    if not _has_one_bound:
        return None
    place = f"./{path}" if path.startswith("-") else path  # which would be an option
    return " ".join(("renorm-ckpt apply --max-norm {bound}", *map(shlex.quote, (place, *_words))))


def _spelled(param: Any, value: Any) -> Iterator[str]:
    option = min(param.opts, key=len)
    for one in value if isinstance(value, list | tuple) else (value,):
        yield option
        if one is not True:
            yield str(one)
