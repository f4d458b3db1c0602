"""Work that signals have to wait for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals wait until the block ends: between the first rename and the last there is no good place to stop.

    Blocking them in this thread would not do: the system gives them to another one (NumPy starts some), and Python
    runs the handler here all the same. In other threads than the main one Python never runs handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.getsignal(number) for number in _WAITING}
    mine = [number for number in _WAITING if before[number] not in (None, signal.SIG_IGN)]
    try:
        for number in mine:
            signal.signal(number, wait)
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
        for came in dict.fromkeys(arrived):
            signal.raise_signal(came)
