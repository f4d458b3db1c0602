"""TensorFlow starts without a line on the terminal, and what goes wrong is told; in real processes, with real pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT

QUIET = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "RENORM_", "PYTHON"))}

STUB = """
import os
os.write(2, b"noise of a shared library\\n")
{then}
"""


def python(code: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with stub modules in `path` first on the module path."""
    root = ROOT
    search = os.pathsep.join(str(folder) for folder in (path, root) if folder)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**QUIET, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def stub(folder: Path, then: str = "") -> Path:
    (folder / "noisy.py").write_text(STUB.format(then=then))
    return folder


IMPORT = "from renorm_cli.norms.engines.quiet import quiet\nwith quiet():\n    import noisy\n"


@pytest.mark.slow
def test_tensorflow_starts_and_works_without_a_byte_on_stdout_or_stderr() -> None:
    done = python(
        "import numpy as np\n"
        "from renorm_cli.norms.engines.tensorflow_engine import TensorFlowEngine\n"
        "engine = TensorFlowEngine('cpu')\n"
        "block = np.full((3, 4), 2.0, dtype=np.float32)\n"
        "assert engine.power_sums(block, (1,), 2.0, None).tolist() == [12.0] * 4\n"
        "assert engine.peaks(block, (1,)).tolist() == [2.0] * 4\n"
        "assert engine.scale(block, (1,), np.full(4, 0.5)).tolist() == [[1.0] * 4] * 3\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_an_import_writes_to_descriptor_2_is_dropped(tmp_path: Path) -> None:
    done = python(IMPORT, stub(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_the_redirection_the_noise_is_there(tmp_path: Path) -> None:
    done = python("import noisy", stub(tmp_path))
    assert done.stderr == "noise of a shared library\n"


def test_a_failing_import_explains_itself(tmp_path: Path) -> None:
    done = python(IMPORT, stub(tmp_path, "raise ImportError('libmissing.so')"))
    assert done.returncode == 1
    assert done.stderr.startswith("noise of a shared library\n")
    assert done.stderr.endswith("ImportError: libmissing.so\n")


def test_an_interrupted_import_leaves_descriptor_2_as_it_was(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from renorm_cli.norms.engines.quiet import quiet\n"
        "before, free = os.fstat(2).st_ino, os.dup(0)\n"
        "try:\n"
        "    with quiet():\n"
        "        import noisy\n"
        "except KeyboardInterrupt:\n"
        "    os.write(1, b'interrupted ')\n"
        "assert os.fstat(2).st_ino == before\n"
        "assert os.dup(0) == free + 1\n"  # the lowest free number: none was left open
        "print('restored')\n"
    )
    done = python(code, stub(tmp_path, "raise KeyboardInterrupt"))
    assert done.stdout == "interrupted restored\n"


def test_writing_works_again_afterwards(tmp_path: Path) -> None:
    done = python(
        IMPORT + "import sys\nprint('ours', file=sys.stderr)",
        stub(tmp_path, "import sys; print('late', end='', file=sys.stderr)"),
    )
    assert done.stderr == "ours\n"


def test_a_crash_inside_is_told_on_the_real_stderr(tmp_path: Path) -> None:
    done = python(IMPORT, stub(tmp_path, "import signal; os.kill(os.getpid(), signal.SIGILL)"))
    assert done.returncode == -signal.SIGILL
    assert "Illegal instruction" in done.stderr
    assert "noisy.py" in done.stderr


def test_the_crash_handler_is_as_before_afterwards(tmp_path: Path) -> None:
    asked = IMPORT + "import faulthandler; print(faulthandler.is_enabled())"
    assert python(asked, stub(tmp_path)).stdout == "False\n"
    assert python(asked, tmp_path, PYTHONFAULTHANDLER="1").stdout == "True\n"


def test_an_enabled_crash_handler_speaks_on_stderr_afterwards(tmp_path: Path) -> None:
    crash = IMPORT + "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    assert "Illegal instruction" in python(crash, stub(tmp_path), PYTHONFAULTHANDLER="1").stderr


def test_the_log_can_be_asked_for(tmp_path: Path) -> None:
    assert python(IMPORT, stub(tmp_path), RENORM_TF_LOG="1").stderr == "noise of a shared library\n"


def test_a_level_that_the_user_set_is_kept(tmp_path: Path) -> None:
    asked = IMPORT + "import os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert python(asked, stub(tmp_path), TF_CPP_MIN_LOG_LEVEL="1").stdout == "1\n"
    assert python(asked, tmp_path).stdout == "3\n"


def test_a_closed_stderr_is_no_obstacle(tmp_path: Path) -> None:
    code = "import os\nos.close(2)\n" + IMPORT.replace("import noisy", "found = 3") + "print(found)"
    assert python(code).stdout == "3\n"
