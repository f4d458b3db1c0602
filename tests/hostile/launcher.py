"""A process that has the tool imported and forks one child for each run: 5 ms instead of an interpreter's start.

It has no threads of its own and opens nothing, so that a child differs from a fresh process in its imports alone.
Requests and answers are lines of JSON on stdin and stdout. Run as a script; everything else is in frame.py.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import renorm_cli

_LAZY = ("renorm_cli.training", "renorm_cli.tf", "renorm_cli.norms.engines.tensorflow_engine", "renorm_cli.__main__")
"""Modules that import TensorFlow, and the entry point itself."""

FORBIDDEN_IMPORTS = ("tensorflow", "keras", "tf_keras", "torch", "jax", "dill", "joblib", "yaml")
FORBIDDEN_EVENTS = (
    "marshal.load", "pickle.find_class", "exec", "compile", "code.__new__", "function.__new__", "os.system",
    "os.exec", "os.posix_spawn", "subprocess.Popen", "os.startfile", "ctypes.dlopen", "socket.connect",
    "socket.getaddrinfo", "urllib.Request", "shutil.unpack_archive", "webbrowser.open",
)  # fmt: skip
"""Audit events (beginnings of their names) of running foreign code, or of reaching out."""

_COMPILE = ("importlib._bootstrap", "jinja2.")
"""Modules that compile and run files of the package: its sources, and the templates of its pages."""

_IMPORTS = ("gguf",)
"""Packages that import what a reader of data has no use for, whatever it reads."""

_EVALUATE = ("inspect", "typing", "annotationlib", "dataclasses", "collections")
"""Modules that turn our own annotations into types."""

_GRACE = 1.0
"""Seconds a process that outlives the tool has to end by itself."""
_SUBREAPER = 36  # prctl(2): PR_SET_CHILD_SUBREAPER


def preload() -> None:
    for module in pkgutil.walk_packages(renorm_cli.__path__, "renorm_cli."):
        if not module.name.startswith(_LAZY):
            importlib.import_module(module.name)
    for name in ("h5py", "ml_dtypes", "numpy.random", "encodings.idna", "stringprep", "zipfile", "csv"):
        importlib.import_module(name)
    from renorm_cli.formats.hdf5 import server

    server.library()
    gc.collect()
    gc.freeze()


def watch(log: str, outside: str) -> None:
    """From now on write down what this process and its forks do that a reader of data never does."""
    busy = False

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy:
            return
        if event in ("open", "os.listdir", "os.scandir", "glob.glob"):
            name = arguments[0]
            seen = isinstance(name, str | bytes) and os.fsdecode(name).startswith(outside)
        elif event == "ctypes.dlopen":
            seen = arguments[0] is not None  # the C library is there already
        elif event == "import":
            seen = str(arguments[0]).split(".")[0] in FORBIDDEN_IMPORTS and not _under(_IMPORTS)
        else:
            seen = event.startswith(FORBIDDEN_EVENTS) and not _ours()
        if seen:
            busy = True
            try:
                with Path(log).open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(f"{event} {str(arguments)[:200]}\n")
            finally:
                busy = False

    sys.addaudithook(note)


def _ours() -> bool:
    """Whether the event is the import system's, or that of a module that only evaluates annotations of ours."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith(_EVALUATE) or _under(_COMPILE)


def _under(modules: tuple[str, ...]) -> bool:
    """Whether one of these modules, by the beginning of its name, is being run."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(modules):
            return True
        frame = frame.f_back
    return False


def live(request: dict[str, Any]) -> NoReturn:
    """The child's life: become what a shell would have started."""
    code = 70
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            descriptor = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(null)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.umask(0o022)
        tempfile.tempdir = None
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.argv = ["renorm-ckpt", *request["arguments"]]
        module, _, function = request["tool"].partition(":")
        tool = getattr(importlib.import_module(module), function)
        watch(request["log"], request["outside"])
        code = _exit_code(tool)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _exit_code(tool: Any) -> int:
    try:
        tool()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:  # noqa: BLE001  (as the interpreter does: whatever it is, a traceback and exit code 1)
        traceback.print_exc()
        return 1
    return 0


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the tool once: exit code (negative: the signal), seconds, peak bytes of the largest process, who is left."""
    started = time.monotonic()
    child = os.fork()
    if not child:
        live(request)
    late = not _ended(child, request["deadline"])
    if late:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    left, peak = _reap_orphans(0.0 if late else _GRACE)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "peak": max(usage.ru_maxrss, peak) << 10,
        "late": late,
        "left": left,
    }


def _ended(pid: int, patience: float) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], patience)[0])
    finally:
        os.close(descriptor)


def _reap_orphans(patience: float) -> tuple[int, int]:
    """Wait for the processes that the child left to us, end those that stay; how many stayed, and the largest."""
    until = time.monotonic() + patience
    left = peak = 0
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return left, peak
        if pid:
            peak = max(peak, usage.ru_maxrss)
        elif time.monotonic() >= until:
            for orphan in _children():
                left += 1
                os.kill(orphan, signal.SIGKILL)
            until = time.monotonic() + _GRACE
        else:
            time.sleep(0.002)


def _children() -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(after_name[1]) == os.getpid() and after_name[0] != "Z":
                found.append(int(folder.name))
    return found


def main() -> None:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    lines, answers = sys.stdin, sys.stdout
    preload()
    print(json.dumps({"ready": os.getpid()}), file=answers, flush=True)
    for line in lines:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
