"""A progress bar on stderr for work that takes longer than a moment."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from renorm_cli.text import bytes_text, shorten, show

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

DELAY = 1.0
"""Seconds of work before the bar appears."""

LABEL_WIDTH, BAR_WIDTH, FACTS_WIDTH = 30, 24, 40
"""Cells of the label and of the bar if there is room, and of the bytes, speed and time beside them."""


class Progress:
    """Shows how many of `total` bytes are done, the speed, and the remaining time.

    Writes nothing unless `enabled`, stderr is a terminal that can move its cursor, and the work takes longer than
    DELAY; only then does it import rich. `advance` is safe from any thread. The bar disappears at the end, also after
    an exception.
    """

    def __init__(self, total: int, *, enabled: bool, label: str, colour: bool = True) -> None:
        self._total = total
        self._colour = colour
        self._label = label
        self._enabled = enabled
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._done = 0
        self._bar: tuple[Bar, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._enabled = False
            if self._bar is not None:
                self._bar[0].stop()

    def begin(self, total: int, label: str) -> None:
        """Go on with another pass, of `total` bytes."""
        with self._lock:
            self._total, self._label, self._done = total, label, 0
            if self._bar is not None and self._enabled:
                self._bar[0].stop()
                self._bar = None
                self._open()

    def advance(self, nbytes: int) -> None:
        """Add `nbytes` to the bytes done."""
        with self._lock:
            self._done += nbytes
            if self._bar is None and self._enabled and time.monotonic() - self._started > DELAY:
                self._open()
            if self._bar is not None and self._enabled:
                self._bar[0].update(self._bar[1], completed=self._done)

    def say(self, label: str) -> None:
        """Change the label; it is shown with the next `advance`."""
        with self._lock:
            self._label = label
            if self._bar is not None and self._enabled:
                self._bar[0].update(self._bar[1], description=shorten(show(label), LABEL_WIDTH))

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column
        from rich.text import Text

        class Speed(ProgressColumn):  # rich's own column shows MB/s beside the other column's MiB
            def render(self, task: Task) -> Text:
                return Text(f"{bytes_text(int(task.speed))}/s" if task.speed else "", "dim")

        console = Console(
            stderr=True,
            markup=False,
            highlight=False,
            emoji=False,
            color_system="auto" if self._colour else None,  # None also turns bold and dim off, which NO_COLOR does not
        )
        if not (sys.stderr.isatty() and console.is_interactive):  # with FORCE_COLOR, rich takes anything for a terminal
            self._enabled = False
            return
        spare = max(console.width - FACTS_WIDTH, 0)
        width = min(BAR_WIDTH, spare // 2)
        plain = not console.encoding.startswith("utf")
        label = shorten(show(self._label, ascii=plain), min(LABEL_WIDTH, spare - width), ascii=plain)
        whole = Column(no_wrap=True)
        bar = Bar(
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(width, table_column=whole),
            DownloadColumn(binary_units=True, table_column=whole),
            Speed(table_column=whole),
            TimeRemainingColumn(table_column=whole),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bar = bar, bar.add_task(label, total=self._total, completed=self._done)
        bar.start()
