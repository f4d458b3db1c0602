"""What a variable is, and which of its axes name units: asked of the convention that its file follows."""

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
    """What the variable is: said by the file, else by its convention."""
    return CONVENTIONS[variable.hint.convention].role(variable.hint) if variable.state is None else variable.state


def unit_axes(variable: Variable) -> tuple[tuple[int, ...], AxisSource]:
    """The axes that name units, non-negative and sorted, and what told them; () makes the whole array one unit."""
    return CONVENTIONS[variable.hint.convention].unit_axes(variable.hint, variable.shape)
