"""The entry point of `renorm-ckpt` and `python -m renorm_cli`."""

from __future__ import annotations

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Until it listens to Ctrl-C itself, Ctrl-C ends the process without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from renorm_cli.cli import main

    main()


if __name__ == "__main__":
    main()
