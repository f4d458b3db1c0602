"""Keeps TensorFlow's start-up lines off the terminal.

That takes two steps. `TF_CPP_MIN_LOG_LEVEL` silences messages of the running TensorFlow. Earlier lines are written by
static initialisers of its shared libraries, which read no level and write directly to file descriptor 2.
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
    """Hold back all output to file descriptor 2, and drop it when the block ends without an exception.

    An exception first writes the held text to the real stderr, then passes through. This affects the whole process, so
    use it before threads or progress bars start. Does nothing with RENORM_TF_LOG=1 in the environment, or without a
    stderr.
    """
    if os.environ.get("RENORM_TF_LOG") == "1":
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        real = os.dup(_STDERR)
    except OSError:  # the caller closed stderr
        yield
        return
    try:
        with tempfile.TemporaryFile() as held, _traces_crashes(real):
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
def _traces_crashes(real: int) -> Iterator[None]:
    """Send the trace of a crash (SIGILL on an old processor) to the real stderr while descriptor 2 is held."""
    enabled = faulthandler.is_enabled()
    faulthandler.enable(file=real)
    try:
        yield
    finally:
        if enabled:
            faulthandler.enable(file=_STDERR)  # its previous file is unknown; this is the default
        else:
            faulthandler.disable()


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
