"""Fixtures that many tests share."""

from __future__ import annotations

import os

import pytest

from renorm_cli.arrays import Arrays
from renorm_cli.arrays.numpy_arrays import NumpyArrays


@pytest.fixture(scope="session")
def tensorflow_arrays() -> Arrays:
    """The TensorFlow executor, made once: its import takes seconds. RENORM_TEST_DEVICE=gpu puts it on a GPU."""
    pytest.importorskip("tensorflow")
    from renorm_cli.arrays.tensorflow_arrays import TensorFlowArrays

    return TensorFlowArrays(os.environ.get("RENORM_TEST_DEVICE", "cpu"))


@pytest.fixture(scope="session", params=["numpy", "tensorflow"])
def arrays(request: pytest.FixtureRequest) -> Arrays:
    """Both executors of the same three operations."""
    if request.param == "numpy":
        return NumpyArrays()
    found: Arrays = request.getfixturevalue("tensorflow_arrays")
    return found
