"""What two checkpoints hold besides their variables, compared: a loader reads it, too."""

from __future__ import annotations

from renorm_cli.formats.base import Checkpoint
from renorm_cli.model.difference import ContextRow


def compare_context(before: Checkpoint, after: Checkpoint) -> tuple[ContextRow, ...] | None:
    """What is not the same; None where the second is of a format that no copy of the first has. Raises FormatError."""
    if after.format not in (before.format, before.output_format):
        return None
    old, new = before.context(), after.context()
    rows = []
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            rows.append(ContextRow(name, "missing"))
        elif name not in old:
            rows.append(ContextRow(name, "added"))
        elif old[name] is None or new[name] is None:
            rows.append(ContextRow(name, "not compared"))
        elif old[name] != new[name]:
            rows.append(ContextRow(name, "changed"))
    return tuple(rows)
