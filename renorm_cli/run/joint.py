"""One norm over all selected variables together, in two streamed passes, as tf.clip_by_global_norm has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from renorm_cli.model.blocks import Block, partition
from renorm_cli.model.plan import Note, Step
from renorm_cli.model.report import Row, UnitNorm
from renorm_cli.norms import policy
from renorm_cli.norms.distribution import Distribution
from renorm_cli.norms.exact import ExactSums
from renorm_cli.norms.measure import Read, add_exactly, power_sums
from renorm_cli.norms.policy import Float64, PowerSums
from renorm_cli.parallel.threads import Imap
from renorm_cli.run.steps import ATTEMPTS, Scaled, Work, refuse_nonfinite


def run_global(steps: Sequence[Step], work: Work, imap: Imap = map) -> tuple[Row, ...]:
    """Measure the norm over all steps and, if it is over the limit, scale all of them by one factor (rounded by dtype).

    A row has one unit: its norm is that of its variable alone, and it is over where the joint norm is. A variable with
    NaN or Inf makes the joint norm no number: it is refused or counted, and with "skip" left out of the norm and alone.
    """
    return _Global(steps, work, imap).rows()


def joint_note(rows: Sequence[Row]) -> Note:
    """What the norm over all rows together is, and was made."""
    p = rows[0].step.constraint.p
    before = _joined([row.norm.max for row in rows if row.norm is not None], p)
    after = [row.norm_after.max for row in rows if row.norm_after is not None]
    made = f", {_joined(after, p):.6g} after" if after else ""
    return Note(f"the norm over all {len(rows)} variables together is {before:.6g}{made}")


def _joined(norms: Sequence[float], p: float) -> float:
    return float(np.linalg.norm(np.array(norms), p)) if norms else 0.0


class _Global:
    def __init__(self, steps: Sequence[Step], work: Work, imap: Imap) -> None:
        self._steps = steps
        self._work = work
        self._imap = imap
        constraint = steps[0].constraint
        self._p, self._limit = constraint.p, constraint.limit
        # The widest type decides: with a float64 among them, the joint norm has float64's slack.
        self._dtype = "float64" if any(step.variable.dtype == "float64" for step in steps) else "float32"

    def rows(self) -> tuple[Row, ...]:
        read = [partial(self._work.source.read, step.variable) for step in self._steps]
        sums = [self._sums(step, one, self._work.advance) for step, one in zip(self._steps, read, strict=True)]
        norms = [float(policy.norms(one, self._p).item()) for one in sums]
        if self._work.norms is not None:
            for step, norm in zip(self._steps, norms, strict=True):
                self._work.norms.take(step, 0, np.array([norm]))
        finite = [bool(np.isfinite(norm)) for norm in norms]
        if self._work.nonfinite == "refuse":
            for step, sound in zip(self._steps, finite, strict=True):
                refuse_nonfinite(step, 0 if sound else 1, 1)
        taken = [number for number, sound in enumerate(finite) if sound]
        skipping = self._work.nonfinite == "skip" or all(finite)
        joint = self._joint(taken, sums, read)
        over = skipping and bool(policy.over(joint, self._limit, self._dtype).any())
        after = self._bound(taken, joint, read) if over and self._work.bound else {}
        return tuple(
            Row(
                step,
                units=1,
                over=int(over and finite[number]),
                nonfinite=int(not finite[number]),
                norm=_distribution(norms[number]).stats(),
                norm_after=_distribution(after.get(number, norms[number])).stats() if self._work.bound else None,
                histogram=_distribution(norms[number]).histogram(),
                worst=(UnitNorm((), norms[number]),),
            )
            for number, step in enumerate(self._steps)
        )

    def _bound(self, taken: Sequence[int], joint: Float64, read: Sequence[Read]) -> dict[int, float]:
        """Scale until the joint norm of what is written is within the limit; the norm of each variable then."""
        if self._limit is None:
            raise AssertionError("nothing is bounded without a limit")
        dtypes = {self._steps[number].variable.dtype for number in taken}
        factors = {dtype: policy.factors(joint, self._limit, dtype) for dtype in dtypes}
        for attempt in range(ATTEMPTS):
            scaled = {number: self._scaled(self._steps[number], read[number], factors) for number in taken}
            sums = {number: self._sums(self._steps[number], scaled[number].put) for number in taken}
            after = self._joint(taken, sums, {number: scaled[number].back for number in taken})
            still_over = policy.over(after, self._limit, self._dtype)
            if not still_over.any():
                return {number: float(policy.norms(sums[number], self._p).item()) for number in taken}
            factors = {dtype: policy.reduce(one, still_over, attempt, dtype) for dtype, one in factors.items()}
        raise AssertionError(f"the joint bound {self._limit} was not reached in {ATTEMPTS} tries")

    def _scaled(self, step: Step, read: Read, factors: Mapping[str, Float64]) -> Scaled:
        rank, factor = len(step.variable.shape), factors[step.variable.dtype]
        return Scaled(step, self._work, read, factor.reshape((1,) * rank), (0,) * rank)

    def _sums(self, step: Step, read: Read, advance: Callable[[int], None] = lambda nbytes: None) -> PowerSums:
        """The sum over a whole variable, as arrays of one element."""
        total = power_sums(step, self._work.engine, read, self._blocks(step), self._imap, advance)
        return PowerSums(total.sums.reshape(1), total.exponents.reshape(1))

    def _joint(self, taken: Sequence[int], sums: Any, read: Any) -> Float64:
        """The norm over the variables in `taken`, exact where the order of summation could decide."""
        wide = policy.needs_exponents(self._dtype, self._p)
        total = PowerSums(np.zeros(1), np.full(1, policy.LOWEST if wide else 0))
        for number in taken:
            total = total.join(sums[number], self._p)
        norm = policy.norms(total, self._p)
        terms = sum(self._steps[number].variable.elements for number in taken)
        if not policy.doubtful(norm, self._limit, self._dtype, terms, self._p).any():
            return norm
        exact = ExactSums(1, self._p)
        for number in taken:
            rank = len(self._steps[number].variable.shape)
            wanted, exponents = np.ones((1,) * rank, dtype=bool), total.exponents.reshape((1,) * rank)
            add_exactly(exact, self._steps[number], read[number], self._blocks(self._steps[number]), wanted, exponents)
        return policy.norms(PowerSums(exact.sums, total.exponents), self._p)

    def _blocks(self, step: Step) -> tuple[Block, ...]:
        return partition(step.variable.shape, self._work.elements(step.variable.dtype))


def _distribution(norm: float) -> Distribution:
    found = Distribution(1)
    found.add(np.array([norm]))
    return found
