"""Run the command line on one hostile checkpoint, and find out whether it kept its promises.

    root/inside/     the checkpoint, built by the case
    root/outside/    canaries that nobody may open
    root/result/     where the output goes
    root/home/ temp/ work/   HOME, TMPDIR and the current directory of the tool, empty before and after

A case is a `Case` in the tuple `CASES` of a module `hostile/*_cases.py`; test_hostile.py runs them all.
"""

from __future__ import annotations

import copy
import csv
import functools
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from hostile.canaries import MARK, Watch, outside, put_canaries

__all__ = ["COMMANDS", "Case", "Limits", "Outcome", "Tool", "outside", "run"]

Expect = Literal["error", "handled"]
Untouched = Callable[[Path, Path], None]

TOOL = "renorm_cli.cli.app:main"
LINE = 500
_SAMPLED = 1 << 16
_LARGE = 64 << 20
_ENDING = re.compile(
    r"(\.weights|\.safetensors\.index)?\.(h5|hdf5|json|keras|safetensors|npz|npy|msgpack|onnx|pt|pth|tflite)\Z"
)
_ABSOLUTE = re.compile(r"/[\w.@+~-]+(?:/[\w.@+~-]+)+")


@dataclass(frozen=True)
class Case:
    """One hostile checkpoint. `make` builds it in an empty folder `inside/` and returns the path to give to the tool.

    `attack` says in a sentence what it tries. `expect`: "error" is exit code 2 and one line that holds `says`;
    "handled" is exit code 0 and an output in which `untouched(input, output)` finds the odd part as it was (it raises
    AssertionError otherwise). `commands` are names in COMMANDS. `options` are added to the command line. An error with
    `opens` comes when values are read, after the checkpoint was opened: `apply` has begun to write by then.
    """

    name: str
    attack: str
    make: Callable[[Path], Path]
    expect: Expect
    says: str = ""
    untouched: Untouched | None = None
    commands: tuple[str, ...] = ("inspect", "apply")
    options: tuple[str, ...] = ()
    opens: bool = False


def later(make: Callable[[], Callable[[Path], Path]]) -> Callable[[Path], Path]:
    """A maker that is made when its case runs: a process that holds the megabytes of all cases forks slowly."""
    return lambda inside: make()(inside)


_USUAL = 0.025
"""Seconds that `_work` may take on a machine for which the limits are meant; a slow virtual one took 0.05 to 0.08."""


def _work() -> float:
    """Seconds for making and reading many small objects, which is what most hostile files make a parser do."""
    started = time.perf_counter()
    made = [(number, str(number)) for number in range(200_000)]
    assert sum(len(text) for _, text in made) > len(made)
    return time.perf_counter() - started


@functools.lru_cache(maxsize=1)
def _slowness(minute: int) -> float:
    """How many times longer than usual this machine takes, looked at once a minute: neighbours make it change."""
    return min(_work() for _ in range(3)) / _USUAL


@dataclass(frozen=True)
class Limits:
    """What one run may take: seconds of wall time, and bytes of the largest of its processes.

    Where other programs keep the processors busy, it may take as many times the seconds as there are programs for
    each processor, and on a slow machine as many times as that is slower, unless `alone`.
    """

    seconds: float = 5.0
    peak: int = 1 << 30
    alone: bool = False

    @property
    def wall(self) -> float:
        if self.alone:
            return self.seconds
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        return self.seconds * max(1.0, load, _slowness(int(time.monotonic() // 60)))


@dataclass(frozen=True)
class Outcome:
    """What one run did. `faults` says in sentences which promises it broke; an empty tuple is what we want."""

    case: str
    command: str
    code: int
    seconds: float
    peak: int
    stdout: str
    stderr: str
    faults: tuple[str, ...] = field(default=())


def _output(given: str) -> str:
    """`result/out` with the ending of the input."""
    name = given.rstrip("/").rpartition("/")[2]
    ending = _ENDING.search(name)
    return "../result/out" + (ending[0] if ending else "")


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "inspect": lambda given: ["inspect", given],
    "apply": lambda given: ["apply", given, "--max-norm", "0.5", "-o", _output(given)],
    "check": lambda given: ["check", given, "--max-norm", "1e300"],
    "diff": lambda given: ["diff", given, given],
    "json": lambda given: ["inspect", given, "--format", "json"],
    "csv": lambda given: ["inspect", given, "--format", "csv"],
    "md": lambda given: ["inspect", given, "--format", "md"],
    "junit": lambda given: ["inspect", given, "--format", "junit"],
    "html": lambda given: ["inspect", given, "--report", "../result/report.html"],
    "declared": lambda given: ["apply", given, "--declared", "-o", _output(given)],
    "dry": lambda given: ["apply", given, "--max-norm", "0.5", "--dry-run", "-o", _output(given)],
}
"""Name of a command -> its arguments for a path."""


class Tool:
    """The tool, ready to be forked."""

    def __init__(self) -> None:
        self._name = TOOL
        tests = str(Path(__file__).parents[1])
        known = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("launcher.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": tests if known is None else f"{known}{os.pathsep}{tests}"},
        )
        self._answer()

    def named(self, name: str) -> Tool:
        """The same process, that calls another `module:function` in its forks."""
        other = copy.copy(self)
        other._name = name
        return other

    def __call__(self, root: Path, arguments: list[str], deadline: float) -> dict[str, Any]:
        environment = {"PATH": os.defpath, "HOME": str(root / "home"), "TMPDIR": str(root / "temp"), "LANG": "C.UTF-8"}
        request = {
            "tool": self._name,
            "arguments": [*arguments[:1], "--engine", "numpy", *arguments[1:]] if arguments[0] != "diff" else arguments,
            "folder": str(root / "work"),
            "stdout": str(root / "stdout"),
            "stderr": str(root / "stderr"),
            "log": str(root / "log"),
            "outside": str(root / "outside"),
            "environment": environment,
            "deadline": deadline,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the launcher died"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


def run(case: Case, command: str, root: Path, tool: Tool, limits: Limits | None = None) -> Outcome:
    """Build the case in the empty folder `root`, run the tool on it, and judge what it did."""
    limits = limits or Limits()
    put_canaries(root / "outside")
    for name in ("inside", "result", "home", "temp", "work"):
        (root / name).mkdir()
    target = case.make(root / "inside")
    given = os.path.relpath(target, root / "work") if target.is_relative_to(root) else str(target)
    before = _snapshot(root)
    with Watch(root / "outside") as watch:
        told = tool(root, [*COMMANDS[command](given), *case.options], 2 * limits.wall)
        events = watch.events()
    after = _snapshot(root)
    out, err = ((root / name).read_text("utf-8", "backslashreplace") for name in ("stdout", "stderr"))
    log = root / "log"
    faults = [
        *(f"outside: {event}" for event in events),
        *(f"did {line}" for line in (log.read_text("utf-8").splitlines() if log.exists() else [])),
        *_cost_faults(told, limits),
        *_tree_faults(before, after, case.expect),
        *_text_faults(out, err, root, given),
        *_leak_faults(root, out, err),
        *(_error_faults if case.expect == "error" else _handled_faults)(case, command, told["code"], out, err),
    ]
    if case.expect == "handled" and not faults and command == "apply":
        faults += _result_faults(case, target, root)
    return Outcome(case.name, command, told["code"], told["seconds"], told["peak"], out, err, tuple(faults))


# Judgements: each yields sentences that say what was broken


def _cost_faults(told: dict[str, Any], limits: Limits) -> list[str]:
    faults = []
    if told["late"] or told["seconds"] > limits.wall:
        faults.append(f"took {told['seconds']:.1f} s, at most {limits.wall:.1f} are allowed")
    if told["peak"] > limits.peak:
        faults.append(f"took {told['peak'] >> 20} MiB, at most {limits.peak >> 20} are allowed")
    if told["left"]:
        faults.append(f"left {told['left']} processes running")
    return faults


def _tree_faults(before: dict[str, str], after: dict[str, str], expect: Expect) -> list[str]:
    changed = [name for name, facts in before.items() if after.get(name) != facts]
    faults = [f"{name} was changed" for name in changed if expect == "error" or not name.startswith("result")]
    for name in sorted(after.keys() - before.keys()):
        parts = Path(name).parts
        if any(part.startswith(".renorm-") for part in parts):
            faults.append(f"{name} was left behind")
        elif parts[0] != "result":
            faults.append(f"{name} was written, which is not in the output's folder")
        elif expect == "error":
            faults.append(f"{name} was written although the run failed")
    return faults


def _text_faults(out: str, err: str, root: Path, given: str) -> list[str]:
    faults = []
    for name, text in (("stdout", out), ("stderr", err)):
        odd = sorted({char for char in text if not (char.isprintable() or char == "\n")})
        if odd:
            faults.append(f"{name} holds {odd[:5]!r}, which a terminal may obey")
        if "Traceback (most recent" in text or 'File "' in text:
            faults.append(f"{name} holds a traceback")
        if re.search(r"^\s*::|##\[|##vso\[", text, re.MULTILINE):
            faults.append(f"{name} holds a command to a CI runner")
        faults += [
            f"{name} tells the path {path}"
            for path in _ABSOLUTE.findall(text.replace(given, ""))
            if _is_told(path, root)
        ]
    return faults


def _is_told(path: str, root: Path) -> bool:
    """Whether a path in the output is a real one of this machine, and not text that the checkpoint itself holds."""
    return os.path.lexists(path) and not any(os.fsencode(path) in data for data in _contents(root / "inside"))


def _leak_faults(root: Path, out: str, err: str) -> list[str]:
    places = {"stdout": out.encode(), "stderr": err.encode()}
    pages = [path.read_text("utf-8") for path in (root / "result").glob("*.html")]
    places |= {str(path.relative_to(root)): path.read_bytes() for path in _files(root / "result")}
    faults = [f"{name} holds the content of a canary" for name, data in places.items() if MARK in data]
    return faults + [
        "a name is markup in the page"
        for page in pages
        if "<script>alert" in page or "<b>owned" in page or ">1337" in page
    ]


def _error_faults(case: Case, command: str, code: int, out: str, err: str) -> list[str]:
    faults = [] if code == 2 else [f"exit code {code}, 2 was expected"]
    lines = err.splitlines()
    if len(lines) != 1 or not lines[0].startswith("error: ") or not err.endswith("\n"):
        faults.append(f"stderr is not one line that starts with 'error: ': {err[:2000]!r}")
    if any(len(line) > LINE for line in lines):
        faults.append(f"a line on stderr has more than {LINE} characters")
    if case.says not in err:
        faults.append(f"stderr does not say {case.says!r}: {err[:LINE]!r}")
    if out:
        faults.append(f"stdout is not empty: {out[:100]!r}")
    return faults


def _handled_faults(case: Case, command: str, code: int, out: str, err: str) -> list[str]:
    faults = [] if code == 0 else [f"exit code {code}, 0 was expected: {err[:LINE]!r}"]
    if not out and code == 0:
        faults.append("stdout is empty, a report was expected")
    if any(not line.startswith("warning: ") for line in err.splitlines()) and code == 0:
        faults.append(f"stderr holds more than warnings: {err[:LINE]!r}")
    if case.says not in out + err:
        faults.append(f"nothing says {case.says!r}: {(out + err)[:2000]!r}")
    if command in _FORMAT_FAULTS and code == 0:
        faults += _FORMAT_FAULTS[command](out)
    return faults


def _result_faults(case: Case, target: Path, root: Path) -> list[str]:
    output = root / "result" / _output(target.name).rpartition("/")[2]
    reports = list((root / "result").glob("*.report.json"))
    faults = [] if len(reports) == 1 else [f"{len(reports)} reports were written, one was expected"]
    for report in reports:
        faults += _json_faults(report.read_text("utf-8"))
    if case.untouched is not None:
        try:
            case.untouched(target, output)
        except AssertionError as error:
            faults.append(f"the output is not what it should be: {str(error)[:1000]}")
    return faults


def _json_faults(text: str) -> list[str]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        return [f"the report is no strict JSON: {error}"]
    return [] if text.isascii() else ["the report is not ASCII"]


def _csv_faults(text: str) -> list[str]:
    """Cells that a spreadsheet would compute (CWE-1236)."""
    cells = {cell for row in csv.reader(text.splitlines()) for cell in row if cell[:1] in tuple("=+-@\t\r") and cell}
    return [
        f"the cell {cell[:40]!r} is a formula" for cell in sorted(cells) if not re.fullmatch(r"[-+]?[0-9.eE+-]+", cell)
    ]


def _xml_faults(text: str) -> list[str]:
    try:
        ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return [f"the report is no XML: {error}"]
    return []


_FORMAT_FAULTS: dict[str, Callable[[str], list[str]]] = {
    "json": _json_faults,
    "csv": _csv_faults,
    "junit": _xml_faults,
}

# Files


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]


def _contents(folder: Path) -> list[bytes]:
    links = [os.fsencode(path.readlink()) for path in folder.rglob("*") if path.is_symlink()]
    return links + [path.read_bytes() for path in _files(folder) if path.stat().st_size < _LARGE]


def _snapshot(root: Path) -> dict[str, str]:
    """Kind, mode, size, time and content of everything below, but what the launcher itself writes."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name not in ("stdout", "stderr", "log"):
            found[name] = _facts(path)
    return found


def _facts(path: Path) -> str:
    facts = path.lstat()
    kind = stat.S_IFMT(facts.st_mode)
    if kind == stat.S_IFLNK:
        return f"link {path.readlink()}"
    if kind != stat.S_IFREG:
        return f"{kind} {facts.st_mode}"
    return f"file {facts.st_mode} {facts.st_size} {facts.st_mtime_ns} {_hash(path, facts)}"


def _hash(path: Path, facts: os.stat_result) -> str:
    """Of the whole content; of its two ends where it is large or may not be read."""
    if not os.access(path, os.R_OK):
        return "?"
    with path.open("rb") as file:
        if facts.st_size <= _LARGE:
            return hashlib.sha256(file.read()).hexdigest()
        ends = file.read(_SAMPLED)
        file.seek(-_SAMPLED, os.SEEK_END)
        return hashlib.sha256(ends + file.read()).hexdigest()
