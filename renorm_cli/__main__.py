"""The entry point of `renorm-ckpt` and `python -m renorm_cli`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Until it listens to Ctrl-C itself, Ctrl-C ends the process without a word."""
    # NumPy's BLAS, which nothing here calls, would start threads at import that spin: a tenth of a short run.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Of many small objects few are garbage: a tenth of the time of 100,000 variables, and a tenth of that of a small
    # file, whose imports alone are 50,000.
    gc.set_threshold(200_000)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_standard_files()
    from renorm_cli.cli.app import main

    try:
        main()
    finally:
        gc.freeze()  # else the interpreter, at its end, looks once more at every object of the libraries: another tenth


def _open_standard_files() -> None:
    """Where stdin, stdout or stderr is closed (`>&-`), open nothing in its place: else an output would get its number.

    Libraries write to the number of stderr, whatever it is by then.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(os.dup(1), "w")
    sys.stderr = sys.stderr or os.fdopen(os.dup(2), "w")


if __name__ == "__main__":
    main()
