"""What was found in a checkpoint: rows, totals, and the report that all renderers take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from renorm_cli.model.coverage import coverage, matrices
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note, Skip, Step
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.model.spectral import Spectral
from renorm_cli.model.variable import Variable
from renorm_cli.text import counted, exact_text

Readings = Literal["hold", "fail", "differ"]
"""Whether the bound holds, or fails, whichever axes of a variable name its units, or whether that depends on them."""

Verdict = Literal["holds", "violated", "undecided"]
Allowed = Literal["guess", "unidentified"]
"""What the user accepts: unit axes that are a guess, matrices that nothing identifies."""


class NormStats(NamedTuple):
    """The distribution of the finite unit norms of one variable."""

    min: float
    median: float
    mean: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class UnitNorm:
    """A unit: its index along the unit axes, () for a whole tensor, and its norm, possibly NaN or Inf."""

    index: tuple[int, ...]
    norm: float


@dataclass(frozen=True, slots=True)
class Row:
    """What was found for one constrained variable.

    Under a joint norm (`per` is "global") a variable is one unit; its norm is its own, and `over` is 1 where the joint
    norm is over: `Report.joint` has that.

    `norm` is None when no unit has a finite norm, `norm_after` when nothing was bounded. `histogram` counts the
    finite unit norms in equal bins from `norm.min` to `norm.max`. `under` counts units below the lower bound,
    `negative` weights below zero, each where the constraint asks for it. `worst` are the few units to look at first:
    those that are not finite, then those of the largest norms. `readings` is there where there is a bound, and the
    unit axes are a guess or an operator norm may be that of a convolution. `spectral` is there where the norm is the
    spectral norm and all weights are finite.
    """

    __module__ = "renorm_cli"

    step: Step
    units: int
    over: int
    nonfinite: int
    norm: NormStats | None
    norm_after: NormStats | None = None
    histogram: Sequence[int] = ()
    under: int = 0
    negative: int = 0
    worst: tuple[UnitNorm, ...] = ()
    readings: Readings | None = None
    spectral: Spectral | None = None

    @property
    def variable(self) -> Variable:
        return self.step.variable

    @property
    def status(self) -> Literal["constrained", "measured"]:
        """Whether anything is asked of the variable, or it is only measured."""
        asked = self.step.constraint
        return "measured" if asked.limit is None and asked.low is None and not asked.nonnegative else "constrained"

    @property
    def noun(self) -> str:
        """What its norms are called."""
        is_operator = self.spectral is not None and self.spectral.operator is not None
        return "operator norm" if is_operator else self.step.constraint.norm.noun

    @property
    def excess(self) -> float | None:
        """How far the largest norm is above the limit, relatively; 0 if it is not. A joint norm has its own excess."""
        limit = self.step.constraint.limit
        return None if limit is None or self.norm is None else max(0.0, self.norm.max / limit - 1)


class Joint(NamedTuple):
    """One norm over all selected variables whose weights are finite, which are so many; `norm_after` is that of what
    was written. `over` is None where it was not held against a limit: without one, or because of NaN or Inf."""

    variables: int
    norm: float
    norm_after: float | None
    limit: float | None
    over: bool | None

    @property
    def excess(self) -> float:
        """How far it is above the limit, relatively; 0 if it is not."""
        return 0.0 if self.limit is None else max(0.0, self.norm / self.limit - 1)

    def text(self, verb: str = "is") -> str:
        """The joint norm as a sentence: `the joint norm of 8 variables is 57.2320654, over 3`."""
        held = "" if self.over is None else f", {'' if self.over else 'not '}over {exact_text(self.limit)}"
        return f"the joint norm of {counted(self.variables, 'variable')} {verb} {self.norm:.9g}{held}"


class Growth(NamedTuple):
    """A variable that is not as the baseline has it: its largest norm grew too much, or it came or went.

    `before` and `after` are its largest unit norms, None where it has none; so is `before` for one that appeared.
    """

    name: str
    kind: Literal["grew", "appeared", "vanished"]
    before: float | None = None
    after: float | None = None


class Baseline(NamedTuple):
    """An earlier report that a checkpoint was held against, and what is not within `max_growth` (0.05: 5 %) of it."""

    path: str
    max_growth: float
    growths: tuple[Growth, ...] = ()


class Totals(NamedTuple):
    """Every variable of the file is counted: `variables` = `constrained` + `skipped`.

    A weight that is stored several times is one variable; `copies` counts its further stored copies. `matrices` are the
    variables that are matrices of weights, whose role is known for `identified` of them, and of which `measured` are
    constrained; `elements` are the weights of all of them, and `share` of these was measured, None without matrices.
    """

    variables: int
    constrained: int
    skipped: int
    units: int
    over: int
    nonfinite: int
    under: int = 0
    negative: int = 0
    matrices: int = 0
    identified: int = 0
    measured: int = 0
    elements: int = 0
    share: float | None = None
    copies: int = 0


class Provenance(NamedTuple):
    """Where a report comes from: when the run started (UTC), the versions of what computed, and the checkpoint's bytes.

    `sha256` is that of a small checkpoint of one file, None for others. `command` is the command line, and `bounding`
    one that bounds the same weights, with `{bound}` for the bound; both are None from Python.
    """

    started: str
    versions: tuple[tuple[str, str], ...]
    sha256: str | None = None
    command: str | None = None
    bounding: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one command on one checkpoint; all renderers start here.

    `allowed` is what the user accepts though it may make a verdict wrong.
    """

    command: Literal["apply", "inspect", "check"]
    version: str
    path: str
    format: str
    bytes: int
    engine: str
    device: str
    rows: tuple[Row, ...]
    skips: tuple[Skip, ...]
    notes: tuple[Note, ...] = ()
    output: str | None = None
    dry_run: bool = False
    baseline: Baseline | None = None
    allowed: tuple[Allowed, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    provenance: Provenance | None = field(default=None, compare=False)
    readers: Readers = field(default=EVERYONE, compare=False)
    """Who may read the checkpoint, and so files that are made of this report."""

    @property
    def totals(self) -> Totals:
        seen = matrices((*(row.step for row in self.rows), *self.skips))
        return Totals(
            variables=len(self.rows) + len(self.skips),
            constrained=len(self.rows),
            skipped=len(self.skips),
            units=sum(row.units for row in self.rows),
            over=sum(row.over for row in self.rows),
            nonfinite=sum(row.nonfinite for row in self.rows),
            under=sum(row.under for row in self.rows),
            negative=sum(row.negative for row in self.rows),
            matrices=seen.number,
            identified=seen.identified,
            measured=seen.measured,
            elements=seen.elements,
            share=seen.share,
            copies=sum(len(row.step.copies) for row in self.rows) + sum(len(skip.copies) for skip in self.skips),
        )

    @property
    def joint(self) -> Joint | None:
        """The joint norm of the selected variables; None where each has norms of its own (`per` is not "global")."""
        return joint_of(self.rows)

    @property
    def unidentified(self) -> tuple[Skip, ...]:
        """The matrices that were neither measured nor left out by the user."""
        return tuple(skip for skip in self.skips if coverage(skip) == "unidentified")

    @property
    def guessed(self) -> tuple[Row, ...]:
        """The variables of which it depends on a guess of axes or of what convolves whether what was asked holds."""
        return tuple(row for row in self.rows if self._hangs_on_a_guess(row))

    def _hangs_on_a_guess(self, row: Row) -> bool:
        if row.step.axis_source != "guess":  # an operator's norm, if it is one, is at least that of its matrix
            return row.readings == "differ" and not row.over
        if row.readings == "fail":
            return False
        return self.baseline is not None or (row.step.constraint.limit is not None and row.readings != "hold")

    @property
    def verdict(self) -> Verdict:
        """Whether what was asked for holds.

        "violated" where a unit is over its limit or under its lower bound, NaN or Inf, where a weight is negative that
        must not be, and where something is out of line with the baseline. "undecided" where a matrix was not seen, or
        where it depends on a guess, and that is not `allowed`.
        """
        unseen = "unidentified" not in self.allowed and bool(self.unidentified)
        if unseen or ("guess" not in self.allowed and self.guessed):
            return "undecided"
        grown = self.baseline is not None and bool(self.baseline.growths)
        broken = grown or any(row.over or row.nonfinite or row.under or row.negative for row in self.rows)
        return "violated" if broken else "holds"

    @property
    def holds(self) -> bool:
        """Whether the verdict is "holds": not so where it is undecided."""
        return self.verdict == "holds"


def joint_of(rows: Sequence[Row]) -> Joint | None:
    """The joint norm of all rows; None where each has norms of its own, or there are none."""
    constraint = rows[0].step.constraint if rows else None
    if constraint is None or not constraint.is_joint or not isinstance(constraint.norm, PNorm):
        return None
    before = [row.norm.max for row in rows if row.norm is not None]
    after = [row.norm_after.max for row in rows if row.norm_after is not None]
    over = any(row.over for row in rows)
    is_held = constraint.limit is not None and (over or len(before) == len(rows))
    return Joint(
        len(before),
        _joined(before, constraint.norm.p),
        _joined(after, constraint.norm.p) if after else None,
        constraint.limit,
        over if is_held else None,
    )


def _joined(norms: Sequence[float], p: float) -> float:
    peak = max(norms, default=0.0)
    return peak * math.fsum((norm / peak) ** p for norm in norms) ** (1 / p) if peak else 0.0  # powers could overflow
