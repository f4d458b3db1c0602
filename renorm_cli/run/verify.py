"""Whether a staged output is what was meant, told from its own bytes before it has its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.numbers import same_values
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.run.steps import Meter
from renorm_cli.storage.bytes import Span, same_bytes
from renorm_cli.storage.files import SourceFile, reason
from renorm_cli.storage.staged import Staged

Measure = Callable[[Checkpoint], Sequence[Row]]


class Copied(NamedTuple):
    """A range of a staged file that must be as in the input that is its `source`."""

    source: SourceFile
    staged: Staged
    span: Span


Compare = Callable[[Sequence[Copied], Callable[[int], None]], Iterable[tuple[Copied, bool]]]
"""Tells of ranges, in any order, whether they are as in the input; says how many bytes are done."""


def verify(
    source: Checkpoint,
    reopen: Callable[[], Checkpoint],
    parts: Sequence[Staged],
    rows: Sequence[Row],
    sealed: dict[str, int],
    measure: Measure,
    compare: Compare,
    meter: Meter,
) -> None:
    """Raise OutputError unless the staged files, opened again, hold what `source` holds but for the constrained rows.

    The same variables; the checksums that `sealed` has for what changed, the old ones for the rest; every byte that
    was not written as in the input; and the norms of the rows. These were measured from the staged bytes, so they are
    measured once more only where a variable has no plain extent, or not the same as in the input. Stored copies of one
    weight were compared when the output was opened again.
    """
    try:
        with reopen() as copy:
            _same_variables(source, copy)
            if copy.checksums != source.checksums | sealed:
                raise _wrong("it tells other checksums than it has")
            _same_bytes(source, copy, parts, compare, meter)
            _same_values(source, copy, parts, rows, measure)
    except FormatError as error:
        raise _wrong(str(error)) from None
    except OSError as error:
        raise _wrong(f"it cannot be read: {reason(error)}") from None


def _same_variables(source: Checkpoint, copy: Checkpoint) -> None:
    found = {variable.key: variable for variable in copy.variables}
    for variable in source.variables:
        if _facts(found.pop(variable.key, None)) != _facts(variable):
            raise _wrong(f"{variable.name!r} is missing from it, or has another name, shape or dtype")
    if found:
        raise _wrong(f"it has {next(iter(found))!r}, which the input has not")


def _same_bytes(source: Checkpoint, copy: Checkpoint, parts: Sequence[Staged], compare: Compare, meter: Meter) -> None:
    """What was copied, and what the checkpoints carry besides their variables."""
    everything = [Copied(one.source, one, span) for one in parts if one.source is not None for span in one.copied()]
    meter.start(sum(end - start for _, _, (start, end) in everything), "verifying")
    for copied, same in compare(everything, meter.advance):
        if not same:
            raise _wrong(f"{str(copied.staged.target)!r} differs from the input where nothing was to be written")
    for one, other in zip_longest(source.rest(), copy.rest(), fillvalue=("", iter(()))):
        if one[0] != other[0] or any(left != right for left, right in zip_longest(one[1], other[1])):
            raise _wrong(f"{one[0] or other[0]!r} differs from the input")


def _same_values(
    source: Checkpoint, copy: Checkpoint, parts: Sequence[Staged], rows: Sequence[Row], measure: Measure
) -> None:
    """What does not lie in place, so that it was neither compared nor measured from the staged bytes."""
    patched = {id(staged.source) for staged in parts if not staged.rewritten}

    def lies_in_place(variable: Variable) -> bool:
        extents = source.extents(variable)
        patches = all(id(source.files[extent.file]) in patched for extent in extents)
        return bool(extents) and copy.extents(variable) == extents and patches

    constrained = {variable.key for row in rows for variable in row.step.stored}
    for variable in source.variables:
        if variable.key in constrained or lies_in_place(variable):
            continue
        if not same_values(source, copy, variable):
            raise _wrong(f"{variable.name!r} differs from the input")
    if all(lies_in_place(row.step.variable) for row in rows):
        return
    for row, again in zip(rows, measure(copy), strict=True):
        if again.norm != row.norm_after or again.nonfinite != row.nonfinite:
            raise _wrong(f"the norms of {row.step.variable.name!r} are others than those that were written")


def _facts(variable: Variable | None) -> object:
    return variable and (variable.name, variable.shape, variable.dtype, variable.aliases, variable.copies)


def compared(copied: Sequence[Copied], advance: Callable[[int], None], imap: Imap) -> Iterator[tuple[Copied, bool]]:
    """A `Compare` by threads."""
    return zip(copied, imap(lambda one: same_bytes(one.source, one.staged, one.span, advance), copied), strict=True)


def _wrong(what: str) -> OutputError:
    return OutputError(
        f"the output, read again, is not what was written: {what}; nothing was published."
        " Look at the disk, and run again"
    )
