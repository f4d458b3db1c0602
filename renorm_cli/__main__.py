"""The entry point of `renorm-ckpt` and `python -m renorm_cli`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Until it handles Ctrl-C itself, Ctrl-C ends the process silently."""
    # Importing NumPy would start BLAS threads, which spin and which nothing here uses.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The imports, and a checkpoint of many variables, allocate many small objects of which few become garbage.
    gc.set_threshold(200_000)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_standard_files()
    from renorm_cli.cli.app import main

    try:
        main()
    finally:
        gc.freeze()  # otherwise the exiting interpreter traverses every object of the libraries once more


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


if __name__ == "__main__":
    main()
