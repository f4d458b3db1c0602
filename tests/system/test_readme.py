"""What README shows is what the program prints. `PYTHONPATH=tests python tests/system/test_readme.py` rewrites it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.places import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- run: (?P<command>.*?) -->\n```text\n(?P<text>.*?)```", re.DOTALL)


def printed(command: str, folder: Path) -> str:
    """What a command of README prints, run in a folder with the samples beside it."""
    if not (folder / "sample_checkpoints").exists():
        (folder / "sample_checkpoints").symlink_to(ROOT / "sample_checkpoints")
    program, *arguments = shlex.split(command)
    assert program == "renorm-ckpt"
    done = subprocess.run(
        [sys.executable, "-m", "renorm_cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "block", list(BLOCK.finditer(README.read_text("utf-8"))), ids=lambda block: str(block["command"])
)
def test_a_block_is_what_its_command_prints(block: re.Match[str], tmp_path: Path) -> None:
    assert printed(block["command"], tmp_path) == block["text"]


def test_there_are_blocks_to_check() -> None:
    assert len(list(BLOCK.finditer(README.read_text("utf-8")))) >= 2


def test_the_setup_commands_are_one_line_each_and_the_ci_script_calls_the_second() -> None:
    text = README.read_text("utf-8")
    commands = re.findall(r"```sh\n(pip install [^\n]*)\n```", text)
    assert len(commands) == 2
    main_job = commands[0].partition(" && ")[2]
    assert f"<!-- run: {main_job} -->" in text
    setup, _, test = commands[1].partition(" && ")
    script = (ROOT / ".ci" / "run").read_text()
    assert setup.removeprefix("pip install ") in script
    assert f"\n{test}\n" in script


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = re.findall(r"^\| ([\d, ]+) \|", README.read_text("utf-8"), re.MULTILINE)
    assert codes == ["0", "1", "2", "130, 143, 129"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        README.write_text(
            BLOCK.sub(
                lambda block: (
                    f"<!-- run: {block['command']} -->\n```text\n{printed(block['command'], Path(folder))}```"
                ),
                README.read_text("utf-8"),
            ),
            "utf-8",
        )
