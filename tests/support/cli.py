"""Runs of the command line, in a fork of this process, in this one, and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

import pytest

from renorm_cli.__main__ import main


def renorm(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run in a fork of this process, which has the imports that an interpreter of its own would spend its time on."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _live([*map(str, arguments)], out.fileno(), err.fileno(), cwd, environment)
        _, status = os.waitpid(pid, 0)
        for file in (out, err):
            file.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess([*map(str, arguments)], code, out.read().decode(), err.read().decode())


def _live(arguments: list[str], out: int, err: int, cwd: Path | None, environment: dict[str, str]) -> NoReturn:
    code = 70
    try:
        os.environ.update(environment)
        os.chdir(cwd or ".")
        encoding = environment.get("PYTHONIOENCODING", "utf-8")
        for number, descriptor in ((1, out), (2, err)):
            os.dup2(descriptor, number)
        sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.argv = ["renorm-ckpt", *arguments]
        try:
            main()
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else 1
        except BaseException:  # noqa: BLE001  (as the interpreter does: whatever it is, a traceback and exit code 1)
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


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
