"""Two checkpoints compared, variable by variable: what changed, and whether it was only a renorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from renorm_cli import __version__
from renorm_cli.comparison.context import compare_context
from renorm_cli.comparison.multiples import Factors, Rounding, bits, factors, largest_change
from renorm_cli.comparison.pairs import Pair
from renorm_cli.comparison.plan import Comparison, Task
from renorm_cli.comparison.stored import compare_stored, same_files
from renorm_cli.errors import Way, some_names
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.numbers import item_bytes
from renorm_cli.model.blocks import Block, collapse, grid_shape, groups, partition
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.difference import DiffReport, DiffRow, DiffSide, Verdict
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.norm import EUCLIDEAN
from renorm_cli.model.plan import Note, Step
from renorm_cli.model.variable import Variable
from renorm_cli.norms import policy
from renorm_cli.norms.engines.base import BLOCK_BYTES, SMALL_BYTES, Engine
from renorm_cli.norms.error_free import Bools, Float64
from renorm_cli.norms.measure import PNormMeasure, Read, measure, within
from renorm_cli.norms.power_sums import roots
from renorm_cli.parallel.threads import Imap, by_size

_ROUNDINGS: tuple[Rounding, ...] = ("toward zero", "to nearest")


@dataclass(frozen=True, slots=True)
class _Work:
    before: Checkpoint
    after: Checkpoint
    engine: Engine
    block_bytes: int
    advance: Callable[[int], None]


def compare(
    before: Checkpoint,
    after: Checkpoint,
    comparison: Comparison,
    engine: Engine,
    *,
    expected: bool = False,
    imap: Imap = map,
    advance: Callable[[int], None] = lambda nbytes: None,
    block_bytes: int = BLOCK_BYTES,
) -> DiffReport:
    """Do every task, in order; results do not depend on the number of jobs behind `imap`. Raises FormatError."""
    work = _Work(before, after, engine, block_bytes, advance)
    do = partial(_row, work)
    small = 2 * SMALL_BYTES
    rows = tuple(by_size(do, comparison.tasks, _bytes, imap, small=small, together=BLOCK_BYTES))
    if any(map(_is_unread, rows, comparison.tasks)) and same_files(before, after):
        rows = tuple(
            _named(replace(row, verdict="identical", changed=0, reason=None), task.pair)
            if _is_unread(row, task)
            else row
            for row, task in zip(rows, comparison.tasks, strict=True)
        )
    return DiffReport(
        version=__version__,
        before=DiffSide(str(before.path), before.format, before.size),
        after=DiffSide(str(after.path), after.format, after.size),
        matched_by=comparison.matched_by,
        constraint=comparison.constraint,
        rows=rows,
        expected=expected,
        context=compare_context(before, after) if expected else (),
        notes=(*dict.fromkeys((*before.notes, *after.notes)), *_doubts(rows)),
        readers=before.readers.of_both(after.readers),
    )


def _bytes(task: Task) -> int:
    """Bytes by which jobs are given work."""
    if task.step is None or not task.step.constraint.is_spectral:
        return task.nbytes
    from renorm_cli.norms.spectral.measured import weight

    return 2 * weight(task.step) if task.nbytes else 0


def _doubts(rows: Sequence[DiffRow]) -> list[Note]:
    guessed = [row.name for row in rows if row.changed and row.step is not None and row.step.axis_source == "guess"]
    unknown = [row.name for row in rows if row.verdict == "not compared"]
    told = [
        (guessed, "changed, and the unit axes are a guess from the shape", Way("units", "say them")),
        (unknown, "not compared, so nothing is known of it", Way("exclude", "leave it out")),
    ]
    return [Note(f"{some_names(names)}: {text}", True, (way,)) for names, text, way in told if names]


def _row(work: _Work, task: Task, imap: Imap) -> DiffRow:
    old, new = task.pair.before, task.pair.after
    row = DiffRow(task.pair.name, old, new, "not compared", step=task.step, copies=task.copies)
    if task.left_out is not None:
        return replace(row, verdict="left out", reason=task.left_out, step=None)
    if task.pair.doubt is not None:
        return replace(row, reason=task.pair.doubt)
    if old is None or new is None:
        return replace(row, verdict="added" if old is None else "missing")
    if old.shape != new.shape:
        return replace(row, verdict="shape changed", reason=f"{list(old.shape)} became {list(new.shape)}")
    if old.hint.order != new.hint.order:
        reason = f"stored in the order of axes {_order(old)}, and now in {_order(new)}"
        return replace(row, verdict="shape changed", reason=reason)
    if old.stored_dtype != new.stored_dtype:
        return replace(row, verdict="dtype changed", reason=f"{old.stored_dtype} became {new.stored_dtype}")
    if not old.elements:
        return _named(replace(row, verdict="identical", changed=0), task.pair)
    if old.locked or new.locked or item_bytes(old.dtype) is None:
        found = compare_stored(work.before, work.after, row, old, new)
    else:
        found = _compare_numbers(work, imap, row, old, new)
    if old.scaling != new.scaling and found.verdict == "identical":
        found = replace(found, verdict="other", reason="the scale or the offset of its quantization changed")
    return _named(found, task.pair)


def _is_unread(row: DiffRow, task: Task) -> bool:
    """Whether both sides have a variable, and there was no way to its bytes."""
    return row.verdict == "not compared" and task.pair.doubt is None


def _order(variable: Variable) -> list[int]:
    return list(variable.hint.order or range(len(variable.shape)))


def _named(row: DiffRow, pair: Pair) -> DiffRow:
    """The row, if the names are the same too; whatever else it was, under other names it is no pure renorm."""
    if not pair.is_renamed or row.verdict not in ("identical", "pure renorm") or pair.after is None:
        return row
    reason = f"known as {pair.after.name!r} now" if pair.after.name != row.name else "its further names changed"
    return replace(row, verdict="renamed" if row.verdict == "identical" else "other", reason=reason)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What two blocks, or two groups of them, show."""

    changed: int = 0
    largest_change: float = 0.0


@dataclass(frozen=True, slots=True)
class _GroupSight:
    sight: _Sight
    before: Float64
    after: Float64
    whole_before: float
    whole_after: float
    changed_units: int
    foreign_units: int
    over: int
    nonfinite: int


def _compare_numbers(work: _Work, imap: Imap, row: DiffRow, old: Variable, new: Variable) -> DiffRow:
    size = item_bytes(old.dtype) or 1
    elements = max(1, work.block_bytes // size)
    if old.dtype not in FLOATS:
        blocks = partition(old.shape, elements)
        sights = imap(partial(_look, work, _read(work.before, old), _read(work.after, new), size), blocks)
        changed = sum(sight.changed for sight in sights)
        return replace(row, verdict="other" if changed else "identical", changed=changed)
    step = row.step or Step(old, "unknown", (), "guess", Constraint())
    cut = groups(old.shape, step.unit_axes, elements)
    spread_blocks = imap if len(cut) == 1 else map
    spread_groups = map if len(cut) == 1 else imap
    totals = _Totals()
    judged = row.step is not None
    for found in spread_groups(partial(_compare_group, work, step, judged, old, new, spread_blocks), cut):
        totals.add(found)
    return totals.row(row)


def _compare_group(
    work: _Work, step: Step, judged: bool, old: Variable, new: Variable, imap: Imap, blocks: tuple[Block, ...]
) -> _GroupSight:
    """Compare blocks that share units with no other block; only what is `judged` can be a pure renorm."""
    read_old, read_new = _read(work.before, old), _read(work.after, new)
    if len(blocks) == 1:
        read_old, read_new = _held(read_old(blocks[0])), _held(read_new(blocks[0]))
    sights = list(imap(partial(_look, work, read_old, read_new, FLOATS[old.dtype].nbytes), blocks))
    sight = _Sight(sum(one.changed for one in sights), max(one.largest_change for one in sights))
    before, whole_before = _norms(work, step, judged, read_old, blocks, imap)
    after, whole_after = before, whole_before
    changed = foreign = np.zeros(before.shape, dtype=bool)
    if sight.changed:
        after, whole_after = _norms(work, step, judged, read_new, blocks, imap)
        if judged:
            changed, foreign = _foreign_units(step, old.dtype, read_old, read_new, blocks, imap)
    return _GroupSight(
        sight,
        before.ravel(),
        after.ravel(),
        whole_before,
        whole_after,
        changed_units=int(np.count_nonzero(changed)),
        foreign_units=int(np.count_nonzero(foreign)),
        over=int(np.count_nonzero(policy.over(after, step.constraint.limit, old.dtype, step.constraint.norm))),
        nonfinite=int(np.count_nonzero(~np.isfinite(after))),
    )


def _read(source: Checkpoint, variable: Variable) -> Read:
    return partial(source.read, variable)


def _held(values: Any) -> Read:
    return lambda block: values


def _look(work: _Work, read_old: Read, read_new: Read, size: int, block: Block) -> _Sight:
    """How many elements of a block changed, to the bit, and how much."""
    one, two = read_old(block), read_new(block)
    work.advance(2 * block.elements * size)
    differ = bits(one) != bits(two)
    changed = int(np.count_nonzero(differ if differ.shape[1] == 1 else differ.any(axis=1)))
    floating = one.dtype.kind in "fV" or one.dtype.name == "bfloat16"
    return _Sight(changed, largest_change(one, two) if changed and floating else 0.0)


def _norms(
    work: _Work, step: Step, judged: bool, read: Read, blocks: Sequence[Block], imap: Imap
) -> tuple[Float64, float]:
    """The norms of the units of the blocks, where units are `judged`, and the 2-norm of all elements.

    That can be beyond float64 where no norm that is asked for is, and is infinite then.
    """
    units = measure(step, work.engine, read, blocks, imap) if judged else np.empty(0)
    if judged and step.constraint.norm == EUCLIDEAN:
        return units, _joined(units)
    whole = replace(step, unit_axes=(), constraint=Constraint())
    sums = PNormMeasure(EUCLIDEAN).part(whole, work.engine, read, blocks, imap).sums
    return units, float(roots(sums, EUCLIDEAN).item())


def _joined(norms: Float64) -> float:
    """The 2-norm of all from the 2-norms of parts, without overflow or underflow."""
    largest = float(norms.max(initial=0.0))
    if not 0 < largest < math.inf:
        return largest
    with np.errstate(all="ignore"):
        return largest * math.sqrt(float(np.square(norms / largest).sum()))


def _foreign_units(
    step: Step, dtype: str, read_old: Read, read_new: Read, blocks: Sequence[Block], imap: Imap
) -> tuple[Bools, Bools]:
    """The units that changed, and those of them that are no multiple of the old, whichever way it was rounded."""
    changed: Bools | None = None
    foreign: Bools | None = None
    for rounding in _ROUNDINGS[: 1 if dtype == "float64" else 2]:
        found = _factors(step, rounding, read_old, read_new, blocks, imap)
        changed = found.changed
        misfit = changed & ~found.are_multiples(dtype, rounding)
        foreign = misfit if foreign is None else foreign & misfit
        if not foreign.any():
            break
    if changed is None or foreign is None:
        raise AssertionError("no way of rounding was tried")
    return changed, foreign


def _factors(
    step: Step, rounding: Rounding, read_old: Read, read_new: Read, blocks: Sequence[Block], imap: Imap
) -> Factors:
    """The factors that fit all units of the blocks, as the part of the unit grid they cover."""
    origin = blocks[0].start
    shape = tuple(blocks[-1].start[axis] + blocks[-1].shape[axis] - origin[axis] for axis in range(len(origin)))
    total = Factors.none(grid_shape(shape, step.unit_axes))
    for block, part in zip(
        blocks, imap(partial(_block_factors, step, rounding, read_old, read_new), blocks), strict=True
    ):
        total.add(within(block, origin, step.unit_axes), part)
    return total


def _block_factors(step: Step, rounding: Rounding, read_old: Read, read_new: Read, block: Block) -> Factors:
    layout = collapse(block.shape, step.unit_axes)
    one, two = read_old(block).reshape(layout.shape), read_new(block).reshape(layout.shape)
    return factors(one, two, layout.kept, rounding).reshaped(grid_shape(block.shape, step.unit_axes))


class _Totals:
    """The groups of one variable, added up."""

    def __init__(self) -> None:
        self._changed = self._units = self._changed_units = self._foreign = self._over = self._nonfinite = 0
        self._largest_change = self._before = self._after = 0.0
        self._wholes_before: list[float] = []
        self._wholes_after: list[float] = []

    def add(self, found: _GroupSight) -> None:
        self._changed += found.sight.changed
        self._largest_change = max(self._largest_change, found.sight.largest_change)
        self._units += found.before.size
        self._changed_units += found.changed_units
        self._foreign += found.foreign_units
        self._over += found.over
        self._nonfinite += found.nonfinite
        self._before = max(self._before, _largest(found.before))
        self._after = max(self._after, _largest(found.after))
        self._wholes_before.append(found.whole_before)
        self._wholes_after.append(found.whole_after)

    def row(self, row: DiffRow) -> DiffRow:
        pure = row.step is not None and not self._foreign
        verdict: Verdict = "pure renorm" if pure else "other"
        row = replace(
            row,
            verdict=verdict if self._changed else "identical",
            changed=self._changed,
            largest_change=_finite(self._largest_change),
            norm_before=_finite(_joined(np.array(self._wholes_before))),
            norm_after=_finite(_joined(np.array(self._wholes_after))),
        )
        if row.step is None:
            return replace(row, reason="changed, and is not among the constrained" if self._changed else None)
        return replace(
            row,
            reason=self._reason(),
            units=self._units,
            changed_units=self._changed_units,
            foreign_units=self._foreign,
            unit_norm_before=self._before,
            unit_norm_after=self._after,
            over=self._over,
            nonfinite=self._nonfinite,
        )

    def _reason(self) -> str | None:
        if not self._foreign:
            return None
        return f"{self._foreign} of {self._changed_units} changed units are no multiple, of at most 1, of the old"


def _largest(norms: Float64) -> float:
    return float(norms[np.isfinite(norms)].max(initial=0.0))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
