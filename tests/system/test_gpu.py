"""On a machine with a GPU everything holds there too; in processes of their own, as one in which the GPUs were hidden
once cannot use them any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import builders
from support.gpus import NEEDS_GPU
from support.places import ROOT, TESTS

pytestmark = list(NEEDS_GPU)


TOOL = (sys.executable, "-m", "renorm_cli")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_contract_of_the_executors_holds_on_the_gpu() -> None:
    run(*PYTEST, str(TESTS / "contracts" / "test_engine.py"), "-k", "tensorflow", RENORM_TEST_DEVICE="gpu")


def test_blocks_stay_in_the_memory_of_the_gpu() -> None:
    run(*PYTEST, str(TESTS / "unit/norms/engines/test_held.py"), RENORM_TEST_DEVICE="gpu")


def test_spectral_norms_are_proven_on_the_gpu() -> None:
    run(*PYTEST, str(TESTS / "unit/norms/spectral/test_on_device.py"), RENORM_TEST_DEVICE="gpu")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_bound_in_training_holds_on_the_gpu() -> None:
    files = (str(TESTS / "unit/training/test_renorm.py"), str(TESTS / "unit/norms/engines/test_tensor_ops.py"))
    run(*PYTEST, "-n", "4", *files, TF_FORCE_GPU_ALLOW_GROWTH="true")


def test_auto_picks_the_gpu_by_its_name() -> None:
    code = (
        "from renorm_cli.norms.engines.pick import pick\n"
        "from renorm_cli.norms.engines.estimate import Load\n"
        "arrays, notes = pick(load=Load({('float16', 2.5): 1 << 40}))\nprint(arrays.name, arrays.device)"
    )
    assert run(sys.executable, "-c", code).stdout.startswith("tensorflow gpu:0 ")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_gpu_bounds_what_numpy_bounds_and_either_leaves_the_output_of_the_other_as_it_is(
    dtype: str, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0).standard_normal
    arrays = {
        "a/kernel": draw((700, 300)).astype(dtype),
        "b/kernel": draw((3, 3, 40, 50)).astype(dtype),
        "c/embeddings": draw((5000, 64)).astype(dtype),
    }
    source = tmp_path / "model.h5"
    builders.write_h5(source, arrays)
    outputs = {}
    for place, options in {"gpu": ("--device", "gpu"), "cpu": ("--engine", "numpy")}.items():
        first, second = (tmp_path / f"{place}-{number}.h5" for number in (1, 2))
        bound = ("--max-norm", "8", "-q")
        done = run(*TOOL, "apply", str(source), *bound, "-o", str(first), *options)
        assert done.stderr == ""
        other = ("--engine", "numpy") if place == "gpu" else ("--device", "gpu")
        run(*TOOL, "apply", str(first), *bound, "-o", str(second), *other)
        assert second.read_bytes() == first.read_bytes()
        outputs[place] = builders.read_h5(first)
    for name, array in arrays.items():
        mine, theirs = outputs["gpu"][name], outputs["cpu"][name]
        np.testing.assert_array_equal(mine == array, theirs == array)
        assert not np.array_equal(mine, array)
        ulps = np.abs(mine.view(f"i{array.itemsize}").astype(object) - theirs.view(f"i{array.itemsize}").astype(object))
        assert ulps.max() <= (4 if dtype == "float64" else 1)


def test_memory_of_the_gpu_grows_with_a_tensor_up_to_the_room_for_its_blocks(tmp_path: Path) -> None:
    code = """
import sys
from renorm_cli.cli import app
import tensorflow as tf
sys.argv[1:] = ["apply", sys.argv[1], "--max-norm", "1", "--dry-run", "-q", "--device", "gpu", "--jobs", "2"]
try:
    app.main()
finally:
    print(tf.config.experimental.get_memory_info("GPU:0")["peak"], file=sys.stderr)
"""
    peaks = []
    for rows in (1 << 12, 1 << 17):  # 64 MiB and 2 GiB
        source = tmp_path / f"{rows}.h5"
        builders.write_h5(source, {"a/kernel": np.ones((rows, 4096), np.float32)})
        peaks.append(int(run(sys.executable, "-c", code, str(source)).stderr.split()[-1]))
    assert peaks[0] < 512 << 20
    assert peaks[1] <= 1.5 * peaks[0] + (1 << 30)
