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

_WHEN_IMPORTED = re.compile(rf"^\w+ = pytest\.importorskip\(\"({'|'.join(FRAMEWORKS)})\"", re.MULTILINE)
"""What a file of slow tests alone says that loads one as soon as it is looked into."""

_SINGLY = ("hostile/test_hostile.py", "system/test_crash.py")
"""Files of many long tests that share little: no worker takes one of them as a whole."""


class _NotInTheLoop(MetaPathFinder, Loader):
    """Their import takes seconds, and a process that holds one takes six times as long to fork, as our tool does."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FRAMEWORKS else None

    def exec_module(self, module: ModuleType) -> None:
        raise RuntimeError(f"a test that needs {module.__name__} is marked slow, or reads what `tf_recorded` has")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") == LOOP:
        effort.reduce()
        sys.meta_path.insert(0, _NotInTheLoop())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("markexpr") != LOOP or collection_path.suffix != ".py":
        return None
    return True if _WHEN_IMPORTED.search(collection_path.read_text("utf-8")) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unasked = [marker for marker in ASKED_FOR if marker not in config.getoption("markexpr")]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in unasked)]
    if left_out:
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)
    _group(items, workers=getattr(config, "workerinput", {}).get("workercount", 1))


def _group(items: list[pytest.Item], workers: int) -> None:
    """Tests of a file go to one worker and share its fixtures; half of the workers load TensorFlow, and no other."""
    loading = {item: item.path for item in items if item.get_closest_marker("slow") and _loads_framework(item.path)}
    turn = {path: number % max(1, workers // 2) for number, path in enumerate(sorted(set(loading.values())))}
    for item in items:
        if item in loading:
            item.add_marker(pytest.mark.xdist_group(f"frameworks {turn[item.path]}"))
        elif not item.path.as_posix().endswith(_SINGLY):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=loading.__contains__)  # last, where there is one process for all


@cache
def _loads_framework(path: Path) -> bool:
    return _FRAMEWORK.search(path.read_text("utf-8")) is not None


@pytest.fixture(scope="session")
def tensorflow_engine() -> Engine:
    """The TensorFlow executor, made once: its import takes seconds. RENORM_TEST_DEVICE=gpu puts it on a GPU; on the CPU
    it holds the first blocks of a small variable all the same."""
    pytest.importorskip("tensorflow")
    if os.environ.get("RENORM_TEST_DEVICE", "cpu") == "cpu":
        return tensorflow_elsewhere()
    import tensorflow as tf

    from renorm_cli.norms.engines.tensorflow_engine import TensorFlowEngine

    found = TensorFlowEngine("gpu")
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
