"""Variables with the hints of the convention of Keras."""

from __future__ import annotations

from typing import Any, Literal

from renorm_cli.model.variable import Hint, Variable


def keras_variable(
    name: str,
    key: str,
    shape: tuple[int, ...],
    dtype: str = "float32",
    layer: str | None = None,
    *,
    source: Literal["layer", "name"] = "layer",
    weight: str | None = None,
    equation: str | None = None,
    **facts: Any,
) -> Variable:
    return Variable(name, key, shape, dtype, Hint("keras", layer, source, weight, equation), **facts)
