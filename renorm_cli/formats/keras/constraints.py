"""What a layer's config declares for its weights: Keras' constraints, as data. Nothing is ever deserialized or run.

Forms and defaults are those of keras.constraints (Keras 3.15, tf_keras 2.21): {"class_name", "config", ...} with the
arguments of the class, the class's name or its snake case, and null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from renorm_cli.conventions.keras.layers import LAYERS, snake_case
from renorm_cli.errors import UsageError
from renorm_cli.formats.keras.config import LayerNode, is_custom
from renorm_cli.model.norm import PNorm
from renorm_cli.model.variable import ConstraintKind, Declared
from renorm_cli.untrusted import UnexpectedError, number

_OPTIONS = {
    "kernel": "kernel_constraint",
    "recurrent_kernel": "recurrent_constraint",
    "depthwise_kernel": "depthwise_constraint",
    "pointwise_kernel": "pointwise_constraint",
    "embeddings": "embeddings_constraint",
    "bias": "bias_constraint",
    "gamma": "gamma_constraint",
    "beta": "beta_constraint",
    "alpha": "alpha_constraint",
}
"""The weight's own name, without its part's, and the key of the layer's config that declares its constraint."""

_ARGUMENTS: dict[ConstraintKind, dict[str, object]] = {
    "MaxNorm": {"max_value": 2, "axis": 0},
    "MinMaxNorm": {"min_value": 0.0, "max_value": 1.0, "rate": 1.0, "axis": 0},
    "UnitNorm": {"axis": 0},
    "NonNeg": {},
}
"""The classes of Keras, their arguments and the defaults of these."""

_OURS = ("renorm_ckpt>RenormConstraint", "renorm_ckpt>MaxNorm")
"""The name that `renorm_cli.tf.RenormConstraint` is registered under, and the one it had before."""
_OUR_ARGUMENTS: dict[str, object] = {"limit": None, "units": "auto", "p": 2.0}

_NAMES = {name: kind for kind in _ARGUMENTS for name in (kind, snake_case(kind), snake_case(kind).replace("_", ""))}
_CUSTOM = "never run"
_OPEN = "nothing tells which weight of the layer it is for"
_LONGEST_NAME = 200
_MOST_AXES = 32


def declared_for(layer: LayerNode, weight: str | None) -> Declared | None:
    """What the layer's config declares for one of its weights ("kernel", "query/kernel"); None if nothing.

    The constraint of an attention layer is that of all its parts. What a layer declares that is not Keras' own, or
    whose weights are not told apart (`weight` None), is of the kind "unknown", for each of its weights.
    """
    if weight is None or layer.custom or layer.class_name not in LAYERS:
        raw = layer.constraint
        return None if raw is None else Declared("unknown", _name(raw), problem=_OPEN)
    option = _OPTIONS.get(weight.rpartition("/")[2])
    if option == "kernel_constraint" and layer.class_name.startswith("DepthwiseConv"):
        option = "depthwise_constraint"
    raw = None if option is None else layer.config.get(option)
    return None if raw is None else parse_constraint(raw)


def parse_constraint(raw: object) -> Declared:
    """A serialized constraint as data; of the kind "unknown", with the reason, for any that Keras does not define.

    Raises nothing, whatever `raw` is: values that bound nothing (not finite, of another type, a limit of 0) make it
    "unknown" too.
    """
    name = _name(raw)
    ours = isinstance(raw, Mapping) and (raw.get("registered_name") in _OURS or name in _OURS)
    custom = isinstance(raw, Mapping) and is_custom(dict(raw), name)
    kind: ConstraintKind | None = "RenormConstraint" if ours else None if custom else _NAMES.get(name)
    if kind is None:
        return Declared("unknown", name, problem=_CUSTOM)
    config = raw.get("config") if isinstance(raw, Mapping) else None
    try:
        return _known(kind, name, {} if config is None else config)
    except _Problem as problem:
        return Declared("unknown", name, problem=str(problem))


class _Problem(Exception):
    """Why a declaration cannot be taken."""


def _known(kind: ConstraintKind, name: str, config: object) -> Declared:
    defaults = _OUR_ARGUMENTS if kind == "RenormConstraint" else _ARGUMENTS[kind]
    if not isinstance(config, Mapping):
        raise _Problem("its config is no object")
    strange = next((key for key in config if key not in defaults), None)
    if strange is not None:
        raise _Problem(f"it has no argument {strange[:_LONGEST_NAME]!r}")
    values = {**defaults, **config}
    if kind == "NonNeg":
        return Declared(kind, name)
    if kind == "RenormConstraint":
        return Declared(
            kind, name, _limit("limit", values["limit"]), units=_units(values["units"]), p=_order(values["p"])
        )
    axis = _axis(values["axis"])
    if kind == "UnitNorm":
        return Declared(kind, name, 1.0, 1.0, axis=axis)
    limit = _limit("max_value", values["max_value"])
    if kind == "MaxNorm":
        return Declared(kind, name, limit, axis=axis)
    low, rate = _number("min_value", values["min_value"]), _number("rate", values["rate"])
    if not 0 <= low <= limit:
        raise _Problem(f"min_value is {low}, a number from 0 to max_value {limit} is expected")
    if not 0 < rate <= 1:
        raise _Problem(f"rate is {rate}, a number above 0 and at most 1 is expected")
    return Declared(kind, name, limit, low, rate, axis)


def _name(raw: object) -> str:
    """The class a declaration names; of a function its own name."""
    if isinstance(raw, str):
        return raw[:_LONGEST_NAME]
    found = raw.get("class_name") if isinstance(raw, Mapping) else None
    if isinstance(raw, Mapping) and found == "function" and isinstance(raw.get("config"), str):
        found = raw["config"]
    return found[:_LONGEST_NAME] if isinstance(found, str) else type(raw).__name__


def _number(argument: str, value: object) -> float:
    try:
        found = number(value)
    except UnexpectedError:
        raise _Problem(f"{argument} is no number") from None
    if not math.isfinite(found):
        raise _Problem(f"{argument} is not finite")
    return found


def _limit(argument: str, value: object) -> float:
    limit = _number(argument, value)
    if limit <= 0:
        raise _Problem(f"{argument} is {limit}, a number above 0 is expected")
    return limit


def _units(value: object) -> tuple[int, ...] | Literal["auto"]:
    found = None if value == "auto" else _axis(value)
    if found is None and value != "auto":
        raise _Problem("units is null, and axes or 'auto' are expected")
    return "auto" if found is None else found


def _order(value: object) -> float:
    p = math.inf if value == "inf" else _number("p", value)
    try:
        return PNorm(p).p
    except UsageError as error:
        raise _Problem(error.text) from None


def _axis(value: Any) -> tuple[int, ...] | None:
    """The reduced axes: one, a list, a tuple as Keras serializes it, or null for all."""
    if value is None:
        return None
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        value = value.get("items")
    axes = value if isinstance(value, list) else [value]
    if len(axes) > _MOST_AXES:
        raise _Problem(f"axis lists {len(axes)} axes")
    for axis in axes:
        if isinstance(axis, bool) or not isinstance(axis, int) or abs(axis) > 1 << 31:
            raise _Problem("axis is neither an integer nor a list of integers")
    return tuple(axes)
