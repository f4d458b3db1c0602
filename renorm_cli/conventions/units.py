"""What a variable is, and which of its axes name units, from what a format could tell of it."""

from __future__ import annotations

from renorm_cli.conventions.keras import ROLES, TELLING, Axes, einsum_units, find_weight, suffixes
from renorm_cli.model.plan import AxisSource, Left
from renorm_cli.model.variable import Role, Variable

_REASONS: dict[Role, str] = {
    "bias": "not constrained by default",
    "scale": "not constrained by default",
    "statistic": "not constrained by default",
    "optimizer": "not a weight of the model",
    "quantized": "its norm is not that of the weight it stands for",
    "lora": "part of an update of another weight",
    "state": "not trained",
}


def role_of(variable: Variable) -> Role:
    """What the variable is: said by the file, else by its layer's table, else by its own name; else "unknown"."""
    if variable.state is not None:
        return variable.state
    if variable.weight is None:
        return "unknown"
    known = find_weight(variable.layer, variable.weight) if variable.layer is not None else None
    if known is not None:
        return known.role
    return next((ROLES[end] for end in suffixes(variable.weight) if end in ROLES), "unknown")


def unit_axes(variable: Variable) -> tuple[tuple[int, ...], AxisSource]:
    """The axes that name units, non-negative and sorted, and what told them; () makes the whole array one unit.

    "layer" if the layer's class is known from the file's config, "name" if from a default layer name or from the
    weight's own name, "guess" if only the shape is known: then the last axis of two or more, as in most Keras kernels.
    """
    rank = len(variable.shape)
    known = _from_layer(variable, rank)
    if known is not None:
        return known, variable.layer_source
    told = None if variable.layer == "EinsumDense" else _from_own_name(variable.weight or "", rank)
    if told is not None:
        return told, "name"
    return ((rank - 1,) if rank >= 2 else ()), "guess"


def _from_layer(variable: Variable, rank: int) -> Axes | None:
    if variable.equation is not None:
        return einsum_units(variable.equation, rank) if (variable.weight or "").endswith("kernel") else None
    if variable.layer is None or variable.weight is None or rank < 2:
        return None
    weight = find_weight(variable.layer, variable.weight)
    return None if weight is None or weight.role not in ("kernel", "embedding") else weight.unit_axes(rank)


def _from_own_name(weight: str, rank: int) -> Axes | None:
    if rank < 2:
        return None
    for end in suffixes(weight):
        if end in TELLING:
            axes = TELLING[end].unit_axes(rank)
            return axes if TELLING[end].role in ("kernel", "embedding") else None
        if end == "kernel" and rank == 2:
            return (1,)
    return None


def why_skipped(role: Role, variable: Variable) -> Left:
    """Why a variable of this role is left alone by default."""
    if role in _REASONS:
        return Left("role", _REASONS[role])
    if len(variable.shape) >= 2:
        return Left("unidentified", "nothing in the file tells what it is; select it with -i")
    return Left("unidentified", "nothing in the file tells what it is, and it is no matrix")
