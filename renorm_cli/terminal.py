"""What reaches the terminal: reports on stdout, warnings, errors and a progress bar on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm_cli.model import DiffReport, Report
    from renorm_cli.render.progress import Progress


def rendered(found: Sequence[Report] | DiffReport, targets: Sequence[Path]) -> dict[Path, bytes]:
    return {target: _text(found, target.suffix[1:]).encode("utf-8", "backslashreplace") for target in targets}


def _text(found: Sequence[Report] | DiffReport, format: str) -> str:
    if not isinstance(found, Sequence):
        return _diff_text(found, format)
    if format == "json":
        from renorm_cli.render.json_report import render_json

        return render_json(found)
    if format == "csv":
        from renorm_cli.render.csv_report import render_csv

        return render_csv(found)
    from renorm_cli.render.table import render_table

    width, colour, ascii = _look()
    return "\n".join(render_table(one, width=width, colour=colour, ascii=ascii) for one in found)


def _diff_text(found: DiffReport, format: str) -> str:
    if format == "json":
        from renorm_cli.render.diff_record import render_diff_json

        return render_diff_json(found)
    if format == "csv":
        from renorm_cli.render.diff_record import render_diff_csv

        return render_diff_csv(found)
    from renorm_cli.render.diff_table import render_diff

    width, colour, ascii = _look()
    return render_diff(found, width=width, colour=colour, ascii=ascii)


def _look() -> tuple[int | None, bool, bool]:
    """The width of the terminal, None where there is none, whether it has colours, and whether only ASCII."""
    ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    terminal = sys.stdout.isatty()
    width = os.get_terminal_size(sys.stdout.fileno()).columns or 80 if terminal else None
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return width, colour, ascii


def show(found: Sequence[Report] | DiffReport, format: str, quiet: bool) -> None:
    """Warnings to stderr, what was found to stdout."""
    if quiet:
        return
    reports = found if isinstance(found, Sequence) else (found,)
    for report in reports:
        for note in report.notes:
            if note.warning:
                complain(f"warning: {note.text}")
    if reports:
        print_text(_text(found, format))


@contextmanager
def progress(label: str, quiet: bool) -> Iterator[Meter]:
    meter = Meter(label, enabled=not quiet and sys.stderr.isatty())
    try:
        yield meter
    finally:
        meter.stop()


class Meter:
    """A progress bar that is made when it is known how much there is to do."""

    def __init__(self, label: str, *, enabled: bool) -> None:
        self._label = label
        self._enabled = enabled
        self._bar: Progress | None = None

    def start(self, total: int) -> None:
        from renorm_cli.render.progress import Progress

        if self._enabled:
            self._bar = Progress(total, enabled=True, label=self._label)

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
