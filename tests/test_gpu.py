"""On a machine with a GPU, the TensorFlow executor keeps the same contract there; in a process of its own, as a process
in which the GPUs were hidden once cannot use them any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVERS = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not any(Path(node).exists() for node in DRIVERS), reason="this machine has no GPU device"),
]


def test_the_contract_of_the_executors_holds_on_the_gpu() -> None:
    tests = Path(__file__).with_name("test_arrays.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), "-k", "tensorflow"],
        env={**os.environ, "RENORM_TEST_DEVICE": "gpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_auto_picks_the_gpu_by_its_name() -> None:
    code = "from renorm_cli.arrays import pick; arrays, notes = pick(); print(arrays.name, arrays.device)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensorflow gpu:0 "), done.stdout
