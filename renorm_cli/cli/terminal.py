"""The terminal: a progress bar and one-line messages on stderr, text on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from renorm_cli.errors import OutputError

if TYPE_CHECKING:
    from renorm_cli.render.terminal.progress import Progress


Colour = Literal["auto", "always", "never"]


class Printing(Protocol):
    """What is printed and how, as the options of a command say; where `format` is None, none was asked for."""

    @property
    def format(self) -> str | None: ...

    @property
    def color(self) -> Colour: ...

    @property
    def quiet(self) -> bool: ...


class Reporting(Printing, Protocol):
    """What is printed, and the files that reports are written to."""

    @property
    def report(self) -> list[str] | None: ...


@contextmanager
def progress(label: str, printing: Printing) -> Iterator[Meter]:
    """A meter for the work on what has that label; its bar goes when the block ends."""
    enabled = not printing.quiet and sys.stderr.isatty()
    meter = Meter(label, enabled=enabled, colour=printing.color != "never", quiet=printing.quiet)
    try:
        yield meter
    finally:
        meter.stop()


class Meter:
    """A progress bar that is made when it is known how much there is to do."""

    def __init__(self, label: str, *, enabled: bool, colour: bool, quiet: bool = False) -> None:
        self._label = label
        self._quiet = quiet
        self._colour = colour
        self._enabled = enabled
        self._bar: Progress | None = None

    def start(self, total: int, doing: str) -> None:
        label = f"{doing} {self._label}"
        if self._bar is not None:
            self._bar.begin(total, label)
        elif self._enabled:
            from renorm_cli.render.terminal.progress import Progress

            self._bar = Progress(total, enabled=True, label=label, colour=self._colour)

    def tell(self, text: str) -> None:
        """Say beforehand what takes long."""
        if not self._quiet:
            complain(f"{self._label}: {text}")

    def advance(self, nbytes: int) -> None:
        if self._bar is not None:
            self._bar.advance(nbytes)

    def say(self, label: str) -> None:
        """Change the label."""
        self._label = label
        if self._bar is not None:
            self._bar.say(label)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)


def print_text(text: str) -> None:
    """Write to stdout; a reader that has gone away changes nothing. Raises OutputError where the disk is full."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(f"nothing can be written to stdout: {error.strerror}; is its disk full?") from None


def print_error(text: str) -> None:
    """Write to stderr; what cannot be said there cannot be said at all."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere: the interpreter would fail on it at its end, and exit with 120."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def complain(message: str) -> None:
    """One line on stderr."""
    from renorm_cli.text import one_line

    print_error(one_line(message) + "\n")


def warn(message: str, colour: Colour = "auto") -> None:
    """One line on stderr, yellow where it has colours."""
    from renorm_cli.text import one_line

    line = one_line(f"warning: {message}")
    print_error(f"\x1b[33m{line}\x1b[0m\n" if has_colour(sys.stderr, colour) else f"{line}\n")


def has_colour(stream: TextIO, colour: Colour) -> bool:
    """Whether a stream gets colours: as the option says, and else as NO_COLOR and then FORCE_COLOR (no-color.org).

    The variables count where they are not empty. Without any, a terminal has colours.
    """
    if colour != "auto":
        return colour == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
