"""Headers of arrays and arrays in any order, as NumPy reads them."""

from __future__ import annotations

import io
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support import builders
from support.files import bound, look
from support.memory_file import MemoryFile

from renorm_cli.errors import FormatError
from renorm_cli.formats.numpy.header import Array, parse_array
from renorm_cli.formats.registry import open_checkpoint

DTYPES = ("f2", "f4", "f8", "c8", "c16", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def header_of(content: bytes) -> Array:
    return parse_array(MemoryFile(Path("m"), content), 0, len(content), "'m'")


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", DTYPES)
def test_each_dtype_of_numbers_is_read_in_either_byte_order(code: str, order: str) -> None:
    for shape in ((), (3,), (2, 3), (0, 4), (1,) * 32):
        array = np.ones(shape, order + code)
        found = header_of(saved(array))
        assert (found.shape, found.size) == (shape, array.nbytes)
        assert np.dtype(found.dtype) == array.dtype.newbyteorder("=")
        assert found.byte_order == (order if array.dtype.itemsize > 1 else "<")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_each_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros((3, 2)), version=version)
    assert header_of(buffer.getvalue()).shape == (3, 2)


def test_what_is_no_array_of_numbers_is_told_and_bits_without_a_dtype_may_be_weights() -> None:
    structured = np.zeros(2, [("a", "f4"), ("b", "i4")])
    for array in (np.array([{}], object), np.array(["ab"]), np.zeros(2, "M8[s]"), structured):
        assert header_of(saved(array)).size is None
    for dtype, told in ((ml_dtypes.bfloat16, "floating, saved as V2"), (ml_dtypes.float8_e4m3fn, None)):
        found = header_of(saved(np.zeros((3, 2), dtype)))
        assert told is None or found.dtype == told


HEADERS = {
    "as NumPy writes it": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
    "as MLX writes it": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, )}",
    "long sizes of Python 2": "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }",
    "another order of keys": "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}",
    "double quotes": '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}',
    "a key twice": "{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
    "a key more": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
    "a number for a bool": "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }",
    "a list for a tuple": "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3], }",
    "a negative size": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }",
    "more than there is": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }",
    "less than there is": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
    "no tuple": "{'descr': '<f4', 'fortran_order': False, 'shape': (6), }",
    "a call": "{'descr': '<f4', 'fortran_order': False, 'shape': (exit(),), }",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_read_as_it_is_written_usually_and_never_evaluated(name: str) -> None:
    text = HEADERS[name].encode()
    text += b" " * (-(11 + len(text)) % 64) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(24)
    if name in ("as NumPy writes it", "as MLX writes it", "long sizes of Python 2"):
        assert header_of(content).shape == (2, 3)
    else:
        with pytest.raises(FormatError, match=r"\A'm' "):
            header_of(content)


@pytest.mark.parametrize("shape", [(), (6,)])
def test_an_array_of_one_axis_or_none_has_no_order_of_axes_whatever_its_header_says(shape: tuple[int, ...]) -> None:
    """NumPy never writes so, and reads it."""
    content = saved(np.zeros(shape, np.float32)).replace(b"False", b"True").replace(b"}", b"} ")
    assert np.load(io.BytesIO(content)).shape == shape
    assert (header_of(content).shape, header_of(content).order) == (shape, None)


@pytest.mark.parametrize("order", "<>")
def test_raw_bytes_are_in_one_byte_order_whatever_that_of_the_file_is(order: str, tmp_path: Path) -> None:
    kernel = builders.kernel((6, 4), (0,))
    np.save(tmp_path / "w.npy", kernel.astype(f"{order}f4"))
    with open_checkpoint(tmp_path / "w.npy") as source:
        assert b"".join(source.raw(source.variables[0]) or ()) == kernel.astype("<f4").tobytes()


def test_an_array_in_fortran_order_is_bounded_along_the_axes_that_its_name_means(tmp_path: Path) -> None:
    """Its axes are shown in the order in which they are stored."""
    kernel = builders.kernel((4, 3, 2, 5), (0,))
    np.savez(tmp_path / "m.npz", **{"a.weight": np.asfortranarray(kernel), "a.bias": np.zeros(4, "f4")})
    (row,) = bound(tmp_path / "m.npz", tmp_path / "out.npz").rows
    assert (row.step.variable.shape, row.step.unit_axes, row.over) == ((5, 2, 3, 4), (3,), 2)
    with np.load(tmp_path / "out.npz") as after:
        norms = np.sqrt((after["a.weight"].astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
        assert after["a.weight"].flags.f_contiguous
    np.testing.assert_allclose(norms, [0.5, 1, 0.5, 1], rtol=1e-6)
    with open_checkpoint(tmp_path / "m.npz") as source:
        np.testing.assert_array_equal(source.read(source.variables[0]), kernel.transpose())


def test_a_single_array_is_bounded_where_its_axes_are_said(tmp_path: Path) -> None:
    kernel = builders.kernel((6, 4), (0,))
    np.save(tmp_path / "w.npy", kernel)
    assert [skip.code for skip in look(tmp_path / "w.npy").skips] == ["unidentified"]
    from renorm_cli.api.verbs import apply

    apply(tmp_path / "w.npy", tmp_path / "out.npy", max_norm=1.0, units="0", include=["array"], engine="numpy")
    norms = np.sqrt((np.load(tmp_path / "out.npy").astype(np.float64) ** 2).sum(axis=1))
    np.testing.assert_allclose(norms, [0.5, 1, 0.5, 1, 0.5, 1], rtol=1e-6)
