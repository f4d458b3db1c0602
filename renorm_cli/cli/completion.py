"""What the shell may complete: names of variables in the checkpoint on the line, formats and files of reports.

Shells treat what they are offered as text to insert, some of them run it through `eval`. So only words are offered
that mean nothing to any shell. A completion never prints, and never fails: it has nothing to offer then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from renorm_cli.errors import OutputError, UsageError

_PLAIN = re.compile(r"[\w/.][\w/.+,-]*")
"""Letters and digits of any script, and signs that no shell gives a meaning to."""

PROGRAM = "renorm-ckpt"

_LONGEST = 200
_MOST = 500
"""Characters of an offer, and offers: nobody reads more."""

_MOST_FILES = 20_000


def variable_names(ctx: Any, incomplete: str) -> list[str]:
    """Names of the variables in the checkpoints that the line already has, those that begin with `incomplete`.

    State of an optimizer, statistics and counters are offered where no weight begins so.
    """
    try:
        weights, others = _names(_given(ctx))
        return _plain(incomplete, weights) or _plain(incomplete, others)
    except Exception:  # noqa: BLE001  (a traceback in the middle of a prompt helps nobody)
        return []


_SHELLS = ("bash", "zsh", "fish")


def prepare() -> None:
    """Make ready to answer a shell."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def shown(shell: str) -> str:
    """The script that a shell reads to complete. Raises UsageError for another shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    prepare()
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
    return str(get_completion_script(prog_name=PROGRAM, complete_var=variable, shell=_known(shell)))


def installed(shell: str) -> str:
    """Set completion up for a shell, and say where. Raises UsageError for another shell, OutputError."""
    from typer.completion import install  # type: ignore[attr-defined]

    prepare()
    _known(shell)
    try:
        name, path = install(shell=shell, prog_name=PROGRAM)
    except OSError as error:
        raise OutputError(f"completion in {shell} cannot be set up: {error.strerror}, {error.filename!r}") from None
    return f"{name} completes {PROGRAM} from its next start on, by {path}"


def _known(shell: str) -> str:
    if shell not in _SHELLS:
        raise UsageError(f"{shell!r} is no shell that is completed in; give {', '.join(_SHELLS[:-1])} or {_SHELLS[-1]}")
    return shell


def files_called(ending: str) -> Callable[[str], list[str]]:
    """What offers the files of that ending, and folders that may hold some."""

    def offer(incomplete: str) -> list[str]:
        try:
            return _plain(incomplete, (name for name in _files(incomplete) if name.endswith((ending, "/"))))
        except Exception:  # noqa: BLE001  (as above)
            return []

    return offer


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


def _names(paths: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Names of weights, and names of what no pattern selects."""
    from renorm_cli.conventions.identify import role_of
    from renorm_cli.errors import RenormError
    from renorm_cli.formats.registry import open_checkpoint
    from renorm_cli.model.identity import NEVER_BY_NAME

    found: tuple[list[str], list[str]] = ([], [])
    for path in paths:
        try:
            with open_checkpoint(path) as source:
                for variable in source.variables:
                    found[role_of(variable) in NEVER_BY_NAME].append(variable.name)
        except RenormError:
            continue
    return found


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
