"""From a plan to the rows of a report: one path for inspect, check, dry run and apply; a sink is optional."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from renorm_cli.errors import NonFiniteError, Way
from renorm_cli.model.blocks import Block, collapse, grid_shape, groups
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Variable
from renorm_cli.norms import policy
from renorm_cli.norms.distribution import Distribution, Worst
from renorm_cli.norms.engines.base import BLOCK_BYTES, SMALL_BYTES, Engine
from renorm_cli.norms.engines.held import Held
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.measure import Read, measure, negatives, within
from renorm_cli.parallel.memory import Buffer, Purpose, reuse
from renorm_cli.parallel.threads import Imap, by_size
from renorm_cli.text import counted

if TYPE_CHECKING:
    from renorm_cli.run.unit_norms import UnitNorms

ATTEMPTS = 27
"""Tries to get a unit within its limit; more than two are only needed among subnormal numbers, the last is factor 0."""


class Source(Protocol):
    """Where blocks are read."""

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]: ...


class Sink(Source, Protocol):
    """Where blocks are written, and read again."""

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None: ...


Pass = Literal["reading", "writing", "verifying"]
"""A pass over a checkpoint."""


class Meter(Protocol):
    """Told of each pass over a checkpoint, of the bytes that lie ahead in it, and of each part that is done."""

    def start(self, total: int, doing: Pass) -> None: ...

    def advance(self, nbytes: int) -> None: ...


@runtime_checkable
class Told(Protocol):
    """A meter that is also told, in a sentence, of work that takes long, before it begins."""

    def tell(self, text: str) -> None: ...


class _Silent:
    def start(self, total: int, doing: Pass) -> None: ...

    def advance(self, nbytes: int) -> None: ...


SILENT: Meter = _Silent()
"""A meter that shows nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs besides its step.

    With `bound`, units over the limit are scaled, in memory only if there is no `sink`. Units with NaN or Inf are
    counted, left alone ("skip") or an error ("refuse"), as `nonfinite` has it.
    """

    source: Source
    engine: Engine
    bound: bool = False
    sink: Sink | None = None
    nonfinite: Literal["count", "skip", "refuse"] = "count"
    block_bytes: int | None = None
    """Block size in bytes per job; None uses the engine's preferred size."""
    advance: Callable[[int], None] = lambda nbytes: None
    collect: Callable[[Step, Distribution], None] = lambda step, norms: None
    """Called with the norms of all units of a variable, by the thread that measured it."""
    spectrum: bool = False
    """Whether all singular values of matrices are asked for."""
    norms: UnitNorms | None = None
    """Keeps the norms of all units, if given."""

    def elements(self, dtype: str) -> int:
        """Number of weights of a dtype in a block, at most."""
        return max(1, (self.block_bytes or self.engine.block_bytes) // FLOATS[dtype].nbytes)


def run(steps: Sequence[Step], work: Work, imap: Imap = map) -> tuple[Row, ...]:
    """Do every step, in order; the rows do not depend on the number of jobs behind `imap`.

    Raises NonFiniteError where a variable holds NaN or Inf and `work.nonfinite` is "refuse".
    """

    def do(step: Step, imap: Imap) -> Row:
        return renorm_variable(step, work, imap)

    return tuple(by_size(do, steps, lambda step: step.variable.nbytes, imap, small=SMALL_BYTES, together=BLOCK_BYTES))


def renorm_variable(step: Step, work: Work, imap: Imap = map) -> Row:
    """Measure one variable and, if asked, scale its units that are over."""
    return row_of(step, work, renorm_groups(step, work, cut_into(step, work), imap))


def cut_into(step: Step, work: Work) -> tuple[tuple[Block, ...], ...]:
    """The variable in groups of blocks that share no unit: each can be done without the others."""
    return groups(step.variable.shape, step.unit_axes, work.elements(step.variable.dtype))


def renorm_groups(step: Step, work: Work, cut: Sequence[tuple[Block, ...]], imap: Imap = map) -> Iterator[Group]:
    """Measure groups of blocks of one variable and, if asked, scale their units that are over."""
    spread_blocks = imap if len(cut) == 1 else map
    spread_groups = map if len(cut) == 1 else imap
    return spread_groups(partial(_renorm_group, step, work, spread_blocks), cut)


def row_of(step: Step, work: Work, found: Iterable[Group]) -> Row:
    """The row of a variable, from all its groups in their order."""
    variable = step.variable
    grid = grid_shape(variable.shape, step.unit_axes)
    units = math.prod(grid)
    before, after = Distribution(units), Distribution(units)
    worst = Worst(grid, step.unit_axes)
    seen = 0
    over = under = negative = nonfinite = 0
    for group in found:
        before.add(group.norms)
        if work.norms is not None:
            work.norms.take(step, seen, group.norms)
        worst.add(group.norms, seen)
        seen += group.norms.size
        after.add(group.after)
        over += group.over
        under += group.under
        negative += group.negative
        nonfinite += group.nonfinite
    work.collect(step, before)
    return Row(
        step,
        units=units,
        over=over,
        nonfinite=nonfinite,
        norm=before.stats(),
        norm_after=after.stats() if work.bound else None,
        histogram=before.histogram(),
        under=under,
        negative=negative,
        worst=worst.units(),
    )


def refuse_nonfinite(step: Step, nonfinite: int, units: int) -> None:
    """Raise NonFiniteError if any of the units of a variable is not finite."""
    if nonfinite:
        raise NonFiniteError(
            f"{step.variable.name!r} holds NaN or Inf in {nonfinite} of {counted(units, 'unit')}; nothing was written",
            Way("exclude", "leave it out"),
            Way("nonfinite", "leave those units alone", "skip"),
        )


class Group(NamedTuple):
    """What was found of the units of one group: their norms, those after, and how many there are of each kind."""

    norms: Float64
    after: Float64
    over: int
    under: int
    negative: int
    nonfinite: int


def _renorm_group(step: Step, work: Work, imap: Imap, blocks: tuple[Block, ...]) -> Group:
    """Measure blocks that share units with no other block, and scale them."""
    variable, highest = step.variable, step.constraint.highest
    read = reader(work.source, variable, Purpose.SOURCE)
    if len(blocks) == 1:
        only = read(blocks[0])
        read = lambda block: only  # noqa: E731  (one block: read once, used up to four times)
    with Held(work.engine, blocks if work.bound else (), variable.dtype) as held:
        norms = measure(step, work.engine, read, blocks, imap, work.advance, held=held)
        nonfinite = int(np.count_nonzero(~np.isfinite(norms)))
        if work.nonfinite == "refuse":
            refuse_nonfinite(step, nonfinite, norms.size)
        over = policy.over(norms, highest, variable.dtype, step.constraint.norm)
        after = norms
        if work.bound and highest is not None and over.any():
            after = _bound(step, work, read, held, blocks, imap, norms, highest)
    under = policy.under(norms, step.constraint.lowest)
    return Group(
        norms.ravel(),
        after.ravel(),
        over=int(np.count_nonzero(over)),
        under=int(np.count_nonzero(under)),
        negative=negatives(read, blocks) if step.constraint.nonnegative else 0,
        nonfinite=nonfinite,
    )


def _bound(
    step: Step, work: Work, read: Read, held: Held, blocks: tuple[Block, ...], imap: Imap, norms: Float64, limit: float
) -> Float64:
    """Scale the units that are over, write them, and return the norms of what was written.

    The rounding rule keeps all but the rarest units within the limit at the first try. The norms are those of the
    bytes that are read back, measured like any others, so that the bound is seen to hold and not only expected to.
    """
    variable = step.variable
    source, norms = nearer(step, read, norms, limit, blocks[0].start)
    factors = policy.factors(norms, limit, variable.dtype, step.constraint.norm)
    for attempt in range(ATTEMPTS):
        scaled = Scaled(step, work, source, factors, blocks[0].start, held if source is read else None)
        after = measure(step, work.engine, scaled.put, blocks, imap, read_again=scaled.back)
        still_over = policy.over(after, limit, variable.dtype, step.constraint.norm)
        if not still_over.any():
            return after
        factors = policy.reduce(factors, still_over, attempt, variable.dtype)
    raise AssertionError(f"{variable.name!r}: the bound {limit} was not reached in {ATTEMPTS} tries")


def nearer(step: Step, read: Read, norms: Float64, limit: float, origin: tuple[int, ...]) -> tuple[Read, Float64]:
    """Blocks, and their norms, with units that are too far above the limit for one factor divided by a power of two.

    `norms` are a unit grid that begins at `origin`.
    """
    shifts = policy.shifts(norms, limit, step.variable.dtype, step.constraint.norm)
    if not shifts.any():
        return read, norms

    def divided(block: Block) -> npt.NDArray[Any]:
        found, per_unit = read(block).copy(), shifts[within(block, origin, step.unit_axes)]
        np.ldexp(found, -per_unit, out=found, where=per_unit != 0)
        return found

    return divided, np.ldexp(norms, -shifts)


class Scaled(NamedTuple):
    """Blocks with their units scaled; `factors` is a unit grid that begins at `origin`."""

    step: Step
    work: Work
    source: Read
    factors: Float64
    origin: tuple[int, ...]
    held: Held | None = None
    """What the engine holds of the blocks of the source."""

    def put(self, block: Block) -> npt.NDArray[Any]:
        """Put the block in its place, where there is a sink, and read it back: one thread writes while others sum."""
        return self._after(block, write=True)

    def back(self, block: Block) -> npt.NDArray[Any]:
        """The block as it is in the sink now; without a sink, as it would be."""
        return self._after(block, write=False)

    def _after(self, block: Block, *, write: bool) -> npt.NDArray[Any]:
        factors = self.factors[within(block, self.origin, self.step.unit_axes)]
        if not policy.changes(factors).any():
            return self.source(block)
        sink = self.work.sink
        if sink is None:
            return self._scaled(block, factors)
        if write:
            scaled = self._scaled(block, factors)
            for variable in self.step.stored:
                sink.write(variable, block, scaled)
        return reader(sink, self.step.variable, Purpose.SINK)(block)

    def _scaled(self, block: Block, factors: Float64) -> npt.NDArray[Any]:
        layout = collapse(block.shape, self.step.unit_axes)
        per_unit = factors.reshape(tuple(layout.shape[axis] for axis in layout.kept))
        given = None if self.held is None else self.held.get(block)
        if given is None:
            given = self.source(block).reshape(layout.shape)
        return self.work.engine.scale(given, layout.kept, per_unit).reshape(block.shape)


def reader(source: Source, variable: Variable, purpose: Purpose) -> Read:
    """Reads blocks of a variable into memory that the next one read on the same thread for that purpose takes over."""
    size = FLOATS[variable.dtype].nbytes
    return lambda block: source.read(variable, block, reuse(purpose, block.elements * size))
