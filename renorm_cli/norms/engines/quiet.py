"""Keeps TensorFlow's start-up lines off the terminal.

Two halves are needed. `TF_CPP_MIN_LOG_LEVEL` silences what is logged once TensorFlow runs; some lines are written
before any level is read, by static initialisers of its shared libraries, straight to file descriptor 2.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back all that is written to file descriptor 2 inside, and drop it unless something is raised.

    An exception passes through after the held text went to the real stderr. It is process-wide: to be used before
    threads or progress bars start. With RENORM_TF_LOG=1 in the environment, or without a stderr, it does nothing.
    """
    if os.environ.get("RENORM_TF_LOG") == "1":
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        real = os.dup(_STDERR)
    except OSError:  # closed by the caller: nothing can be seen
        yield
        return
    try:
        with tempfile.TemporaryFile() as held, _crashes_told(real):
            _flush()
            os.dup2(held.fileno(), _STDERR)
            try:
                yield
            except BaseException:
                _flush()
                held.seek(0)
                with open(real, "wb", closefd=False) as stderr:
                    stderr.write(held.read())
                raise
            finally:
                _flush()
                os.dup2(real, _STDERR)
    finally:
        os.close(real)


@contextlib.contextmanager
def _crashes_told(real: int) -> Iterator[None]:
    """Send the trace of a crash (SIGILL on an old processor) to the real stderr while descriptor 2 is held."""
    enabled = faulthandler.is_enabled()
    faulthandler.enable(file=real)
    try:
        yield
    finally:
        if enabled:
            faulthandler.enable(file=_STDERR)  # where it was cannot be asked; this is where it is by default
        else:
            faulthandler.disable()


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
