"""The progress bar in a real terminal: nothing at first, a bar when it takes long, nothing left at the end."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow  # a bar is only shown after a second

WORK = """
import sys, threading, time
from renorm_cli.render.terminal.progress import Progress
def work(progress):
    until = time.monotonic() + {seconds}
    while time.monotonic() < until:
        time.sleep(0.02)
        progress.advance(1 << 18)
{body}
"""
PLAIN = f"""
with Progress({64 << 20}, enabled=True, label="renorm") as progress:
    work(progress)
"""


def _run(body: str, seconds: float, *, interrupt: bool = False, env: dict[str, str] | None = None) -> tuple[str, int]:
    """Run the work with stderr on a terminal of its own, and return what arrived there and the exit status."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK.format(seconds=seconds, body=body)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **(env or {})},
    )
    os.close(follower)
    received = b""
    try:
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # EIO: the other end is closed
                break
            received += part
            if interrupt and b"MiB" in received:
                process.send_signal(signal.SIGINT)
                interrupt = False
    finally:
        os.close(leader)
        process.communicate(timeout=20)
    return received.decode(), process.returncode


def _screen(received: str) -> list[str]:
    """Play what arrived on a terminal of 80 columns; a sequence that is not known here is an error."""
    lines, row, column = [""], 0, 0
    for text, sequence, char in re.findall(r"([^\x1b\r\n]+)|(\x1b\[[?\d;]*[A-Za-z])|([\r\n\x1b])", received):
        if text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif sequence == "\x1b[2K":
            lines[row] = ""
        elif sequence == "\x1b[1A":
            row = max(row - 1, 0)
        else:
            assert sequence.endswith("m") or sequence in ("\x1b[?25l", "\x1b[?25h"), repr(sequence)
    assert received.rfind("\x1b[?25h") >= received.rfind("\x1b[?25l"), "the cursor stays hidden"
    return [line.rstrip() for line in lines[: row + 1]]


def test_work_under_a_second_writes_nothing() -> None:
    assert _run(PLAIN, 0.5) == ("", 0)


def test_a_progress_that_is_not_enabled_writes_nothing() -> None:
    assert _run(PLAIN.replace("True", "False"), 1.5) == ("", 0)


def test_a_terminal_that_cannot_move_its_cursor_gets_nothing() -> None:
    assert _run(PLAIN, 1.3, env={"TERM": "dumb"}) == ("", 0)


@pytest.mark.parametrize("forced", ["", "1"])
def test_a_pipe_gets_nothing_even_where_colour_is_forced(forced: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WORK.format(seconds=1.3, body=PLAIN)],
        env={**os.environ, "FORCE_COLOR": forced},
        capture_output=True,
        timeout=20,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"", b"", 0)


def test_longer_work_shows_a_bar_that_leaves_no_remains() -> None:
    received, status = _run(PLAIN, 1.6)
    assert status == 0
    during = received[: received.rindex("MiB/s")]
    assert re.search(r"renorm .*/64\.0 MiB", re.sub(r"\x1b\[[\d;]*m", "", during))
    assert _screen(received) == [""]


def test_a_second_pass_has_a_bar_and_bytes_of_its_own() -> None:
    body = (
        PLAIN
        + """
    progress.begin(7 << 20, "verifying")
    progress.advance(7 << 20)
    time.sleep(0.2)
"""
    )
    received, status = _run(body, 1.4)
    assert status == 0
    bare = re.sub(r"\x1b\[[\d;]*m", "", received)
    assert re.search(r"renorm .*/64\.0 MiB", bare)
    assert re.search(r"verifying .*7\.0/7\.0 MiB", bare)
    assert _screen(received) == [""]


def test_a_narrow_terminal_gets_a_bar_of_one_line() -> None:
    body = PLAIN.replace("renorm", "a-long-name-of-a-model.weights.h5")
    received, _ = _run(body, 1.4, env={"COLUMNS": "60"})
    assert "MiB/s" in received
    assert "\x1b[1A" not in received[: received.rindex("MiB/s")]  # a bar of two lines is drawn from its first
    assert _screen(received) == [""]


def test_a_terminal_of_ascii_gets_ascii() -> None:
    body = PLAIN.replace("renorm", "a-long-name-of-a-model-größe.weights.h5")
    received, _ = _run(body, 1.4, env={"PYTHONIOENCODING": "ascii"})
    assert "MiB/s" in received
    assert received.isascii()
    assert "\\u" not in received
    assert _screen(received) == [""]


def test_without_colour_the_bar_has_no_style_but_the_cursor_still_moves() -> None:
    received, _ = _run(PLAIN.replace("enabled=True", "enabled=True, colour=False"), 1.4)
    assert "MiB/s" in received
    assert re.search(r"\d:\d\d:\d\d", received)  # the time that is left
    assert not re.search(r"\x1b\[[\d;]*m", received)
    assert _screen(received) == [""]
    assert re.search(r"\x1b\[[\d;]*m", _run(PLAIN, 1.4)[0])


def test_an_exception_leaves_only_itself_on_the_terminal() -> None:
    received, status = _run(PLAIN + "    raise SystemExit('error: stop')\n", 1.5)
    assert status == 1
    assert "MiB" in received
    assert _screen(received) == ["error: stop", ""]


@pytest.mark.usefixtures("heard_signals")
def test_an_interrupt_leaves_no_remains() -> None:
    body = "try:\n" + PLAIN.replace("\n", "\n    ") + "\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    started = time.monotonic()
    received, status = _run(body, 10, interrupt=True)
    assert status == 130
    assert time.monotonic() - started < 8
    assert _screen(received) == [""]


def test_bytes_advanced_by_many_threads_are_all_counted() -> None:
    body = """
with Progress(8 << 20, enabled=True, label="renorm") as progress:
    time.sleep(1.1)
    threads = [threading.Thread(target=lambda: [progress.advance(1024) for _ in range(1024)]) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    time.sleep(0.3)
"""
    received, status = _run(body, 0)
    assert status == 0
    assert "8.0/8.0 MiB" in re.sub(r"\x1b\[[\d;]*m", "", received)
    assert _screen(received) == [""]


def test_a_hostile_label_is_no_markup_and_no_escape() -> None:
    received, _ = _run(PLAIN.replace('"renorm"', r'"[red][/nope]:smile:\x1b[2J"'), 1.3, env={"COLUMNS": "140"})
    assert r"[red][/nope]:smile:\u{1b}[2J" in re.sub(r"\x1b\[[\d;]*m", "", received)
    assert _screen(received) == [""]


def test_rich_is_not_imported_before_there_is_a_bar() -> None:
    body = PLAIN + "assert not [name for name in sys.modules if name.startswith('rich')]\n"
    assert _run(body, 0.2) == ("", 0)
    _, status = _run(body, 1.3)
    assert status == 1  # the check can fail
