"""The nouns of `suggest`: bounds, and the share of units that each would clip."""

from __future__ import annotations

from dataclasses import dataclass

from renorm_cli.model.report import Report

SHARES = (0.5, 0.25, 0.1, 0.05, 0.01, 0.001, 0.0)
"""The shares of units to clip that bounds are suggested for."""

USUAL_SHARE = 0.05
"""The share that rules aim at where none is asked for."""


@dataclass(frozen=True, slots=True)
class SuggestedBound:
    """A bound that was looked for to clip a `share` of the units, and what it would clip: `over` of `units`.

    `units` are those whose norm is finite. `limit` is None where so large a share has no norm above zero, and where
    there are no such units.
    """

    share: float
    limit: float | None
    over: int
    units: int

    @property
    def clipped(self) -> float:
        """The share of the units that would be clipped, which ties and few units make another than was aimed at."""
        return self.over / self.units if self.units else 0.0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Bounds for the variables of a checkpoint.

    `measured` is the report they come from, `bounds` has those of each of its rows, `together` those for the units of
    all rows; all are for the same shares. `rules` is the file with rules that was written, if one was.
    """

    measured: Report
    bounds: tuple[tuple[SuggestedBound, ...], ...]
    together: tuple[SuggestedBound, ...]
    rules: str | None = None

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares that bounds were looked for."""
        return tuple(bound.share for bound in self.together)
