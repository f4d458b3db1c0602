"""One norm over all selected variables together, in two streamed passes, as tf.clip_by_global_norm has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from renorm_cli.model.blocks import partition
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note, Step
from renorm_cli.model.report import Row, UnitNorm, joint_of
from renorm_cli.norms import policy
from renorm_cli.norms.distribution import Distribution
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.measure import Part, PNormMeasure, Read
from renorm_cli.parallel.threads import Imap
from renorm_cli.run.steps import ATTEMPTS, Scaled, Work, nearer, refuse_nonfinite
from renorm_cli.text import counted


def run_joint(steps: Sequence[Step], work: Work, imap: Imap = map) -> tuple[Row, ...]:
    """Measure the norm over all steps and, if it is over the limit, scale all of them by one factor (rounded by dtype).

    A row has one unit: its norm is that of its variable alone, and it is over if the joint norm is. A variable with NaN
    or Inf is refused or counted, and then no joint norm is judged; with "skip" it is left out of the joint norm.
    """
    return _Joint(steps, work, imap).rows()


def joint_note(rows: Sequence[Row]) -> Note:
    """A note on the joint norm of the rows, and on what it was made."""
    joint = joint_of(rows)
    if joint is None:
        raise AssertionError("a joint norm is that of rows, and a p-norm")
    made = "" if joint.norm_after is None else f", {joint.norm_after:.6g} after"
    total = counted(len(rows), "variable")
    whole = joint.variables == len(rows)
    which = f"all {total} together" if whole else f"the {joint.variables} finite of {total} together"
    return Note(f"the norm over {total if whole and len(rows) == 1 else which} is {joint.norm:.6g}{made}")


def _p_norm(constraint: Constraint) -> PNorm:
    """The norm that runs over several variables."""
    if not isinstance(constraint.norm, PNorm):
        raise AssertionError("a spectral norm is that of one matrix")
    return constraint.norm


class _Joint:
    def __init__(self, steps: Sequence[Step], work: Work, imap: Imap) -> None:
        self._steps = steps
        self._work = work
        self._imap = imap
        constraint = steps[0].constraint
        self._limit = constraint.limit
        self._norm = _p_norm(constraint)
        self._measure = PNormMeasure(self._norm)
        # The widest type decides: with a float64 among them, the joint norm has float64's tolerance.
        self._dtype = "float64" if any(step.variable.dtype == "float64" for step in steps) else "float32"

    def rows(self) -> tuple[Row, ...]:
        parts = [
            self._part(step, partial(self._work.source.read, step.variable), self._work.advance) for step in self._steps
        ]
        norms = [self._measure.alone(part) for part in parts]
        if self._work.norms is not None:
            for step, norm in zip(self._steps, norms, strict=True):
                self._work.norms.take(step, 0, np.array([norm]))
        finite = [math.isfinite(norm) for norm in norms]
        if self._work.nonfinite == "refuse":
            for step, sound in zip(self._steps, finite, strict=True):
                refuse_nonfinite(step, 0 if sound else 1, 1)
        taken = [number for number, sound in enumerate(finite) if sound]
        skipping = self._work.nonfinite == "skip" or all(finite)
        joint = self._joint([parts[number] for number in taken])
        over = skipping and bool(policy.over(joint, self._limit, self._dtype, self._norm).any())
        after = self._bound({number: parts[number] for number in taken}, joint) if over and self._work.bound else {}
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

    def _bound(self, parts: dict[int, Part], joint: Float64) -> dict[int, float]:
        """Scale until the joint norm of what is written is within the limit; the norm of each variable then."""
        if self._limit is None:
            raise AssertionError("nothing is bounded without a limit")
        factors: dict[str, Float64] = {}
        for number, part in parts.items():
            dtype, rank = part.step.variable.dtype, len(part.step.variable.shape)
            read, norm = nearer(part.step, part.read, joint.reshape((1,) * rank), self._limit, (0,) * rank)
            parts[number] = part._replace(read=read)
            factors[dtype] = policy.factors(norm.reshape(1), self._limit, dtype, self._norm)
        for attempt in range(ATTEMPTS):
            scaled = {number: self._scaled(part, factors) for number, part in parts.items()}
            done = {number: self._part(parts[number].step, one.put) for number, one in scaled.items()}
            after = self._joint([part._replace(read=scaled[number].back) for number, part in done.items()])
            still_over = policy.over(after, self._limit, self._dtype, self._norm)
            if not still_over.any():
                return {number: self._measure.alone(part) for number, part in done.items()}
            factors = {dtype: policy.reduce(one, still_over, attempt, dtype) for dtype, one in factors.items()}
        raise AssertionError(f"the joint bound {self._limit} was not reached in {ATTEMPTS} tries")

    def _scaled(self, part: Part, factors: Mapping[str, Float64]) -> Scaled:
        rank, factor = len(part.step.variable.shape), factors[part.step.variable.dtype]
        return Scaled(part.step, self._work, part.read, factor.reshape((1,) * rank), (0,) * rank)

    def _part(self, step: Step, read: Read, advance: Callable[[int], None] = lambda nbytes: None) -> Part:
        blocks = partition(step.variable.shape, self._work.elements(step.variable.dtype))
        return self._measure.part(step, self._work.engine, read, blocks, self._imap, advance)

    def _joint(self, parts: Sequence[Part]) -> Float64:
        return self._measure.joint(parts, self._limit, self._dtype)


def _distribution(norm: float) -> Distribution:
    found = Distribution(1)
    found.add(np.array([norm]))
    return found
