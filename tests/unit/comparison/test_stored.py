"""What `diff` says of variables that are locked, in files that NumPy, zipfile, flatbuffers and h5py wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from support import builders, tensor_files, tfjs_files, tflite_files, torch_files
from support.files import bound

from renorm_cli.api.verbs import diff

KERNEL = builders.kernel((4, 6), (0,))
OTHER = KERNEL + np.float32(0.5)


def _normed(locked: np.ndarray) -> dict[str, np.ndarray]:
    return {"c.weight_v": locked, "c.weight_g": np.ones((4, 1), "f4"), "fc.weight": KERNEL}


def _safetensors(path: Path, locked: np.ndarray) -> None:
    tensor_files.write_safetensors(path, _normed(locked))


def _torch(path: Path, locked: np.ndarray) -> None:
    torch_files.write_torch(path, _normed(locked))


def _packed_torch(path: Path, locked: np.ndarray) -> None:
    torch_files.write_torch(path, _normed(locked), method=zipfile.ZIP_DEFLATED)


def _packed_npz(path: Path, locked: np.ndarray) -> None:
    """NumPy saves bfloat16 without saying that it is."""
    with path.open("wb") as file:
        np.savez_compressed(file, **{"a.weight": locked.astype(ml_dtypes.bfloat16), "fc.weight": KERNEL})


def _tflite(path: Path, locked: np.ndarray) -> None:
    """Two tensors of different shapes in one buffer."""
    model = tflite_files.model(
        {"a": locked, "b": locked.reshape(-1), "fc": KERNEL, "x": None, "y": None},
        [tflite_files.operator(9, [3, 2], [4])],
    )
    model[2][0][0][1][2] = model[2][0][0][0][2]
    path.write_bytes(tflite_files.flatbuffer(model))


WRITERS = [_safetensors, _torch, _packed_torch, _packed_npz, _tflite]


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_locked_is_identical_where_its_bytes_are_and_changed_where_they_are_not(
    tmp_path: Path, write: Callable[[Path, np.ndarray], None]
) -> None:
    write(tmp_path / "m", KERNEL)
    write(tmp_path / "other", OTHER)
    bound(tmp_path / "m", tmp_path / "out", "fc*")
    assert diff(tmp_path / "m", tmp_path / "m").exit_code == 0
    proof = diff(tmp_path / "m", tmp_path / "out", expect_renorm=True, max_norm=1.0, include=["fc*"])
    assert (proof.exit_code, proof.totals["pure renorm"]) == (0, 1)
    found = diff(tmp_path / "m", tmp_path / "other")
    assert (found.exit_code, found.totals["not compared"]) == (1, 0)
    changed = [row for row in found.rows if row.verdict == "other"]
    assert {row.name for row in changed} in ({"c.weight_v"}, {"a.weight"}, {"a", "b"})
    assert all(row.changed is None for row in changed)


def test_bytes_in_the_other_order_are_the_same_numbers(tmp_path: Path) -> None:
    _torch(tmp_path / "little", KERNEL)
    turned = {name: array.byteswap() for name, array in _normed(KERNEL).items()}
    torch_files.write_torch(tmp_path / "turned", turned)
    with zipfile.ZipFile(tmp_path / "turned") as old, zipfile.ZipFile(tmp_path / "big", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name == "m/byteorder" else old.read(name))
    assert diff(tmp_path / "little", tmp_path / "big").exit_code == 0
    found = diff(tmp_path / "turned", tmp_path / "big")
    assert found.totals["other"] == 3


def test_two_files_of_the_same_bytes_hold_the_same_whatever_cannot_be_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dense/kernel"] = builders.kernel((4, 4))
        file["where"] = file["dense/kernel"].ref
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(content)
    (tmp_path / "c.h5").write_bytes(content + b"\0")
    assert diff(tmp_path / "a.h5", tmp_path / "b.h5").exit_code == 0
    found = diff(tmp_path / "a.h5", tmp_path / "c.h5")
    assert (found.exit_code, found.totals["not compared"]) == (2, 1)


def _scaled_tfjs(path: Path, scale: float, offset: int) -> Path:
    how = {"quantization": {"dtype": "uint8", "min": offset, "scale": scale, "original_dtype": "float32"}}
    return tfjs_files.write_tfjs(path, [[("w", np.ones((3, 4), "u1"), how)]])


def _scaled_tflite(path: Path, scale: float, offset: int) -> Path:
    model = tflite_files.model(
        {"w": np.ones((3, 4), "i1"), "x": None, "y": None}, [tflite_files.operator(9, [1, 0], [2])]
    )
    model[2][0][0][0][4] = {2: np.array([scale], "f4"), 3: np.array([offset], "i8")}
    (path / "m.tflite").write_bytes(tflite_files.flatbuffer(model))
    return path / "m.tflite"


@pytest.mark.parametrize("write", [_scaled_tfjs, _scaled_tflite])
@pytest.mark.parametrize(("scale", "offset", "same"), [(0.5, -3, True), (0.25, -3, False), (0.5, 2, False)])
def test_the_scale_and_the_offset_of_quantized_numbers_are_a_part_of_them(
    tmp_path: Path, write: Callable[[Path, float, int], Path], scale: float, offset: int, same: bool
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    found = diff(write(tmp_path / "old", 0.5, -3), write(tmp_path / "new", scale, offset))
    assert (found.exit_code, found.totals["identical"], found.totals["other"]) == (not same, same, not same)


def test_tensors_in_one_buffer_have_each_a_scale_of_their_own(tmp_path: Path) -> None:
    for name, scale in (("old", 0.5), ("same", 0.5), ("new", 0.25)):
        model = tflite_files.model(
            {"a": np.ones((3, 4), "i1"), "b": np.ones((3, 4), "i1"), "x": None, "y": None},
            [tflite_files.operator(9, [2, 0], [3]), tflite_files.operator(9, [2, 1], [3])],
        )
        first, second = model[2][0][0][:2]
        first[4], second[4] = {2: np.array([1.0], "f4")}, {2: np.array([scale], "f4")}
        second[2] = first[2]
        (tmp_path / name).write_bytes(tflite_files.flatbuffer(model))
    assert diff(tmp_path / "old", tmp_path / "same").exit_code == 0
    (row,) = diff(tmp_path / "old", tmp_path / "new").rows
    assert (row.verdict, row.reason) == ("other", "the scale or the offset of its quantization changed")


def test_what_is_locked_on_one_side_alone_is_not_called_the_same(tmp_path: Path) -> None:
    _tflite(tmp_path / "shared", KERNEL)
    model = tflite_files.model(
        {"a": KERNEL, "b": KERNEL.reshape(-1), "fc": KERNEL, "x": None, "y": None},
        [tflite_files.operator(9, [3, 2], [4])],
    )
    (tmp_path / "apart").write_bytes(tflite_files.flatbuffer(model))
    found = diff(tmp_path / "shared", tmp_path / "apart")
    assert {row.name for row in found.rows if row.verdict == "not compared"} == {"a", "b"}
