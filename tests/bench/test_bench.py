"""What is promised of speed and memory, against what a user would run or write instead, in one table.

RENORM_BENCH_GIB is the size of the larger files (1; some twenty times that much disk is needed), RENORM_BENCH_DIR the
folder they are kept in, RENORM_BENCH_RUNS the number of runs of each program (5), of most of them no more than 3. A
promise that is made for 1 GiB is not held against a smaller file. The table is also written into the folder, as
table.md, row by row; it takes ten minutes on two processors that do nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support.gpus import needs_gpu
from support.places import SAMPLES

from bench import files, ours, peers
from bench.files import FORMATS, Format
from bench.measure import Cost, Program, Stopwatch
from bench.table import Promise, Row, render

pytestmark = [pytest.mark.bench, pytest.mark.timeout(0)]

GIB = float(os.environ.get("RENORM_BENCH_GIB", "1"))
BYTES = int(GIB * 2**30)
RUNS = int(os.environ.get("RENORM_BENCH_RUNS", "5"))
FEW = min(RUNS, 3)
FULL_SIZE = GIB >= 1
FLEET = 300
"""Small checkpoints below one folder."""
MANY = 100_000 if FULL_SIZE else 10_000

UNITS = {
    "first": (0,),
    "a middle one": (1,),
    "last": (3,),
    "first two": (0, 1),
    "middle two": (1, 2),
    "last two": (2, 3),
    "first and last": (0, 3),
}
LARGER = {".weights.h5": (1, 8), ".keras": (1, 4), "TF checkpoint": (1, 4)}
"""How many times `GIB` one variable has; TensorFlow holds one it writes twice, eight would not fit into 24 GiB."""
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64}


def circumstances() -> str:
    """When and where, by what: the line above the table."""
    packages = ("numpy", "h5py", "tensorflow", "keras", "torch", "safetensors")
    found = [f"{name} {metadata.version(name)}" for name in packages if importlib.util.find_spec(name) is not None]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {_processor()}, {os.cpu_count()} processors, {platform.system()},"
        f" Python {platform.python_version()}, {', '.join(found)}. Files of {GIB:g} GiB where no other size is named,"
        f" in the page cache; outputs new and synced. Medians (least to most) of {RUNS} or {FEW} runs in turn, seconds."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


class Board:
    """The rows so far, in a file, so that a run that is stopped leaves what it has measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Row] = []

    @property
    def text(self) -> str:
        return f"{circumstances()}\n\n{render(self._rows)}\n"

    def add(self, *rows: Row) -> None:
        """Put the rows into the table. Raises AssertionError where a promise is broken."""
        self._rows += rows
        self._path.write_text(self.text, encoding="utf-8")
        broken = [row for row in rows if not row.holds]
        assert not broken, "\n" + render(broken)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("RENORM_BENCH_DIR")
    return Path(named) if named else tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def out(folder: Path) -> Path:
    """Where the programs under test write."""
    path = folder / "out"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def copies(out: Path) -> Path:
    """Where `cp` writes."""
    path = out / "copies"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="module")
def board(folder: Path, request: pytest.FixtureRequest) -> Iterator[Board]:
    found = Board(folder / "table.md")
    yield found
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        request.config.pluginmanager.getplugin("terminalreporter").write(f"\n{found.text}")


@pytest.fixture(scope="module")
def stopwatch(folder: Path, out: Path) -> Iterator[Stopwatch]:
    with Stopwatch(folder) as found:
        yield found


def at_full_size(quantity: str, most: float) -> Promise | None:
    return Promise(quantity, most) if FULL_SIZE else None  # type: ignore[arg-type]


def mixed(folder: Path, kind: Format) -> Path:
    return files.checkpoint(folder, f"mixed-{BYTES}", kind, files.network(BYTES))


def of_dtype(folder: Path, name: str) -> Path:
    layers = files.network(BYTES, itemsize=np.dtype(DTYPES[name]).itemsize)
    return files.checkpoint(folder, f"{name}-{BYTES}", ".weights.h5", layers, DTYPES[name])


@pytest.mark.parametrize("kind", FORMATS)
def test_apply_takes_little_longer_than_a_copy(
    kind: Format, folder: Path, out: Path, copies: Path, stopwatch: Stopwatch, board: Board
) -> None:
    source = mixed(folder, kind)
    ran = stopwatch.race({"ours": ours.apply(source, out), "cp": peers.copy(source, copies)}, RUNS)
    promise = at_full_size("times", 1.2 if GIB >= 8 else 1.3)
    board.add(Row(f"apply {kind} / cp + sync", ran["ours"], ran["cp"], promise, files.size(source)))


def test_tensors_of_bfloat16_take_little_longer_than_a_copy(
    folder: Path, out: Path, copies: Path, stopwatch: Stopwatch, board: Board
) -> None:
    source = files.safetensors(folder, f"bfloat16-{BYTES}", BYTES)
    nbytes, torch = files.size(source), "safetensors + torch"
    programs = {
        "apply": ours.apply(source, out),
        "inspect": ours.inspect(source),
        "cp": peers.copy(source, copies),
    }
    if peers.has_torch_tensors():
        programs["clip"] = peers.clip_tensors(source, out / "clipped.safetensors")
        programs["norms"] = peers.norms_of_tensors(source)
    ran = stopwatch.race(programs, FEW)
    clip, norms = ran.get("clip", ()), ran.get("norms", ())
    what, missing = "bfloat16 .safetensors", "not installed"
    board.add(
        Row(f"apply {what} / cp + sync", ran["apply"], ran["cp"], at_full_size("times", 1.3), nbytes),
        Row(f"apply {what} / {torch}.renorm", ran["apply"], clip, None, nbytes, missing),
        Row(f"apply {what} / {torch}.renorm, memory", ran["apply"], clip, None, nbytes, missing, memory=True),
        Row(f"inspect {what} / cp + sync", ran["inspect"], ran["cp"], None, nbytes),
        Row(f"inspect {what} / {torch}.linalg.vector_norm", ran["inspect"], norms, None, nbytes, missing),
        Row(f"inspect {what} / the same, memory", ran["inspect"], norms, None, nbytes, missing, memory=True),
    )


def test_inspect_is_faster_than_reading_with_h5py(folder: Path, stopwatch: Stopwatch, board: Board) -> None:
    source = mixed(folder, ".weights.h5")
    programs = {"ours": ours.inspect(source), "norms": peers.norms(source), "roots": peers.roots(source)}
    ran = stopwatch.race(programs, RUNS)
    nbytes = files.size(source)
    board.add(
        Row("inspect / h5py + np.linalg.norm", ran["ours"], ran["norms"], at_full_size("times", 0.35), nbytes),
        Row("inspect / h5py + NumPy by hand", ran["ours"], ran["roots"], at_full_size("times", 0.45), nbytes),
        Row("inspect", ran["ours"], (), Promise("time", 0.6) if GIB == 1 else None, nbytes),
    )


def test_a_small_file_costs_little_more_than_the_imports(
    folder: Path, out: Path, stopwatch: Stopwatch, board: Board
) -> None:
    source = files.checkpoint(folder, "small", ".weights.h5", files.network(100_000))
    programs = {
        "help": ours.HELP,
        "inspect": ours.inspect(source),
        "apply": ours.apply(source, out),
        "peer": peers.IMPORTS,
    }
    ran = stopwatch.race(programs, 2 * RUNS)
    board.add(
        Row("--help", ran["help"], (), Promise("time", 0.3)),
        Row("inspect 100 kB / import h5py, numpy, typer, rich", ran["inspect"], ran["peer"]),
        Row("apply 100 kB / import h5py, numpy, typer, rich", ran["apply"], ran["peer"], Promise("times", 2)),
    )


@pytest.mark.parametrize(("clipper", "most"), list(zip(peers.CLIPPERS, (1 / 4, 1 / 4, 1 / 10), strict=True)))
def test_apply_is_faster_than_what_a_user_would_write(
    clipper: str, most: float, folder: Path, out: Path, stopwatch: Stopwatch, board: Board
) -> None:
    kind: Format = ".keras" if clipper.startswith("keras") else ".weights.h5"
    source = files.checkpoint(folder, f"chain-{BYTES}", kind, files.network(BYTES, mixed=False))
    programs = {"ours": ours.apply(source, out)}
    if peers.installed(clipper):
        programs["peer"] = peers.clip(clipper, source, out / f"clipped-{source.name}")
    ran = stopwatch.race(programs, FEW)
    promise = at_full_size("times", most)
    remark = "not installed"
    board.add(Row(f"apply {kind} / {clipper}", ran["ours"], ran.get("peer", ()), promise, files.size(source), remark))


def against_fastest(
    board: Board, ran: dict[str, tuple[Cost, ...]], nbytes: int, what: str, most: Mapping[str, float]
) -> None:
    """A row for each, its peer the one that was fastest; at `most` so many times its time are promised."""
    fastest = min(ran.values(), key=lambda costs: statistics.median(cost.wall for cost in costs))
    promises = {name: at_full_size("times", times) for name, times in most.items()}
    board.add(*(Row(what.format(name), costs, fastest, promises.get(name), nbytes) for name, costs in ran.items()))


def test_what_a_dtype_costs_per_byte(folder: Path, out: Path, stopwatch: Stopwatch, board: Board) -> None:
    programs = {name: ours.apply(of_dtype(folder, name), out) for name in DTYPES}
    ran = stopwatch.race(programs, RUNS)
    aims = {"float16": at_full_size("times", 1.6), "bfloat16": at_full_size("times", 1.6), "float64": None}
    board.add(*(Row(f"apply {name} / float32", ran[name], ran["float32"], aim, BYTES) for name, aim in aims.items()))


def test_what_the_place_of_the_unit_axes_costs(folder: Path, stopwatch: Stopwatch, board: Board) -> None:
    source = files.four_axes(folder, BYTES)
    programs = {}
    for name, axes in UNITS.items():
        limit = str(files.four_axes_limit(BYTES, axes))
        units = ",".join(map(str, axes))
        programs[name] = ours.dry_run(source, "--units", units, "-i", "*", "--max-norm", limit)
    most = dict.fromkeys(UNITS, 1.5)
    against_fastest(board, stopwatch.race(programs, FEW), BYTES, "dry run, unit axis {} / the fastest", most)


def test_what_a_norm_costs(folder: Path, stopwatch: Stopwatch, board: Board) -> None:
    source = mixed(folder, ".weights.h5")
    programs = {f"p = {p}": ours.dry_run(source, "--p", p) for p in ("1", "2", "3", "inf")}
    against_fastest(board, stopwatch.race(programs, FEW), BYTES, "dry run, {} / the fastest", {})


def test_what_an_engine_costs_on_the_cpu(folder: Path, stopwatch: Stopwatch, board: Board) -> None:
    source = mixed(folder, ".weights.h5")
    engines = {name: ours.dry_run(source, "--engine", name, "--device", "cpu") for name in ("numpy", "tensorflow")}
    ran = stopwatch.race(engines, FEW)
    board.add(Row("dry run, NumPy / TensorFlow on the CPU", ran["numpy"], ran["tensorflow"], None, BYTES))


@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_a_gpu_costs(
    dtype: str, folder: Path, out: Path, copies: Path, stopwatch: Stopwatch, board: Board
) -> None:
    source = of_dtype(folder, dtype)
    programs = {"cp": peers.copy(source, copies)}
    for place, options in {"CPU": ("--engine", "numpy"), "GPU": ("--device", "gpu")}.items():
        programs[f"inspect {place}"] = ours.inspect(source, *options)
        programs[f"dry run {place}"] = ours.dry_run(source, *options)
        programs[f"apply {place}"] = ours.apply(source, out, *options)
    if importlib.util.find_spec("torch") is not None:
        programs["torch"] = peers.clip_on_gpu(source, out / "clipped.h5")
    ran = stopwatch.race(programs, FEW)
    nbytes = files.size(source)
    board.add(
        *(
            Row(f"{command} {dtype} on the GPU / NumPy", ran[f"{command} GPU"], ran[f"{command} CPU"], None, nbytes)
            for command in ("inspect", "dry run", "apply")
        ),
        Row(f"apply {dtype} on the GPU / cp + sync", ran["apply GPU"], ran["cp"], None, nbytes),
        Row(f"apply {dtype} with NumPy / cp + sync", ran["apply CPU"], ran["cp"], None, nbytes),
        Row(
            f"apply {dtype} on the GPU / h5py + torch.renorm on it",
            ran["apply GPU"],
            ran.get("torch", ()),
            None,
            nbytes,
            "not installed",
        ),
    )


@needs_gpu
@pytest.mark.parametrize("unit_axis", [0, 1])
def test_what_arithmetic_costs_on_a_gpu(unit_axis: int, board: Board) -> None:
    """Of weights that are there already, against a copy within the memory of the GPU."""
    found: dict[str, float] = {}
    for library in ("tensorflow", "torch"):
        if importlib.util.find_spec(library) is not None:
            argv = [sys.executable, str(Path(__file__).with_name("resident.py")), library, str(BYTES), str(unit_axis)]
            found |= json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    costs = {name: (Cost(seconds, 0, 0),) for name, seconds in found.items()}
    if "held" in found:
        what = f"sums and products of float32, unit axis {unit_axis}, moved to the GPU once / twice"
        board.add(Row(what, costs["held"], costs["moved"], None, BYTES))
    for name in found.keys() - {"copy", "held", "moved"}:
        what = f"{name} of float32 in the GPU, unit axis {unit_axis} / a copy there"
        board.add(Row(what, costs[name], costs["copy"], None, BYTES))


@pytest.mark.parametrize("command", ["inspect", "apply"])
@pytest.mark.parametrize("kind", [".weights.h5", "TF checkpoint"])
def test_ten_times_as_many_variables_take_about_ten_times_as_long(
    command: str, kind: Format, folder: Path, out: Path, stopwatch: Stopwatch, board: Board
) -> None:
    few, much = MANY // 10, MANY
    programs: dict[str, Program] = {}
    for count in (few, much):
        source = files.checkpoint(folder, f"many-{count}", kind, files.many(count))
        programs[str(count)] = ours.inspect(source) if command == "inspect" else ours.apply(source, out)
    ran = stopwatch.race(programs, min(RUNS, 2), warm=False)  # these take long
    what = f"{command} {kind}, {much:,}"
    board.add(
        Row(f"{what} / {few:,} variables", ran[str(much)], ran[str(few)], Promise("times", 13)),
        Row(f"{what} variables", ran[str(much)], (), memory=True),
    )


def test_two_processes_take_many_checkpoints_in_little_more_than_half_the_time(
    folder: Path, stopwatch: Stopwatch, board: Board
) -> None:
    zoo = folder / "fleet"
    zoo.mkdir(exist_ok=True)
    samples = [SAMPLES / name for name in ("dense.h5", "dense.keras", "dense.weights.h5", "convolutions.h5")]
    for number in range(FLEET):
        sample = samples[number % len(samples)]
        shutil.copy(sample, zoo / f"{number}{''.join(sample.suffixes)}")
    programs = {jobs: ours.inspect(zoo, "-r", "-q", "--jobs", jobs) for jobs in ("1", "2")}
    ran = stopwatch.race(programs, RUNS)
    watched = (stopwatch.run(programs["2"], watch=True),)
    board.add(
        Row(f"inspect {FLEET} small checkpoints, 2 processes / 1", ran["2"], ran["1"], Promise("times", 0.65)),
        Row(f"inspect {FLEET} small checkpoints", watched, (), Promise("memory", 200 * 2**20), memory=True),
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_memory_does_not_grow_with_a_tensor(
    kind: Format, folder: Path, out: Path, stopwatch: Stopwatch, board: Board
) -> None:
    most = Promise("memory", 250e6)
    costs: dict[int, tuple[Cost, ...]] = {}
    for times in LARGER[kind]:
        source = files.one_variable(folder, times * BYTES, kind)
        program = ours.apply(source, out)
        costs[times] = (stopwatch.run(program, watch=True),)
        for output in program.outputs:
            output.unlink()
        shutil.rmtree(source.parent)
    rows = [
        Row(f"apply {kind}, one variable of {times * GIB:g} GiB", found, (), most, times * BYTES, memory=True)
        for times, found in costs.items()
    ]
    most_times = max(LARGER[kind])
    what = f"apply {kind}, {most_times * GIB:g} / {GIB:g} GiB"
    board.add(*rows, Row(what, costs[most_times], costs[1], Promise("grows", 1.1), most_times * BYTES, memory=True))


@pytest.mark.parametrize("clipper", peers.CLIPPERS)
def test_the_peers_do_the_same_work(clipper: str, folder: Path, out: Path, stopwatch: Stopwatch) -> None:
    if not peers.installed(clipper):
        pytest.skip(f"{clipper}: not installed")
    kind: Format = ".keras" if clipper.startswith("keras") else ".weights.h5"
    source = files.checkpoint(folder, "same", kind, files.network(1 << 20, mixed=False))
    mine, theirs = ours.apply(source, out), peers.clip(clipper, source, out / f"clipped-{source.name}")
    stopwatch.run(mine)
    stopwatch.run(theirs)
    before, one, other = (files.arrays(path) for path in (source, mine.outputs[0], theirs.outputs[0]))
    assert one.keys() == other.keys() == before.keys()
    assert all(np.allclose(one[name], other[name], rtol=1e-5) for name in one)
    assert not all(np.allclose(one[name], before[name], rtol=1e-5) for name in one)


def test_torch_does_the_same_work_on_tensors(folder: Path, out: Path, stopwatch: Stopwatch) -> None:
    if not peers.has_torch_tensors():
        pytest.skip("safetensors or torch: not installed")
    source = files.safetensors(folder, "same", 1 << 20)
    mine, theirs = ours.apply(source, out), peers.clip_tensors(source, out / "clipped.safetensors")
    stopwatch.run(mine)
    stopwatch.run(theirs)
    before, one, other = (files.tensors(path) for path in (source, mine.outputs[0], theirs.outputs[0]))
    assert one.keys() == other.keys() == before.keys()
    assert all(np.allclose(one[name], other[name], rtol=2**-6) for name in one)
    assert not all(np.allclose(one[name], before[name], rtol=2**-6) for name in one)
