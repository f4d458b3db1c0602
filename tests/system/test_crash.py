"""Whatever ends a run, and wherever: a reader finds the old output, the new one, or is told to repeat the run.

Every call that changes a disk is a place to be killed at, within and after it, and each may fail.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from support import faults, keras_zoo
from support import small_checkpoints as small
from support.faults import Fault, Ran

pytestmark = [pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS]

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EFBIG)
HARMLESS = {"copy_file_range", "mkdir", "unlink", "rmdir"}
"""Calls that may fail without a word: there is another way, it is done already, or the next run sees to it."""
MOST = 4
"""Places per format and way in the quick tests; all of them in the exhaustive ones."""

Content = dict[str, bytes]


class Lab:
    """A checkpoint in `in`, and an output in `out`: a new one, one over another, or the input itself."""

    def __init__(self, folder: Path, source: Path, way: str) -> None:
        self.source, self.way = source, way
        self.work = folder / "work"
        self.name = "m" if source.name == "m.ckpt" else source.name
        self.fresh()
        self.old = self.found()
        self.clean = self.run()
        assert (self.clean.code, self.clean.stderr) == (0, "")
        self.new = self.found()
        assert self.new != self.old
        assert small.temporaries(self.out) == []

    def fresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.source.parent, self.work / "in")
        self.out = self.work / ("in" if self.way == "in place" else "out")
        if self.way == "over another":
            shutil.copytree(self.source.parent, self.out)
        self.out.mkdir(exist_ok=True)
        self.input = small.content(self.work / "in")

    def found(self) -> Content:
        """What is there of the output; of the input folder, in place."""
        return small.content(self.out)

    def run(self, fault: Fault = faults.UNDISTURBED) -> Ran:
        where = {
            "new": ["-o", str(self.out / self.name)],
            "over another": ["-o", str(self.out / self.name), "--force"],
            "in place": ["--in-place"],
        }[self.way]
        arguments = ["apply", str(self.work / "in" / self.source.name), "--max-norm", "1", "-q", *where]
        return faults.run(arguments, fault)

    def holds_old_or_new(self) -> None:
        """The output is complete, or not to be taken for one; the input is untouched; a report is whole."""
        found = self.found()
        if self.is_half_replaced():
            told = faults.run(["inspect", str(self.out / self.name), "-q"])
            assert told.code == 2
            assert "half replaced" in told.stderr
            assert told.stderr.count("\n") == 1
            index = {"m.weights.json", "m.index"} & found.keys()  # without it no other program takes it for one either
            assert not index or found in (self.old, self.new)
        else:
            assert found in (self.old, self.new)
        if self.way != "in place":
            assert small.content(self.work / "in") == self.input
        for report in self.out.glob("[!.]*.report.json"):
            json.loads(report.read_bytes())

    def is_half_replaced(self) -> bool:
        return any(name.startswith(".renorm-journal-") for name in small.temporaries(self.out))

    def mends(self) -> Ran:
        """The same run, undisturbed, ends well and leaves nothing but the new output."""
        again = self.run()
        if self.way == "new" and again.code == 2:
            assert "exists" in again.stderr  # it was published before it was killed
        else:
            assert (again.code, again.stderr) == (0, "")
        assert self.found() == self.new
        assert small.temporaries(self.out) == [] or again.code == 2
        return again


Labs = Callable[[str, str], Lab]


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Labs:
    faults.warm(["apply", str(small.HDF5["keras zip"](tmp_path_factory.mktemp("warm"))), "--max-norm", "1", "-q"])

    @cache
    def made(name: str) -> Path:
        return small.FORMATS[name](tmp_path_factory.mktemp("zoo"))

    return cache(lambda name, way: Lab(tmp_path_factory.mktemp("lab"), made(name), way))


def ways(name: str) -> tuple[str, ...]:
    """A checkpoint of version 1 is written out as another one."""
    return ("new", "over another") if name == "v1" else ("new", "over another", "in place")


CASES = [(name, way) for name in small.FORMATS for way in ways(name)]
SEVERAL = (*small.MULTIPLE, "saved model", "torch distributed", "model folder")
EVERY_WAY = ("keras zip", "shards", "saved model", "model folder")
"""One file, several, a folder that is replaced, and one whose files are: names are given in no other way."""
QUICK = [
    (name, way)
    for name, way in CASES
    if way == "over another" or (name in EVERY_WAY and (way == "new" or name in SEVERAL))
]
"""A single file is replaced in the same way wherever it is."""
QUICK_FAILURES = [(name, way) for name, way in CASES if way == ("over another" if name in SEVERAL else "new")]


def places(calls: tuple[str, ...], most: int) -> Iterator[int]:
    """Numbers of calls: all that give or take a name, and as many of the others as fit, evenly."""
    named = [number for number, call in enumerate(calls, 1) if call in faults.NAMES]
    others = [number for number, call in enumerate(calls, 1) if call not in faults.NAMES]
    step = max(1, -(-len(others) // max(1, most - len(named))))
    return iter(sorted([*named, *others[::step]]))


def killed(lab: Lab, fault: Fault, *, mend: bool) -> None:
    lab.fresh()
    ran = lab.run(fault)
    assert ran.code == -9, (fault, ran)
    lab.holds_old_or_new()
    if mend or lab.is_half_replaced():
        half = lab.is_half_replaced()
        again = lab.mends()
        assert again.code == 0 or not half


def failed(lab: Lab, fault: Fault, *, mend: bool) -> None:
    lab.fresh()
    ran = lab.run(fault)
    if ran.code == 0:
        assert lab.clean.calls[fault.number - 1] in HARMLESS, (fault, ran)
        assert lab.found() == lab.new
        return
    assert (ran.code, ran.stderr.count("\n")) == (2, 1), (fault, ran)
    lab.holds_old_or_new()
    if not fault.lasting:  # else nothing can be removed either
        assert small.temporaries(lab.out) == [] or (lab.is_half_replaced() and lab.way != "new")
        assert lab.way != "new" or lab.found() == {} or "was written" in ran.stderr
    if mend:
        lab.mends()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), QUICK)
def test_a_killed_run_leaves_the_old_or_the_new_output(labs: Labs, name: str, way: str) -> None:
    lab = labs(name, way)
    for turn, number in enumerate(places(lab.clean.calls, MOST)):
        killed(lab, Fault(number, "kill after" if turn % 2 else "kill within"), mend=turn % 2 == 1)
    first = next(number for number, call in enumerate(lab.clean.calls, 1) if call in faults.NAMES)
    killed(lab, Fault(first, "kill within"), mend=True)  # all temporaries are there, and none has its name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), QUICK_FAILURES)
def test_a_call_that_fails_is_one_error_and_leaves_the_old_output(labs: Labs, name: str, way: str) -> None:
    lab = labs(name, way)
    for turn, number in enumerate(places(lab.clean.calls, MOST // 2)):
        failed(lab, Fault(number, "fail", ERRNOS[turn % len(ERRNOS)]), mend=False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("deed", ["kill within", "kill after"])
@pytest.mark.parametrize(("name", "way"), CASES)
def test_a_run_killed_at_any_call_leaves_the_old_or_the_new_output(
    labs: Labs, name: str, way: str, deed: faults.Deed
) -> None:
    lab = labs(name, way)
    for number in range(1, len(lab.clean.calls) + 1):
        killed(lab, Fault(number, deed), mend=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", ERRNOS, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("name", "way"), CASES)
def test_any_call_that_fails_is_one_error_and_leaves_the_old_output(
    labs: Labs, name: str, way: str, lasting: bool, code: int
) -> None:
    lab = labs(name, way)
    for number in range(1, len(lab.clean.calls) + 1):
        failed(lab, Fault(number, "fail", code, lasting), mend=True)


def test_a_folder_is_never_written_into_the_input_nor_over_anything_but_a_saved_model(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It would be replaced as a whole, with all that the user has in it."""
    model = shutil.copytree(small.TENSORFLOW["saved model"](tmp_path_factory.mktemp("zoo")), tmp_path / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    before = small.content(tmp_path)
    for output in (model / "inside", model / "variables" / "inside", tmp_path / "mine", tmp_path):
        ran = faults.run(["apply", str(model), "--max-norm", "1", "-o", str(output), "--force"])
        assert (ran.code, ran.stderr.count("\n")) == (2, 1), ran
        assert small.content(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert faults.run(["apply", str(model), "--max-norm", "1", "-o", str(tmp_path / "empty"), "--force"]).code == 0


PROGRAM = [sys.executable, "-m", "renorm_cli"]
CHILD = """
import os, sys
command, *rest = sys.argv[1:]
for number in map(int, command.split(",")):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "renorm_cli", *rest])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.HDF5["keras zip"](tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bounded(model: Path) -> bytes:
    """What `apply` makes of the model where all standard files are open."""
    output = model.with_name("out.keras")
    subprocess.run([*PROGRAM, "apply", str(model), "--max-norm", "1", "-o", str(output), "-q"], check=True)
    return output.read_bytes()


@pytest.mark.parametrize("closed", ["1", "2", "0,1,2"])
def test_a_standard_file_that_is_closed_changes_neither_the_result_nor_the_exit_code(
    model: Path, bounded: bytes, tmp_path: Path, closed: str
) -> None:
    """A file opened in place of stderr would get what libraries say there."""
    arguments = ["apply", str(model), "--max-norm", "1", "-o", str(tmp_path / "out.keras")]
    assert subprocess.run([sys.executable, "-c", CHILD, closed, *arguments], check=False).returncode == 0
    assert (tmp_path / "out.keras").read_bytes() == bounded


@pytest.mark.parametrize(
    ("arguments", "code"), [(["check", "--max-norm", "1"], 1), (["check", "--max-norm", "9"], 0), (["--help"], 0)]
)
def test_a_reader_that_has_gone_away_does_not_change_the_exit_code(
    model: Path, arguments: list[str], code: int
) -> None:
    where = [str(model)] if arguments[0] == "check" else []
    for errors in (subprocess.PIPE, subprocess.STDOUT):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([*PROGRAM, *arguments, *where], stdout=writing, stderr=errors, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr or b"") == (code, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("help", [[], ["--help"]])
def test_a_full_disk_behind_stdout_is_one_error(model: Path, help: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "check", str(model), "--max-norm", "9", *help], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: nothing can be written to stdout: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment_leaves_nothing_half_done_and_says_so_by_its_exit_code(
    model: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    """Sent to the whole group, as a terminal does; before Python listens, a signal ends the process by itself."""
    output = tmp_path / "out.keras"
    command = [*PROGRAM, "apply", str(model), "--max-norm", "1", "-q", "--force", "-o", str(output)]
    started = time.monotonic()
    subprocess.run(command, check=True)
    took = time.monotonic() - started
    complete = output.read_bytes()
    output.write_bytes(b"old")
    for moment in range(1, 9):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        time.sleep(took * moment / 8)
        os.killpg(process.pid, signum)
        _, said = process.communicate()
        assert process.returncode in (0, 128 + signum, -signum), said
        assert said.count(b"\n") <= 1 or b"KeyboardInterrupt" in said  # of Python itself, while it starts
        assert output.read_bytes() in (b"old", complete)
        assert small.temporaries(tmp_path) == []


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(model: Path, tmp_path: Path) -> None:
    """As `nohup` does; a run that is told to stop at once must not."""
    code = "import signal, os, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    where = tmp_path / "out.keras"
    command = [*PROGRAM, "apply", str(model), "--max-norm", "1", "-q", "-o", str(where)]
    process = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.PIPE)
    while process.poll() is None:
        time.sleep(0.02)
        process.send_signal(signal.SIGHUP) if _listens(process.pid) else None
    assert (process.returncode, process.stderr.read() if process.stderr else b"") == (0, b"")
    if process.stderr:
        process.stderr.close()
    assert where.exists()


def _listens(pid: int) -> bool:
    """Whether a process ignores SIGHUP by now, or has caught it: bit 0 of its masks."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(mask & 1 for mask in masks)
