"""Runs the command line in a forked child, and kills it, or fails a system call, at the k-th call that changes a disk.

Calls are counted over the child and the processes it forks itself. The child goes through `os`, as all Python does;
the one call of the tool that does not, the exchange of two folders, is counted too.
"""

from __future__ import annotations

import gc
import io
import mmap
import os
import signal
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import typer.main

from renorm_cli.cli import app
from renorm_cli.storage import exchange

CALLS = (
    "open", "pwrite", "write", "ftruncate", "copy_file_range", "fsync", "replace", "rename", "unlink", "rmdir",
    "mkdir", "link",
)  # fmt: skip
NAMES = ("replace", "rename", "unlink", "exchange")
"""Calls that give or take names: the moments that matter most."""

COMMAND = typer.main.get_command(app.app)
"""Made once: it takes as long as a run."""

Deed = Literal["nothing", "kill within", "kill after", "fail"]


@dataclass(frozen=True)
class Fault:
    """What happens at the `number`-th call (from 1); calls after a failed one fail too where `lasting`.

    Within a write the process is killed when half of it is done, within others before they do anything.
    """

    number: int = 0
    deed: Deed = "nothing"
    errno: int = 0
    lasting: bool = False


UNDISTURBED = Fault()


@dataclass(frozen=True)
class Ran:
    """How a run ended: `code` is negative for a signal; `calls` are those that were counted."""

    code: int
    stderr: str
    calls: tuple[str, ...]


def warm(arguments: Sequence[str]) -> None:
    """Do in this process what children will do, so that none of them has to import anything."""
    assert app._run(lambda: COMMAND.main(list(arguments), standalone_mode=False)) == 0


def run(arguments: Sequence[str], fault: Fault = UNDISTURBED) -> Ran:
    """`renorm-ckpt` with these arguments, in a child, disturbed."""
    log = mmap.mmap(-1, 1 << 16)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _live(arguments, fault, log, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        stderr = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    (count,) = struct.unpack_from("<Q", log)
    calls = tuple((*CALLS, "exchange")[number] for number in log[8 : 8 + count])
    return Ran(os.waitstatus_to_exitcode(status), stderr, calls)


def _live(arguments: Sequence[str], fault: Fault, log: mmap.mmap, writing: int) -> None:
    code = 99
    said = io.StringIO()
    write = os.write
    gc.disable()  # it would copy every page of the parent
    try:
        sys.stdout, sys.stderr = io.StringIO(), said
        _install(fault, log)
        code = app._run(lambda: COMMAND.main(list(arguments), standalone_mode=False))
    except BaseException:  # noqa: BLE001  (a child that came back to pytest would run the other tests twice)
        said.write(traceback.format_exc())
    finally:
        write(writing, said.getvalue().encode()[: 1 << 15])
        os._exit(code)


def _install(fault: Fault, log: mmap.mmap) -> None:
    parent = os.getpid()

    def gate(name: int, call: Callable[[], Any], half: Callable[[], Any] = lambda: None) -> Any:
        (before,) = struct.unpack_from("<Q", log)
        log[8 + before] = name
        struct.pack_into("<Q", log, 0, before + 1)
        if before + 1 == fault.number and fault.deed == "kill within":
            half()
            _die(parent)
        if fault.deed == "fail" and (before + 1 == fault.number or (fault.lasting and before + 1 > fault.number)):
            raise OSError(fault.errno, os.strerror(fault.errno))
        try:
            return call()
        finally:
            if before + 1 == fault.number and fault.deed == "kill after":
                _die(parent)

    def counted(number: int, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: gate(number, lambda: real(*args, **options))

    def torn(number: int, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda fd, data, *at: gate(
            number, lambda: real(fd, data, *at), lambda: real(fd, data[: len(data) // 2], *at)
        )

    os.fsync = lambda fd: None  # what is killed loses nothing that was written; a loss of power is another test
    opened = os.open
    for number, name in enumerate(CALLS[1:], 1):
        setattr(os, name, (torn if name in ("write", "pwrite") else counted)(number, getattr(os, name)))

    def open_counted(path: Any, flags: int, *args: Any, **options: Any) -> int:
        call = lambda: opened(path, flags, *args, **options)  # noqa: E731
        return int(gate(0, call) if flags & os.O_CREAT else call())

    os.open = open_counted  # type: ignore[assignment]
    exchange._swap = counted(len(CALLS), exchange._swap)


def _die(parent: int) -> None:
    os.kill(parent, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
