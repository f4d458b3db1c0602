"""What is compared by its stored bytes: variables whose numbers are not read, and whole files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from renorm_cli.formats.base import Checkpoint
from renorm_cli.model.difference import DiffRow
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import read_parts


def compare_stored(before: Checkpoint, after: Checkpoint, row: DiffRow, old: Variable, new: Variable) -> DiffRow:
    """The row of what is no array of numbers, or is locked, by its bytes; how many elements changed, they do not tell.

    What is locked for another reason now is another thing, whatever its bytes. Raises FormatError.
    """
    locked = old.locked or new.locked
    if old.locked != new.locked:
        return replace(row, reason=locked)
    one, other = before.raw(old), after.raw(new)
    if one is None or other is None or after.format not in (before.format, before.output_format):
        return replace(row, reason=locked or f"{old.dtype}: its bytes are not read from these formats")
    if _same_bytes(one, other):
        return replace(row, verdict="identical", changed=0)
    return replace(row, verdict="other", reason=None if locked is None else f"its bytes changed; {locked}")


def same_files(before: Checkpoint, after: Checkpoint) -> bool:
    """Whether two checkpoints are the same files, byte for byte, and so hold the same. Raises FormatError."""
    if not before.files or before.format != after.format:
        return False
    sizes = [[file.size for file in one.files] for one in (before, after)]
    return sizes[0] == sizes[1] and all(
        _same_bytes(read_parts(one, 0, one.size), read_parts(other, 0, other.size))
        for one, other in zip(before.files, after.files, strict=True)
    )


def _same_bytes(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Whether two streams of parts of any size are the same in all."""
    left = right = b""
    while True:
        left = left or next((part for part in one if part), b"")
        right = right or next((part for part in other if part), b"")
        size = min(len(left), len(right))
        if left[:size] != right[:size]:
            return False
        if not size:
            return left == right
        left, right = left[size:], right[size:]
