"""The files that a run is asked to write beside checkpoints, and what must not be lost to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from renorm_cli.cli.terminal import Reporting
from renorm_cli.errors import OutputError, UsageError, Way
from renorm_cli.formats.location import Folder, Location
from renorm_cli.formats.registry import is_one_of
from renorm_cli.render.registry import FORMATS, Format, format_of

STDOUT = Path("-")


class Target(NamedTuple):
    """A file that a report is written to, or STDOUT, and the name of its format."""

    path: Path
    format: str


def targets(
    reporting: Reporting,
    taken: Sequence[Path | None],
    formats: Mapping[str, Format] = FORMATS,
    *,
    journals: Sequence[Path | None] = (),
) -> list[Target]:
    """Take apart what `--report` was given: `FILE`, whose ending chooses the format, or `FORMAT=FILE`.

    Raises UsageError for a file of no known format, under the name of a file that is read (`taken`) or of one of the
    `journals`, or named twice, and for stdout where `--format` has a use for it.
    """
    texts = reporting.report
    kept = _real(journals)
    found: dict[str, Target] = {}
    for text in texts or ():
        said, _, rest = text.partition("=")
        target = Target(Path(rest), said) if said in FORMATS and rest else _by_ending(text, formats)
        if target.format not in formats:
            raise UsageError(f"--report {text!r}: this command writes {_all(formats)} only")
        if target.path == STDOUT and reporting.format in FORMATS:
            raise UsageError(f"--report {text!r} is stdout, which --format {reporting.format} has; leave out one")
        real = os.path.realpath(target.path)
        if real in kept:
            raise UsageError(f"--report {text!r} is a journal of this run; give the report another name")
        if is_one_of(target.path, taken) and not (_is_ours(target) and real not in _real(taken)):
            raise UsageError(f"--report {text!r} is another file of this run; give the report another name")
        if real in found:
            raise UsageError(f"--report {text!r}: another report of this run has that name; give it one of its own")
        found[real] = target
    return list(found.values())


def _real(paths: Iterable[Path | None]) -> set[str]:
    return {os.path.realpath(path) for path in paths if path is not None}


def _is_ours(target: Target) -> bool:
    """Whether the file is a report of ours, which may lie in the folder of a checkpoint."""
    from renorm_cli.render.earlier import checkpoints_in

    return checkpoints_in(target.path, target.format) is not None


def refuse_taken(files: Iterable[Target], about: Sequence[Path], *, force: bool) -> None:
    """Raise OutputError for a file that is there, unless it is a report of ours on these checkpoints alone."""
    mine = {os.path.normpath(path) for path in about}
    for file in files:
        if force or file.path == STDOUT or not os.path.lexists(file.path):
            continue
        from renorm_cli.render.earlier import checkpoints_in, is_told

        there = checkpoints_in(file.path, file.format)
        if there is None or not {os.path.normpath(path) for path in there} <= mine:
            those = "this checkpoint" if len(about) == 1 else "these checkpoints"
            why = f", and is no report on {those}" if is_told(file.format) else ""
            ways = Way("report", "give another"), Way("force", "replace it", True)
            raise OutputError(f"{str(file.path)!r} exists{why}", *ways)


def refuse_inside(files: Iterable[Target], output: Location) -> None:
    """Raise UsageError for a file inside an output that is a folder, which gets its name as a whole."""
    if not isinstance(output, Folder):
        return
    real = Path(os.path.realpath(output.path))
    for file in files:
        if file.path != STDOUT and real in Path(os.path.realpath(file.path)).parents:
            raise UsageError(
                f"--report {str(file.path)!r} is inside the output, a folder that is written as a whole; give the"
                " report a place outside it"
            )


def refuse_journal(path: Path | None, taken: Sequence[Path | None]) -> None:
    """Raise UsageError where `--journal` names an empty file that the run has a use for: a journal would begin in it.

    One that holds something else stays as it is.
    """
    if path is not None and path.is_file() and path.stat().st_size == 0 and is_one_of(path, taken):
        raise UsageError(f"--journal {str(path)!r} is another file of this run; give the journal a name of its own")


def _by_ending(text: str, formats: Mapping[str, Format]) -> Target:
    if text == str(STDOUT):
        raise UsageError("--report '-' is stdout, which has no ending; say the format, as in --report json=-")
    name = format_of(text, formats)
    if name is None:
        endings = [ending for one in formats.values() for ending in one.endings[:1]]
        raise UsageError(
            f"--report {text!r}: the ending chooses the format; use {', '.join(endings[:-1])} or {endings[-1]},"
            f" or say it as FORMAT=FILE ({_all(formats)})"
        )
    return Target(Path(text), name)


def _all(formats: Mapping[str, Format]) -> str:
    return ", ".join(formats)


def refuse_norms(path: Path, taken: Sequence[Path | None], *, force: bool) -> None:
    """Raise UsageError where `--norms` asks for what it cannot write, or for a file that the run has a use for.

    Raises OutputError where the file is there, without `force`.
    """
    if path.suffix != ".npz":
        raise UsageError(f"--norms {str(path)!r}: a file of NumPy arrays is written; give it a name that ends in .npz")
    if is_one_of(path, taken):
        raise UsageError(f"--norms {str(path)!r} is another file of this run; give the norms a name of their own")
    if os.path.lexists(path) and not force:
        raise OutputError(f"{str(path)!r} exists", Way("norms", "give another"), Way("force", "replace it", True))
