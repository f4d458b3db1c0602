"""What the shell may complete: names of variables in the checkpoint on the line, formats and files of reports.

Shells treat what they are offered as text to insert, some of them run it through `eval`. So only words are offered
that mean nothing to any shell. A completion never prints, and never fails: it has nothing to offer then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PLAIN = re.compile(r"[\w/.][\w/.+,-]*")
"""Letters and digits of any script, and signs that no shell gives a meaning to."""

_LONGEST = 200
_MOST = 500
"""Characters of an offer, and offers: nobody reads more."""

_MOST_FILES = 20_000


def variable_names(ctx: Any, incomplete: str) -> list[str]:
    """Names of the variables in the checkpoints that the line already has, those that begin with `incomplete`."""
    try:
        return _plain(incomplete, _names(_given(ctx)))
    except Exception:  # noqa: BLE001  (a traceback in the middle of a prompt helps nobody)
        return []


def reports(incomplete: str) -> list[str]:
    """`FORMAT=FILE` for each format, and files that are there."""
    try:
        from renorm_cli.render.registry import FORMATS

        said, equals, begun = incomplete.rpartition("=")
        if incomplete == "=" or (equals and said not in FORMATS):
            return []  # bash parts words at "=" and completes files itself then
        files = [f"{said}{equals}{name}" for name in _files(begun)]
        return _plain(incomplete, files if equals else [f"{one.name}={one.usual}" for one in FORMATS.values()] + files)
    except Exception:  # noqa: BLE001  (as above)
        return []


def _given(ctx: Any) -> Iterator[Path]:
    """The checkpoints on the line; the parser leaves them in `args` where an option without a value ends it."""
    for name in ("checkpoint", "before"):
        value = ctx.params.get(name)
        yield from map(Path, value if isinstance(value, list | tuple) else [value] if value else [])
    yield from map(Path, ctx.args)


def _names(paths: Iterable[Path]) -> Iterator[str]:
    from renorm_cli.errors import RenormError
    from renorm_cli.formats.registry import open_checkpoint

    for path in paths:
        try:
            with open_checkpoint(path) as source:
                yield from (variable.name for variable in source.variables)
        except RenormError:
            continue


def _files(begun: str) -> Iterator[str]:
    folder, _, start = begun.rpartition("/")
    prefix = begun[: len(begun) - len(start)]
    with os.scandir(f"{folder}/" if prefix else ".") as entries:
        for _, entry in zip(range(_MOST_FILES), entries, strict=False):
            if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                yield f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"


def _plain(incomplete: str, words: Iterable[str]) -> list[str]:
    """The words that may be offered; the sign between a format and its file is ours."""
    found = {word: None for word in words if word.startswith(incomplete) and _is_plain(word)}
    return list(found)[:_MOST]


def _is_plain(word: str) -> bool:
    return len(word) <= _LONGEST and word.isprintable() and _PLAIN.fullmatch(word.replace("=", "", 1)) is not None
