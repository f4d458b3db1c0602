"""A Keras callback that bounds the variables of a model during training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.errors import SelectionError, some_names
from renorm_cli.model.constraint import Selection
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import BOUNDED, Role
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import others
from renorm_cli.plan.selection import Named, names
from renorm_cli.text import counted
from renorm_cli.training.arguments import exponent, number_above_zero, positive_axes
from renorm_cli.training.bound import Bound
from renorm_cli.training.constraint import wanted_units
from renorm_cli.training.live import Weight, check_backend, variables_of
from renorm_cli.training.traced import bounded, shared

LOG = "renorm_clipped"

_SMALL = 2**16

_KERNELS: frozenset[Role] = BOUNDED | {"quantized"}


class Step(NamedTuple):
    """A Keras variable and the axes that name its units."""

    variable: Any
    unit_axes: tuple[int, ...]


class RenormCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Bounds the selected variables of a model during `fit`, so that no unit's p-norm exceeds `max_norm`.

        model.fit(x, y, callbacks=[RenormCallback(["*/kernel"], max_norm=1.5)])

    `include` and `exclude` are shell-style patterns for the names of the weights: their paths without the name of the
    model, "dense_1/kernel". They choose among kernels and embeddings; one without wildcards that names one weight takes
    it whatever it is. Without `include`, the trainable ones are selected; a pattern may name frozen ones. Unit axes and
    the bound are those of `renorm-ckpt apply`. `units` are the axes that name units (the KEPT axes), or "auto". Weights
    that are not floating are never changed, even if a pattern matches them.

    `every="batch"` bounds after each batch (each execution, with `steps_per_execution`), `every="epoch"` after each
    epoch; the epoch's validation then sees the unbounded weights. Both bound at the end of each epoch and of `fit`,
    because averages of weights may have been put into the model. Place callbacks that save the model after this one,
    and those that change weights before it. Layers that are built later are bounded from then on.

    Logs get "renorm_clipped": the number of units just clipped, and at the end of an epoch the sum over the epoch. The
    second such callback in a list has "renorm_clipped_2".

    Raises ValueError when training begins (while a layer is not built yet, after the first batch) for a pattern that
    matches nothing, naming the closest names; if nothing is selected; if the unit axes of a variable are unknown or
    `units` do not fit it; if the weight in effect is another one, as in a layer with LoRA or a quantized layer. Raises
    ValueError or TypeError at once for arguments that never fit.
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
        self._log = LOG
        self._weights: list[Any] | None = None
        self._steps: list[Step] = []
        self._apply: Any = None
        self._clipped = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Choose the variables, unless a layer is not built yet: it may have those that patterns name."""
        self._log = self._free_log()
        self._weights = None
        if all(layer.built for layer in self.model._flatten_layers()):
            self._choose()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Bound the averages that an optimizer put into the model after the last epoch."""
        if self.model.weights:
            self._bound()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._clipped = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._every == "batch":
            clipped = self._bound()
            if logs is not None:
                logs[self._log] = clipped

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._bound()
        if logs is not None:
            logs[self._log] = self._clipped

    def _free_log(self) -> str:
        """The key that no other such callback of this call of `fit` has: they share `params`."""
        if not isinstance(self.params, dict):
            return LOG
        number = self.params[LOG] = self.params.get(LOG, 0) + 1
        return LOG if number == 1 else f"{LOG}_{number}"

    def _bound(self) -> int:
        self._choose()
        clipped = int(self._apply())
        self._clipped += clipped
        return clipped

    def _choose(self) -> None:
        """Choose the variables if the model has others than before."""
        weights = self.model.weights
        if self._weights is not None and list(map(id, self._weights)) == list(map(id, weights)):
            return
        steps = [Step(weight, self._axes(described)) for described, weight in self._chosen()]
        if self._apply is None or not _same(steps, self._steps):
            self._apply = _function(steps, self._limit, self._p, compiled=_is_compiled(self.model))
        self._steps, self._weights = steps, weights

    def _chosen(self) -> list[tuple[Variable, Any]]:
        found = variables_of(self.model)
        try:
            named = names([weight.described for weight in found], self._selection)
        except SelectionError as error:
            raise ValueError(str(error)) from None
        picked = [weight for weight in found if self._takes(named, weight)]
        for described, _, _, otherwise in picked:
            if otherwise is not None and role_of(described) in _KERNELS:
                raise ValueError(
                    f"the weight in effect is not {described.name!r}: {otherwise}; leave it out:"
                    f" RenormCallback(..., exclude={[described.name]})"
                )
        picked = [weight for weight in picked if weight.described.dtype in FLOATS]
        if not picked:
            some = some_names([weight.described.name for weight in found])
            raise ValueError(
                f"none of the {counted(len(found), 'weight')} of the model is selected (without include, trainable"
                f" kernels and embeddings are); name some, of {some}"
            )
        return [(weight.described, weight.variable) for weight in picked]

    def _takes(self, named: Named, weight: Weight) -> bool:
        key, role = weight.described.key, role_of(weight.described)
        wanted = weight.trained or bool(self._selection.include)
        return wanted and named.leaves(key) is None and named.takes(key, role, _KERNELS)

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


def _same(steps: Sequence[Step], others: Sequence[Step]) -> bool:
    return len(steps) == len(others) and all(
        one.variable is other.variable and one.unit_axes == other.unit_axes
        for one, other in zip(steps, others, strict=True)
    )


def _is_compiled(model: Any) -> bool:
    """Whether XLA compiles the step of training, and can compile one for all variables: they are on one device."""
    return bool(model.jit_compile) and model.distribute_strategy.num_replicas_in_sync == 1


def _function(steps: Sequence[Step], limit: float, p: float, compiled: bool) -> Any:
    """A function that bounds the variables and returns the number of clipped units."""
    alike: dict[Any, list[Any]] = {}
    for variable, kept in steps:
        shape = tuple(variable.shape)
        alike.setdefault((variable.dtype, shape, others(len(shape), kept)), []).append(variable)

    def apply() -> Any:
        return tf.add_n([_together(variables, axes, limit, p) for (_, _, axes), variables in alike.items()])

    return tf.function(apply, autograph=False, jit_compile=compiled)


def _together(variables: Sequence[Any], axes: tuple[int, ...], limit: float, p: float) -> Any:
    """Bound variables of one dtype and shape; small ones as one tensor, in one call."""
    values = [tf.convert_to_tensor(variable) for variable in variables]
    if len(values) == 1 or values[0].shape.num_elements() > _SMALL:
        bound = Bound(axes, shared(limit), p)
        return tf.add_n(
            [_assigned(each, *bounded(value, bound)) for each, value in zip(variables, values, strict=True)]
        )
    result, over = bounded(tf.stack(values), Bound(tuple(axis + 1 for axis in axes), shared(limit), p))
    for variable, value in zip(variables, tf.unstack(result), strict=True):
        variable.assign(value)
    return tf.math.count_nonzero(over)


def _assigned(variable: Any, value: Any, over: Any) -> Any:
    variable.assign(value)
    return tf.math.count_nonzero(over)


def _patterns(patterns: str | Sequence[str], name: str) -> tuple[str, ...]:
    found = tuple(patterns) if isinstance(patterns, Iterable) and not isinstance(patterns, str) else (patterns,)
    if not all(isinstance(pattern, str) for pattern in found):
        raise TypeError(f"{name} must be patterns such as '*/kernel', got {patterns!r}")
    return found
