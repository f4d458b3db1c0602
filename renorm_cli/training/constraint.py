"""A Keras constraint with the bound of files, on the units of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras

from renorm_cli.training.arguments import axes_of, exponent, number_above_zero
from renorm_cli.training.function import plain, renorm
from renorm_cli.training.live import check_backend, unit_axes_of


@keras.saving.register_keras_serializable(package="renorm_ckpt")
class MaxNorm(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps every unit of a weight at a p-norm of at most `limit`, after each step of the optimizer.

        Conv2D(64, 3, kernel_constraint=MaxNorm(2.0))

    With `units="auto"` a unit is the incoming weights of one output: of Dense and recurrent kernels a column, of
    convolutions a filter, of transposed ones the last axis but one, of depthwise ones the last two, of attention and
    EinsumDense what the equation says, of an embedding a row. It is what `renorm-ckpt` takes for files, and unlike
    `keras.constraints.MaxNorm(axis=0)`, which fits Dense only. Give `units` to name the axes yourself: those KEPT.

    How auto knows: by the layer that owns the variable, whatever its name; a class of yours that is derived from one
    of Keras counts as that. Of a weight in any other layer only a telling name is believed ("kernel" of rank 2,
    "embeddings", "depthwise_kernel" and the like). Everything else is a ValueError in the first training step, and
    nothing is guessed from a shape: a bias, for one, needs `units=()`.

    What holds of the bound is said at `renorm`. It holds from the first step on; weights that are set or loaded
    are not changed before it.

    The class is registered as "renorm_ckpt>MaxNorm": saved models name it, and load where `renorm_cli.tf` is imported.
    Raises ValueError or TypeError for a limit not above 0, a bad `p` or `units`.
    """

    __module__ = "renorm_cli.tf"  # this is what saved models name

    def __init__(self, limit: float, units: Literal["auto"] | int | Sequence[int] = "auto", p: float | str = 2.0):
        check_backend()
        self.limit = number_above_zero(limit, "limit")
        self.units = wanted_units(units)
        self.p = exponent(math.inf if p == "inf" else p)

    @plain
    def __call__(self, w: Any) -> Any:
        """The bounded value of a Keras variable; of any tensor, if the units were given as axes."""
        axes = self._axes(w) if self.units is None else self.units
        return renorm(w, axes, self.limit, self.p)

    def _axes(self, variable: Any) -> tuple[int, ...]:
        if not isinstance(variable, keras.Variable):
            raise ValueError(
                "units='auto' needs the Keras variable, to look up its layer,"
                f" got {type(variable).__name__}; give the unit axes: MaxNorm(..., units=-1)"
            )
        found = unit_axes_of(variable)
        if found is None:
            raise ValueError(
                f"nothing tells which axes of {variable.path!r}, of shape {list(variable.shape)}, name its units:"
                " it is no kernel or embedding of a Keras layer; give them: MaxNorm(..., units=-1)"
            )
        return found

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes; of JSON's types only."""
        return {
            "limit": self.limit,
            "units": "auto" if self.units is None else list(self.units),
            "p": "inf" if math.isinf(self.p) else self.p,
        }


def wanted_units(units: Any) -> tuple[int, ...] | None:
    """The axes of `units`, None for "auto"."""
    if isinstance(units, str):
        if units != "auto":
            raise ValueError(f"units must be 'auto' or axes such as -1 or (0, 1), got {units!r}")
        return None
    return axes_of(units, "units")
