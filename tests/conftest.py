"""Fixtures that many tests share."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import effort
from support.elsewhere import tensorflow_elsewhere

from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine

LOOP = "not slow"
"""What `-m` says in the developer's loop: properties are tried with fewer examples there."""

ASKED_FOR = ("bench", "exhaustive", "fuzz")
"""Markers of tests that run only where `-m` names them: they take minutes, or want the machine to themselves."""


FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "torch", "transformers", "jax", "flax")
_FRAMEWORK = re.compile(
    rf"\b(import |from |importorskip\(\")({'|'.join(FRAMEWORKS)})\b"
    r"|\b(keras_zoo|tf_zoo|tf_files|bad_tables|engine: Engine)\b"
)
"""What a file says whose slow tests load one of them, by itself or through others."""

_NONE_IN_THE_LOOP = re.compile(
    rf"^(\w+ = pytest\.importorskip\(\"({'|'.join(FRAMEWORKS)})\""
    rf"|pytestmark = .*\bmark\.(slow|{'|'.join(ASKED_FOR)})\b)",
    re.MULTILINE,
)
"""What a file says none of whose tests is in the loop: looking into it takes time, and memory that each fork copies."""

_SINGLY = ("hostile/test_hostile.py", "system/test_crash.py")
"""Files of many long tests that share little: no worker takes one of them as a whole."""


class _NotInTheLoop(MetaPathFinder, Loader):
    """Their import takes seconds, and a process that holds one takes six times as long to fork, as our tool does."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FRAMEWORKS else None

    def exec_module(self, module: ModuleType) -> None:
        raise RuntimeError(f"a test that needs {module.__name__} is marked slow, or reads what `tf_recorded` has")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that the tests start compiles the tool again
    if config.getoption("markexpr") == LOOP:
        effort.reduce()
        sys.meta_path.insert(0, _NotInTheLoop())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("markexpr") != LOOP or collection_path.suffix != ".py":
        return None
    return True if _NONE_IN_THE_LOOP.search(collection_path.read_text("utf-8")) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unasked = [marker for marker in ASKED_FOR if marker not in config.getoption("markexpr")]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in unasked)]
    if left_out:
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=_loads_framework)  # last, where there is one process for all


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file go to one worker, and share its fixtures."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return nodeid if path.endswith(_SINGLY) else path

    return ByFile(config, log) if config.option.dist == "load" else None


def _loads_framework(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None and _names_framework(item.path)


@cache
def _names_framework(path: Path) -> bool:
    return _FRAMEWORK.search(path.read_text("utf-8")) is not None


@pytest.fixture(scope="session")
def tensorflow_engine() -> Engine:
    """The TensorFlow executor, made once: its import takes seconds. RENORM_TEST_DEVICE=gpu puts it on a GPU; on the CPU
    it holds the first blocks of a small variable all the same. No block is too small to be held."""
    pytest.importorskip("tensorflow")
    from renorm_cli.norms.engines import tensorflow_engine as module

    module._LEAST_HELD = 1
    if os.environ.get("RENORM_TEST_DEVICE", "cpu") == "cpu":
        return tensorflow_elsewhere()
    import tensorflow as tf

    found = module.TensorFlowEngine("gpu")
    tf.config.set_soft_device_placement(False)  # what has no kernel there would run on the CPU, unseen
    return found


@pytest.fixture(scope="session", params=["numpy", pytest.param("tensorflow", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both executors of the same three operations."""
    if request.param == "numpy":
        return NumpyEngine()
    found: Engine = request.getfixturevalue("tensorflow_engine")
    return found


@pytest.fixture
def heard_signals() -> Iterator[None]:
    """Processes that the test starts hear SIGINT and SIGHUP, also where pytest ignores them: under nohup, or `&`."""
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
