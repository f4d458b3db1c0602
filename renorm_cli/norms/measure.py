"""Norms of the units of one variable, block by block, for each kind of norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import Block, collapse, grid_shape, partition
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.norm import PNorm, SpectralNorm
from renorm_cli.model.plan import Step
from renorm_cli.norms.engines.base import Engine, others
from renorm_cli.norms.engines.held import Held
from renorm_cli.norms.error_free import Bools, Float64
from renorm_cli.norms.exact import ExactSums
from renorm_cli.norms.power_sums import Ints, PowerSums, doubtful, exponents_of, needs_exponents, norms
from renorm_cli.norms.powers import times_power_of_two
from renorm_cli.norms.rounding import widen
from renorm_cli.parallel.threads import Imap

_EXACT_ELEMENTS = 1 << 17
"""Elements that are summed exactly at a time, in some ten float64 arrays of that size (10 MiB)."""

_ALL = "all variables together"

Read = Callable[[Block], npt.NDArray[Any]]
Advance = Callable[[int], None]
"""Told the bytes of each block that is done."""


def _nothing(nbytes: int) -> None: ...


class Measure(Protocol):
    """Measures one kind of norm."""

    def units(
        self,
        step: Step,
        engine: Engine,
        read: Read,
        blocks: Sequence[Block],
        imap: Imap,
        advance: Advance = ...,
        read_again: Read | None = None,
        held: Held | None = None,
    ) -> Float64:
        """See `measure`."""
        ...


def measure(
    step: Step,
    engine: Engine,
    read: Read,
    blocks: Sequence[Block],
    imap: Imap,
    advance: Advance = _nothing,
    read_again: Read | None = None,
    held: Held | None = None,
) -> Float64:
    """Norms of all units in `blocks`, which share them with no other block, as the part of the unit grid they cover.

    `read` is called once for each block, `advance` with the bytes of each. Where blocks are needed again, they are
    read by `read_again`, if given. What goes to the engine for a p-norm is left in `held`, if given.
    """
    norm = step.constraint.norm
    return MEASURES[type(norm)](norm).units(step, engine, read, blocks, imap, advance, read_again, held)


class Part(NamedTuple):
    """A variable of a joint norm: how to read it, in which blocks, and the sum over all of it, of shape (1,)."""

    step: Step
    read: Read
    blocks: Sequence[Block]
    sums: PowerSums


class PNormMeasure:
    """Measures a p-norm: fast sums first, exact ones for the units where the order of summation could matter."""

    def __init__(self, norm: PNorm) -> None:
        self._norm = norm

    def units(
        self,
        step: Step,
        engine: Engine,
        read: Read,
        blocks: Sequence[Block],
        imap: Imap,
        advance: Advance = _nothing,
        read_again: Read | None = None,
        held: Held | None = None,
    ) -> Float64:
        total = self._sums(step, engine, read, blocks, imap, advance, held)
        whose = f"a unit of {step.variable.name!r}"
        found = norms(total, self._norm, whose)
        terms = sum(block.elements for block in blocks) // max(1, found.size)
        doubted = doubtful(found, step.constraint.highest, step.variable.dtype, terms, self._norm)
        if doubted.any():
            exact = ExactSums(int(np.count_nonzero(doubted)), self._norm.p)
            _add_exactly(exact, step, read_again or read, blocks, doubted, total.exponents)
            total.sums[doubted] = exact.sums
            found = norms(total, self._norm, whose)
        return found

    def part(
        self, step: Step, engine: Engine, read: Read, blocks: Sequence[Block], imap: Imap, advance: Advance = _nothing
    ) -> Part:
        """A whole variable, summed, as a part of a joint norm; its step has no unit axes."""
        total = self._sums(step, engine, read, blocks, imap, advance)
        return Part(step, read, blocks, PowerSums(total.sums.reshape(1), total.exponents.reshape(1)))

    def alone(self, part: Part) -> float:
        """The norm of one part alone."""
        return float(norms(part.sums, self._norm, repr(part.step.variable.name)).item())

    def joint(self, parts: Sequence[Part], limit: float | None, dtype: str) -> Float64:
        """The norm over all parts together, of shape (1,); exact where the order of summation could matter."""
        total = PowerSums.none((1,), self._norm, dtype)
        for part in parts:
            total = total.join(part.sums, self._norm)
        found = norms(total, self._norm, _ALL)
        terms = sum(part.step.variable.elements for part in parts)
        if not doubtful(found, limit, dtype, terms, self._norm).any():
            return found
        exact = ExactSums(1, self._norm.p)
        for part in parts:
            grid = (1,) * len(part.step.variable.shape)
            whole, exponents = np.ones(grid, dtype=bool), total.exponents.reshape(grid)
            _add_exactly(exact, part.step, part.read, part.blocks, whole, exponents)
        return norms(PowerSums(exact.sums, total.exponents), self._norm, _ALL)

    def _sums(
        self,
        step: Step,
        engine: Engine,
        read: Read,
        blocks: Sequence[Block],
        imap: Imap,
        advance: Advance,
        held: Held | None = None,
    ) -> PowerSums:
        """The sums of all units in `blocks`, joined in their order: they do not depend on the number of jobs."""
        dtype = step.variable.dtype
        parts = imap(partial(self._block_sums, step, engine, read, held), blocks)
        if len(blocks) == 1:
            (only,) = parts
            advance(blocks[0].elements * FLOATS[dtype].nbytes)
            return only
        origin = blocks[0].start
        shape = tuple(blocks[-1].start[axis] + blocks[-1].shape[axis] - origin[axis] for axis in range(len(origin)))
        total = PowerSums.none(grid_shape(shape, step.unit_axes), self._norm, dtype)
        for block, part in zip(blocks, parts, strict=True):
            where = within(block, origin, step.unit_axes)
            joined = PowerSums(total.sums[where], total.exponents[where]).join(part, self._norm)
            total.sums[where], total.exponents[where] = joined.sums, joined.exponents
            advance(block.elements * FLOATS[dtype].nbytes)
        return total

    def _block_sums(self, step: Step, engine: Engine, read: Read, held: Held | None, block: Block) -> PowerSums:
        """Power sums of one block, shaped as its part of the unit grid."""
        layout = collapse(block.shape, step.unit_axes)
        values = read(block).reshape(layout.shape)
        given = values if held is None else held.take(block, values)
        grid = grid_shape(block.shape, step.unit_axes)
        if self._norm.is_max:
            return PowerSums(engine.peaks(given, layout.kept).reshape(grid), np.zeros(grid, dtype=np.int64))
        if not needs_exponents(step.variable.dtype, self._norm):
            sums = engine.power_sums(given, layout.kept, self._norm.p, None)
            return PowerSums(sums.reshape(grid), np.zeros(grid, dtype=np.int64))
        given = engine.hold(values) if given is values else given
        exponents = exponents_of(engine.peaks(given, layout.kept))
        sums = engine.power_sums(given, layout.kept, self._norm.p, exponents)
        return PowerSums(sums.reshape(grid), exponents.reshape(grid))


def _spectral(norm: SpectralNorm) -> Measure:
    from renorm_cli.norms.spectral.measured import SpectralMeasure

    return SpectralMeasure(norm)


MEASURES: dict[type, Callable[[Any], Measure]] = {PNorm: PNormMeasure, SpectralNorm: _spectral}
"""What measures each kind of norm."""


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


def _add_exactly(
    total: ExactSums, step: Step, read: Read, blocks: Sequence[Block], wanted: Bools, exponents: Ints
) -> None:
    """Read the blocks again and add the elements of the `wanted` units of the grid, in their order, to `total`."""
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
