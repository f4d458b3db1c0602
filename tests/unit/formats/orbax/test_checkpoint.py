"""Folders of Orbax: what is read of them, and what an output holds. tensorstore, orbax.checkpoint and Keras judge."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import faults, orbax_files
from support.files import agrees, bound, look

from renorm_cli.api.verbs import suggest
from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.orbax import server, worker
from renorm_cli.formats.registry import is_one_of, open_checkpoint
from renorm_cli.model.blocks import Block

needs_tensorstore = pytest.mark.skipif(
    importlib.util.find_spec("tensorstore") is None, reason="tensorstore is not installed"
)
KERNEL = np.random.default_rng(5).standard_normal((40, 24)).astype("<f4")
OTHER = np.random.default_rng(6).standard_normal((24, 3)).astype("<f4") / 100
PATH = ("params", "Dense_0", "kernel")
ARRAYS = {PATH: KERNEL, ("params", "Dense_1", "kernel"): OTHER}


def every_byte(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_without_tensorstore_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    (tmp_path / "_METADATA").write_text(json.dumps(orbax_files.metadata([("a",)], zarr3=False, ocdbt=True)))
    (tmp_path / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(FormatError, match=r"\A[^\n]*pip install 'renorm-ckpt\[orbax\]'\Z"):
        look(tmp_path)


@needs_tensorstore
def test_an_output_of_a_database_has_the_new_numbers_and_none_of_the_old_ones(tmp_path: Path) -> None:
    folder = orbax_files.write(tmp_path / "in", ARRAYS, config={"compression": None})
    raw = orbax_files.write(tmp_path / "raw", ARRAYS, ocdbt=False)
    (packed,) = (raw / ".".join(PATH) / "c" / "0").iterdir()
    (kept,) = (raw / "params.Dense_1.kernel" / "c" / "0").iterdir()
    assert packed.read_bytes() in every_byte(folder)
    report = bound(folder, tmp_path / "out")
    assert report.totals.over == 24
    agrees(KERNEL, orbax_files.read(tmp_path / "out")[".".join(PATH)], (1,), 1.0)
    assert packed.read_bytes()[:64] not in every_byte(tmp_path / "out")
    assert kept.read_bytes() in every_byte(tmp_path / "out")


@needs_tensorstore
def test_arrays_without_elements_without_axes_and_of_any_dtype_are_read(tmp_path: Path) -> None:
    arrays = {
        ("none",): np.zeros((4, 0), "<f4"),
        ("scalar",): np.array(2.5, "<f4"),
        ("half",): np.ones((2, 2), "<f2"),
        ("brain",): np.ones((2, 2), ml_dtypes.bfloat16),
        ("large",): np.full((3, 2), -(1 << 40), "<i8"),
    }
    kept = {path: array for path, array in arrays.items() if array.size}
    folder = orbax_files.write(tmp_path / "m", kept, zarr3=False, ocdbt=False, chunk=1)
    empty = {"zarr_format": 2, "shape": [4, 0], "chunks": [1, 1], "dtype": "<f4", "order": "C"}
    (folder / "none").mkdir()
    (folder / "none" / ".zarray").write_text(json.dumps(empty | {"compressor": None, "filters": None, "fill_value": 0}))
    with open_checkpoint(folder) as source:
        found = {variable.key: source.read(variable) for variable in source.variables}
    assert found.keys() == {".".join(path) for path in arrays}
    for path, array in arrays.items():
        assert found[".".join(path)].dtype == array.dtype
        assert np.array_equal(found[".".join(path)], array)


@needs_tensorstore
def test_a_chunk_may_be_missing_only_where_the_tree_says_so(tmp_path: Path) -> None:
    folder = orbax_files.write(tmp_path / "m", {PATH: KERNEL}, zarr3=False, ocdbt=False, chunk=20)
    (folder / ".".join(PATH) / "1.0").unlink()
    with pytest.raises(FormatError, match="has 4 chunks and 3 of them are there"):
        look(folder)
    told = json.loads((folder / "_METADATA").read_text())
    del told["store_array_data_equal_to_fill_value"]
    (folder / "_METADATA").write_text(json.dumps(told))
    with open_checkpoint(folder) as source:
        found = source.read(source.variables[0])
    expected = KERNEL.copy()
    expected[20:, :20] = 0
    assert np.array_equal(found, expected)


@needs_tensorstore
def test_a_chunk_of_an_array_is_replaced_by_no_rules_and_told_as_a_file_of_the_checkpoint(tmp_path: Path) -> None:
    folder = orbax_files.write(tmp_path / "m", {PATH: KERNEL}, zarr3=False, ocdbt=False, chunk=20)
    chunk, before = folder / ".".join(PATH) / "1.0", every_byte(folder)
    assert is_one_of(chunk, [folder])
    with pytest.raises(OutputError, match="is the checkpoint"):
        suggest(folder, clip=0.05, output=chunk, force=True)
    assert every_byte(folder) == before


@needs_tensorstore
def test_the_items_of_a_step_are_those_it_names_and_begin_the_names_where_they_are_several(tmp_path: Path) -> None:
    step = orbax_files.write_step(tmp_path / "5", {PATH: KERNEL}, "ema", ocdbt=False)
    orbax_files.write(step / "state", {PATH: KERNEL}, ocdbt=False)
    orbax_files.write(step / "copy", {PATH: KERNEL}, ocdbt=False)
    (step / "_CHECKPOINT_METADATA").write_text('{"item_handlers": {"ema": "", "state": ""}}')
    assert [row.step.variable.name for row in look(step).rows] == [
        f"{one}/{'/'.join(PATH)}" for one in ("ema", "state")
    ]
    bound(step, tmp_path / "out", "ema/*")
    assert every_byte(tmp_path / "out" / "state") == every_byte(step / "state")
    assert every_byte(tmp_path / "out" / "copy") == every_byte(step / "copy")


@needs_tensorstore
def test_arrays_of_large_chunks_are_bounded_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = orbax_files.write(tmp_path / "in", chunk=4)
    bound(folder, tmp_path / "out")
    for module, limit in ((worker, "SMALL"), (server, "CACHE")):
        monkeypatch.setattr(module, limit, 0)
    bound(folder, tmp_path / "large")
    found = orbax_files.read(tmp_path / "large")
    for name, array in orbax_files.read(tmp_path / "out").items():
        assert array.tobytes() == found[name].tobytes()


@pytest.mark.slow
@needs_tensorstore
@pytest.mark.skipif(sys.platform != "linux", reason="the system tells the peak of a process in /proc")
def test_of_arrays_of_large_chunks_no_more_than_one_is_in_memory(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal(20 << 20, "f4").reshape(-1, 1024)
    arrays = {("params", f"dense_{number}", "kernel"): numbers for number in range(2)}
    folder = orbax_files.write(tmp_path / "in", arrays)
    with open_checkpoint(folder) as source:
        first, second = source.variables
        source.read(first, Block((0, 0), (1, 1024)))
        before = _peak(source)
        source.read(second, Block((0, 0), (1, 1024)))
        assert _peak(source) < before + numbers.nbytes // 2


def _peak(source: Any) -> int:
    """Bytes that the process that reads has had at once."""
    told = Path(f"/proc/{source._worker._worker._pid}/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.slow
@needs_tensorstore
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_an_output_is_for_those_who_may_read_every_file_of_the_input(mode: int, tmp_path: Path) -> None:
    folder = orbax_files.write(tmp_path / "in", ARRAYS)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
    bound(folder, tmp_path / "out")
    found = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {mode & 0o077 & ~os.umask(os.umask(0))}


@pytest.mark.slow
@needs_tensorstore
@pytest.mark.parametrize("ocdbt", [True, False])
def test_a_run_that_is_killed_leaves_the_old_or_the_new_folder_and_the_next_one_mends_it(
    ocdbt: bool, tmp_path: Path
) -> None:
    folder = orbax_files.write(tmp_path / "in" / "m", ARRAYS, ocdbt=ocdbt)
    output = orbax_files.write(tmp_path / "out" / "m", {PATH: KERNEL / 4}, ocdbt=ocdbt)
    before, earlier = every_byte(folder), every_byte(output)
    arguments = ["apply", str(folder), "--max-norm", "1", "-q", "--force", "-o"]
    faults.warm([*arguments, str(tmp_path / "clean")])
    clean = faults.run([*arguments, str(tmp_path / "clean")])
    assert clean.code == 0
    new = orbax_files.read(tmp_path / "clean")
    count = len(clean.calls)
    named = [number for number, call in enumerate(clean.calls, 1) if call in ("exchange", "replace")]
    for number in sorted({*named, *range(1, count, max(1, count // 5))}):
        ran = faults.run([*arguments, str(output)], faults.Fault(number, "kill after"))
        assert ran.code == -9
        found = orbax_files.read(output)
        assert every_byte(output) == earlier or all(np.array_equal(found[key], new[key]) for key in new)
    assert every_byte(folder) == before
    assert faults.run([*arguments, str(output)]).code == 0
    assert all(np.array_equal(array, new[key]) for key, array in orbax_files.read(output).items())
    assert [path.name for path in output.parent.iterdir() if path.name.startswith(".renorm-")] == []


@pytest.mark.slow
@needs_tensorstore
def test_a_program_that_uses_tensorstore_itself_reads_and_writes_folders(tmp_path: Path) -> None:
    """tensorstore ends every fork of a process in which it has worked."""
    folder = orbax_files.write(tmp_path / "in", {PATH: KERNEL})
    code = f"""
import renorm_cli, tensorstore as ts
ts.KvStore.open({{"driver": "file", "path": {str(folder)!r} + "/"}}).result().read("_METADATA").result()
print(renorm_cli.apply({str(folder)!r}, max_norm=1.0, output={str(tmp_path / "out")!r}).totals.over)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("24\n", "")
    agrees(KERNEL, orbax_files.read(tmp_path / "out")[".".join(PATH)], (1,), 1.0)


JUDGED = """
import os, subprocess, sys
os.environ["KERAS_BACKEND"] = "jax"
import jax, keras, numpy as np, orbax.checkpoint as ocp

def model():
    keras.utils.clear_session()
    made = keras.Sequential([keras.Input((30,)), keras.layers.Dense(64, name="hid.x"),
                             keras.layers.BatchNormalization(), keras.layers.Dense(5, name="out", dtype="bfloat16")])
    made.compile("adam", "mse")
    return made

def bounded(path, *options):
    command = [sys.executable, "-m", "renorm_cli", "apply", path, "--max-norm", "0.9", "-q", *options]
    subprocess.run(command, check=True)
    return path + "-renorm"

def agrees(before, after, axis):
    old, new = np.asarray(before, "f8"), np.asarray(after, "f8")
    norms = np.sqrt(np.sum(old**2, axis, keepdims=True))
    assert (norms > 0.9).any()
    assert np.asarray(before).dtype == np.asarray(after).dtype
    assert np.allclose(new, old * np.minimum(1, 0.9 / norms), rtol=2**-7 if before.dtype != "float32" else 1e-6)
    assert np.sqrt(np.sum(new**2, axis)).max() <= 0.9
    kept = np.broadcast_to(norms <= 0.9, old.shape)
    assert np.array_equal(new[kept], old[kept])

numbers = np.random.default_rng(0)
data = numbers.random((64, 30), "f4"), numbers.random((64, 5), "f4")
for name, alone in ((os.path.abspath("whole"), False), (os.path.abspath("weights"), True)):
    callback = keras.callbacks.OrbaxCheckpoint(name, monitor="loss", save_weights_only=alone, save_on_background=False)
    model().fit(*data, epochs=2, verbose=0, callbacks=[callback])
    out = bounded(name)
    old, new = model(), model()
    old.load_weights(name)
    keras.utils.clear_session()
    new = model()
    new.load_weights(out)
    for before, after in zip(old.weights, new.weights, strict=True):
        before, after = np.asarray(before.value), np.asarray(after.value)
        agrees(before, after, 0) if before.ndim == 2 else np.testing.assert_array_equal(before, after)
keras.saving.load_model(os.path.abspath("whole-renorm"))

tree = {"params": {"Dense_0": {"kernel": numbers.standard_normal((30, 64), "f4"), "bias": np.zeros(64, "f4")},
                   "a.b": {"kernel": jax.numpy.asarray(numbers.standard_normal((64, 5)), "bfloat16"),
                           "bias": np.ones(5, "f4")}},
        "layers": [np.arange(4)], "step": 7, "name": "hello", "nothing": None}
for ocdbt, zarr3, size in ((True, False, None), (True, True, 256), (False, False, 256), (False, True, None)):
    name = f"jax-{ocdbt}-{zarr3}"
    handler = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_zarr3=zarr3))
    settings = jax.tree.map(lambda leaf: ocp.SaveArgs(chunk_byte_size=size), tree)
    handler.save(os.path.abspath(name), args=ocp.args.PyTreeSave(tree, save_args=settings))
    before, after = (handler.restore(os.path.abspath(one)) for one in (name, bounded(name)))
    for layer in ("Dense_0", "a.b"):
        agrees(before["params"][layer].pop("kernel"), after["params"][layer].pop("kernel"), 0)
    assert str(before) == str(after)

manager = ocp.CheckpointManager(os.path.abspath("run"))
for step in range(3):
    manager.save(step, args=ocp.args.StandardSave({"params": tree["params"]}))
manager.wait_until_finished()
after = ocp.CheckpointManager(os.path.abspath(bounded("run")))
assert after.all_steps() == [2]
agrees(tree["params"]["Dense_0"]["kernel"],
       after.restore(2, args=ocp.args.StandardRestore())["params"]["Dense_0"]["kernel"], 0)
"""


@pytest.mark.slow
@needs_tensorstore
def test_what_keras_and_orbax_load_of_an_output_is_what_they_load_of_its_input_but_bounded(tmp_path: Path) -> None:
    for name in ("orbax.checkpoint", "jax", "keras"):
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed")
    done = subprocess.run([sys.executable, "-c", JUDGED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
