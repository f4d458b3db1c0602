"""The terminal: a progress bar and one-line messages on stderr, text on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm_cli.render.progress import Progress


@contextmanager
def progress(label: str, quiet: bool, color: str) -> Iterator[Meter]:
    meter = Meter(label, enabled=not quiet and sys.stderr.isatty(), colour=color != "never")
    try:
        yield meter
    finally:
        meter.stop()


class Meter:
    """A progress bar that is made when it is known how much there is to do."""

    def __init__(self, label: str, *, enabled: bool, colour: bool) -> None:
        self._label = label
        self._colour = colour
        self._enabled = enabled
        self._bar: Progress | None = None

    def start(self, total: int) -> None:
        from renorm_cli.render.progress import Progress

        if self._enabled:
            self._bar = Progress(total, enabled=True, label=self._label, colour=self._colour)

    def advance(self, nbytes: int) -> None:
        if self._bar is not None:
            self._bar.advance(nbytes)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)


def print_text(text: str) -> None:
    """Write to stdout; a reader that has gone away changes nothing."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """One line on stderr."""
    from renorm_cli.render.text import one_line

    sys.stderr.write(one_line(message) + "\n")
    sys.stderr.flush()
