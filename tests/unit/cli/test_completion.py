"""Completion, typed with a TAB into real shells; what a file says never becomes a command there."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import builders
from support.cli import refused, renorm_here
from support.places import SAMPLES

from renorm_cli.cli.completion import files_called, reports

TOOLS = Path(sys.executable).parent

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SETUP = {
    "bash": 'bind "set enable-bracketed-paste off"; eval "$(_RENORM_CKPT_COMPLETE=source_bash renorm-ckpt)"',
    "zsh": (
        "autoload -Uz compinit; compinit -u -D; bindkey -e; setopt no_beep;"
        ' eval "$(_RENORM_CKPT_COMPLETE=source_zsh renorm-ckpt)"'
    ),
    "fish": "_RENORM_CKPT_COMPLETE=source_fish renorm-ckpt | source",
}
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    ";touch pwned;",
    "'",
    '"',
    "x\x1b[31m",
    "a b",
    "-rf",
    "*",
    "x\ny",
    "~",
    "\u202e",
)


class Shell:
    """An interactive shell on a terminal of its own. `said` is a program that writes down what it was called with."""

    def __init__(self, name: str, folder: Path) -> None:
        program = shutil.which(name) or pytest.skip(f"{name} is not installed")
        self._said = folder.parent / "said.txt"
        said = folder.parent / "said"
        said.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {self._said}.part && mv {self._said}.part {self._said}\n")
        said.chmod(0o755)
        path = f"{folder.parent}:{TOOLS}:{os.environ['PATH']}"
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="xterm", HOME=str(folder.parent), PATH=path, COLUMNS="200")
            os.execv(program, START[name])
        self._words(f"{SETUP[name]}; said ready\n")

    def completed(self, line: str) -> list[str]:
        """The words of a line as they are after one TAB at its end."""
        return self._words(f"\x01\x0b{line}\t\x01said \n")

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    def _words(self, keys: str) -> list[str]:
        self._said.unlink(missing_ok=True)
        os.write(self._terminal, keys.encode())
        screen = b""
        deadline = time.monotonic() + 60
        while not self._said.exists():
            assert time.monotonic() < deadline, screen
            if select.select([self._terminal], [], [], 0.02)[0]:
                screen += os.read(self._terminal, 65536)
        return self._said.read_text().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    shutil.copy(SAMPLES / "dense.h5", made)
    (made / "notes.json").touch()
    kernel = np.ones((2, 2), np.float32)
    builders.write_h5(made / "evil.h5", {f"{name}/kernel": kernel for name in (*HOSTILE, "plain")})
    return made


def offered(line: str, folder: Path, shell: str = "zsh", **environment: str) -> subprocess.CompletedProcess[str]:
    """What the program offers for the last word of a line."""
    words = line.split(" ")
    return subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'renorm-ckpt'; from renorm_cli.cli.app import main; main()"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "_RENORM_CKPT_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **environment,
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", START)
def test_a_tab_completes_commands_options_values_files_variables_and_reports(name: str, folder: Path) -> None:
    shell = Shell(name, folder)
    try:
        for typed, words in (
            ("ch", ["check"]),
            ("check --max-n", ["check", "--max-norm"]),
            ("check --format ju", ["check", "--format", "junit"]),
            ("apply --engine t", ["apply", "--engine", "tensorflow"]),
            ("check de", ["check", "dense.h5"]),
            ("check dense.h5 -i hidden/k", ["check", "dense.h5", "-i", "hidden/kernel"]),
            ("diff dense.h5 evil.h5 -x pl", ["diff", "dense.h5", "evil.h5", "-x", "plain/kernel"]),
            ("check dense.h5 --report ju", ["check", "dense.h5", "--report", "junit=report.xml"]),
            ("check dense.h5 --report no", ["check", "dense.h5", "--report", "notes.json"]),
            ("check dense.h5 --report json=no", ["check", "dense.h5", "--report", "json=notes.json"]),
            ("check --baseline no", ["check", "--baseline", "notes.json"]),
        ):
            assert shell.completed(f"renorm-ckpt {typed}") == ["renorm-ckpt", *words], typed
    finally:
        shell.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", START)
def test_names_that_mean_something_to_a_shell_are_not_offered_and_nothing_is_run(name: str, folder: Path) -> None:
    shell = Shell(name, folder)
    try:
        words = shell.completed("renorm-ckpt check evil.h5 -i ")
    finally:
        shell.close()
    assert words == ["renorm-ckpt", "check", "evil.h5", "-i", "plain/kernel"]
    assert not (folder / "pwned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_cannot_be_read_offers_nothing_and_says_nothing(shell: str, folder: Path) -> None:
    (folder / "cut.h5").write_bytes((folder / "dense.h5").read_bytes()[:5000])
    os.mkfifo(folder / "pipe.h5")
    nothing = {"bash": "\n", "zsh": "_files\n", "fish": ""}[shell]
    for name in ("gone.h5", "cut.h5", "pipe.h5", ".", "notes.json", "a" * 5000):
        done = offered(f"renorm-ckpt check {name} -i ", folder, shell)
        assert (done.stdout.strip(), done.stderr) == (nothing.strip(), ""), name
    done = offered("renorm-ckpt check gone.h5 dense.h5 -i dig", folder, shell)
    assert "digit/kernel" in done.stdout
    assert done.stderr == ""


def test_the_formats_that_may_be_asked_for_are_those_there_are(folder: Path) -> None:
    from typing import get_args

    from renorm_cli.cli.options import DiffFormat, ReportFormat, SuggestFormat
    from renorm_cli.render.registry import DIFF_FORMATS, FORMATS, SUGGEST_FORMATS

    assert set(get_args(ReportFormat)) == {"table", *FORMATS} - {"html"}
    assert set(get_args(DiffFormat)) == {"table", *DIFF_FORMATS} - {"html"}
    assert set(get_args(SuggestFormat)) == {"table", *SUGGEST_FORMATS}


def test_reports_offer_formats_and_files_and_files_behind_a_format(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "a.json").touch()
    (folder / "x;touch pwned").touch()
    assert {"json=report.json", "gitlab=gl-code-quality-report.json", "notes.json", "sub/"} <= set(reports(""))
    assert reports("json=sub/") == ["json=sub/a.json"]
    assert reports("nothing=") == reports("x") == reports("none/") == []


@pytest.mark.slow
def test_weights_are_offered_and_the_state_of_an_optimizer_where_no_weight_begins_so(folder: Path) -> None:
    words = offered("renorm-ckpt check dense.h5 -i ", folder, "bash").stdout.split()
    assert {"hidden/kernel", "hidden/bias", "digit/kernel"} <= set(words)
    assert not any("optimizer" in word for word in words)
    words = offered("renorm-ckpt check dense.h5 -x opt", folder, "bash").stdout.split()
    assert words
    assert all(word.startswith("optimizer_weights/") for word in words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("check --rules", "r.toml"),
        ("check --baseline", "notes.json"),
        ("inspect --norms", "n.npz"),
        ("suggest -o", "r.toml"),
    ],
)
def test_an_option_of_a_file_offers_the_files_that_it_reads_or_writes(option: str, name: str, folder: Path) -> None:
    (folder / "more").mkdir()
    for one in ("r.toml", "n.npz"):
        (folder / one).touch()
    assert set(offered(f"renorm-ckpt {option} ", folder, "bash").stdout.split()) == {name, "more/"}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_the_shell_that_is_named_is_shown(
    shell: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = offered("renorm-ckpt", folder, _RENORM_CKPT_COMPLETE=f"source_{shell}").stdout
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert renorm_here(capfd, "--show-completion", shell).stdout.strip() == asked.strip()
    refused(renorm_here(capfd, "--show-completion"), "'tcsh' is no shell that is completed in; give bash, zsh or fish")
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert renorm_here(capfd, "--show-completion").stdout.strip() == asked.strip()


def test_completion_is_set_up_in_the_shell_that_is_named_or_the_error_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    done = renorm_here(capfd, "--install-completion", "zsh")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / ".zfunc" / "_renorm-ckpt") in done.stdout
    assert (tmp_path / ".zfunc" / "_renorm-ckpt").read_text().startswith("#compdef renorm-ckpt")
    (tmp_path / ".bash_completions").write_text("a file")
    refused(renorm_here(capfd, "--install-completion", "bash"), "completion in bash cannot be set up: File exists")


def test_a_completion_imports_what_reading_a_header_needs_and_no_more(folder: Path) -> None:
    done = offered("renorm-ckpt check dense.h5 -i ", folder, PYTHONPROFILEIMPORTTIME="1")
    assert "hidden/kernel" in done.stdout
    found = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "renorm_cli.formats.keras.hdf5_files" in found
    assert not found & {"tensorflow", "keras", "rich", "renorm_cli.run.steps", "renorm_cli.api.verbs"}


def test_hidden_files_are_offered_to_who_types_the_dot_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.toml", ".b.toml"):
        Path(name).touch()
    offer = files_called(".toml")
    assert (offer(""), offer(".")) == (["a.toml"], [".b.toml"])
