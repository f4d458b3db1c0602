"""Suggested bounds, and the share of units that each would clip."""

from __future__ import annotations

from dataclasses import dataclass

from renorm_cli.model.report import Report

SHARES = (0.5, 0.25, 0.1, 0.05, 0.01, 0.001, 0.0)
"""Shares of units to clip; a bound is suggested for each."""

USUAL_SHARE = 0.05
"""The share that rules clip by default."""


@dataclass(frozen=True, slots=True)
class SuggestedBound:
    """A bound chosen to clip about `share` of the units; it would clip `over` of `units`.

    `units` counts units with a finite norm. `limit` is None where the norm at that share is 0, and without units.
    """

    share: float
    limit: float | None
    over: int
    units: int

    @property
    def clipped(self) -> float:
        """The share of the units that would be clipped: not quite `share` where units are few or norms are equal."""
        return self.over / self.units if self.units else 0.0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Bounds for the variables of a checkpoint.

    `measured` is the report they come from; `bounds` has those for each of its rows, `together` those for the units of
    all rows, all for the same shares. `rules` is the path of the file of rules that was written, if any.
    """

    measured: Report
    bounds: tuple[tuple[SuggestedBound, ...], ...]
    together: tuple[SuggestedBound, ...]
    rules: str | None = None

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the bounds."""
        return tuple(bound.share for bound in self.together)
