"""Whether a staged output is what was meant, told from its own bytes before it has its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats import Checkpoint
from renorm_cli.formats.disk.bytes import Span, same_bytes
from renorm_cli.formats.disk.files import reason
from renorm_cli.formats.disk.staged import Staged
from renorm_cli.formats.stored import same_values
from renorm_cli.model import Row, Variable
from renorm_cli.spread import Imap

Measure = Callable[[Checkpoint], Sequence[Row]]


class _Copied(NamedTuple):
    """A range of a staged file that must be as in the input."""

    staged: Staged
    span: Span


def verify(
    source: Checkpoint,
    reopen: Callable[[], Checkpoint],
    parts: Sequence[Staged],
    rows: Sequence[Row],
    sealed: dict[str, int],
    measure: Measure,
    imap: Imap,
) -> None:
    """Raise OutputError unless the staged files, opened again, hold what `source` holds but for the constrained rows.

    The same variables; the checksums that `sealed` has for what changed, the old ones for the rest; every byte that
    was not written as in the input; and the norms of the rows. These were measured from the staged bytes, so they are
    measured once more only where a variable has no plain extent, or not the same as in the input.
    """
    try:
        with reopen() as copy:
            _verify(source, copy, parts, rows, sealed, measure, imap)
    except FormatError as error:
        raise _wrong(str(error)) from None
    except OSError as error:
        raise _wrong(f"it cannot be read: {reason(error)}") from None


def _verify(
    source: Checkpoint,
    copy: Checkpoint,
    parts: Sequence[Staged],
    rows: Sequence[Row],
    sealed: dict[str, int],
    measure: Measure,
    imap: Imap,
) -> None:
    found = {variable.key: variable for variable in copy.variables}
    for variable in source.variables:
        if _facts(found.pop(variable.key, None)) != _facts(variable):
            raise _wrong(f"{variable.name!r} is missing from it, or has another name, shape or dtype")
    if found:
        raise _wrong(f"it has {next(iter(found))!r}, which the input has not")
    if copy.checksums != source.checksums | sealed:
        raise _wrong("it tells other checksums than it has")
    for copied, same in zip(_copied(parts), imap(_is_as_before, _copied(parts)), strict=True):
        if not same:
            raise _wrong(f"{str(copied.staged.target)!r} differs from the input where nothing was to be written")
    for one, other in zip_longest(source.rest(), copy.rest(), fillvalue=("", iter(()))):
        if one[0] != other[0] or any(left != right for left, right in zip_longest(one[1], other[1])):
            raise _wrong(f"{one[0] or other[0]!r} differs from the input")
    plain = partial(_is_in_place, source, copy, parts)
    constrained = {row.step.variable.key for row in rows}
    for variable in source.variables:
        if variable.key not in constrained and not plain(variable) and not same_values(source, copy, variable):
            raise _wrong(f"{variable.name!r} differs from the input")
    if not all(plain(row.step.variable) for row in rows):
        for row, again in zip(rows, measure(copy), strict=True):
            if again.norm != row.norm_after or again.nonfinite != row.nonfinite:
                raise _wrong(f"the norms of {row.step.variable.name!r} are others than those that were written")


def _facts(variable: Variable | None) -> object:
    return variable and (variable.name, variable.shape, variable.dtype, variable.aliases, variable.copies)


def _copied(parts: Sequence[Staged]) -> Iterator[_Copied]:
    return (_Copied(staged, span) for staged in parts for span in staged.copied())


def _is_as_before(copied: _Copied) -> bool:
    staged = copied.staged
    return staged.source is not None and same_bytes(staged.source.fd, staged.fd, copied.span)


def _is_in_place(source: Checkpoint, copy: Checkpoint, parts: Sequence[Staged], variable: Variable) -> bool:
    """Whether a variable lies at the same extent of a file that was copied and patched."""
    extent = source.extent(variable)
    if extent is None or copy.extent(variable) != extent:
        return False
    file = source.files[extent[0]]
    return any(staged.source is file and not staged.rewritten for staged in parts)


def _wrong(what: str) -> OutputError:
    return OutputError(
        f"the output, read again, is not what was written: {what}; nothing was published."
        " Look at the disk, and run again"
    )
