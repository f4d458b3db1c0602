"""Whether a bound holds whichever axes name the units: what a guess of them can change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from renorm_cli.conventions.identify import spatial_axes
from renorm_cli.model.norm import EUCLIDEAN, PNorm, SpectralNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Readings, Row
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import Engine
from renorm_cli.parallel.threads import Imap
from renorm_cli.run.steps import Source, Work, run


def readings_of(steps: Sequence[Step], source: Source, engine: Engine, imap: Imap) -> Mapping[str, Readings]:
    """What becomes of the bound on each of the steps under all readings of its axes, by key.

    More unit axes make units that are parts of those that fewer axes make, and a part has no larger norm (p > 0). So
    the bound holds for all readings if it holds with each single axis, and it fails for all if it fails with all axes
    but each single one, or if a weight is NaN or Inf. A matrix has one unit axis at least, and not all are; a vector is
    one unit, or each of its weights is one. No axis along which a convolution moves its kernel names units.

    A spectral norm is at most the 2-norm of the whole, and at least the largest weight, whatever is a matrix. That of
    an operator is at most the sum of those of its positions, and so the 1-norm of the whole.
    """
    tried = [one for step in steps for one in (*_largest(step), *_smallest(step))]
    rows = iter(run(tried, Work(source, engine), imap))
    return {step.variable.key: _found(step, rows) for step in steps}


def _largest(step: Step) -> list[Step]:
    """The readings that make the largest norms, or a norm that is larger still."""
    norm = step.constraint.norm
    if isinstance(norm, SpectralNorm):
        whole = PNorm(1.0) if norm.operator else EUCLIDEAN
        return [replace(step, unit_axes=(), constraint=replace(step.constraint, norm=whole))]
    axes = _may_name_units(step.variable)
    return [replace(step, unit_axes=(axis,)) for axis in axes] if len(axes) > 1 else [replace(step, unit_axes=())]


def _smallest(step: Step) -> list[Step]:
    """The readings that make the smallest norms, or a norm that is smaller still."""
    constraint = step.constraint
    if isinstance(constraint.norm, SpectralNorm) and constraint.limit is not None:
        highest = constraint.limit * (1 + constraint.norm.tolerance)
        return [replace(step, unit_axes=(), constraint=replace(constraint, norm=PNorm(math.inf), limit=highest))]
    every, rank = _may_name_units(step.variable), len(step.variable.shape)
    if len(every) < rank and rank > 3:
        return [replace(step, unit_axes=every)]
    every = tuple(range(rank))  # three axes may be those of a bank of matrices
    all_but_one = [every[:axis] + every[axis + 1 :] for axis in every] if len(every) > 1 else [every]
    return [replace(step, unit_axes=axes) for axes in all_but_one]


def _may_name_units(variable: Variable) -> tuple[int, ...]:
    spatial = spatial_axes(variable)
    return tuple(axis for axis in range(len(variable.shape)) if axis not in spatial)


def _found(step: Step, rows: Iterator[Row]) -> Readings:
    largest, smallest = [next(rows) for _ in _largest(step)], [next(rows) for _ in _smallest(step)]
    if any(row.nonfinite for row in largest) or all(row.over for row in smallest):
        return "fail"
    return "differ" if any(row.over for row in largest) else "hold"
