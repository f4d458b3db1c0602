"""The bound of a tensor as a call of a graph that is made once, however many tensors are bounded."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import tensorflow as tf

from renorm_cli.training import clip
from renorm_cli.training.bound import Bound, Mode, band

_SMALL = 2**16
_MOST_IN_COLUMNS = 2**31 - 1


def bounded(x: Any, bound: Bound) -> tuple[Any, Any]:
    """The tensor with every unit within the limit, and which units were over; units with NaN or Inf are unchanged."""
    bound = _with_band(x, bound)
    if x.shape.rank is None:
        return clip.bounded(x, bound, "graph")
    graph = _traced(x.dtype, x.shape.rank, bound.axes, bound.p, _mode(x, bound.axes))
    result, over = graph(x, bound.limit, bound.band)
    result.set_shape(x.shape)
    return result, over


@functools.cache
def shared(number: float) -> Any:
    """The number as a scalar that is one node of a graph however often it is used.

    TensorFlow makes a copy of a called graph for each constant that it is called with, and optimizes it anew.
    """
    with tf.init_scope():
        return tf.constant(number, tf.float64)


def _with_band(x: Any, bound: Bound) -> Bound:
    if x.shape.is_fully_defined():
        return replace(bound, band=shared(band(math.prod(x.shape[axis] for axis in bound.axes), bound.p)))
    sizes = tf.gather(tf.shape(x), tf.convert_to_tensor(bound.axes, tf.int32))
    return replace(bound, band=band(tf.reduce_prod(tf.cast(sizes, tf.float64)), bound.p))


def _mode(x: Any, axes: tuple[int, ...]) -> Mode:
    size = x.shape.num_elements()
    if _is_fused():
        return "xla" if size is None or size > _SMALL else "xla, small"
    summed_to_columns = axes == tuple(range(x.shape.rank - 1)) and x.shape.rank > 1
    return "columns" if summed_to_columns and size is not None and size <= _MOST_IN_COLUMNS else "graph"


def _is_fused() -> bool:
    """Whether XLA compiles what is traced now, and so fuses what would be passes over memory in a graph.

    TensorFlow has no public name for it. Only speed depends on the answer: a version without these names gets False.
    """
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = _asked(graph, "_get_control_flow_context")
        while context is not None:
            if _asked(context, "IsXLAContext"):
                return True
            context = getattr(context, "outer_context", None)
        graph = getattr(graph, "outer_graph", None)
    return False


def _asked(owner: Any, method: str) -> Any:
    return getattr(owner, method, lambda: None)()


@functools.cache
def _traced(dtype: Any, rank: int, axes: tuple[int, ...], p: float, mode: Mode) -> Any:
    """One graph for all shapes, so that a model with a hundred layers is not traced a hundred times.

    TensorFlow calls it and does not copy it into the graph of the step, which it would optimize a hundred times.
    """

    def function(x: Any, limit: Any, band: Any) -> Any:
        return clip.bounded(x, Bound(axes, limit, p, band), mode)

    scalar = tf.TensorSpec([], tf.float64)
    signature = [tf.TensorSpec([None] * rank, dtype), scalar, scalar]
    options: dict[str, Any] = {"input_signature": signature, "autograph": False}
    with tf.init_scope():
        return tf.function(function, **options, experimental_attributes={"_noinline": True}).get_concrete_function()
