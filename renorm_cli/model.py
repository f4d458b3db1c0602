"""The nouns of the tool: frozen facts and decisions, no behaviour beyond counting."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

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
AxisSource = Literal["option", "rule", "layer", "name", "guess"]

FLOATS: dict[str, int] = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""The dtypes whose norms are bounded, and their bytes per element."""

_LARGEST_P = 512.0


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

    `per` widens what one norm runs over: a unit, a whole tensor, or all selected tensors together.

    Raises UsageError unless 0 < limit < inf and 0 < p <= 512 or p is inf: 0.5 ** p must stay a normal float64.
    """

    limit: float | None = None
    p: float = 2.0
    per: Per = "unit"

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


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know; `warning` notes are said on stderr, all are in the report."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, in the order of the file."""

    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class NormStats:
    """The distribution of the finite unit norms of one variable."""

    min: float
    median: float
    mean: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class Row:
    """What was found for one constrained variable.

    `norm` is None when no unit has a finite norm, `norm_after` when nothing was bounded. `histogram` counts the
    finite unit norms in equal bins from `norm.min` to `norm.max`.
    """

    step: Step
    units: int
    over: int
    nonfinite: int
    norm: NormStats | None
    norm_after: NormStats | None = None
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """Every variable of the file is counted: `variables` = `constrained` + `skipped`."""

    variables: int
    constrained: int
    skipped: int
    units: int
    over: int
    nonfinite: int


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
        )

    @property
    def holds(self) -> bool:
        """True if no unit is over its limit and none is NaN or Inf."""
        return not any(row.over or row.nonfinite for row in self.rows)
