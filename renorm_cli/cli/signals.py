"""Signals that end a run: nothing is left half done, and what became of the files is said."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from renorm_cli.formats.location import Location

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked the run to end; carries the exit code, and what to say of the files."""

    def __init__(self, signum: int) -> None:
        self.code = 128 + signum
        self.files = "no unfinished output was left"


@contextmanager
def heard() -> Iterator[None]:
    """Let a signal raise Stopped in this block; after it, signals end the process as they do by default."""
    signums = [signum for signum in _STOPPING if signal.getsignal(signum) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    for signum in signums:
        signal.signal(signum, _stop)
    yield
    for signum in signums:
        signal.signal(signum, signal.SIG_DFL)


def _stop(signum: int, frame: object) -> NoReturn:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # cleaning up is not to be stopped half-way
    raise Stopped(signum)


@contextmanager
def untouched(paths: Sequence[Path], output: Location | None = None) -> Iterator[None]:
    """Say of a signal in this block that the files at `paths`, which it only reads, are as they were.

    Where there is an `output`, say whether it was written: a signal has to wait while it gets its name.
    """
    before = _identity(output)
    try:
        yield
    except Stopped as stopped:
        if output is not None and _identity(output) != before:
            stopped.files = f"{str(output.path)!r} was written before"
        else:
            others = f" and {len(paths) - 1} more are as they were" if len(paths) > 1 else " is as it was"
            stopped.files = f"{str(paths[0])!r}{others}{'' if output is None else ', no output was written'}"
        raise


def _identity(output: Location | None) -> tuple[int, int, int] | None:
    try:
        found = None if output is None else output.index.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino, found.st_mtime_ns)
