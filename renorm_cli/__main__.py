"""The entry point of `renorm-ckpt` and `python -m renorm_cli`."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Until it handles signals itself, one ends the process with a line that says so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, _stop)
    # Importing NumPy would start BLAS threads, which spin; matrices are shared among threads of ours, to the same bits.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The imports, and a checkpoint of many variables, allocate many small objects of which few become garbage.
    gc.set_threshold(200_000)
    _open_standard_files()
    try:
        from renorm_cli.cli.app import main
    except ModuleNotFoundError as error:
        from renorm_cli.errors import not_installed

        sys.stderr.write(f"error: {not_installed(error)}\n")
        sys.exit(2)
    try:
        main()
    finally:
        gc.freeze()  # otherwise the exiting interpreter traverses every object of the libraries once more


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End a process that has not begun to work."""
    with suppress(OSError):
        os.write(2, b"error: stopped; nothing was begun\n")
    os._exit(128 + number)


def _open_standard_files() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr (`>&-`).

    Otherwise an output file would get the number of stderr, and libraries that write to stderr would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(os.dup(1), "w")
    sys.stderr = sys.stderr or os.fdopen(os.dup(2), "w")
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks is escaped, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
