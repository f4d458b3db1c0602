"""Runs of the command line, in a process of its own, in this one, and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from renorm_cli.cli.app import main


def renorm(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "renorm_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def renorm_here(capfd: pytest.CaptureFixture[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same without the cost of a process, for the many cases that end before any work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["renorm-ckpt", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
    printed = capfd.readouterr()
    assert isinstance(done.value.code, int)
    return subprocess.CompletedProcess(arguments, done.value.code, printed.out, printed.err)


def refused(done: subprocess.CompletedProcess[str], what: str) -> None:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert what in done.stderr


def on_a_terminal(*arguments: object, columns: int = 100, **environment: str) -> str:
    """What a run prints on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(environment, COLUMNS=str(columns))
        os.execv(sys.executable, [sys.executable, "-m", "renorm_cli", *map(str, arguments)])
    printed = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        printed += part
    os.close(terminal)
    os.waitpid(pid, 0)
    return printed.decode()
