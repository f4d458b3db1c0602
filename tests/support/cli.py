"""Runs of the command line, in this process and on a terminal."""

from __future__ import annotations

import gc
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from renorm_cli.__main__ import main

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def renorm(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run in this process, with descriptors 1 and 2 of its own: starting one takes longer than most runs."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with pytest.MonkeyPatch.context() as patch, _descriptors({1: out.fileno(), 2: err.fileno()}):
            patch.chdir(cwd or ".")
            for name, value in environment.items():
                patch.setenv(name, value)
            encoding = environment.get("PYTHONIOENCODING", "utf-8")
            with (
                open(1, "w", encoding=encoding, closefd=False) as stdout,
                open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False) as stderr,
            ):
                patch.setattr(sys, "stdout", stdout)
                patch.setattr(sys, "stderr", stderr)
                code = _run([*map(str, arguments)])
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess([*map(str, arguments)], code, out.read().decode(), err.read().decode())


def renorm_here(capfd: pytest.CaptureFixture[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, where the test captures both descriptors."""
    code = _run([*arguments])
    printed = capfd.readouterr()
    return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)


def _run(arguments: list[str]) -> int:
    """The exit code of `main`, which leaves signals and the collection of garbage as they were."""
    handlers, thresholds = {number: signal.getsignal(number) for number in _HEARD}, gc.get_threshold()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["renorm-ckpt", *arguments])
        try:
            with pytest.raises(SystemExit) as done:
                main()
        finally:
            gc.unfreeze()
            gc.set_threshold(*thresholds)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert isinstance(done.value.code, int)
    return done.value.code


@contextmanager
def _descriptors(new: Mapping[int, int]) -> Iterator[None]:
    """Other files behind some descriptors for a while."""
    old = {number: os.dup(number) for number in new}
    try:
        for number, descriptor in new.items():
            os.dup2(descriptor, number)
        yield
    finally:
        for number, descriptor in old.items():
            os.dup2(descriptor, number)
            os.close(descriptor)


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
