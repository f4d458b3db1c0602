"""`apply` opens each file of a checkpoint once: what is judged is what is read.

Asked of Python's audit hooks, which see every open by name, in the process itself and in those it forks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import keras_zoo
from support import small_checkpoints as small

pytestmark = [pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS]

CODE = """
import os, sys
told = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.fsdecode(arguments[0])
        if os.path.abspath(path).startswith({folder!r} + "/") and not os.path.isdir(path):
            os.write(told, os.fsencode(os.path.abspath(path)) + b"\\n")
sys.addaudithook(hook)
from renorm_cli.__main__ import main
main()
"""


def opened(checkpoint: Path, folder: Path, out: Path) -> Counter[str]:
    """How often each file below a folder is opened by its name in an `apply` of the checkpoint in it."""
    log = out / "opened"
    code = CODE.format(log=str(log), folder=str(folder))
    arguments = ["apply", str(checkpoint), "--max-norm", "1", "-o", str(out / "m")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Counter(os.path.relpath(line, folder) for line in log.read_text().splitlines())


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in small.TENSORFLOW)) for name in small.FORMATS]
)
def test_every_file_of_a_checkpoint_is_opened_once(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of a SavedModel, whose assets may be too many to stay open, these once to copy and once to compare."""
    folder = tmp_path_factory.mktemp("in")
    checkpoint = small.FORMATS[name](folder)
    for other in {"one", "two"} if name == "prefix of shards" else ():
        for path in folder.glob(f"{other}.*"):
            path.unlink()
    twice = {path: 2 for path in files(folder) if "assets/" in path}
    assert opened(checkpoint, folder, tmp_path_factory.mktemp("out")) == dict.fromkeys(files(folder), 1) | twice
