"""What the product says of the weights of a file, held against a truth that is not its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import renorm_cli
from renorm_cli.conventions.identify import identify
from renorm_cli.model.blocks import Block
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.variable import Variable

WEIGHTS = ("kernel", "embedding")
"""Roles that may stand for each other: neither is bounded."""

Outcome = Literal[
    "right", "guess", "unidentified", "wrong", "other right", "other unknown", "other named", "other wrong"
]
"""Of kernels and embeddings: right axes, a guess, no role, and a certain statement that is not true.

Of all others: the true role, no role, a role that is not bounded either, and certainly taken for a weight.
"""
WRONG: frozenset[Outcome] = frozenset({"wrong", "other wrong"})


class Truth(NamedTuple):
    """What a variable is, and for kernels and embeddings the axes that name their units."""

    role: str
    units: tuple[int, ...] | None = None


class Fault(NamedTuple):
    name: str
    shape: tuple[int, ...]
    truth: Truth
    role: str
    units: tuple[int, ...]
    source: str
    conflict: str | None


class Score(NamedTuple):
    counts: Counter[Outcome]
    faults: dict[Outcome, list[Fault]]

    @property
    def wrong(self) -> list[Fault]:
        return [fault for outcome in WRONG for fault in self.faults.get(outcome, ())]

    @property
    def open(self) -> list[Fault]:
        """Kernels and embeddings of which the product does not say what they are."""
        return [*self.faults.get("guess", ()), *self.faults.get("unidentified", ())]


def identified(path: Path) -> tuple[Variable, ...]:
    with renorm_cli.open(path) as checkpoint:
        return identify(checkpoint.variables)


def outcome(variable: Variable, truth: Truth) -> Outcome:
    """How what is said of a variable agrees with the truth; axes of length 1 may name units or not."""
    said = variable.identity
    assert said is not None
    bounded, guessed = said.role in WEIGHTS, said.axis_source == "guess"
    if truth.role in WEIGHTS:
        assert truth.units is not None
        if bounded:
            if guessed:
                return "guess"
            return "right" if _wide(said.unit_axes, variable.shape) == _wide(truth.units, variable.shape) else "wrong"
        return "unidentified" if said.role == "unknown" else "wrong"
    if bounded:
        return "other unknown" if guessed and len(variable.shape) > 1 else "other wrong"
    if said.role == "unknown":
        return "other unknown"
    return "other right" if said.role == truth.role else "other named"


def score(pairs: Mapping[Variable, Truth]) -> Score:
    found = Score(Counter(), {})
    for variable, truth in pairs.items():
        result = outcome(variable, truth)
        found.counts[result] += 1
        said = variable.identity
        assert said is not None
        fault = Fault(variable.name, variable.shape, truth, said.role, said.unit_axes, said.axis_source, said.conflict)
        found.faults.setdefault(result, []).append(fault)
    return found


def _wide(axes: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    return sorted(axis % len(shape) for axis in axes if shape[axis] != 1)


def by_bytes(path: Path, truths: Mapping[bytes, Truth]) -> dict[Variable, Truth]:
    """The variables of a file that hold the bytes of known weights; all of these must be there."""
    with renorm_cli.open(path) as checkpoint:
        pairs: dict[Variable, Truth] = {}
        seen: set[bytes] = set()
        for variable in identify(checkpoint.variables):
            if variable.dtype not in FLOATS:
                continue
            values = checkpoint.read(variable, Block((0,) * len(variable.shape), variable.shape)).tobytes()
            if values in truths:
                seen.add(values)
                pairs[variable] = truths[values]
    lost = [truth for values, truth in truths.items() if values not in seen and truth.role != "optimizer"]
    assert lost == [], lost
    return pairs


def score_by_bytes(path: Path, truths: Mapping[bytes, Truth]) -> Score:
    return score(by_bytes(path, truths))
