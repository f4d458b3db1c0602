"""Steps under the spectral norm, beside others: each matrix of a variable is measured, bounded and measured again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import Block, grid_shape, partition
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row
from renorm_cli.model.spectral import Span, Spectral
from renorm_cli.norms import policy
from renorm_cli.norms.distribution import Distribution, Worst
from renorm_cli.norms.engines.base import BLOCK_BYTES, SMALL_BYTES
from renorm_cli.norms.engines.estimate import NUMPY_PRODUCTS
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.measure import Read
from renorm_cli.norms.spectral.enclosure import Enclosure
from renorm_cli.norms.spectral.gram import IN_MEMORY
from renorm_cli.norms.spectral.measured import bounded_norms, enclosures, operator_work, products, sides, weight
from renorm_cli.norms.spectral.spectrum import spectrum
from renorm_cli.parallel.memory import Purpose
from renorm_cli.parallel.threads import Imap, by_size
from renorm_cli.run.steps import ATTEMPTS, Scaled, Work, nearer, reader, refuse_nonfinite, renorm_variable
from renorm_cli.text import bytes_text

_LONG = 10.0
"""Seconds that are worth a word before."""

_MUCH = 256 << 20
"""Bytes that are."""


def ahead(steps: Sequence[Step]) -> str | None:
    """How long spectral norms take, and how much memory, if that is long or much."""
    spectral = [(step, *sides(step)) for step in steps if step.constraint.is_spectral]
    work = sum(products(step) + operator_work(step) for step, *_ in spectral)
    seconds = work / NUMPY_PRODUCTS
    memory = max((8 * min(rows, columns) ** 2 for _, rows, columns in spectral), default=0)
    if seconds < _LONG and memory < _MUCH:
        return None
    room = f"{bytes_text(memory)} of {'memory' if memory <= IN_MEMORY else 'disk in TMPDIR'}"
    return f"spectral norms take some {seconds:.2g} seconds of one processor, and {room}"


def run_matrices(steps: Sequence[Step], work: Work, imap: Imap = map) -> tuple[Row, ...]:
    """Do every step, in order, those under the spectral norm and others; the rows do not depend on the number of jobs.

    Raises NonFiniteError as `run` does, and EngineError where a spectral norm cannot be told.
    """

    def do(step: Step, imap: Imap) -> Row:
        return (_renorm if step.constraint.is_spectral else renorm_variable)(step, work, imap)

    return tuple(by_size(do, steps, weight, imap, small=SMALL_BYTES, together=BLOCK_BYTES))


def _renorm(step: Step, work: Work, imap: Imap) -> Row:
    """Measure the matrices of one variable and, if asked, scale those that are over."""
    variable, limit = step.variable, step.constraint.limit
    grid = grid_shape(variable.shape, step.unit_axes)
    source = reader(work.source, variable, Purpose.SOURCE)
    blocks = partition(variable.shape, work.elements(variable.dtype))
    found = enclosures(step, work.engine, _counted(source, step, work), blocks, imap, values=work.spectrum)
    norms = bounded_norms(found, grid)
    nonfinite = int(np.count_nonzero(~np.isfinite(norms)))
    if work.nonfinite == "refuse":
        refuse_nonfinite(step, nonfinite, norms.size)
    over = policy.over(norms, limit, variable.dtype, step.constraint.norm)
    after = norms
    if work.bound and limit is not None and over.any():
        after = _bound(step, work, source, blocks, imap, norms, limit)
    before, then, worst = Distribution(norms.size), Distribution(norms.size), Worst(grid, step.unit_axes)
    before.add(norms.ravel())
    then.add(after.ravel())
    worst.add(norms.ravel(), 0)
    if work.norms is not None:
        work.norms.take(step, 0, norms)
    work.collect(step, before)
    return Row(
        step,
        units=norms.size,
        over=int(np.count_nonzero(over)),
        nonfinite=nonfinite,
        norm=before.stats(),
        norm_after=then.stats() if work.bound else None,
        histogram=before.histogram(),
        worst=worst.units(),
        spectral=None if nonfinite else _spectral(step, found),
    )


def _spectral(step: Step, found: Sequence[Enclosure]) -> Spectral:
    values = [one.values for one in found if one.values is not None]
    norm = max(one.norm for one in found)
    operators = [one.operator for one in found if one.operator is not None]
    return Spectral(
        *sides(step),
        len(found),
        lower=max(one.lower for one in found),
        norm=norm,
        upper=max(one.upper for one in found),
        frobenius=math.hypot(*(one.frobenius for one in found)),
        spectrum=spectrum(np.concatenate(values)) if values and norm else None,
        operator=Span(max(one.lower for one in operators), max(one.upper for one in operators)) if operators else None,
    )


def _bound(
    step: Step, work: Work, source: Read, blocks: Sequence[Block], imap: Imap, norms: Float64, limit: float
) -> Float64:
    """Scale the matrices that are over, write them, and return the norms of what was written.

    Rounding every weight toward zero can lift a spectral norm, so that only measuring again tells that one is within
    the limit.
    """
    variable = step.variable
    changed = policy.over(norms, limit, variable.dtype, step.constraint.norm)
    origin = (0,) * len(variable.shape)
    source, norms = nearer(step, source, norms, limit, origin)
    factors = policy.factors(norms, limit, variable.dtype, step.constraint.norm)
    for attempt in range(ATTEMPTS):
        scaled = Scaled(step, work, source, factors, origin)
        if work.sink is not None:
            for _ in imap(scaled.put, blocks):
                pass
        after = bounded_norms(enclosures(step, work.engine, scaled.back, blocks, imap), norms.shape)
        still_over = changed & (after > limit)
        if not still_over.any():
            return after
        factors = policy.reduce(factors, still_over, attempt, variable.dtype)
    raise AssertionError(f"{variable.name!r}: the bound {limit} was not reached in {ATTEMPTS} tries")


def _counted(read: Read, step: Step, work: Work) -> Read:
    """The same, which tells `work.advance` of each byte of the variable once, though it may be read several times."""
    left = step.variable.nbytes

    def counted(block: Block) -> npt.NDArray[Any]:
        nonlocal left
        values = read(block)
        done = min(left, values.nbytes)
        left -= done
        work.advance(done)
        return values

    return counted
