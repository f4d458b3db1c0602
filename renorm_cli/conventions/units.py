"""What a variable is, and which of its axes name units, from its file's convention and the model's graph.

The graph knows how a weight is used, the name what it is for. So the axes come from the layer's class where the file's
config tells it, then from the graph, from names, and last from the shape. For roles names come first: a LoRA factor is
used like a kernel, and statistics that are not fused like scales. The graph tells the roles that names leave open.
"""

from __future__ import annotations

from typing import Protocol

from renorm_cli.conventions import keras
from renorm_cli.model.plan import AxisSource
from renorm_cli.model.variable import Hint, Role, Variable


class Convention(Protocol):
    """How a family of files names its weights and orders their axes."""

    def role(self, hint: Hint) -> Role:
        """What the weight is; "unknown" where the hint does not say."""
        ...

    def unit_axes(self, hint: Hint, shape: tuple[int, ...]) -> tuple[tuple[int, ...], AxisSource]:
        """The axes that name units, non-negative and sorted, and what told them; () makes the whole array one unit."""
        ...


CONVENTIONS: dict[str, Convention] = {"keras": keras}
"""All conventions, by the names that hints give them."""


def role_of(variable: Variable) -> Role:
    """What the variable is: said by the file, else by its convention, else by the model's graph."""
    if variable.state is not None:
        return variable.state
    role = CONVENTIONS[variable.hint.convention].role(variable.hint)
    return variable.use.role if role == "unknown" and variable.use is not None else role


def unit_axes(variable: Variable) -> tuple[tuple[int, ...], AxisSource]:
    """The axes that name units, non-negative and sorted, and what told them; () makes the whole array one unit."""
    axes, source = CONVENTIONS[variable.hint.convention].unit_axes(variable.hint, variable.shape)
    used = None if variable.use is None else variable.use.unit_axes
    return (axes, source) if used is None or source == "layer" else (used, "graph")
