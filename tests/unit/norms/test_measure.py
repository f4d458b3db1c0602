"""What measures a norm is chosen by the kind of the norm, so that a further kind is one more class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from support.memory import Tensor, step_of

from renorm_cli.model.blocks import Block
from renorm_cli.model.plan import Step
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.norms.measure import MEASURES, Read
from renorm_cli.run.steps import Work, renorm_variable


@dataclass(frozen=True)
class Spectral:
    """The largest singular value of a matrix."""


class SpectralMeasure:
    def __init__(self, norm: Spectral) -> None: ...

    def units(self, step: Step, engine: Engine, read: Read, blocks: Sequence[Block], *rest: Any) -> np.ndarray:
        matrix = np.concatenate([np.array(read(block), dtype=np.float64) for block in blocks])
        return np.full((1, 1), np.linalg.norm(matrix, 2))


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_a_second_kind_of_norm_takes_one_class_to_be_measured_and_bounded_by(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MEASURES, Spectral, SpectralMeasure)
    matrix = np.random.default_rng(0).standard_normal((40, 9)).astype(np.float32)
    step = step_of(matrix, (), 1.5)
    step = replace(step, constraint=replace(step.constraint, norm=Spectral()))
    bounded = matrix.copy()
    work = Work(Tensor(matrix), NumpyEngine(), bound=True, sink=Tensor(bounded), block_bytes=block_bytes)
    row = renorm_variable(step, work)
    assert row.over == 1
    assert row.norm is not None
    assert row.norm.max == pytest.approx(float(np.linalg.norm(matrix.astype(np.float64), 2)))
    assert 1.5 * (1 - 2.0**-22) <= np.linalg.norm(bounded.astype(np.float64), 2) <= 1.5
    np.testing.assert_allclose(bounded, matrix * (1.5 / row.norm.max), rtol=1e-6)
