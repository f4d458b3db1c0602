"""The sample checkpoints are what their manifest says, and Keras loads them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from support import builders, onnx_files, oracle, orbax_files, tensor_files, tfjs_files, torch_files
from support.places import SAMPLES as FOLDER

MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
FILES: dict[str, dict[str, Any]] = {row["file"]: row for row in MANIFEST["files"]}
NOT_SAMPLES = {
    "make.py",
    "models.py",
    "exported.py",
    "saved.py",
    "stepped.py",
    "served.py",
    "README.md",
    "manifest.json",
}

READERS = {
    ".onnx": onnx_files.read_onnx,
    ".safetensors": tensor_files.read_safetensors,
    ".pt": torch_files.read_torch,
    ".orbax": orbax_files.read,
    ".bin": lambda path: {},
}

every_file = pytest.mark.parametrize("name", sorted(FILES))


def datasets_of(name: str, tmp_path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a sample; those of an index are those of its shards."""
    path = FOLDER / name
    if name == "served.json":
        return tfjs_files.read_tfjs(path)
    if name.endswith(".json"):
        shards = [row["file"] for row in FILES.values() if row.get("part_of") == name]
        return {key: array for shard in shards for key, array in datasets_of(shard, tmp_path).items()}
    if name.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            path = Path(archive.extract("model.weights.h5", tmp_path))
    return READERS.get(path.suffix, builders.read_h5)(path)


def content(path: Path) -> bytes:
    """Of a folder, all files in the order of their paths."""
    return b"".join(file.read_bytes() for file in sorted([path, *path.rglob("*")]) if file.is_file())


def test_the_manifest_lists_every_file_of_the_folder_and_no_other() -> None:
    found = {path.name for path in FOLDER.iterdir() if path.name != "__pycache__"}
    assert found - NOT_SAMPLES == set(FILES)
    assert found >= NOT_SAMPLES


def test_the_readme_names_every_file_but_the_shards() -> None:
    text = (FOLDER / "README.md").read_text()
    assert [name for name, row in FILES.items() if "part_of" not in row and f"`{name}`" not in text] == []


def test_all_samples_together_are_below_two_megabytes() -> None:
    assert sum(len(content(FOLDER / name)) for name in FILES) < 2_000_000


@every_file
def test_a_sample_has_the_bytes_of_the_manifest(name: str) -> None:
    data = content(FOLDER / name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (FILES[name]["bytes"], FILES[name]["sha256"])


@every_file
def test_the_manifest_counts_the_datasets(name: str, tmp_path: Path) -> None:
    assert len(datasets_of(name, tmp_path)) == FILES[name]["datasets"]


@every_file
def test_the_manifest_counts_the_units_over_the_limit_as_the_oracle_does(name: str, tmp_path: Path) -> None:
    stored = datasets_of(name, tmp_path)
    row = FILES[name]
    counts = []
    for variable in row["constrained"]:
        over = oracle.over(stored[variable["key"]], tuple(variable["unit_axes"]), MANIFEST["limit"])
        assert (over.size, over.sum()) == (variable["units"], variable["over"])
        counts.append(over)
    assert sum(over.sum() for over in counts) == row["over"]
    if "part_of" not in row:
        assert any(over.any() for over in counts)
        assert not all(over.all() for over in counts)


@every_file
def test_no_unit_is_so_near_the_limit_that_rounding_could_decide(name: str, tmp_path: Path) -> None:
    stored = datasets_of(name, tmp_path)
    for variable in FILES[name]["constrained"]:
        norms = oracle.unit_norms(stored[variable["key"]], tuple(variable["unit_axes"]))
        assert (abs(norms - MANIFEST["limit"]) > 0.05).all()


def test_the_generic_file_has_the_features_it_is_there_for() -> None:
    for name, userblock in ("generic.hdf5", 0), ("generic_userblock.hdf5", 512):
        with h5py.File(FOLDER / name) as file:
            assert file.userblock_size == userblock
            assert (file["encoder/kernel"].compression, file["encoder/kernel"].shuffle) == ("gzip", True)
            assert file["decoder/kernel"].dtype == ">f4"
            assert file["decoder/kernel"] == file["tied/kernel"]
            assert isinstance(file.get("best/kernel", getlink=True), h5py.SoftLink)


def test_one_group_of_the_sharded_sample_is_in_two_files() -> None:
    index = json.loads((FOLDER / "dense.weights.json").read_text())
    assert len(index["weight_map"]["/layers/dense/vars"]) == 2


def test_the_two_archives_of_the_dense_model_are_stored_and_deflated() -> None:
    for name, method in ("dense.keras", zipfile.ZIP_STORED), ("deflated.keras", zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(FOLDER / name) as archive:
            assert {member.compress_type for member in archive.infolist()} == {method}


def weights_by_value(model: Any) -> set[bytes]:
    return {np.asarray(weight).tobytes() for weight in model.weights}


def assert_holds(model: Any, name: str, tmp_path: Path) -> None:
    """Every constrained variable of the manifest is a weight of the loaded model, by bytes."""
    stored, weights = datasets_of(name, tmp_path), weights_by_value(model)
    missing = [row["name"] for row in FILES[name]["constrained"] if stored[row["key"]].tobytes() not in weights]
    assert missing == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_keras_loads_every_keras_sample(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    tf_keras = pytest.importorskip("tf_keras")
    here, made = (tuple(map(int, v.split(".")[:2])) for v in (keras.__version__, MANIFEST["made_with"]["keras"]))
    if here < made:
        pytest.skip("an older Keras does not know every option in a newer one's config")
    loaded = {}
    for name in FILES:
        if name.startswith("custom_layer"):
            with pytest.raises((TypeError, ValueError)):
                keras.saving.load_model(FOLDER / name, compile=False)
        elif name.startswith("dense_keras2"):
            model = tf_keras.models.load_model(FOLDER / "dense_keras2.h5")
            if name != "dense_keras2.h5":
                model.set_weights([np.zeros(weight.shape) for weight in model.weights])
                model.load_weights(FOLDER / name)
            assert_holds(model, name, tmp_path)
        elif name.endswith((".weights.h5", ".weights.json")):
            if "part_of" in FILES[name]:
                continue
            model = keras.saving.load_model(FOLDER / f"{name.split('.')[0]}.keras")
            model.set_weights([np.zeros(weight.shape) for weight in model.weights])
            model.load_weights(FOLDER / name)
            assert_holds(model, name, tmp_path)
        elif name.endswith((".h5", ".keras")):
            assert_holds(keras.saving.load_model(FOLDER / name), name, tmp_path)
        else:
            continue
        loaded[name] = True
    assert set(FILES) - set(loaded) == {
        "exported.onnx",
        "saved.orbax",
        "saved.pt",
        "saved.safetensors",
        "served.json",
        "generic.hdf5",
        "generic_userblock.hdf5",
        *(name for name, row in FILES.items() if "part_of" in row),
    }


@pytest.mark.slow
def test_making_the_samples_again_gives_the_same_bytes(tmp_path: Path) -> None:
    now = {name: importlib.metadata.version(name) for name in ("keras", "tf_keras", "h5py", "numpy", "ml_dtypes")}
    now |= {"hdf5": h5py.version.hdf5_version, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    if now != MANIFEST["made_with"]:
        pytest.skip(f"the samples were made with {MANIFEST['made_with']}, here is {now}")
    subprocess.run([sys.executable, FOLDER / "make.py", tmp_path], check=True, capture_output=True)
    again = {path.name for path in tmp_path.iterdir()}
    assert again == {*FILES, "manifest.json"}
    for name, row in FILES.items():
        same = content(tmp_path / name) == content(FOLDER / name)
        assert same or not row["reproducible"], name
    fresh = json.loads((tmp_path / "manifest.json").read_text())
    ignored = {name for name, row in FILES.items() if not row["reproducible"]}
    assert [row for row in fresh["files"] if row["file"] not in ignored] == [
        row for row in MANIFEST["files"] if row["file"] not in ignored
    ]


def test_the_declared_sample_really_declares_its_constraints() -> None:
    with zipfile.ZipFile(FOLDER / "declared.keras") as archive:
        text = archive.read("config.json").decode()
    assert text.count('"class_name": "MaxNorm"') == len(FILES["declared.keras"]["declared"]) == 3


def test_the_bfloat16_sample_is_bfloat16_throughout() -> None:
    arrays = builders.read_h5(FOLDER / "bfloat16.weights.h5")
    assert {array.dtype for array in arrays.values()} == {np.dtype(ml_dtypes.bfloat16)}
