"""A Keras callback that bounds the variables of a model during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.errors import SelectionError, some_names
from renorm_cli.model.constraint import Selection
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import others
from renorm_cli.plan.selection import Named, names
from renorm_cli.training.arguments import exponent, number_above_zero, positive_axes
from renorm_cli.training.clip import Bound, bounded
from renorm_cli.training.constraint import wanted_units
from renorm_cli.training.live import check_backend, variables_of

LOG = "renorm_clipped"


class RenormCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Bounds the selected variables of a model during `fit`, so that no unit's p-norm exceeds `max_norm`.

        model.fit(x, y, callbacks=[RenormCallback(["*/kernel"], max_norm=1.5)])

    `include` and `exclude` are shell-style patterns for the names of the weights: their paths without the name of the
    model, "dense_1/kernel". They choose among kernels and embeddings; one without wildcards that names one weight takes
    it whatever it is. Selection, unit axes and the bound are those of `renorm-ckpt apply`. `units` are the axes that
    name units (the KEPT axes), or "auto". Weights that are not floating are never changed, even if a pattern matches
    them.

    `every="batch"` bounds after each batch (each execution, with `steps_per_execution`), `every="epoch"` after each
    epoch; the epoch's validation then sees the unbounded weights. Place callbacks that save the model after this one.
    Logs get "renorm_clipped": the number of units just clipped, and at the end of an epoch the sum over the epoch.

    Raises ValueError when training begins (for a model that is not built yet, after its first batch) for a pattern
    that matches nothing, naming the closest names; if nothing is selected; if the unit axes of a variable are unknown
    or `units` do not fit it. Raises ValueError or TypeError at once for arguments that never fit.
    """

    __module__ = "renorm_cli.tf"

    def __init__(
        self,
        include: str | Sequence[str] = (),
        *,
        max_norm: float,
        every: Literal["batch", "epoch"] = "batch",
        exclude: str | Sequence[str] = (),
        units: Literal["auto"] | int | Sequence[int] = "auto",
        p: float = 2.0,
    ):
        super().__init__()
        check_backend()
        if every not in ("batch", "epoch"):
            raise ValueError(f"every must be 'batch' or 'epoch', got {every!r}")
        self._selection = Selection(_patterns(include, "include"), _patterns(exclude, "exclude"))
        self._limit = number_above_zero(max_norm, "max_norm")
        self._every = every
        self._units = wanted_units(units)
        self._p = exponent(p)
        self._apply: Any = None
        self._clipped = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Choose the variables; a model that is not built yet has none before its first batch."""
        self._apply = self._prepared() if self.model.weights else None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._clipped = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._every == "batch":
            self._bound(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._every == "epoch":
            self._bound(logs)
        if logs is not None:
            logs[LOG] = self._clipped

    def _bound(self, logs: dict[str, Any] | None) -> None:
        if self._apply is None:
            self._apply = self._prepared()
        clipped = int(self._apply())
        self._clipped += clipped
        if logs is not None:
            logs[LOG] = clipped

    def _prepared(self) -> Any:
        """A function that bounds the chosen variables and returns the number of clipped units."""
        steps = [(variable, self._axes(described)) for described, variable in self._chosen()]
        limit, p = self._limit, self._p

        def apply() -> Any:
            clipped = tf.constant(0, tf.int64)
            for variable, kept in steps:
                reduced = others(len(variable.shape), kept)
                bound = Bound(reduced, tf.constant(limit, tf.float64), p)
                value, over = bounded(tf.convert_to_tensor(variable), bound)
                variable.assign(value)
                clipped += tf.math.count_nonzero(over)
            return clipped

        return tf.function(apply, autograph=False)

    def _chosen(self) -> list[tuple[Variable, Any]]:
        found = variables_of(self.model)
        try:
            named = names([described for described, _ in found], self._selection)
        except SelectionError as error:
            raise ValueError(str(error)) from None
        picked = [pair for pair in found if pair[0].dtype in FLOATS and self._takes(named, pair[0])]
        if not picked:
            some = some_names([described.name for described, _ in found])
            raise ValueError(f"none of the {len(found)} weights of the model is selected; name some, of {some}")
        return picked

    @staticmethod
    def _takes(named: Named, described: Variable) -> bool:
        left = named.leaves(described.key)
        return left is None and named.takes(described.key, role_of(described), BOUNDED)

    def _axes(self, described: Variable) -> tuple[int, ...]:
        if self._units is not None:
            return positive_axes(self._units, len(described.shape), f"{described.name!r}: units")
        axes, source = unit_axes(described)
        if source == "guess" and len(described.shape) > 1:
            raise ValueError(
                f"nothing tells which axes of {described.name!r}, of shape {list(described.shape)}, name its units;"
                " give them in a callback of their own: RenormCallback([...], max_norm=..., units=-1)"
            )
        return axes


def _patterns(patterns: str | Sequence[str], name: str) -> tuple[str, ...]:
    found = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    if not all(isinstance(pattern, str) for pattern in found):
        raise TypeError(f"{name} must be patterns such as '*/kernel', got {patterns!r}")
    return found
