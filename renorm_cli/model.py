"""The nouns of the tool: frozen facts and decisions, no behaviour beyond counting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from renorm_cli.errors import UsageError

Role = Literal[
    "kernel",
    "embedding",
    "bias",
    "scale",
    "statistic",
    "optimizer",
    "quantized",
    "lora",
    "state",
    "unknown",
]
Per = Literal["unit", "tensor", "global"]
AxisSource = Literal["option", "rule", "declared", "layer", "name", "guess"]
ConstraintKind = Literal["MaxNorm", "MinMaxNorm", "UnitNorm", "NonNeg", "unknown"]

FLOATS: dict[str, int] = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""The dtypes whose norms are bounded, and their bytes per element."""

_LARGEST_P = 512.0


class Declared(NamedTuple):
    """What a layer's config declares for one of its weights; `name` is the class as the file has it.

    A norm is at most `limit` and at least `low` (0 where there is no lower bound). `axis` are the axes Keras reduces,
    as declared: the opposite of unit axes, negative ones possible, None for all. `rate` is how far MinMaxNorm goes in
    one step. `problem` says why the kind is "unknown".
    """

    kind: ConstraintKind
    name: str
    limit: float | None = None
    low: float | None = None
    rate: float = 1.0
    axis: tuple[int, ...] | None = None
    problem: str | None = None

    @property
    def bounds_norm(self) -> bool:
        return self.limit is not None

    @property
    def text(self) -> str:
        """One line: "MinMaxNorm(0.5 to 1.0, rate 0.5, axis 0)"."""
        if self.kind == "unknown":
            return f"{self.name!r}, which is unknown: {self.problem}"
        if self.kind == "NonNeg":
            return "NonNeg"
        axes = "all axes" if self.axis is None else f"axis {' '.join(map(str, self.axis)) or 'none'}"
        bounds = {"MaxNorm": f"{self.limit}, ", "MinMaxNorm": f"{self.low} to {self.limit}, "}.get(self.kind, "")
        rate = f"rate {self.rate}, " if self.rate != 1 else ""
        return f"{self.kind}({bounds}{rate}{axes})"


@dataclass(frozen=True, slots=True)
class Variable:
    """What a header says of one stored array; no interpretation beyond its names.

    `key` is the storage address, unique in the checkpoint. `name` is the friendly name, shared by all
    stored copies of one weight; `copies` holds the keys of the others. `aliases` are further names of the
    same bytes (hard links). `dtype` is a plain name such as "float32", "bfloat16" or "int64", whatever the byte order.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    layer: str | None = None
    """Keras class of the layer, "Conv2DTranspose"."""
    layer_source: Literal["layer", "name"] = "layer"
    """How `layer` is known: "layer" from the file's own config, "name" from a default layer or group name."""
    weight: str | None = None
    """The weight's own name inside its layer: "kernel", "query/kernel"."""
    equation: str | None = None
    """The equation of an EinsumDense layer."""
    state: Role | None = None
    """Set where the file itself tells that this is no trainable weight: "optimizer", "quantized", "state"."""
    locked: str | None = None
    """Why the stored bytes cannot be changed (an unknown filter), if they cannot."""
    declared: Declared | None = None
    """What the file's own config declares for it, which loading does not enforce."""
    aliases: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the plain C-order array; 0 for a dtype we do not read."""
        return self.elements * FLOATS.get(self.dtype, 0)


@dataclass(frozen=True, slots=True)
class MaxNorm:
    """The constraint: the `p`-norm of every unit is at most `limit`; without a limit norms are only measured.

    `per` widens what one norm runs over: a unit, a whole tensor, or all selected tensors together. A check alone can
    have more: `low`, the least a norm may be, `slack_above` and `slack_below`, how far relatively a norm may be above
    `limit` and below `low`, and `nonnegative`, whether weights below zero count.

    Raises UsageError unless 0 < limit < inf and 0 < p <= 512 or p is inf: 0.5 ** p must stay a normal float64.
    """

    limit: float | None = None
    p: float = 2.0
    per: Per = "unit"
    low: float | None = None
    slack_above: float = 0.0
    slack_below: float = 0.0
    nonnegative: bool = False

    @property
    def ceiling(self) -> float | None:
        """The largest norm that is not over."""
        return None if self.limit is None else self.limit * (1 + self.slack_above)

    @property
    def floor(self) -> float | None:
        """The smallest norm that is not under."""
        return None if self.low is None else self.low * (1 - self.slack_below)

    def __post_init__(self) -> None:
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise UsageError(f"--max-norm must be a finite number above 0, got {self.limit}")
        if not (0 < self.p <= _LARGEST_P or self.p == math.inf):
            raise UsageError(f"--p must be above 0 and at most {_LARGEST_P:g}, or inf, got {self.p}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which variables to constrain: shell-style patterns over names and keys; no `include` means the default."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One variable, fully decided: `unit_axes` are the axes that name units, the norm runs over all others."""

    variable: Variable
    role: Role
    unit_axes: tuple[int, ...]
    axis_source: AxisSource
    constraint: MaxNorm


@dataclass(frozen=True, slots=True)
class Skip:
    """A variable that is left alone, and why."""

    variable: Variable
    role: Role
    reason: str


class Note(NamedTuple):
    """Something the user should know; `warning` notes are said on stderr, all are in the report."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, in the order of the file."""

    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]
    notes: tuple[Note, ...] = ()


class NormStats(NamedTuple):
    """The distribution of the finite unit norms of one variable."""

    min: float
    median: float
    mean: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class UnitNorm:
    """A unit by its index along the unit axes (none for a whole tensor), and its norm; NaN or Inf where it is not
    finite."""

    index: tuple[int, ...]
    norm: float


@dataclass(frozen=True, slots=True)
class Row:
    """What was found for one constrained variable.

    `norm` is None when no unit has a finite norm, `norm_after` when nothing was bounded. `histogram` counts the
    finite unit norms in equal bins from `norm.min` to `norm.max`. `under` counts units below the lower bound,
    `negative` weights below zero, each where the constraint asks for it. `worst` are the few units to look at first:
    those that are not finite, then those of the largest norms.
    """

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

    @property
    def excess(self) -> float | None:
        """How far the largest norm is above the limit, relatively; 0 if it is not."""
        limit = self.step.constraint.limit
        return None if limit is None or self.norm is None else max(0.0, self.norm.max / limit - 1)


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
    """Every variable of the file is counted: `variables` = `constrained` + `skipped`."""

    variables: int
    constrained: int
    skipped: int
    units: int
    over: int
    nonfinite: int
    under: int = 0
    negative: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one command on one checkpoint; all renderers start here."""

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
    seconds: float = field(default=0.0, compare=False)

    @property
    def totals(self) -> Totals:
        return Totals(
            variables=len(self.rows) + len(self.skips),
            constrained=len(self.rows),
            skipped=len(self.skips),
            units=sum(row.units for row in self.rows),
            over=sum(row.over for row in self.rows),
            nonfinite=sum(row.nonfinite for row in self.rows),
            under=sum(row.under for row in self.rows),
            negative=sum(row.negative for row in self.rows),
        )

    @property
    def holds(self) -> bool:
        """True if no unit is over its limit or under its lower bound, none is NaN or Inf, no weight is negative that
        must not be, and nothing is out of line with the baseline."""
        grown = self.baseline is not None and bool(self.baseline.growths)
        return not grown and not any(row.over or row.nonfinite or row.under or row.negative for row in self.rows)
