"""Signals that end a run: nothing is left half done, and what became of the files is said."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from renorm_cli.errors import some_names

_PATHS = 400
"""Characters that the paths of outputs take in a message, whose names are seldom cut then."""

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Written(NamedTuple):
    """What a run writes: the name it has in messages, and the file or folder that is there once it is written."""

    shown: Path
    found: Path


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
def untouched(paths: Sequence[Path], outputs: Sequence[Written] = ()) -> Iterator[None]:
    """Say of a signal in this block that the files at `paths`, which it only reads, are as they were.

    Where `outputs` are written in it, say which were: a signal has to wait while they get their names.
    """
    before = [_identity(output.found) for output in outputs]
    try:
        yield
    except Stopped as stopped:
        found = [str(one.shown) for one, old in zip(outputs, before, strict=True) if _identity(one.found) != old]
        if found:
            stopped.files = f"{some_names(found, _PATHS)} {'were' if len(found) > 1 else 'was'} written before"
        else:
            others = f" and {len(paths) - 1} more are as they were" if len(paths) > 1 else " is as it was"
            stopped.files = f"{str(paths[0])!r}{others}{', no output was written' if outputs else ''}"
        raise


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
