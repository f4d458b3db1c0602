"""The forked worker: whatever its child does, the parent gets an answer or one FormatError, and nothing is left."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.processes import children

from renorm_cli.errors import EngineError, FormatError, OutputError, SelectionError
from renorm_cli.formats import apart
from renorm_cli.formats.apart import Worker

Answer = tuple[dict[str, Any], bytes]


def echo(request: dict[str, Any], payload: bytes) -> Answer:
    return request, payload


def doing(act: Callable[[], object]) -> Callable[[dict[str, Any], bytes], Answer]:
    """A `serve` that does one thing and answers with its result."""
    return lambda request, payload: ({"result": act()}, b"")


def descriptors() -> set[int]:
    """The open file descriptors of this process."""
    numbers = {int(entry.name) for entry in Path("/dev/fd").iterdir()}
    return {number for number in numbers if Path(f"/dev/fd/{number}").exists()}


def own_socket() -> int:
    """In the child: its end of the line, the only socket it has."""
    for number in descriptors():
        try:
            with socket.socket(fileno=os.dup(number)):
                return number
        except OSError:
            continue
    raise AssertionError("no socket")


def saying(raw: bytes) -> Callable[[dict[str, Any], bytes], Answer]:
    """A child that was taken over: it writes its own bytes instead of a frame, and then does nothing."""

    def serve(request: dict[str, Any], payload: bytes) -> Answer:
        os.write(own_socket(), raw)
        time.sleep(60)
        return {}, b""

    return serve


def frame(text: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<QQ", len(text), len(payload)) + text + payload


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Around every test: no child process, no open descriptor and no thread is left that was not there before."""
    before = descriptors(), children(), threading.active_count()
    yield
    assert (descriptors(), children(), threading.active_count()) == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters()) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(requests=st.lists(st.tuples(st.dictionaries(st.text(), json_values, max_size=3), st.binary()), max_size=4))
def test_requests_and_payloads_arrive_and_come_back_unchanged(requests: list[tuple[dict[str, Any], bytes]]) -> None:
    with Worker(echo, "f.h5", "HDF5") as worker:
        for request, payload in requests:
            assert worker.call(request, payload) == (json.loads(json.dumps(request)), payload)


def test_a_payload_larger_than_any_socket_buffer_arrives_both_ways() -> None:
    payload = os.urandom(1 << 20) * 20
    with Worker(echo, "f.h5", "HDF5") as worker:
        assert worker.call({}, memoryview(payload)) == ({}, payload)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE])
def test_a_child_that_dies_by_a_signal_is_one_line_that_names_the_signal(number: int) -> None:
    with Worker(doing(lambda: os.kill(os.getpid(), number)), "f.h5", "HDF5") as worker:
        with pytest.raises(FormatError, match=rf"^f\.h5: the HDF5 library died on it \(signal {int(number)}\)"):
            worker.call({})
        with pytest.raises(FormatError, match=r"its HDF5 process is gone .*; open the file again"):
            worker.call({})


def test_a_null_pointer_read_in_c_ends_the_child_only() -> None:
    with (
        Worker(doing(lambda: ctypes.string_at(0)), "f.h5", "HDF5") as worker,
        pytest.raises(FormatError, match="signal 11"),
    ):
        worker.call({})


def test_a_child_that_exits_is_an_error() -> None:
    with (
        Worker(doing(lambda: os._exit(3)), "f.h5", "HDF5") as worker,
        pytest.raises(FormatError, match=r"exit status 3"),
    ):
        worker.call({})


def test_a_child_killed_from_outside_is_told_from_a_crash() -> None:
    with (
        Worker(doing(lambda: os.kill(os.getpid(), signal.SIGKILL)), "f.h5", "HDF5") as worker,
        pytest.raises(FormatError, match=r"killed from outside \(signal 9\)"),
    ):
        worker.call({})


def spin() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        pass


@pytest.mark.parametrize("hang", [lambda: time.sleep(60), spin])
def test_a_child_that_hangs_is_killed_at_the_deadline(hang: Callable[[], None]) -> None:
    with Worker(doing(hang), "f.h5", "HDF5") as worker:
        begun = time.monotonic()
        with pytest.raises(FormatError, match=r"^f\.h5: the HDF5 library did not answer in 0\.3 s and was stopped"):
            worker.call({}, deadline=0.3)
        assert 0.3 <= time.monotonic() - begun < 3
        with pytest.raises(FormatError, match="is gone"):
            worker.call({})


def test_a_child_that_trickles_its_answer_is_killed_at_the_deadline() -> None:
    def trickle() -> None:
        line = own_socket()
        for byte in frame(b"{}", bytes(1000)):
            os.write(line, bytes([byte]))
            time.sleep(0.02)

    with Worker(doing(trickle), "f.h5", "HDF5") as worker:
        begun = time.monotonic()
        with pytest.raises(FormatError, match="did not answer"):
            worker.call({}, deadline=0.3)
        assert time.monotonic() - begun < 3


def test_a_child_that_does_not_read_cannot_hold_up_a_large_request() -> None:
    with Worker(doing(os.getpid), "f.h5", "HDF5") as worker:
        os.kill(worker.call({})[0]["result"], signal.SIGSTOP)
        with pytest.raises(FormatError, match="did not answer"):
            worker.call({}, bytes(64 << 20), deadline=0.3)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
def test_a_child_gets_no_more_memory_than_it_was_given() -> None:
    def take(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Memory straight from the system: `malloc` may hand out what this process has freed before."""
        try:
            return {"n": len(mmap.mmap(-1, request["n"]))}, b""
        except OSError as error:
            raise MemoryError from error

    with Worker(take, "f.h5", "HDF5", memory=64 << 20) as worker:
        assert worker.call({"n": 32 << 20})[0] == {"n": 32 << 20}
        with pytest.raises(FormatError, match=r"^f\.h5: the HDF5 library wants more than 64 MiB of memory for it"):
            worker.call({"n": 96 << 20})
        assert worker.call({"n": 32 << 20})[0] == {"n": 32 << 20}


def test_a_foreign_exception_comes_back_as_its_class_without_its_text() -> None:
    def fail() -> None:
        raise KeyError("Unable to open object (/secret/path)")

    with Worker(doing(fail), "f.h5", "HDF5") as worker:
        with pytest.raises(FormatError, match=r"^f\.h5: the HDF5 library cannot read it \(KeyError\)") as caught:
            worker.call({})
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_messages_name_the_library_that_failed() -> None:
    with Worker(doing(lambda: os._exit(3)), "f.grib", "GRIB") as worker:
        with pytest.raises(FormatError, match=r"^f\.grib: the GRIB library died on it \(exit status 3\)"):
            worker.call({})
        with pytest.raises(FormatError, match=r"^f\.grib: its GRIB process is gone"):
            worker.call({})


def test_our_own_errors_keep_their_text_and_the_worker_lives_on() -> None:
    calls = iter([SelectionError("f.h5: 'a\udcff' is\nlost"), OutputError("disk full")])

    def fail() -> str:
        for error in calls:
            raise error
        return "alive"

    with Worker(doing(fail), "f.h5", "HDF5") as worker:
        with pytest.raises(FormatError, match=r"^f\.h5: 'a\udcff' is lost$"):
            worker.call({})
        with pytest.raises(OutputError, match=r"^disk full$"):
            worker.call({})
        assert worker.call({})[0] == {"result": "alive"}


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<QQ", 2**63, 0),
        struct.pack("<QQ", 2, 2**63) + b"{}",
        frame(b"{not json}"),
        frame(b"\x80\x04N."),
        frame(b"[1]"),
        frame(b"[" * 200_000),
        frame(b"1" * 10_000),
        frame(b'{"done":1}'),
        frame(b"{}"),
        frame(b'{"refused":1,"kind":2}'),
    ],
)
def test_an_answer_that_is_no_frame_is_an_error_and_never_run(raw: bytes) -> None:
    with Worker(saying(raw), "f.h5", "HDF5") as worker, pytest.raises(FormatError, match=r"^f\.h5: .*nonsense"):
        worker.call({}, deadline=5)


def test_an_error_name_from_the_child_cannot_carry_text() -> None:
    with (
        Worker(saying(frame(b'{"error":"\\u001b[31m evil"}')), "f.h5", "HDF5") as worker,
        pytest.raises(FormatError, match=r"\(unknown error\)"),
    ):
        worker.call({}, deadline=5)


def test_an_answer_larger_than_asked_for_is_refused_before_it_is_read() -> None:
    with Worker(lambda request, payload: ({}, bytes(1 << 20)), "f.h5", "HDF5") as worker:
        assert len(worker.call({}, limit=1 << 20)[1]) == 1 << 20
        with pytest.raises(FormatError):
            worker.call({}, limit=(1 << 20) - 1)


def test_threads_get_each_their_own_answers() -> None:
    wrong: list[object] = []

    def ask(worker: Worker, mine: int) -> None:
        for turn in range(30):
            answer = worker.call({"thread": mine, "turn": turn}, bytes([mine]) * 10_000)
            if answer != ({"thread": mine, "turn": turn}, bytes([mine]) * 10_000):
                wrong.append(answer)

    with Worker(echo, "f.h5", "HDF5") as worker:
        threads = [threading.Thread(target=ask, args=(worker, mine)) for mine in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_workers_started_by_threads_at_once_all_answer_and_leave_the_warning_filters_alone() -> None:
    filters = list(warnings.filters)
    answers: list[object] = []

    def start() -> None:
        for _ in range(5):
            with Worker(echo, "f.h5", "HDF5") as worker:
                answers.append(worker.call({"a": 1}))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [({"a": 1}, b"")] * 30
    assert list(warnings.filters) == filters


def test_close_is_idempotent_and_ends_a_child_that_is_busy_for_another_thread() -> None:
    worker = Worker(doing(lambda: time.sleep(60)), "f.h5", "HDF5")
    seen: list[BaseException] = []

    def ask() -> None:
        try:
            worker.call({})
        except FormatError as error:
            seen.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    begun = time.monotonic()
    worker.close()
    worker.close()
    assert time.monotonic() - begun < 3
    thread.join(5)
    assert len(seen) == 1
    with pytest.raises(FormatError, match="is gone"):
        worker.call({})


def test_an_interrupt_in_the_middle_of_a_call_ends_the_child_and_goes_on() -> None:
    def interrupt(number: int, at: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Worker(doing(lambda: time.sleep(60)), "f.h5", "HDF5") as worker:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                worker.call({})
            with pytest.raises(FormatError, match="is gone"):
                worker.call({})
    finally:
        signal.signal(signal.SIGALRM, before)


def test_the_child_has_its_own_session_and_none_of_the_parents_handlers() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, at: None)
    try:
        with Worker(
            doing(
                lambda: [
                    os.getsid(0) == os.getpid(),
                    [int(n) for n in signal.valid_signals() if callable(signal.getsignal(n))],
                    len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
                ]
            ),
            "f.h5",
            "HDF5",
        ) as worker:
            assert worker.call({})[0] == {"result": [True, [], 0]}
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_child_holds_no_descriptor_but_its_line_and_those_it_was_given(tmp_path: Path) -> None:
    def held() -> list[str]:
        return [str(Path(f"/dev/fd/{number}").readlink()) for number in descriptors()]

    (tmp_path / "mine").write_bytes(b"m")
    (tmp_path / "other").write_bytes(b"o")
    with (
        (tmp_path / "mine").open("rb") as mine,
        (tmp_path / "other").open("rb"),
        Worker(echo, "f.h5", "HDF5"),
        Worker(doing(held), "f.h5", "HDF5", keep=[mine.fileno()]) as worker,
    ):
        names = worker.call({})[0]["result"]
    assert sum(name.startswith("socket:") for name in names) == 1
    assert {name for name in names if not name.startswith("socket:")} == {"/dev/null", str(tmp_path / "mine")}


def test_the_child_writes_no_core_and_its_limits_are_set() -> None:
    def limits() -> list[int]:
        return [*resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_CPU)[0]]

    with Worker(doing(limits), "f.h5", "HDF5") as worker:
        assert worker.call({})[0]["result"][:2] == [0, 0]
        assert 0 < worker.call({})[0]["result"][2] <= apart.CPU_SECONDS + 10


PRINTS_ONCE = """
import atexit, os, sys
from renorm_cli.formats.apart import Worker
atexit.register(lambda: open(sys.argv[1], "a").write("exit handler "))
sys.stdout.write("buffered ")
def serve(request, payload):
    print("from the child", flush=True)
    print("from the child", file=sys.stderr, flush=True)
    sys.exit(0) if request["exit"] else None
    return {}, b""
with Worker(serve, "f.h5", "HDF5") as worker:
    worker.call({"exit": False})
with Worker(serve, "f.h5", "HDF5") as worker:
    try: worker.call({"exit": True})
    except Exception: pass
"""


def test_the_child_prints_nothing_and_runs_no_exit_handler_of_the_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PRINTS_ONCE, str(tmp_path / "exits")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("buffered ", "")
    assert (tmp_path / "exits").read_text() == "exit handler "


SIGPIPE = """
import os, signal, time
from renorm_cli.errors import FormatError
from renorm_cli.formats.apart import Worker
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
with Worker(lambda request, payload: ({"pid": os.getpid()}, b""), "f.h5", "HDF5") as worker:
    os.kill(worker.call({})[0]["pid"], signal.SIGKILL)
    time.sleep(0.2)
    try: worker.call({}, bytes(1 << 24))
    except FormatError: print("caught")
"""


def test_a_dead_child_never_kills_the_parent_by_sigpipe() -> None:
    done = subprocess.run([sys.executable, "-c", SIGPIPE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")


ORPHAN = """
import os, sys, time
from renorm_cli.formats.apart import Worker
worker = Worker(lambda request, payload: ({"pid": os.getpid()}, b""), "f.h5", "HDF5")
print(worker.call({})[0]["pid"], flush=True)
os._exit(0)
"""


def test_a_child_ends_when_its_parent_is_gone() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True)
    child = int(done.stdout)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the child outlives its parent")


def test_no_process_to_be_had_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    with pytest.raises(EngineError, match=r"^f\.h5: cannot start a process to read it: Resource temporarily"):
        Worker(echo, "f.h5", "HDF5")


def test_what_jax_warns_of_forks_is_no_warning_of_ours() -> None:
    code = """
import os, warnings
warned = "os.fork() was called. os.fork() is incompatible with multithreaded code, and JAX is multithreaded"
os.register_at_fork(before=lambda: warnings.warn(warned, RuntimeWarning))
from renorm_cli.formats.apart import Worker
with Worker(lambda request, payload: (request, payload), "f.h5", "HDF5") as worker:
    worker.call({})
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
