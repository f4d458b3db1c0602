"""What to say of a name that nothing has: what is named almost so, or that a path is a URL."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from itertools import accumulate, islice
from pathlib import Path

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_MOST_ENTRIES = 5_000
_MOST_PAIRS = 20_000_000
"""Characters of a name times those of all that it is compared with: seconds where names are much alike."""
_ALIKE = 0.6
"""Of which two names are close, for `difflib`; its own default."""


def no_such_file(path: Path) -> str:
    """Say that nothing is at `path`, without naming it, and what is there that is named almost so."""
    if url_of(path) is not None:
        return "a URL, and files of this machine are expected; download it first"
    folder, name = _lost(path)
    close = ", ".join(repr(str(folder / one)) for one in _closest(name, folder))
    hint = f"; closest: {close}" if close else ""
    above = "" if folder == path.parent else f", as {str(folder / name)!r} is not there"
    return f"no such file{above}{hint}"


def url_of(path: Path) -> str | None:
    """The URL that was given as a path, which has one of its slashes only; None if it is none."""
    found = _URL.fullmatch(str(path))
    return None if found is None else f"{found[1]}://{found[2]}"


def _lost(path: Path) -> tuple[Path, str]:
    """The folder on the way to `path` that is there, and the name in it that is not."""
    for folder in path.parents:
        if os.path.isdir(folder):  # noqa: PTH112  (Path.is_dir raises without permission)
            return folder, path.relative_to(folder).parts[0]
    return path.parent, path.name


def _closest(name: str, folder: Path) -> list[str]:
    """Names in a folder that are close to `name`, case aside, the closest first."""
    try:
        with os.scandir(folder) as entries:
            there = (entry.name for entry in islice(entries, _MOST_ENTRIES))
            names = {one.casefold(): one for one in there if one != name}  # a link that leads nowhere is there
    except OSError:
        return []
    return [names[one] for one in closest(name.casefold(), sorted(names), _ALIKE)]


def closest(name: str, among: Sequence[str], alike: float) -> list[str]:
    """Up to three of the names, the closest first, whose likeness for `difflib` is at least `alike`.

    Of many or long names only the first are looked at: comparing takes the product of the lengths.
    """
    first = among[:_MOST_ENTRIES]
    room = _MOST_PAIRS // max(1, len(name))
    looked_at = [one for one, length in zip(first, accumulate(map(len, first)), strict=True) if length <= room]
    return difflib.get_close_matches(name, looked_at, cutoff=alike)
