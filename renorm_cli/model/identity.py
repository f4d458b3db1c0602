"""What a variable is taken for, and what told it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

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
    "parameter",
    "unknown",
]

AxisSource = Literal["option", "rule", "declared", "like", "layer", "graph", "shape", "name", "guess"]
"""What tells unit axes, the strongest first."""

BOUNDED: frozenset[Role] = frozenset({"kernel", "embedding"})
"""The roles whose units are bounded by default; only they have unit axes."""

NEVER_BY_NAME: frozenset[Role] = frozenset({"optimizer", "statistic", "state"})
"""Roles whose variables are selected by their role alone, whatever names them."""


class Claim(NamedTuple):
    """What one source says of one variable; None where it does not say.

    `unit_axes` are non-negative and sorted; () makes the whole array one unit. `told` says for people what it was that
    told: "the op MatMul", "the bias of 16".
    """

    source: AxisSource
    role: Role | None = None
    unit_axes: tuple[int, ...] | None = None
    told: str = ""
    shared: tuple[int, ...] = ()
    """Those of the unit axes that name inputs too, as the channels of a depthwise kernel: each index is a matrix."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The role and the unit axes of a variable, from all that was claimed of it.

    `axis_source` is "guess" where nothing tells the axes, or where two sources that know disagree: `conflict` then says
    what each has told. `shared` are those of the unit axes that name inputs too.
    """

    role: Role
    unit_axes: tuple[int, ...]
    axis_source: AxisSource
    conflict: str | None = None
    shared: tuple[int, ...] = ()
