"""Norms of the units of one variable, block by block: fast sums first, exact ones where they decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import Block, collapse, grid_shape, partition
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Step
from renorm_cli.norms import policy
from renorm_cli.norms.engines.base import Engine, others
from renorm_cli.norms.exact import ExactSums
from renorm_cli.norms.policy import Bools, Float64, Ints, PowerSums
from renorm_cli.norms.powers import times_power_of_two
from renorm_cli.norms.rounding import widen
from renorm_cli.parallel.threads import Imap

_EXACT_ELEMENTS = 1 << 17
"""Elements that are summed exactly at a time: it takes some ten float64 arrays of that size. A dry run of 512 MiB of
float64 on two threads took 1.51 s, with 2**16 1.71, with 2**18 1.57, with whole blocks 1.79."""

Read = Callable[[Block], npt.NDArray[Any]]


def measure(
    step: Step,
    engine: Engine,
    read: Read,
    blocks: Sequence[Block],
    imap: Imap,
    advance: Callable[[int], None] = lambda nbytes: None,
    read_again: Read | None = None,
) -> Float64:
    """Norms of all units in `blocks`, which share them with no other block, as the part of the unit grid they cover.

    Fast sums first, for which `read` is called once for each block; units for which the order of summation could
    matter are summed again exactly, from a second look at their blocks, by `read_again` if that is another way.
    """
    p, dtype = step.constraint.p, step.variable.dtype
    total = power_sums(step, engine, read, blocks, imap, advance)
    norms = policy.norms(total, p)
    terms = sum(block.elements for block in blocks) // max(1, norms.size)
    doubtful = policy.doubtful(norms, step.constraint.ceiling, dtype, terms, p)
    if doubtful.any():
        exact = ExactSums(int(np.count_nonzero(doubtful)), p)
        add_exactly(exact, step, read_again or read, blocks, doubtful, total.exponents)
        total.sums[doubtful] = exact.sums
        norms = policy.norms(total, p)
    return norms


def power_sums(
    step: Step,
    engine: Engine,
    read: Read,
    blocks: Sequence[Block],
    imap: Imap,
    advance: Callable[[int], None] = lambda nbytes: None,
) -> PowerSums:
    """The sums of all units in `blocks`, joined in their order, so that they do not depend on the number of jobs."""
    p, dtype = step.constraint.p, step.variable.dtype
    parts = imap(partial(_block_sums, step, engine, read), blocks)
    if len(blocks) == 1:
        (only,) = parts
        advance(blocks[0].elements * FLOATS[dtype])
        return only
    origin = blocks[0].start
    shape = tuple(blocks[-1].start[axis] + blocks[-1].shape[axis] - origin[axis] for axis in range(len(origin)))
    grid = grid_shape(shape, step.unit_axes)
    total = PowerSums(np.zeros(grid), np.full(grid, policy.LOWEST if policy.needs_exponents(dtype, p) else 0))
    for block, part in zip(blocks, parts, strict=True):
        where = within(block, origin, step.unit_axes)
        joined = PowerSums(total.sums[where], total.exponents[where]).join(part, p)
        total.sums[where], total.exponents[where] = joined.sums, joined.exponents
        advance(block.elements * FLOATS[dtype])
    return total


def add_exactly(
    total: ExactSums, step: Step, read: Read, blocks: Sequence[Block], wanted: Bools, exponents: Ints
) -> None:
    """Add the elements of the `wanted` units of the grid, by a second look at them, to `total` in their order."""
    origin = blocks[0].start
    numbers = np.cumsum(wanted.ravel()).reshape(wanted.shape) - 1
    summed = others(len(origin), step.unit_axes)
    for block in blocks:
        if not wanted[within(block, origin, step.unit_axes)].any():
            continue
        values = read(block)
        for part in partition(block.shape, _EXACT_ELEMENTS):
            where = within(part.shifted(block.start), origin, step.unit_axes)
            chosen = wanted[where].ravel()
            if not chosen.any():
                continue
            units_first = values[part.box].transpose(*step.unit_axes, *summed).reshape(chosen.size, -1)
            rows = units_first[chosen]
            wide = np.empty(rows.shape)
            widen(rows, wide)
            times_power_of_two(wide, -exponents[where].ravel()[chosen][:, None], wide)
            total.add(numbers[where].ravel()[chosen], wide)


def negatives(read: Read, blocks: Sequence[Block]) -> int:
    """How many weights in `blocks` are below zero; -0.0 and NaN are not."""
    count = 0
    for block in blocks:
        values = np.ascontiguousarray(read(block))
        wide = np.empty(values.shape)
        with np.errstate(invalid="ignore"):  # NaN
            widen(values, wide)
            count += int(np.count_nonzero(wide < 0))
    return count


def within(block: Block, origin: tuple[int, ...], unit_axes: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the block's units lie in a unit grid that begins at `origin`."""
    return Block(tuple(at - first for at, first in zip(block.start, origin, strict=True)), block.shape).units(unit_axes)


def _block_sums(step: Step, engine: Engine, read: Read, block: Block) -> PowerSums:
    """Power sums of one block, shaped as its part of the unit grid."""
    p = step.constraint.p
    layout = collapse(block.shape, step.unit_axes)
    values = read(block).reshape(layout.shape)
    grid = grid_shape(block.shape, step.unit_axes)
    if math.isinf(p):
        return PowerSums(engine.peaks(values, layout.kept).reshape(grid), np.zeros(grid, dtype=np.int64))
    if not policy.needs_exponents(step.variable.dtype, p):
        sums = engine.power_sums(values, layout.kept, p, None)
        return PowerSums(sums.reshape(grid), np.zeros(grid, dtype=np.int64))
    exponents = policy.exponents_of(engine.peaks(values, layout.kept))
    sums = engine.power_sums(values, layout.kept, p, exponents)
    return PowerSums(sums.reshape(grid), exponents.reshape(grid))
