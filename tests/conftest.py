"""Fixtures that many tests share."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest
from support import effort

from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine

LOOP = "not slow"
"""What `-m` says in the developer's loop: properties are tried with fewer examples there."""

ASKED_FOR = ("bench", "exhaustive", "fuzz")
"""Markers of tests that run only where `-m` names them: they take minutes, or want the machine to themselves."""


LOADS_MUCH = re.compile(
    r"\b(import|from) (tensorflow|keras|tf_keras)\b|\b(keras_zoo|tf_zoo|tf_files|small_checkpoints|arrays: Arrays)\b"
)
"""What a file of tests says that loads TensorFlow or Keras, by itself or through others."""


@cache
def _loads_much(path: Path) -> bool:
    return LOADS_MUCH.search(path.read_text("utf-8")) is not None


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") == LOOP:
        effort.reduce()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Last, because a process that holds TensorFlow takes six times as long to fork (29 ms), as the tool does for HDF5.
    items.sort(key=lambda item: _loads_much(item.path))
    unasked = [marker for marker in ASKED_FOR if marker not in config.getoption("markexpr")]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in unasked)]
    if left_out:
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def tensorflow_engine() -> Engine:
    """The TensorFlow executor, made once: its import takes seconds. RENORM_TEST_DEVICE=gpu puts it on a GPU."""
    pytest.importorskip("tensorflow")
    from renorm_cli.norms.engines.tensorflow_engine import TensorFlowEngine

    device = os.environ.get("RENORM_TEST_DEVICE", "cpu")
    found = TensorFlowEngine(device)
    if device == "gpu":
        import tensorflow as tf

        tf.config.set_soft_device_placement(False)  # what has no kernel there would run on the CPU, unseen
    return found


@pytest.fixture(scope="session", params=["numpy", pytest.param("tensorflow", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both executors of the same three operations."""
    if request.param == "numpy":
        return NumpyEngine()
    found: Engine = request.getfixturevalue("tensorflow_arrays")
    return found
