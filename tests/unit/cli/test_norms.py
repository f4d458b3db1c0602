"""`inspect --norms`: the norm of every unit as a file that NumPy reads, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import oracle
from support.cli import refused, renorm, renorm_here
from support.places import SAMPLES

import renorm_cli
from renorm_cli.model.blocks import Block

DENSE = SAMPLES / "dense.h5"


@pytest.mark.parametrize("sample", ["dense.h5", "convolutions.keras", "embedding.weights.h5", "bfloat16.keras"])
def test_the_file_has_the_norms_of_a_loop_under_the_names_of_the_report(sample: str, tmp_path: Path) -> None:
    path, out = SAMPLES / sample, tmp_path / "norms.npz"
    assert renorm("inspect", path, "--norms", out, "-q").returncode == 0
    report = renorm_cli.inspect(path)
    with np.load(out) as file, renorm_cli.open(path) as checkpoint:
        assert file.files == [row.step.variable.name for row in report.rows]
        for row in report.rows:
            variable, axes = row.step.variable, row.step.unit_axes
            weights = np.array(checkpoint.read(variable, Block((0,) * len(variable.shape), variable.shape))).astype(
                np.float64
            )
            norms = file[variable.name]
            assert norms.shape == tuple(n if axis in axes else 1 for axis, n in enumerate(variable.shape))
            np.testing.assert_allclose(norms.ravel(), oracle.unit_norms(weights, axes).ravel(), rtol=1e-12)


def test_the_same_run_gives_the_same_bytes_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    for jobs in ("1", "3"):
        assert renorm("inspect", DENSE, "--norms", tmp_path / f"{jobs}.npz", "--jobs", jobs, "-q").returncode == 0
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "3.npz").read_bytes()


def test_a_report_that_cannot_be_written_leaves_no_norms_either(tmp_path: Path) -> None:
    out, report = tmp_path / "norms.npz", tmp_path / "no folder" / "report.json"
    refused(renorm("inspect", DENSE, "--norms", out, "--report", report, "-q"), "no folder")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_is_replaced_only_when_the_run_ends_well(tmp_path: Path) -> None:
    out = tmp_path / "norms.npz"
    out.write_bytes(b"older")
    refused(renorm("inspect", tmp_path / "gone.h5", "--norms", out, "--force"), "gone.h5")
    assert out.read_bytes() == b"older"
    refused(renorm("inspect", DENSE, "--norms", out), "exists; give another with --norms, or replace it with --force")
    assert out.read_bytes() == b"older"
    assert renorm("inspect", DENSE, "--norms", out, "--force", "-q").returncode == 0
    assert np.load(out).files == ["hidden/kernel", "digit/kernel"]


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    here, npz = str(tmp_path / "model.h5"), str(tmp_path / "norms.npz")
    Path(npz).symlink_to(here)
    Path(here).write_bytes(DENSE.read_bytes())
    for arguments, what in (
        ([here, "--norms", here], "give it a name that ends in .npz"),
        ([here, "--norms", npz], "is another file of this run"),
        ([str(DENSE), here, "--norms", str(tmp_path / "n.npz")], "the norms of one checkpoint, 2 are given"),
        (
            [here, "--norms", str(tmp_path / "n.npz"), "--report", f"json={tmp_path / 'n.npz'}"],
            "another file of this run",
        ),
    ):
        refused(renorm_here(capfd, "inspect", *arguments), what)
    assert Path(here).read_bytes() == DENSE.read_bytes()


@pytest.mark.slow
def test_more_norms_than_memory_should_hold_take_no_more_of_it(tmp_path: Path) -> None:
    """A float16 kernel of one row: its norms take four times what it takes itself."""
    path, out, units = tmp_path / "model.h5", tmp_path / "norms.npz", 40 << 20
    with h5py.File(path, "w") as file:
        weights = file.create_dataset("wide/kernel", (1, units), "f2")
        weights[0, ::1000] = 1
    code = (
        "import resource, sys\nfrom renorm_cli.__main__ import main\n"
        "try: main()\nexcept SystemExit as done: assert not done.code\n"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    used = []
    for more in ([], ["--norms", str(out)]):
        arguments = ["inspect", str(path), "--units", "-1", "-i", "*kernel", "--engine", "numpy", "-q", *more]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        used.append(int(done.stderr.splitlines()[-1]) << 10)
    assert used[1] - used[0] < 64 << 20 < out.stat().st_size // 4
    norms = np.load(out, mmap_mode=None)["wide/kernel"]
    assert norms.shape == (1, units)
    assert norms.sum() == len(range(0, units, 1000))
