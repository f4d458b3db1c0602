"""The bound as a differentiable function.

The value is that of `clip.bounded`, with its roundings. The gradient ignores them, since they make the map a staircase:
it is that of the exact map, x -> x * limit / norm(x) for a unit that is over, x -> x for any other. With n = norm(x), m
the gradient of n and g the upstream gradient, the gradient of a unit that is over is

    limit / n * (g - sum(g * x) / n * m),        m_i = sign(x_i) * (|x_i| / n) ** (p - 1)

which for p = 2 is limit / n times the projection of g onto the plane orthogonal to x. For p = inf the largest elements
share m; for p <= 1 m is 0 at x_i = 0, one of its possible values there.

Everything is computed by differentiable operations on x itself, so second derivatives are those of the exact map, too.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from renorm_cli.model.norm import PNorm
from renorm_cli.norms.power_sums import needs_exponents
from renorm_cli.training.bound import Bound
from renorm_cli.training.clip import exponents_of, halves, root
from renorm_cli.training.traced import bounded


def differentiable(x: Any, limit: Any, axes: Any, p: float) -> Any:
    """`clip.bounded` with a gradient for the tensor and for the limit."""

    def clip(x: Any, limit: Any) -> tuple[Any, Any]:
        result, over = bounded(x, Bound(axes, limit, p))

        def gradient(upstream: Any) -> tuple[Any, Any]:
            return _pulled_back(x, over, Bound(axes, limit, p), upstream)

        return result, gradient

    return tf.custom_gradient(clip)(x, limit)


def _pulled_back(x: Any, over: Any, bound: Bound, upstream: Any) -> tuple[Any, Any]:
    """The gradients for the tensor and the limit; units that are not over are never divided."""
    scale = _scale(x, bound)
    wide = tf.where(over, tf.cast(x, tf.float64) * scale[0], 0.0) * scale[1]
    above = tf.cast(upstream, tf.float64)
    norm = _norm(wide, over, bound)
    along = tf.reduce_sum(above * (wide / norm), axis=bound.axes, keepdims=True)
    factor = bound.limit * scale[0] * scale[1] / norm
    inside = factor * (above - along * _slope(wide, norm, bound))
    to_x = tf.where(over, inside, above)
    to_limit = tf.reduce_sum(tf.where(over, along, 0.0))
    return tf.cast(to_x, x.dtype), to_limit


def _scale(x: Any, bound: Bound) -> list[Any]:
    """Powers of two that keep powers of x within float64; constant for the derivative, because the norm scales too."""
    if needs_exponents(x.dtype.name, PNorm(bound.p)):
        return halves(-exponents_of(x, bound.axes))
    return [tf.constant(1.0, tf.float64)] * 2


def _norm(wide: Any, over: Any, bound: Bound) -> Any:
    """The norm of each unit that is over; 1 for any other unit."""
    sizes = tf.abs(wide)
    if math.isinf(bound.p):
        return tf.where(over, tf.reduce_max(sizes, axis=bound.axes, keepdims=True), 1.0)
    sums = tf.reduce_sum(_power(sizes, bound.p), axis=bound.axes, keepdims=True)
    return root(tf.where(over, sums, 1.0), bound.p)


def _slope(wide: Any, norm: Any, bound: Bound) -> Any:
    """The gradient of the norm."""
    if bound.p == 2:
        return wide / norm
    if math.isinf(bound.p):
        largest = tf.cast(tf.equal(tf.abs(wide), norm), tf.float64)
        shares = tf.maximum(tf.reduce_sum(largest, axis=bound.axes, keepdims=True), 1.0)
        return tf.sign(wide) * largest / shares
    return tf.sign(wide) * _power(tf.abs(wide) / norm, bound.p - 1)


def _power(sizes: Any, p: float) -> Any:
    """`sizes ** p`, which at 0 is 0 for every p, with a derivative of 0 instead of NaN."""
    if p == 0:
        return tf.ones_like(sizes)
    if p == 1:
        return sizes
    if p == 2:
        return sizes * sizes
    nothing = tf.equal(sizes, 0.0)
    something = tf.where(nothing, tf.ones_like(sizes), sizes)
    return tf.where(nothing, tf.zeros_like(sizes), tf.pow(something, tf.constant(p, tf.float64)))
