"""Arrays that NumPy saved as mere bits, of dtypes that are said: ml_dtypes reads the output, a plain loop judges it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import oracle
from support.cli import renorm, renorm_here

import renorm_cli

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
ROWS = {"fc.weight": (0,), "turned.weight": (0,), "head.weight": (0,)}
"""The unit axes of each weight, as NumPy sees it."""


def arrays() -> dict[str, np.ndarray]:
    """Of dtypes that NumPy saves as two bytes, as one byte, and by name."""
    numbers = np.random.default_rng(3).standard_normal((6, 7))
    return {
        "fc.weight": (4 * numbers).astype(BFLOAT16),
        "turned.weight": np.asfortranarray(numbers[:3, :4].astype(BFLOAT16)),
        "fc.scale": np.ones((4, 6), ml_dtypes.float8_e4m3fn),
        "head.weight": numbers.astype("f4"),
    }


def saved(path: Path, how: Callable[..., Any] = np.savez, **more: np.ndarray) -> Path:
    how(path, **arrays() | more)
    return path


def headers(path: Path) -> dict[str, bytes]:
    """The bytes of each member before its numbers."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name)[:128] for name in archive.namelist()}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_whose_dtype_is_said_are_bounded_and_their_headers_stay(save: Any, tmp_path: Path) -> None:
    source, output = saved(tmp_path / "m.npz", save), tmp_path / "out.npz"
    report = renorm_cli.apply(source, output, max_norm=1.5, dtype=["*.weight=float16", "*.weight=bfloat16"])
    assert {row.variable.name: row.variable.dtype for row in report.rows} == {
        "fc.weight": "bfloat16",
        "turned.weight": "bfloat16",
        "head.weight": "float32",
    }
    assert headers(output) == headers(source)
    with np.load(output) as found:
        for name, before in arrays().items():
            after = found[name].view(before.dtype)
            expected = oracle.renorm(before, ROWS[name], 1.5) if name in ROWS else before.astype("f8")
            step = 2.0**-7 if before.dtype == BFLOAT16 else 2.0**-22
            np.testing.assert_allclose(after.astype("f8"), expected, rtol=step)
            assert name not in ROWS or not oracle.over(after, ROWS[name], 1.5).any()


def test_the_array_of_an_npy_file_is_called_array_also_where_its_dtype_is_said(tmp_path: Path) -> None:
    weight = arrays()["fc.weight"]
    np.save(tmp_path / "w.npy", weight)
    renorm_cli.apply(tmp_path / "w.npy", max_norm=1.5, units=0, include="array", dtype={"array": "bfloat16"})
    after = np.load(tmp_path / "w-renorm.npy").view(BFLOAT16)
    assert oracle.over(weight, (0,), 1.5).any()
    assert not oracle.over(after, (0,), 1.5).any()
    with renorm_cli.open(tmp_path / "w.npy", dtype="*=bfloat16") as source:
        np.testing.assert_array_equal(source.read(source.variables[0]), weight)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_bits_that_are_said_to_be_float8_are_told_and_left_alone(dtype: str, tmp_path: Path) -> None:
    report = renorm_cli.inspect(saved(tmp_path / "m.npz"), dtype={"*.weight": "bfloat16", "fc.scale": dtype})
    assert [skip.reason for skip in report.skips] == [f"{dtype}: not a floating type we bound"]
    assert "saved without" not in "".join(map(str, report.notes))


REFUSED = {
    "m.npz --dtype x=bfloat16": "'x' names no variable whose dtype the file does not tell; those are 'fc.weight',",
    "m.npz --dtype head.weight=bfloat16": "'head.weight' names no variable whose dtype the file does not tell",
    "m.npz --dtype *=bfloat16": "'fc.scale' has 1 byte an element, so it is no bfloat16; say another with --dtype",
    "m.npz --dtype *=float8_e5m2": "'fc.weight' has 2 bytes an element, so it is no float8_e5m2",
    "m.npz --dtype *=float32": "a dtype is said as GLOB=DTYPE, where it is bfloat16, float16, ",
    "m.npz --dtype bfloat16": "a dtype is said as GLOB=DTYPE",
    "f4.npy --dtype *=bfloat16": "names no variable whose dtype the file does not tell; there is none",
    "bits.npy": "nothing to measure; say what it is with --dtype '*=bfloat16'",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_dtype_that_fits_no_array_is_an_error_of_one_line_and_nothing_is_written(
    line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, *said = line.split()
    saved(tmp_path / "m.npz")
    np.save(tmp_path / "f4.npy", np.ones((2, 3), "f4"))
    np.save(tmp_path / "bits.npy", np.ones((2, 3), BFLOAT16))
    before = sorted(tmp_path.iterdir())
    for command in (("inspect",), ("apply", "--max-norm", "1"), ("check", "--max-norm", "1"), ("suggest",)):
        done = renorm_here(capfd, command[0], str(tmp_path / file), *command[1:], *said)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert REFUSED[line] in done.stderr
        assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_what_to_say_is_told_where_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    note, _ = renorm_cli.inspect(saved(tmp_path / "m.npz")).notes
    assert str(note).endswith("'fc.scale': saved without the dtype, so left alone; say what it is with dtype=")
    done = renorm_here(capfd, "show", str(tmp_path / "m.npz"), "fc.weight", "--dtype", "fc.weight=bfloat16")
    assert (done.returncode, "bfloat16" in done.stdout) == (0, True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_diff_sees_one_bit_in_mere_bits_and_proves_a_renorm_once_their_dtype_is_said(
    save: Any, tmp_path: Path
) -> None:
    source, output, touched = (tmp_path / name for name in ("m.npz", "out.npz", "touched.npz"))
    said = ["*.weight=bfloat16", "fc.scale=float8_e5m2"]
    renorm_cli.apply(saved(source, save), output, max_norm=1.5, dtype=said)
    assert renorm_cli.diff(source, output, expect_renorm=True, max_norm=1.5, dtype=said).proven
    scale = arrays()["fc.scale"].view("u1")
    scale[3, 5] ^= 1
    saved(touched, save, **{"fc.scale": scale.view(ml_dtypes.float8_e4m3fn)})
    assert [row.name for row in renorm_cli.diff(source, touched).rows if row.verdict != "identical"] == ["fc.scale"]


def test_a_diff_takes_a_dtype_that_one_of_the_two_files_does_not_tell(tmp_path: Path) -> None:
    numbers = {name: array.astype("f4") for name, array in arrays().items()}
    np.savez(tmp_path / "f4.npz", **numbers)
    found = renorm_cli.diff(saved(tmp_path / "m.npz"), tmp_path / "f4.npz", dtype="fc.weight=bfloat16")
    assert {row.name: str(row.before and row.before.dtype) for row in found.rows}["fc.weight"] == "bfloat16"


def test_many_checkpoints_are_asked_with_the_dtypes_that_are_said(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        saved(tmp_path / name)
    said = ("--dtype", "*.weight=bfloat16", "--dtype", "fc.scale=float8_e4m3fn")
    done = renorm("check", "-r", str(tmp_path), "--max-norm", "1000", "--allow-unidentified", *said)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_an_array_of_bits_that_is_shorter_than_its_shape_is_damaged(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, arrays()["fc.weight"])
    (tmp_path / "w.npy").write_bytes(buffer.getvalue()[:-1])
    with pytest.raises(renorm_cli.FormatError, match="needs 84 bytes by its shape, 83 are there"):
        renorm_cli.inspect(tmp_path / "w.npy", dtype="*=bfloat16")
