"""A checkpoint in memory: what `run` reads from and writes to in tests of the maths."""

from __future__ import annotations

from typing import Any

import numpy as np

from renorm_cli.formats.numbers import room_for
from renorm_cli.model.blocks import Block
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import Engine
from renorm_cli.parallel.memory import Buffer
from renorm_cli.run.steps import Work, renorm_variable


class Tensor:
    """One array, read and written by blocks; `written` collects the blocks."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.written: list[Block] = []

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> np.ndarray:
        values = room_for(block.shape, self.array.dtype, into)
        values[...] = self.array[_box(block)]
        return values

    def write(self, variable: Variable, block: Block, values: np.ndarray) -> None:
        assert values.dtype == self.array.dtype
        self.written.append(block)
        self.array[_box(block)] = values


def bounded(
    array: np.ndarray, unit_axes: tuple[int, ...], limit: float, p: float, engine: Engine, **work: Any
) -> tuple[np.ndarray, Row]:
    """What `apply` would store for one variable, and its row."""
    sink = Tensor(array.copy())
    done = Work(Tensor(array), engine, bound=True, sink=sink, **work)
    return sink.array, renorm_variable(step_of(array, unit_axes, limit, p), done)


def step_of(array: np.ndarray, unit_axes: tuple[int, ...], limit: float | None, p: float = 2.0) -> Step:
    variable = Variable("w", "w", array.shape, array.dtype.name)
    return Step(variable, "kernel", unit_axes, "option", Constraint(limit, PNorm(p)))


def _box(block: Block) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(block.start, block.shape, strict=True))
