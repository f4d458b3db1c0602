"""The files of the builders are real: Keras loads them and gives back the arrays that went in."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

from support import builders
from support.places import SAMPLES, TESTS


def test_importing_the_builders_imports_neither_keras_nor_the_tool() -> None:
    code = "import sys; from support import builders; print(*{'keras', 'tensorflow', 'renorm_cli'} & set(sys.modules))"
    folder = TESTS
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ">f4"])
def test_a_written_dataset_is_read_back_with_the_same_bytes(tmp_path: Path, dtype: type) -> None:
    array = builders.kernel((5, 4)).astype(dtype)
    builders.write_h5(tmp_path / "a.h5", {"a/b": array})
    back = builders.read_h5(tmp_path / "a.h5")["a/b"]
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_dataset_options_and_userblock_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    builders.write_h5(
        path, {"a": np.zeros((8, 8), "f4")}, userblock=512, chunks=(4, 4), compression="gzip", shuffle=True
    )
    with h5py.File(path) as file:
        assert file.userblock_size == 512
        assert (file["a"].chunks, file["a"].compression, file["a"].shuffle) == ((4, 4), "gzip", True)


def test_every_second_unit_of_a_kernel_has_norm_two_and_the_others_one_half() -> None:
    values = builders.kernel((3, 3, 4, 6), (2, 3), dtype=np.float64)
    np.testing.assert_allclose(np.linalg.norm(values.reshape(9, 24), axis=0), [0.5, 2.0] * 12, rtol=1e-14)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_built_archive_holds_a_built_weights_file(tmp_path: Path, compression: int) -> None:
    weights = builders.two_dense()
    path = tmp_path / "m.keras"
    builders.write_keras(
        path, builders.dense_config(weights), builders.v3_layers(weights), compression=compression, prefix=b"junk"
    )
    alone = io.BytesIO()
    builders.write_v3(alone, builders.v3_layers(weights))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {compression}
        assert archive.read("model.weights.h5") == alone.getvalue()


def layout(path: Path) -> dict[str, tuple[object, object]]:
    """The datasets that are no optimizer state, each with the names its group and its layer's group give."""
    with h5py.File(path) as file:

        def names(key: str) -> tuple[object, object]:
            root = "/".join(key.split("/")[: 2 if key.startswith("model_weights/") else 1])
            return file[key].parent.attrs.get("name"), [*file[root].attrs.get("weight_names", [])]

        return {key: names(key) for key in builders.read_h5(path) if not key.startswith("optimizer")}


def test_the_layout_is_that_of_files_that_keras_wrote(tmp_path: Path) -> None:
    weights = builders.two_dense()
    config, layers = builders.dense_config(weights), builders.v3_layers(weights)
    (group, (name, (kernel, bias))), (second, own) = layers.items()
    builders.write_v3(tmp_path / "dense.weights.h5", layers)
    builders.write_legacy(tmp_path / "dense.h5", weights, config=config)
    builders.write_legacy(tmp_path / "dense_keras2.h5", weights, config=config, suffix=":0")
    builders.write_legacy(tmp_path / "dense_keras2_weights.h5", weights, suffix=":0")
    builders.write_sharded(
        tmp_path / "dense.weights.json", [{group: (name, [kernel])}, {group: (name, [bias]), second: own}]
    )
    built = sorted(tmp_path.glob("*.h5"))
    assert len(built) == 6
    for path in built:
        assert layout(path) == layout(SAMPLES / path.name), path.name
    maps = [json.loads((folder / "dense.weights.json").read_text())["weight_map"] for folder in (tmp_path, SAMPLES)]
    del maps[1]["/optimizer/vars"]
    assert maps[0] == maps[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_keras_loads_what_the_builders_write(tmp_path: Path, dtype: str) -> None:
    keras = pytest.importorskip("keras")
    stored = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    weights = builders.two_dense(dtype=stored)
    config, layers = builders.dense_config(weights), builders.v3_layers(weights)
    expected = [array.tobytes() for own in weights.values() for array in own.values()]

    def same(model: object) -> bool:
        return [np.asarray(weight).tobytes() for weight in model.weights] == expected

    builders.write_keras(tmp_path / "m.keras", config, layers)
    model = keras.saving.load_model(tmp_path / "m.keras")
    assert same(model)

    builders.write_v3(tmp_path / "m.weights.h5", layers)
    first, second = layers.items()
    group, (name, (kernel, bias)) = first
    shards = [{group: (name, [kernel])}, {group: (name, [bias]), second[0]: second[1]}]
    builders.write_sharded(tmp_path / "s.weights.json", shards)
    for file in "m.weights.h5", "s.weights.json":
        model.set_weights([np.zeros(weight.shape) for weight in model.weights])
        assert not same(model)
        model.load_weights(tmp_path / file)
        assert same(model)

    if dtype == "bfloat16":
        return  # Keras itself cannot read bfloat16 back from a legacy file
    builders.write_legacy(tmp_path / "full.h5", weights, config=config)
    assert same(keras.saving.load_model(tmp_path / "full.h5", compile=False))
    builders.write_legacy(tmp_path / "only.h5", weights)
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    model.load_weights(tmp_path / "only.h5")
    assert same(model)
