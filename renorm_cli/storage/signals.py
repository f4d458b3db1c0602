"""Hold signals back while work that must not stop halfway is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the block ends, then deliver them.

    Blocking them with a signal mask would not help: the system hands them to another thread (NumPy starts some), and
    Python then runs the handler in the main thread all the same. Outside the main thread there is nothing to do,
    because Python runs no handler there.
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
