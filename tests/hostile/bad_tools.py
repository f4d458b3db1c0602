"""Tools that each break one promise: the frame must notice. A tool is called with its arguments in sys.argv."""

from __future__ import annotations

import marshal
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def _given() -> Path:
    return Path(next(word for word in sys.argv[2:] if "inside" in word))


def _outside() -> Path:
    return _given().parent.parent / "outside"


def _fail(text: str = "error: the file is odd\n") -> NoReturn:
    sys.stderr.write(text)
    sys.exit(2)


def good() -> None:
    _fail()


def says_nothing() -> None:
    sys.exit(2)


def says_two_lines() -> None:
    _fail("error: the file is odd\nand more\n")


def says_something_else() -> None:
    _fail("error: it is green\n")


def says_too_much() -> None:
    _fail(f"error: the file is odd {'x' * 500}\n")


def says_no_line_end() -> None:
    _fail("error: the file is odd")


def escapes() -> None:
    _fail("error: the file is odd \x1b[2J\n")


def overrides_direction() -> None:
    _fail("error: the file is odd \u202e\n")


def commands_the_runner() -> None:
    _fail("error: the file is odd ##[error]x\n")


def tells_a_path() -> None:
    _fail(f"error: the file is odd, see {sys.executable}\n")


def shows_a_traceback() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        traceback.print_exc()
    sys.exit(2)


def crashes() -> None:
    raise ValueError("odd")


def dies() -> None:
    os.abort()


def exits_with_1() -> None:
    sys.stderr.write("error: the file is odd\n")
    sys.exit(1)


def succeeds() -> None:
    print("all is well")  # noqa: T201


def prints_a_report() -> None:
    print("a report")  # noqa: T201
    _fail()


def is_slow() -> None:
    time.sleep(0.8)
    _fail()


def hangs() -> None:
    time.sleep(60)


def takes_memory() -> None:
    taken = bytearray(400 << 20)
    taken[:: 1 << 12] = bytes([1]) * len(taken[:: 1 << 12])
    _fail()


def has_a_child_that_takes_memory() -> None:
    child = os.fork()
    if not child:
        taken = bytearray(400 << 20)
        taken[:: 1 << 12] = bytes([1]) * len(taken[:: 1 << 12])
        os._exit(0)
    os.waitpid(child, 0)
    _fail()


def leaves_a_child() -> None:
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    _fail()


def reads_a_canary() -> None:
    (_outside() / "secret.h5").read_bytes()
    _fail()


def opens_a_canary() -> None:
    os.close(os.open(_outside() / "secret.txt", os.O_RDONLY))
    _fail()


def lists_the_canaries() -> None:
    list(_outside().resolve().iterdir())
    _fail()


def writes_a_canary() -> None:
    with (_outside() / "secret.txt").open("r+b") as file:
        file.write(b"x")
    _fail()


def writes_outside() -> None:
    (_outside() / "new").touch()
    _fail()


def tells_a_canary() -> None:
    _fail("error: the file is odd canary.canary!!!\n")


def changes_the_input() -> None:
    with _given().open("ab") as file:
        file.write(b"x")
    _fail()


def removes_the_input() -> None:
    _given().unlink()
    _fail()


def leaves_an_output() -> None:
    (_given().parent.parent / "result" / "out.h5").touch()
    _fail()


def leaves_a_temporary_file() -> None:
    (_given().parent.parent / "result" / ".renorm-1-x").touch()
    _fail()


def writes_at_home() -> None:
    (Path.home() / ".cache").mkdir()
    _fail()


def writes_where_it_stands() -> None:
    Path("core").touch()
    _fail()


def unpickles() -> None:
    pickle.loads(pickle.dumps(Path))
    _fail()


def unmarshals() -> None:
    marshal.loads(marshal.dumps(1))
    _fail()


def evaluates() -> None:
    eval("1 + 1")
    _fail()


def starts_a_shell() -> None:
    subprocess.run("true", shell=True, check=True)
    _fail()


def imports_tensorflow() -> None:
    sys.path[:] = []  # an attempt is enough
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        _fail()


BREAKS: dict[Callable[[], None], str] = {
    says_nothing: "not one line",
    says_two_lines: "not one line",
    says_something_else: "does not say 'odd'",
    says_too_much: "more than 500 characters",
    says_no_line_end: "not one line",
    escapes: "which a terminal may obey",
    overrides_direction: "which a terminal may obey",
    commands_the_runner: "command to a CI runner",
    tells_a_path: "tells the path",
    shows_a_traceback: "holds a traceback",
    crashes: "holds a traceback",
    dies: "exit code -6",
    exits_with_1: "exit code 1",
    succeeds: "exit code 0",
    prints_a_report: "stdout is not empty",
    is_slow: "took 0.",
    hangs: "took 1.",
    takes_memory: "MiB, at most",
    has_a_child_that_takes_memory: "MiB, at most",
    leaves_a_child: "processes running",
    reads_a_canary: "secret.h5 read",
    opens_a_canary: "secret.txt opened",
    lists_the_canaries: "did os.listdir",
    writes_a_canary: "outside/secret.txt was changed",
    writes_outside: "outside/new was written",
    tells_a_canary: "content of a canary",
    changes_the_input: "model.h5 was changed",
    removes_the_input: "model.h5 was changed",
    leaves_an_output: "although the run failed",
    leaves_a_temporary_file: "was left behind",
    writes_at_home: "home/.cache was written",
    writes_where_it_stands: "work/core was written",
    unpickles: "did pickle.find_class",
    unmarshals: "did marshal.load",
    evaluates: "did compile",
    starts_a_shell: "did subprocess.Popen",
    imports_tensorflow: "did import",
}
"""Tool -> what the frame must say of it."""
