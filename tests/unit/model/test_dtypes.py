"""The table of dtypes, judged by NumPy, ml_dtypes and TensorFlow."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from renorm_cli.model.dtypes import DTYPES, FLOATS, FloatDtype


@pytest.mark.parametrize("dtype", FLOATS.values(), ids=FLOATS)
def test_the_facts_of_a_float_are_those_of_its_finfo(dtype: FloatDtype) -> None:
    info = ml_dtypes.finfo(dtype.name)
    assert (dtype.nbytes, dtype.fraction_bits, dtype.least_exponent) == (info.bits // 8, info.nmant, info.minexp)
    assert dtype.smallest_normal == float(info.smallest_normal)
    assert dtype.roundoff == float(info.eps) / 2


@pytest.mark.parametrize("dtype", FLOATS.values(), ids=FLOATS)
def test_the_roundoff_is_what_rounding_one_and_a_half_steps_loses(dtype: FloatDtype) -> None:
    kind = np.dtype(dtype.name if dtype.name != "bfloat16" else ml_dtypes.bfloat16).type
    assert float(kind(1 + 2 * dtype.roundoff)) == 1 + 2 * dtype.roundoff
    assert float(kind(1 + dtype.roundoff)) == 1.0  # half way, to even


def test_a_code_is_numpys_for_the_dtype_or_for_its_bits() -> None:
    for name, dtype in DTYPES.items():
        found = np.dtype(dtype.code)
        assert (name, dtype.nbytes) == (dtype.name, found.itemsize)
        assert found.name == name or found.kind == "u"
        if found.kind != "u":
            assert hasattr(np, name)


@pytest.mark.slow
def test_sizes_are_those_of_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    for name, dtype in DTYPES.items():
        if hasattr(tf, name):
            assert tf.as_dtype(name).size == dtype.nbytes
