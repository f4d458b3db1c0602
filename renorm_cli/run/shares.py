"""One checkpoint shared out to workers that see the same files: each measures and writes its ranges of bytes.

A share is whole variables, or a part of one whose blocks share no units (an embedding), and the bytes beside them that
are only copied and summed; some `SHARE_BYTES` of all these together. A variable whose units run through all of it is
in one share. Who shares out makes the plan, stages the output, joins what comes back in the order of the plan, seals,
verifies and publishes as ever, so that the bytes and the report are those of a run without workers.

A share that is done twice, because its worker was lost, writes the same bytes to the same places. A worker that was
given up and lives writes no more once the output has its name (`formats.sent`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, repeat
from typing import Literal, NamedTuple, Protocol, TypeVar

from renorm_cli.formats.base import Checkpoint, Extent
from renorm_cli.formats.plain import Known, PlainCheckpoint, PlainData, PlainSink
from renorm_cli.formats.sent import Places, SentData, SentFile
from renorm_cli.model.blocks import Block
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row
from renorm_cli.norms.engines.base import SMALL_BYTES
from renorm_cli.norms.engines.pick import pick
from renorm_cli.parallel.threads import parcels
from renorm_cli.run.steps import Group, Work, cut_into, renorm_groups, row_of, run
from renorm_cli.run.unit_norms import UnitNorms
from renorm_cli.run.verify import Copied
from renorm_cli.storage.bytes import Span, same_bytes, without
from renorm_cli.storage.staged import Staged

SHARE_BYTES = 256 << 20
"""About as much as one share reads: a second or two, so that a lost one costs little and none is the last for long."""

_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")


class Workers(Protocol):
    """Has each of some items done by a function, elsewhere and in any order; all of these can be sent.

    Raises what the function raises, and EngineError where an item cannot be done.
    """

    def __call__(
        self, do: Callable[[_Given], _Answer], items: Sequence[_Given], /
    ) -> Iterator[tuple[_Given, _Answer]]: ...


class How(NamedTuple):
    """What is done with units, as `Work` has it."""

    bound: bool
    nonfinite: Literal["count", "skip", "refuse"]
    spectrum: bool
    keep_norms: bool


class Share(NamedTuple):
    """A part of the work: `steps`, or of the only one the `groups` from the first number up to the second, and all that
    is only copied and summed among the extents of `data`; `nbytes` in all."""

    data: SentData
    how: How
    steps: tuple[Step, ...] = ()
    groups: tuple[int, int] | None = None
    nbytes: int = 0


class Done(NamedTuple):
    """What a share comes to; `written` are ranges of the staged files, by their numbers."""

    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    norms: UnitNorms | None
    read: Known
    output: Known
    written: dict[int, list[Span]]


def unshared(source: Checkpoint) -> str | None:
    """What keeps a checkpoint from being shared out: weights are no plain bytes, or not each in one file of a name."""
    if not (isinstance(source, PlainCheckpoint) and type(source.data) is PlainData):
        return "what does not lie as plain bytes"
    if all(any(file is one for one in source.files) for file in source.data.files):
        return None
    return "a checkpoint with a weight that begins in one file and ends in the next"


def lies_alike(source: Checkpoint, work: Work) -> bool:
    """Whether the weights have the same places in the output, if there is one, as in the input."""
    if work.sink is None:
        return True
    if not (isinstance(source, PlainCheckpoint) and isinstance(work.sink, PlainSink)):
        return False
    return work.sink.data.layout is source.data.layout


def run_shared(steps: Sequence[Step], work: Work, workers: Workers) -> tuple[Row, ...]:
    """Carry out a plan by `workers`, as `run` and `run_matrices` do; raises what these raise."""
    source = work.source
    assert isinstance(source, PlainCheckpoint)
    sink = work.sink if isinstance(work.sink, PlainSink) else None
    shares = list(shares_of(source, steps, work, sink))
    found = _in_order(shares, workers, lambda share, done: _take(share, done, source, sink, work))
    rows: list[Row] = []
    for key, parts in groupby(found, lambda one: one[0].groups and one[0].steps[0].variable.key):
        if key is None:
            rows += [row for _, done in parts for row in done.rows]
            continue
        step = next(step for step in steps if step.variable.key == key)
        rows.append(row_of(step, work, chain.from_iterable(done.groups for _, done in parts)))
    if sink is not None:
        for file in sink.files:
            file.holes = ()
    return tuple(rows)


def _in_order(
    shares: Sequence[Share], workers: Workers, take: Callable[[Share, Done], None]
) -> Iterator[tuple[Share, Done]]:
    """The shares in their order, each as soon as it and all before it are done; `take` is told of each at once."""
    came: dict[int, Done] = {}
    at = 0
    for (number, share), done in _each(workers, do_share, list(enumerate(shares))):
        take(share, done)
        came[number] = done
        while at in came:
            yield shares[at], came.pop(at)
            at += 1


def _each(
    workers: Workers, do: Callable[[_Given], _Answer], items: Sequence[_Given]
) -> Iterator[tuple[_Given, _Answer]]:
    """What the workers answer; one that is missing is not taken for done."""
    left = len(items)
    for found in workers(do, items):
        left -= 1
        yield found
    if left:
        raise AssertionError(f"{left} of {len(items)} parts were not answered")


def _take(share: Share, done: Done, source: PlainCheckpoint, sink: PlainSink | None, work: Work) -> None:
    """Take over what a worker learned, so that nothing is read again for it."""
    source.data.take(done.read)
    if sink is not None:
        sink.data.take(done.output)
        for number, spans in done.written.items():
            sink.files[number].written += spans
    if work.norms is not None and done.norms is not None:
        for step in share.steps:
            work.norms.take(step, 0, done.norms.grid(step))
    work.advance(share.nbytes)


def shares_of(source: PlainCheckpoint, steps: Sequence[Step], work: Work, sink: PlainSink | None) -> Iterator[Share]:
    """The plan cut into shares, in its order, and then all else that is to be copied or summed."""
    data = source.data
    inputs = source.files[: len(data.files)]
    outputs = repeat(None, len(inputs)) if sink is None else sink.files
    files = [SentFile.of(*each) for each in zip(inputs, outputs, strict=True)]
    how = How(work.bound, work.nonfinite, work.spectrum, work.norms is not None)

    def share(extents: Iterable[Extent], taken: Sequence[Step] = (), part: tuple[int, int] | None = None) -> Share:
        needed = tuple(extents)
        stored = [one for step in taken for one in step.stored]
        numbers = {one.file for one in needed}
        sent = SentData({at: files[at] for at in numbers}, Places(data.layout, stored), data.crc, needed)
        return Share(sent, how, tuple(taken), part, sum(one.size for one in needed))

    for taken, part in _cut(steps, work):
        yield share(_extents(data, taken, work, part), taken, part)
    if sink is not None or data.crc is not None:
        for parcel in parcels(_rest(source, steps), lambda one: one.size, SHARE_BYTES):
            yield share(parcel)


def _cut(steps: Sequence[Step], work: Work) -> Iterator[tuple[list[Step], tuple[int, int] | None]]:
    """Steps in parcels, and large ones in ranges of their groups. A large matrix under the spectral norm is alone."""
    waiting: list[Step] = []
    size = 0
    for step in steps:
        nbytes = step.variable.nbytes
        groups = [] if step.constraint.is_spectral or nbytes <= SHARE_BYTES else cut_into(step, work)
        if len(groups) > 1:
            if waiting:
                yield waiting, None
            waiting, size = [], 0
            each = max(1, len(groups) * SHARE_BYTES // nbytes)
            for first in range(0, len(groups), each):
                yield [step], (first, min(first + each, len(groups)))
            continue
        waiting.append(step)
        size += SHARE_BYTES if step.constraint.is_spectral and nbytes > SMALL_BYTES else nbytes
        if size >= SHARE_BYTES:
            yield waiting, None
            waiting, size = [], 0
    if waiting:
        yield waiting, None


def _extents(data: PlainData, steps: Iterable[Step], work: Work, part: tuple[int, int] | None) -> Iterator[Extent]:
    """Where the weights of steps lie, of the only one in a part of its groups."""
    for step in steps:
        shape = step.variable.shape
        blocks = [Block((0,) * len(shape), shape)]
        if part is not None:
            blocks = [block for group in cut_into(step, work)[slice(*part)] for block in group]
        for variable in step.stored:
            for block in blocks:
                yield from data.extents(variable, block)


def _rest(source: PlainCheckpoint, steps: Sequence[Step]) -> Iterator[Extent]:
    """Where all other variables lie, in extents of at most one share."""
    measured = source.data.spans(one for step in steps for one in step.stored)
    for number, spans in enumerate(source.data.spans(source.variables)):
        for start, end in without(_joined(spans), measured[number]):
            for at in range(start, end, SHARE_BYTES):
                yield Extent(number, at, min(SHARE_BYTES, end - at))


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """The spans in order, those that touch or overlap as one."""
    at: Span | None = None
    for start, end in sorted(spans):
        if at is not None and start <= at[1]:
            at = at[0], max(at[1], end)
            continue
        if at is not None:
            yield at
        at = start, end
    if at is not None:
        yield at


def do_share(item: tuple[int, Share]) -> Done:
    """Do a share, in the process of a worker."""
    _, share = item
    how, extents = share.how, share.data.extents
    with share.data.opened() as (source, sink):
        norms = UnitNorms.of(share.steps) if how.keep_norms and share.groups is None else None
        engine, _ = pick("numpy")
        work = Work(source, engine, how.bound, sink, how.nonfinite, spectrum=how.spectrum, norms=norms)
        rows: tuple[Row, ...] = ()
        groups: tuple[Group, ...] = ()
        if share.groups is None:
            rows = _whole(share.steps, work)
        else:
            (step,) = share.steps
            groups = tuple(renorm_groups(step, work, cut_into(step, work)[slice(*share.groups)]))
        source.sum_up(extents)
        if sink is None:
            return Done(rows, groups, norms, source.known, Known(frozenset(), {}), {})
        sink.seal()  # what was not written is copied
        sink.data.sum_up(_among(extents, sink.data.written))
        written = {at: file.written for at, file in enumerate(sink.data.files) if isinstance(file, Staged)}
        return Done(rows, groups, norms, source.known, sink.data.known, written)


def _whole(steps: Sequence[Step], work: Work) -> tuple[Row, ...]:
    if any(step.constraint.is_spectral for step in steps):
        from renorm_cli.run.matrices import run_matrices

        return run_matrices(steps, work)
    return run(steps, work)


def _among(extents: Iterable[Extent], written: Iterable[Extent]) -> Iterator[Extent]:
    """The extents that lie in one that was written to."""
    ordered = sorted(written)
    for one in extents:
        at = bisect_right(ordered, (one.file, one.offset, math.inf)) - 1
        if at >= 0 and ordered[at].file == one.file and one.offset < ordered[at].offset + ordered[at].size:
            yield one


def compared_by(
    workers: Workers, copied: Sequence[Copied], advance: Callable[[int], None]
) -> Iterator[tuple[Copied, bool]]:
    """Whether ranges of staged files are as in the inputs; of many together, those of the first of them."""
    sent = {id(one.staged): SentFile.of(one.source, one.staged) for one in copied}
    parts = list(parcels(copied, lambda one: one.span[1] - one.span[0], SHARE_BYTES))
    items = [(number, [(sent[id(one.staged)], one.span) for one in part]) for number, part in enumerate(parts)]
    for (number, ranges), same in _each(workers, same_ranges, items):
        advance(sum(end - start for _, (start, end) in ranges))
        yield parts[number][0], same


def same_ranges(item: tuple[int, Sequence[tuple[SentFile, Span]]]) -> bool:
    """Whether staged files are as their inputs in some ranges, in the process of a worker."""
    for file, parts in groupby(item[1], lambda one: one[0]):
        with SentData.of(file).opened() as (source, sink):
            if sink is None or not all(same_bytes(source.files[0], sink.data.files[0], span) for _, span in parts):
                return False
    return True
