"""A Keras constraint with the same bound, on the same units, as for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras

from renorm_cli.training.arguments import axes_of, exponent, floating, number_above_zero, reduced_axes
from renorm_cli.training.bound import Bound
from renorm_cli.training.function import plain
from renorm_cli.training.live import check_backend, unit_axes_of
from renorm_cli.training.traced import bounded, shared

FORMER_NAME = "renorm_ckpt>MaxNorm"
"""What saved models called the class before it had a name that is not also one of Keras."""


@keras.saving.register_keras_serializable(package="renorm_ckpt")
class RenormConstraint(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps the p-norm of every unit of a weight at `limit` or below, after each step of the optimizer.

        Conv2D(64, 3, kernel_constraint=RenormConstraint(2.0))

    With `units="auto"` a unit is the incoming weights of one output: a column of a Dense or recurrent kernel, a filter
    of a convolution, a row of an embedding. The axes that name units are the last one for most kernels, the last but
    one for transposed convolutions, the last two for depthwise ones, and for attention and EinsumDense those that the
    equation gives. `renorm-ckpt` does the same for files; `keras.constraints.MaxNorm(axis=0)` fits Dense only. Give
    `units` to name the KEPT axes yourself.

    "auto" looks up the layer that owns the variable, whatever its name; your subclass of a Keras layer counts as that
    layer. For a weight of any other layer, a well-known name decides ("kernel" of rank 2, "embeddings",
    "depthwise_kernel" and the like). Nothing is guessed from a shape: every other weight raises ValueError in the first
    training step; a bias, for example, needs `units=()`.

    `renorm` describes the bound. It holds from the first step on; weights that are set or loaded are not changed
    before that.

    The class is registered as "renorm_ckpt>RenormConstraint": saved models name it, and load if `renorm_cli.tf` is
    imported. `renorm-ckpt check --declared` understands it without.
    Raises ValueError or TypeError for a limit not above 0, a bad `p` or `units`.
    """

    __module__ = "renorm_cli.tf"  # saved models contain this name

    def __init__(self, limit: float, units: Literal["auto"] | int | Sequence[int] = "auto", p: float | str = 2.0):
        check_backend()
        self.limit = number_above_zero(limit, "limit")
        self.units = wanted_units(units)
        self.p = exponent(math.inf if p == "inf" else p)

    @plain
    def __call__(self, w: Any) -> Any:
        """The bounded value of a Keras variable; of any tensor, if the units were given as axes."""
        axes = self._axes(w) if self.units is None else self.units
        tensor = floating(w)
        return bounded(tensor, Bound(reduced_axes(tensor, axes), shared(self.limit), self.p))[0]

    def _axes(self, variable: Any) -> tuple[int, ...]:
        if not isinstance(variable, keras.Variable):
            raise ValueError(
                "units='auto' needs the Keras variable, to look up its layer,"
                f" got {type(variable).__name__}; give the unit axes: RenormConstraint(..., units=-1)"
            )
        found = unit_axes_of(variable)
        if found is None:
            raise ValueError(
                f"nothing tells which axes of {variable.path!r}, of shape {list(variable.shape)}, name its units:"
                " it is no kernel or embedding of a Keras layer; give them: RenormConstraint(..., units=-1)"
            )
        return found

    def get_config(self) -> dict[str, Any]:
        """The arguments for `from_config`, in JSON types."""
        return {
            "limit": self.limit,
            "units": "auto" if self.units is None else list(self.units),
            "p": "inf" if math.isinf(self.p) else self.p,
        }


keras.saving.get_custom_objects()[FORMER_NAME] = RenormConstraint


def wanted_units(units: Any) -> tuple[int, ...] | None:
    """The axes in `units`; None for "auto"."""
    if isinstance(units, str):
        if units != "auto":
            raise ValueError(f"units must be 'auto' or axes such as -1 or (0, 1), got {units!r}")
        return None
    return axes_of(units, "units")
