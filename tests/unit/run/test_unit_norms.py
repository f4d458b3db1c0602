"""The norms of all units of a run: those of a plain loop, in memory or in a file, in any order of taking."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from support import oracle
from support.memory import Tensor, step_of

from renorm_cli.errors import OutputError
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Step
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.parallel.threads import threads
from renorm_cli.run import unit_norms
from renorm_cli.run.joint import run_joint
from renorm_cli.run.steps import Work, run
from renorm_cli.run.unit_norms import UnitNorms

RNG = np.random.default_rng(5)


@pytest.fixture(params=["memory", "file"])
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        monkeypatch.setattr(unit_norms, "IN_MEMORY", 0)
        monkeypatch.setattr(unit_norms, "_PART", 7)
    return str(request.param)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("unit_axes", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("block_bytes", [1 << 20, 256])
def test_the_norms_are_those_of_a_loop_for_tensors_of_one_block_or_many(
    unit_axes: tuple[int, ...], block_bytes: int
) -> None:
    array = RNG.normal(size=(6, 5, 7)).astype("float32")
    array[0, 0, 0] = np.nan
    step = step_of(array, unit_axes, None)
    norms = UnitNorms.of([step])
    with threads(2) as imap:
        run([step], Work(Tensor(array), NumpyEngine(), block_bytes=block_bytes, norms=norms), imap)
    found = norms.grid(step)
    assert found.shape == tuple(size if axis in unit_axes else 1 for axis, size in enumerate(array.shape))
    np.testing.assert_allclose(found.ravel(), oracle.unit_norms(array, unit_axes).ravel(), rtol=1e-12)


@pytest.mark.usefixtures("home")
def test_variables_are_taken_in_any_order_and_the_parts_of_one_are_its_grid() -> None:
    steps = [Step(Variable(key, key, (3, 10), "float32"), "kernel", (1,), "layer", Constraint(None)) for key in "abc"]
    norms = UnitNorms.of(steps)
    for number, step in reversed(list(enumerate(steps))):
        for first in (6, 0):
            norms.take(step, first, 100.0 * number + np.arange(first, min(first + 6, 10)))
    for number, step in enumerate(steps):
        expected = 100.0 * number + np.arange(10)
        np.testing.assert_array_equal(norms.grid(step), expected.reshape(1, 10))
        np.testing.assert_array_equal(np.concatenate(list(norms.parts(step))), expected)


@pytest.mark.usefixtures("home")
def test_another_process_gets_the_same_norms() -> None:
    step = step_of(np.zeros((4, 30), "float32"), (1,), None)
    norms = UnitNorms.of([step])
    norms.take(step, 0, np.arange(30.0))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(norms)).grid(step), np.arange(30.0).reshape(1, 30))


def test_a_variable_of_a_joint_norm_is_one_unit() -> None:
    array = RNG.normal(size=(4, 5)).astype("float32")
    step = Step(Variable("w", "w", (4, 5), "float32"), "kernel", (), "option", Constraint(1.0, per="global"))
    norms = UnitNorms.of([step])
    run_joint([step], Work(Tensor(array), NumpyEngine(), norms=norms))
    np.testing.assert_allclose(norms.grid(step), [[np.linalg.norm(array.astype("float64"))]], rtol=1e-12)


def test_the_temporary_file_has_no_name_and_is_closed_with_the_norms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_norms, "IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    norms = UnitNorms({"w": 100})
    fd = norms._fd
    assert list(tmp_path.iterdir()) == []
    os.fstat(fd)
    del norms
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_folder_without_room_is_an_error_that_says_where_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_norms, "IN_MEMORY", 0)
    monkeypatch.setattr(unit_norms, "write_all", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    norms = UnitNorms({"w": 100})
    step = step_of(np.zeros((4, 100), "float32"), (1,), None)
    with pytest.raises(OutputError, match=r"100 units take 800 bytes .* No space left; make room, or set TMPDIR"):
        norms.take(step, 0, np.zeros(100))
