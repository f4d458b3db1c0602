"""One checkpoint over several processes, which are killed: the bytes of one run, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_checkpoints as small
from support import tensor_files
from support.clusters import LocalCluster, local_cluster
from support.places import ROOT, TESTS
from support.sharing import Workers, killing, slowly

from renorm_cli import EngineError, apply
from renorm_cli.fleet.cluster import cluster
from renorm_cli.fleet.discover import item_at
from renorm_cli.fleet.pool import Processes, pool
from renorm_cli.fleet.sharing import among
from renorm_cli.run import shares

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHARE = 1 << 20
BOUND = 6.0


@pytest.fixture(autouse=True)
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SHARE_BYTES", SHARE)


@pytest.fixture
def giant(tmp_path: Path) -> Path:
    """Four files of 8 MiB: a kernel, a table, and a state that is only copied, in each of them."""
    numbers = np.random.default_rng(5)
    parts = [
        {
            f"layers.{number}.fc.weight": numbers.standard_normal((64, 512), dtype=np.float32),
            f"layers.{number}.embed_tokens.weight": numbers.standard_normal((30000, 32), dtype=np.float32),
            f"layers.{number}.steps": numbers.integers(0, 9, 1 << 19),
        }
        for number in range(4)
    ]
    (tmp_path / "in").mkdir()
    return tensor_files.write_index(tmp_path / "in" / "m.safetensors.index.json", parts, "m")


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Where processes leave their numbers."""
    (tmp_path / "begun").mkdir()
    return tmp_path / "begun"


def applied(path: Path, folder: Path, **asked: Any) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    apply(path, folder / path.name, **{"max_norm": BOUND, "keep_norms": False} | asked)
    assert small.temporaries(folder) == []
    return small.content(folder)


def slow(processes: Processes, path: Path, begun: Path) -> Any:
    return lambda do, items: among(processes, str(path), partial(slowly, begun, do), items)


def two(do: Any, jobs: Any) -> Iterator[Any]:
    return pool(do, jobs, 2)


def test_processes_that_are_killed_change_no_byte(giant: Path, begun: Path, tmp_path: Path) -> None:
    killer = killing(begun, 3)
    there = applied(giant, tmp_path / "there", workers=slow(two, giant, begun))
    killer.join()
    assert there == applied(giant, tmp_path / "here")


def test_a_part_that_kills_its_processes_ends_it_and_leaves_nothing(giant: Path, tmp_path: Path) -> None:
    def workers(do: Any, items: Any) -> Iterator[Any]:
        return among(two, str(giant), dies, items)

    (tmp_path / "out").mkdir()
    with pytest.raises(EngineError, match=r"part \d+ of \d+': the process that read it died 2 times"):
        apply(giant, tmp_path / "out" / giant.name, max_norm=BOUND, workers=workers)
    assert list((tmp_path / "out").iterdir()) == []


def dies(item: Any) -> None:
    os._exit(9)


RUN = """
import sys
from functools import partial
from pathlib import Path
from renorm_cli import apply
from renorm_cli.fleet.pool import pool
from renorm_cli.fleet.sharing import among
from renorm_cli.run import shares
from support.sharing import slowly
if __name__ == "__main__":
    shares.SHARE_BYTES = int(sys.argv[4])
    two = lambda do, jobs: pool(do, jobs, 2)
    workers = lambda do, items: among(two, "m", partial(slowly, Path(sys.argv[3]), do), items)
    apply(sys.argv[1], sys.argv[2], max_norm=float(sys.argv[5]), keep_norms=False, workers=workers)
"""


def test_who_shares_out_can_be_killed_and_the_next_run_finds_no_harm(giant: Path, begun: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "out", tmp_path / "run.py"
    out.mkdir()
    script.write_text(RUN)
    before = small.content(giant.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    for after in (0.1, 0.4):
        arguments = [str(giant), str(out / giant.name), str(begun), str(SHARE), str(BOUND)]
        process = subprocess.Popen([sys.executable, str(script), *arguments], env=environment)
        wait_for(lambda: any(begun.iterdir()))
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert small.content(out) == {}
        assert small.temporaries(out) != []
        shutil.rmtree(begun)
        begun.mkdir()
    assert applied(giant, out, workers=slow(two, giant, begun)) == applied(giant, tmp_path / "here")
    assert small.content(giant.parent) == before


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def command(made: LocalCluster, verb: str, *arguments: str) -> Any:
    program = [sys.executable, "-m", "renorm_cli", verb, *arguments, "--max-norm", str(BOUND), "--format", "json"]
    done = subprocess.run(
        program,
        cwd=made.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode <= 1, done.stderr
    record = json.loads(done.stdout)
    return {name: value for name, value in record.items() if name not in ("seconds", "provenance", "output")}


@pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed")
def test_a_cluster_whose_workers_are_killed_writes_the_bytes_of_one_run(
    giant: Path, begun: Path, tmp_path: Path
) -> None:
    here = applied(giant, tmp_path / "here")
    with local_cluster(tmp_path) as made:
        killer = killing(begun, 3)
        processes = partial(cluster, address=made.address, first=item_at(str(giant)))
        assert applied(giant, tmp_path / "there", workers=slow(processes, giant, begun)) == here
        killer.join()
        (tmp_path / "said").mkdir()
        place = str(giant.relative_to(tmp_path))
        for verb, *more in (("inspect",), ("check",), ("apply", "-o", f"said/{giant.name}")):
            alone = command(made, verb, place, *more)
            assert command(made, verb, place, *more, *["--force"][: len(more)], "--cluster", made.address) == alone
        assert small.content(tmp_path / "said") == here


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_units_that_run_through_several_files_are_those_of_one_run(dtype: str, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    numbers = np.random.default_rng(1)
    kernel, table = (numbers.standard_normal(shape).astype(dtype) for shape in ((4096, 96), (12000, 64)))
    parts = []
    for number in range(4):
        rows = kernel[1024 * number : 1024 * (number + 1)]
        columns = table[:, 16 * number : 16 * (number + 1)]
        slices = ["", f"4096 96 {1024 * number},1024:0,96", f"12000 64 0,12000:{16 * number},16"]
        names, values = [f"b{number}", "wide/kernel", "embeddings"], [rows[0], rows, columns]
        parts.append(f"{tmp_path}/parts/part-{number:05}-of-00004")
        (tmp_path / "parts").mkdir(exist_ok=True)
        tf.raw_ops.SaveV2(prefix=parts[-1], tensor_names=names, shape_and_slices=slices, tensors=values)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=f"{tmp_path}/m", delete_old_dirs=True)
    norms = np.linalg.norm(kernel.astype(np.float64), axis=0)
    asked = {"units": ["wide/kernel=-1", "embeddings=0"], "max_norm": float(np.sort(norms)[40])}
    workers = Workers()
    here = applied(tmp_path / "m", tmp_path / "here", **asked)
    there = applied(tmp_path / "m", tmp_path / "there", workers=workers, **asked)
    assert here == there
    assert len(here) == 5
    assert len(set(workers.done)) > 2
    if dtype == "float16":
        return  # TensorFlow does not put its slices together
    (read,) = tf.raw_ops.RestoreV2(
        prefix=f"{tmp_path}/there/m", tensor_names=["wide/kernel"], shape_and_slices=[""], dtypes=[dtype]
    )
    after = np.linalg.norm(read.numpy().astype(np.float64), axis=0)
    assert (after <= asked["max_norm"] * (1 + 1e-9)).all()
    assert (after < norms).any()
