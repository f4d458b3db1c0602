"""Fixtures that many tests share."""

from __future__ import annotations

import pytest

from renorm_cli.arrays import Arrays


@pytest.fixture(scope="session")
def tensorflow_arrays() -> Arrays:
    """The TensorFlow executor on the CPU: made once, its import takes seconds."""
    pytest.importorskip("tensorflow")
    from renorm_cli.arrays.tensorflow_arrays import TensorFlowArrays

    return TensorFlowArrays("cpu")
