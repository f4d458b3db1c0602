"""A forked child that runs a native library on untrusted files, and answers with JSON and bytes only.

The parent never receives an object of the child: a frame is two 8-byte lengths, JSON text and raw bytes, so nothing in
it can run. A child that dies, hangs or asks for too much becomes one FormatError.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import math
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from renorm_cli.errors import EngineError, FormatError, OutputError, RenormError

Serve = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes | memoryview]]

HEAD = struct.Struct("<QQ")
QUIET = getattr(socket, "MSG_NOSIGNAL", 0)
"""Report a dead child as an error, never through SIGPIPE, whatever the program around us does with that signal."""
TEXT_LIMIT = 1 << 28
PAYLOAD_LIMIT = 1 << 26
CPU_SECONDS = 3600
"""Default processor time for one request; it also ends a child that spins after its parent died."""

_PROCESSOR = "processor seconds"
"""The key of a request's processor time."""

_forking = threading.Lock()


class _NonsenseError(Exception):
    """A frame that breaks the protocol; never leaves this module."""


class Worker:
    """A child process that serves one request at a time; calls of several threads wait for each other.

    `serve` runs in the child only. It is a function, which the child has from a fork, or the name of a module of ours
    that has it, and the child is then a new interpreter: for a library that a fork breaks once the program has used it.
    A fork runs `load` before, while the parent goes on. `keep` are the file descriptors that a fork needs; the child
    closes all others. `memory` is how many bytes the child may allocate beyond its size at the start. Every message
    starts with `shown`, the file, and names `library`, the native library. Raises EngineError if no process can be
    started.
    """

    def __init__(
        self,
        serve: Serve | str,
        shown: str,
        library: str,
        *,
        keep: Sequence[int] = (),
        memory: int = 1 << 30,
        load: Callable[[], object] = lambda: None,
    ) -> None:
        self._shown = shown
        self._library = library
        self._memory = memory
        # Re-entrant, because a signal handler may close the worker during a call of the same thread.
        self._turn = threading.RLock()
        self._fate = threading.RLock()
        self._pid: int | None = None
        self._end = "it was closed"
        try:
            self._socket, theirs = socket.socketpair()
        except OSError as error:
            raise EngineError(f"{shown}: cannot start a process to read it: {os.strerror(error.errno or 0)}") from None
        try:
            with theirs:
                if isinstance(serve, str):
                    self._pid = _spawn(serve, theirs, memory)
                else:
                    self._pid = _fork(lambda: _live(serve, theirs, keep, memory, load))
        except OSError as error:
            self._socket.close()
            raise EngineError(f"{shown}: cannot start a process to read it: {os.strerror(error.errno or 0)}") from None

    def call(
        self,
        request: dict[str, Any],
        payload: bytes | memoryview = b"",
        *,
        deadline: float = 600.0,
        processor: int = CPU_SECONDS,
        limit: int = PAYLOAD_LIMIT,
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and return the reply, with a payload of at most `limit` bytes.

        `deadline` is wall-clock time in seconds, `processor` is processor time in seconds: a library that spins is
        stopped soon, one that waits for a slow disk is not.

        Raises FormatError if the child refuses the file, fails on it, dies, or misses the deadline (and is killed);
        OutputError if `serve` raised OutputError.
        """
        with self._turn:
            if self._pid is None:
                raise FormatError(
                    f"{self._shown}: its {self._library} process is gone ({self._end}); open the file again"
                )
            until = time.monotonic() + deadline
            try:
                _send(self._socket, {**request, _PROCESSOR: processor}, payload, until)
                reply, answer = _receive(self._socket, until, limit)
            except TimeoutError:
                self._stop("it was too late", patience=0.0)
                raise FormatError(
                    f"{self._shown}: the {self._library} library did not answer in {deadline:g} s and was stopped: "
                    "the file is damaged or hostile, or its disk too slow"
                ) from None
            except (OSError, EOFError):
                # The connection broke, so the child is dying; its exit status says why.
                self._stop(f"the {self._library} process broke off", patience=2.0)
                raise FormatError(f"{self._shown}: {self._end}") from None
            except _NonsenseError:
                self._stop("it answered nonsense", patience=0.0)
                raise self._nonsense() from None
            except BaseException:
                # The rest of the reply is still in the socket; the next call must not read it as its own answer.
                self._stop("a call was broken off", patience=0.0)
                raise
        return self._accepted(reply), answer

    def _accepted(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The result of `serve`. Raises the child's error with its text, which is foreign, shortened to one line."""
        match reply:
            case {"done": dict() as done}:
                return done
            case {"refused": str() as text, "kind": kind}:
                line = " ".join(text.split())[:1000]
                raise OutputError(line) if kind == "OutputError" else FormatError(line)
            case {"error": "MemoryError"}:
                raise FormatError(
                    f"{self._shown}: the {self._library} library wants more than {self._memory >> 20} MiB of memory "
                    "for it: the file is damaged or hostile"
                )
            case {"error": str() as name}:
                cause = name[:60] if name.isidentifier() else "unknown error"
                raise FormatError(
                    f"{self._shown}: the {self._library} library cannot read it ({cause}): "
                    f"the file is damaged, cut short or no {self._library} file"
                )
        raise self._nonsense()

    def _nonsense(self) -> FormatError:
        return FormatError(
            f"{self._shown}: the {self._library} process answered nonsense: the file is damaged or hostile"
        )

    def _stop(self, how: str, patience: float) -> None:
        """Wait up to `patience` seconds for the child to exit by itself, then kill it; reap it."""
        with self._fate:
            if self._pid is None:
                return
            pid, self._pid = self._pid, None
            status = _reap(pid, patience)
            if status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                _reap(pid, 5.0)
            self._end = how if status is None else _why_ended(status, self._library)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the child, also during a call of another thread (which then raises FormatError)."""
        self._stop("it was closed", patience=0.0)
        with self._turn:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _why_ended(status: int, library: str) -> str:
    """Why the child ended, for the user, from its wait status."""
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        return f"the {library} library died on it (exit status {code}): the file is damaged"
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return f"the {library} library computed too long on it and was stopped: the file is damaged or hostile"
    if number == signal.SIGKILL:
        return "the process that reads it was killed from outside (signal 9): the machine may be out of memory"
    return f"the {library} library died on it (signal {number}): the file is damaged or hostile"


def _reap(pid: int, patience: float) -> int | None:
    """The wait status; None if the child still runs after `patience` seconds, or another part of the program reaped
    it."""
    until = time.monotonic() + patience
    pause = 5e-5  # a child that was killed is soon gone
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if done:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)


def _send(to: socket.socket, words: dict[str, Any], payload: bytes | memoryview, until: float | None) -> None:
    text = json.dumps(words, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    _wait_at_most(to, until)
    to.sendall(HEAD.pack(len(text), len(payload)) + text, QUIET)
    if len(payload):
        _wait_at_most(to, until)
        to.sendall(payload, QUIET)


def _receive(source: socket.socket, until: float | None, limit: int) -> tuple[dict[str, Any], bytes]:
    """One frame. Raises EOFError at the end of the stream, and _NonsenseError for a frame that no sound child sends."""
    text_size, payload_size = HEAD.unpack(_exactly(source, HEAD.size, until))
    if text_size > TEXT_LIMIT or payload_size > limit:
        raise _NonsenseError
    text = _exactly(source, text_size, until)
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        raise _NonsenseError from None
    if not isinstance(words, dict):
        raise _NonsenseError
    return words, _exactly(source, payload_size, until)


def _exactly(source: socket.socket, size: int, until: float | None) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        _wait_at_most(source, until)
        count = source.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


def _wait_at_most(line: socket.socket, until: float | None) -> None:
    """Set the timeout of the next operation on `line` to end at `until`; raises TimeoutError if that has passed."""
    if until is None:
        return
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    line.settimeout(left)


def _fork(live: Callable[[], NoReturn]) -> int:
    """Fork; returns the child's process id in the parent. The child runs `live` and never returns."""
    # One fork at a time, because warning filters belong to the whole process. Signals are blocked until the child has
    # reset the handlers that it inherited.
    with _forking:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # Python >= 3.12 warns about a fork in a process with threads (NumPy starts some at import), and so does
                # JAX. Our child takes no lock of another thread: it runs one native library, and the deadline covers
                # the rest.
                warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
                warnings.filterwarnings("ignore", message="os.fork.. was called", category=RuntimeWarning)
                pid = os.fork()
            if pid == 0:
                live()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pid


_LINE = 3
"""The descriptor of its socket in a new interpreter."""
_ALONE = "import sys; sys.path[:] = sys.argv[3:]; from renorm_cli.formats import apart; apart.live_alone()"


def _spawn(module: str, line: socket.socket, memory: int) -> int:
    """Start a new interpreter, which has nothing of this process but the path of modules."""
    arguments = [sys.executable, "-c", _ALONE, module, str(memory), *sys.path]
    return os.posix_spawn(
        sys.executable, arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, line.fileno(), _LINE)]
    )


def live_alone() -> NoReturn:
    """The whole life of a child that is a new interpreter, told by its arguments."""
    import importlib

    serve: Serve = importlib.import_module(sys.argv[1]).serve
    _live(serve, socket.socket(fileno=_LINE), (), int(sys.argv[2]))


def _live(
    serve: Serve,
    line: socket.socket,
    keep: Sequence[int],
    memory: int,
    load: Callable[[], object] = lambda: None,
) -> NoReturn:
    """The whole life of the child."""
    try:
        _leave_parent({line.fileno(), *keep})
        load()
        _limit(memory)
        _serve_all(serve, line)
    finally:
        # Not `sys.exit`, which would flush the parent's buffers and run its exit handlers.
        os._exit(1)


def _leave_parent(keep: set[int]) -> None:
    """Start a session of its own; drop signal handlers, garbage collection, and all file descriptors but `keep`."""
    os.setsid()
    faulthandler.disable()
    gc.disable()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDWR)
    for standard in {0, 1, 2} - keep:
        os.dup2(null, standard)
    for descriptor in _open_descriptors() - keep - {0, 1, 2}:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _open_descriptors() -> set[int]:
    try:
        return {int(entry.name) for entry in Path("/dev/fd").iterdir()}
    except OSError:
        return set(range(3, 4096))


def _limit(memory: int) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _lower(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard == resource.RLIM_INFINITY or value < hard:
        # Some systems lack or refuse some limits; the deadline holds without them.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (value, value))


def _serve_all(serve: Serve, line: socket.socket) -> NoReturn:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    while True:
        try:
            request, payload = _receive(line, None, limit=1 << 62)
        except EOFError:
            os._exit(0)
        soft = math.ceil(time.process_time()) + int(request.pop(_PROCESSOR))
        if hard == resource.RLIM_INFINITY or soft < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        reply, answer = _answer(serve, request, payload)
        _send(line, reply, answer, None)


def _answer(serve: Serve, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        done, answer = serve(request, payload)
    except RenormError as error:
        return {"refused": str(error), "kind": type(error).__name__}, b""
    except Exception as error:  # noqa: BLE001
        # A foreign library may raise anything on a damaged file; send the name of the class.
        return {"error": type(error).__name__}, b""
    return {"done": done}, answer
