"""What a command imports: a small file takes as long as its imports, so each module a command does without is left out.

Asked of `sys.modules` in a real process at its exit.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from support import builders, onnx_files, tensor_files, tf_recorded


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def rooms(text: str, inside: str = "") -> frozenset[str]:
    """Modules of ours by their names."""
    return frozenset(f"renorm_cli.{inside}{name}" for name in text.split())


HEAVY = words(
    """
    tensorflow keras tf_keras torch jax scipy ml_dtypes rich pydantic jinja2 markupsafe click yaml lxml pygments
    asyncio multiprocessing concurrent.futures email http urllib.request ssl xml html csv unittest doctest pydoc
    argparse optparse configparser sqlite3 ctypes.util zipfile tarfile decimal fractions statistics secrets hashlib
    hmac numpy.testing numpy.ma numpy.random numpy.fft numpy.polynomial numpy.ctypeslib
    """
)
"""Packages, and parts of them, that neither a table nor a JSON report has a use for."""

BROUGHT = {"TF checkpoint": words("argparse csv email zipfile")}
"""What the crc32c package imports to find its own version and for a command of its own."""

NUMBERS = words("numpy h5py json dataclasses ctypes logging pickle socket")
"""What comes with reading a file, and has no place in `--help`."""

HELP = rooms(
    "__main__ cli cli.again cli.app cli.completion cli.groups cli.help cli.options cli.signals cli.terminal cli.words"
    " errors"
) | {"renorm_cli"}

OTHER_COMMANDS = rooms(
    "fleet cli.many comparison model.difference api.comparing api.difference suggestion model.suggestion api.suggesting"
    " api.suggestion training tf"
)
OPTIONS = rooms(
    "gate run.joint run.readings model.findings plan.rules plan.declared plan.dtypes plan.like plan.doubts"
    " run.unit_norms render.data.norms_file"
)
"""Rooms of ours that serve one option (--baseline, --per global, --rules, --declared, --dtype, --like, --norms), or
findings, guesses and what is not identified."""

RENDERERS = rooms(
    "ci page diff_columns problems data.csv_report data.diff_record data.suggest_record", "render."
) | rooms("diff_table progress suggest_table variable verdict", "render.terminal.")
"""Of what is not asked for; the progress bar is for a terminal alone."""

UNUSED = OTHER_COMMANDS | OPTIONS | RENDERERS | rooms("tensorflow_engine tensor_ops", "norms.engines.")
"""What no plain `inspect` or `apply` needs, of whatever checkpoint."""

TOLD = rooms("conventions.names conventions.names.registry")
"""What names mean where no layer's class tells: the classes of these files tell all."""

GRAPH = rooms("graph.flow graph.layout graph.uses", "conventions.") | rooms(
    "graph_uses graph_def", "formats.tensorflow."
)
"""What follows weights through a stored graph: most checkpoints have none."""

HDF5_LIBRARY = frozenset({"h5py", "logging", "string"})
"""The library that reads HDF5, and what it imports: the process that reads a file loads it while this one goes on."""

FOREIGN_NAMES = rooms("torch flax gguf", "conventions.") | rooms(
    "frameworks shard_index gguf.blocks gguf.checkpoint gguf.header safetensors.checkpoint safetensors.header"
    " numpy.checkpoint numpy.header flax.checkpoint flax.tree onnx.checkpoint onnx.graph onnx.model onnx.renaming"
    " onnx.tensors tfjs.checkpoint tfjs.graph tfjs.manifest tflite.checkpoint zip.members torch.checkpoint"
    " torch.distributed torch.exported torch.metadata torch.shards"
    " torch.stack_machine torch.tensors torch.views hub.folder model_config",
    "formats.",
)
"""Parsers and conventions of other frameworks than Keras and TensorFlow."""

ONNX = rooms("graph.onnx graph.tflite", "conventions.") | rooms("walk protobuf node_graph", "formats.")
"""What else reads models of ONNX."""

GROUPS = rooms("keras.legacy_groups", "formats.")
"""What names models in groups of an HDF5 file: most files are of one model."""

ORBAX = rooms("arrays checkpoint metadata names server sink worker", "formats.orbax.") | {"tensorstore"}
"""What one format of folders needs."""

NOT_TF = ORBAX | rooms("checkpoint bundle leveldb object_graph graph", "formats.tensorflow.") | GRAPH
NOT_HDF5 = NOT_TF | ONNX | TOLD | FOREIGN_NAMES | rooms("zip keras.archive keras.shards", "formats.")
FOREIGN = {
    ".h5": NOT_HDF5 | GROUPS,
    ".weights.h5": NOT_HDF5 | GROUPS | rooms("formats.keras.legacy_names"),
    ".keras": NOT_TF | ONNX | FOREIGN_NAMES | GROUPS | rooms("formats.keras.legacy_names formats.keras.shards"),
    "TF checkpoint": rooms("zip hdf5 keras.hdf5_files keras.archive keras.v3_names keras.legacy_names", "formats.")
    | GROUPS
    | GRAPH
    | FOREIGN_NAMES
    | rooms("conventions.graph.onnx")
    | ORBAX
    | {"h5py"},
    ".safetensors": (NOT_HDF5 - FOREIGN_NAMES)
    | rooms("formats.numpy.checkpoint formats.flax.tree formats.torch.checkpoint conventions.flax formats.hdf5.worker")
    | rooms("formats.keras.hdf5_files formats.keras.v3_names formats.onnx.checkpoint formats.gguf.checkpoint")
    | rooms("formats.hub.folder formats.model_config")
    | {"h5py"},
    ".onnx": (NOT_HDF5 - ONNX - FOREIGN_NAMES - GRAPH)
    | rooms("conventions.graph.tflite conventions.torch conventions.flax")
    | rooms(
        "tflite.checkpoint tensorflow.graph_def frameworks shard_index safetensors.checkpoint torch.checkpoint"
        " hdf5.worker keras.hdf5_files",
        "formats.",
    )
    | {"h5py"},
}
"""Parsers of other formats."""

WRITING = rooms("api.applying run.verify render.data.json_report")
"""What `apply` needs and `inspect` does not."""


def layers() -> builders.Layers:
    return builders.v3_layers(builders.two_dense())


def _legacy(folder: Path) -> Path:
    path = folder / "model.h5"
    builders.write_legacy(path, builders.two_dense(), config=builders.dense_config(builders.two_dense()))
    return path


def _weights(folder: Path) -> Path:
    path = folder / "model.weights.h5"
    builders.write_v3(path, layers())
    return path


def _archive(folder: Path) -> Path:
    path = folder / "model.keras"
    builders.write_keras(path, builders.dense_config(builders.two_dense()), layers())
    return path


def _safetensors(folder: Path) -> Path:
    arrays = {"fc.weight": np.ones((3, 2), "f4"), "fc.bias": np.ones(3, "f4")}
    tensor_files.write_safetensors(folder / "model.safetensors", arrays, {"format": "pt"})
    return folder / "model.safetensors"


def _onnx(folder: Path) -> Path:
    weights = [onnx_files.tensor("w", np.full((3, 2), 2, "f4"))]
    nodes = [onnx_files.node("MatMul", ["x", "w"], ["y"])]
    (folder / "model.onnx").write_bytes(onnx_files.model(onnx_files.graph(nodes, weights)))
    return folder / "model.onnx"


FILES: dict[str, Callable[[Path], Path]] = {
    ".h5": _legacy,
    ".weights.h5": _weights,
    ".keras": _archive,
    "TF checkpoint": partial(tf_recorded.copied, "objects"),
    ".safetensors": _safetensors,
    ".onnx": _onnx,
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make(tmp_path_factory.mktemp("startup")) for kind, make in FILES.items()}


def imported(*arguments: object) -> set[str]:
    """The modules a command has loaded when it exits, less those that an interpreter starts with."""
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom renorm_cli.__main__ import main\n"
        "try: main()\nexcept SystemExit as done: assert not done.code, done.code\n"
        "sys.stderr.write(' '.join(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def needless(found: set[str], unwanted: frozenset[str]) -> list[str]:
    """Those of the `unwanted` that were loaded."""
    return sorted(found & unwanted)


Loaded = Callable[[str], set[str]]


@pytest.fixture(scope="module")
def inspected(checkpoints: dict[str, Path]) -> Loaded:
    """The modules that `inspect` of a kind of checkpoint loads; it is run once."""
    return cache(lambda kind: imported("inspect", checkpoints[kind]))


@pytest.fixture(scope="module")
def applied(checkpoints: dict[str, Path]) -> Loaded:
    return cache(lambda kind: imported("apply", checkpoints[kind], "--max-norm", "1"))


APPLIED = [pytest.param(kind, marks=[] if kind in (".keras", ".safetensors") else [pytest.mark.slow]) for kind in FILES]
"""What `apply` needs besides what `inspect` does is the same for all formats but for their sinks."""


@pytest.mark.parametrize("arguments", [("--help",), ("apply", "--help"), ("--version",)])
def test_help_imports_the_parser_and_nothing_of_the_work(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert needless(found, HEAVY | NUMBERS) == []
    assert {name for name in found if name.startswith("renorm_cli")} <= HELP


@pytest.mark.parametrize("kind", FILES)
def test_inspect_imports_no_heavy_package(kind: str, inspected: Loaded) -> None:
    assert needless(inspected(kind), HEAVY - BROUGHT.get(kind, frozenset())) == []


@pytest.mark.parametrize("kind", APPLIED)
def test_apply_imports_no_heavy_package(kind: str, applied: Loaded) -> None:
    digest = words("hashlib")  # its report has that of the checkpoint
    assert needless(applied(kind), HEAVY - BROUGHT.get(kind, frozenset()) - digest) == []


@pytest.mark.parametrize("kind", FILES)
def test_inspect_imports_no_room_of_ours_that_it_has_no_use_for(kind: str, inspected: Loaded) -> None:
    assert needless(inspected(kind), UNUSED | FOREIGN[kind] | WRITING) == []


@pytest.mark.parametrize("kind", APPLIED)
def test_apply_imports_no_room_of_ours_that_it_has_no_use_for(kind: str, applied: Loaded) -> None:
    assert needless(applied(kind), UNUSED | FOREIGN[kind]) == []


@pytest.mark.parametrize("kind", [".h5", ".weights.h5"])
def test_inspect_leaves_the_hdf5_library_to_the_process_that_reads_the_file(
    kind: str, inspected: Loaded, applied: Loaded
) -> None:
    assert needless(inspected(kind), HDF5_LIBRARY) == []
    assert "h5py" in applied(kind)  # two files are read, each by a process that has it already


def test_every_module_that_is_named_here_exists() -> None:
    from importlib.util import find_spec

    named = UNUSED | WRITING | HELP | frozenset().union(*FOREIGN.values())
    assert [name for name in sorted(named) if find_spec(name) is None] == []


def test_an_import_that_is_not_needed_would_be_found(checkpoints: dict[str, Path], inspected: Loaded) -> None:
    assert {"numpy", "renorm_cli.formats.hdf5.worker"} <= inspected(".h5")
    asked = imported("inspect", checkpoints[".h5"], "--format", "md", "--per", "global", "--jobs", "2")
    assert {"renorm_cli.render.ci.markdown", "renorm_cli.run.joint", "concurrent.futures"} & asked
    assert needless(asked, UNUSED | HEAVY) != []


def ended(checkpoint: Path, *, look: str) -> str:
    """What the expression `look` is when an `inspect` is over and the interpreter begins to leave."""
    code = (
        f"import atexit, gc, os, sys\natexit.register(lambda: sys.stderr.write(str({look})))\n"
        "from renorm_cli.__main__ import main\nmain()"
    )
    command = [sys.executable, "-c", code, "inspect", str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list the threads of a process")
def test_numpy_starts_no_threads_of_its_own(checkpoints: dict[str, Path]) -> None:
    """Asked where nothing is forked, as that ends them."""
    assert ended(checkpoints["TF checkpoint"], look="len(os.listdir('/proc/self/task'))") == "1"


def test_the_interpreter_does_not_look_for_garbage_on_its_way_out(checkpoints: dict[str, Path]) -> None:
    assert ended(checkpoints[".h5"], look="gc.get_freeze_count() > len(gc.get_objects())") == "True"
