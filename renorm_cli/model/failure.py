"""A checkpoint of which nothing could be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from renorm_cli.model.report import Report, Verdict

FailureKind = Literal["format", "selection", "nonfinite", "output", "engine", "died", "timeout", "internal"]
"""Why, for programs:

- `format`: it is no checkpoint that is read, or it is damaged, or cannot be opened. `selection`: patterns or unit axes
  do not fit it. `nonfinite`: it holds NaN or Inf. `output`: something could not be written.
- `engine`: the engine, or a process, was not there. `died`: its process died, twice. `timeout`: it was not done in
  time. `internal`: a fault of this program.
"""

PASSING: frozenset[FailureKind] = frozenset({"output", "engine", "died", "timeout", "internal"})
"""The kinds that another try may mend, though the files are the same."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What takes the place of a report; `text` is the error in one line."""

    command: Literal["inspect", "check", "suggest"]
    version: str
    path: str
    kind: FailureKind
    text: str

    @property
    def verdict(self) -> Verdict:
        return "undecided"

    @property
    def holds(self) -> bool:
        return False


Outcome = Report | Failure

MANY = 20
"""Checkpoints that are each told in full; of more, the worst ones are."""
